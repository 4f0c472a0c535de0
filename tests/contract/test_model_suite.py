"""Every operation that is built, against the service's model: a new row is tested here without a line of its own.

botocore writes the requests that are read here, and reads the responses that are written here.
"""

import base64
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import pytest
from botocore.parsers import create_parser
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr

from harness.loopback import Loopback, Reply, reply
from harness.operations import ACCOUNT_ID, CALLER, HEX, MODEL, REGION, TOKEN, components, written
from whaul.api import response
from whaul.api.request import CHECKED_ELSEWHERE, Reader, Request
from whaul.api.service import OPERATIONS, SHAPES
from whaul.app import OPERATIONS as BUILT
from whaul.auth.caller import Caller
from whaul.auth.policy import Policy
from whaul.errors import ApiError, SerializationException, ValidationException
from whaul.graph.client import GraphClient
from whaul.model import Account, PhoneNumber
from whaul.operations.call import operation
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import MediaHosts
from whaul.registry.registry import open_registry
from whaul.secrets import Cipher
from whaul.telemetry.call import Call
from whaul.telemetry.metrics import Metrics
from whaul.transfer.slots import TransferSlots

NAMES = sorted(BUILT)
SAMPLES: Mapping[str, str] = {
    "WhatsAppPhoneNumberId": f"phone-number-id-{HEX}",
    "LinkedWhatsAppBusinessAccountId": f"waba-{HEX}",
    "Arn": f"arn:aws:social-messaging:{REGION}:{ACCOUNT_ID}:waba/{HEX}",
    "EventDestinationArn": "arn:aws:sns:eu-west-1:111122223333:topic",
    "RoleArn": "arn:aws:iam::111122223333:role/events",
    "S3PresignedUrlUrlString": "https://inbox.s3.amazonaws.com/key",
    "WhatsAppDate": "2028-02-29",
    "WhatsAppDestinationPhoneNumber": "+15550100",
    "KmsKeyArn": "arn:aws:kms:eu-west-1:111122223333:key/1",
    "LinkedWhatsAppBusinessAccountArn": f"arn:aws:social-messaging:{REGION}:{ACCOUNT_ID}:waba/{HEX}",
    "LinkedWhatsAppPhoneNumberArn": f"arn:aws:social-messaging:{REGION}:{ACCOUNT_ID}:phone-number-id/{HEX}",
    "IsoCountryCode": "CH",
}
"""Strings that match patterns which a row of ones does not."""


def sample(name: str, *, full: bool) -> Any:
    """A value of a shape that keeps its constraints; `full` with every member that it can have."""
    shape = SHAPES[name]
    if shape.type == "structure":
        members = shape.members if full else shape.required
        return {member: sample(shape.members[member].shape, full=full) for member in members}
    if shape.type == "list":
        return [sample(shape.member, full=full)] * max(shape.min or 0, int(full))
    if shape.type == "map":
        return {sample(shape.key, full=full): sample(shape.value, full=full)} if full else {}
    if shape.type == "string":
        return SAMPLES.get(name) or (shape.enum or ("1" * max(shape.min or 0, 1),))[0]
    return {"boolean": True, "integer": shape.min or 0, "long": 7, "timestamp": 1772368200.25, "blob": b'{"a":1}'}[
        shape.type
    ]


class Place(NamedTuple):
    """Where a value is in an input."""

    path: tuple[str | int, ...]
    shape: str
    is_required: bool
    is_sensitive: bool

    @property
    def name(self) -> str:
        """As messages name it."""
        first, *rest = self.path
        steps = [f".{step + 1}.member" if isinstance(step, int) else f".{step}" for step in rest]
        return f"{first}{''.join(steps)}"


def places(
    name: str, path: tuple[str | int, ...] = (), *, required: bool = True, sensitive: bool = False
) -> Iterator[Place]:
    """Every place in a full value of a shape."""
    shape = SHAPES[name]
    if path:
        yield Place(path, name, required, sensitive or shape.sensitive)
    hidden = sensitive or shape.sensitive
    for member, fact in shape.members.items():
        yield from places(fact.shape, (*path, member), required=member in shape.required, sensitive=hidden)
    if shape.type == "list":
        yield from places(shape.member, (*path, 0), required=False, sensitive=hidden)


INPUT_PLACES = [
    pytest.param(name, place, id=f"{name}-{place.name}") for name in NAMES for place in places(OPERATIONS[name].input)
]
MEMBER_PLACES = [place for place in INPUT_PLACES if isinstance(place.values[1].path[-1], str)]
"""Without what is in a list: that is there, or the list is shorter."""


def with_value(document: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """The document with another value in a place; without the member if it is None."""
    first, *rest = path
    copy = list(document) if isinstance(document, list) else dict(document)
    changed = with_value(copy[first], tuple(rest), value) if rest else value  # type: ignore[call-overload]
    if changed is None:
        del copy[first]  # type: ignore[arg-type]
    else:
        copy[first] = changed  # type: ignore[index]
    return copy


def read(name: str, members: Any, *, is_checked: bool = True) -> Any:
    return Reader(name).read(written(name, members, is_checked=is_checked))


def refusal(name: str, members: Any) -> str:
    with pytest.raises(ValidationException) as caught:
        read(name, members, is_checked=False)
    return caught.value.message


# --- requests


@pytest.mark.parametrize("full", [False, True], ids=["smallest", "fullest"])
@pytest.mark.parametrize("name", NAMES)
def test_what_botocore_writes_is_read(name: str, full: bool) -> None:
    members = sample(OPERATIONS[name].input, full=full)
    assert read(name, members) == members


def test_every_operation_of_the_model_is_built() -> None:
    assert BUILT.keys() == OPERATIONS.keys()


@pytest.mark.parametrize(("name", "place"), MEMBER_PLACES)
def test_a_member_that_is_required_may_not_be_missing_and_another_may(name: str, place: Place) -> None:
    members = with_value(sample(OPERATIONS[name].input, full=True), place.path, None)
    if place.is_required:
        violation = f"Value null at '{place.name}' failed to satisfy constraint: Member must not be null"
        assert refusal(name, members) == f"1 validation error detected: {violation}"
    else:
        assert read(name, members) == members


def of_size(place: Place, size: int) -> Any:
    """A value as long, or as large, as that, which breaks no pattern if there can be one; None if there is none."""
    shape = SHAPES[place.shape]
    if shape.type == "list":
        return [sample(shape.member, full=True)] * size
    if shape.type == "map":
        return {f"key {number}": "1" for number in range(size)}
    if shape.type == "blob":
        return b"x" * size
    if shape.type == "integer":
        return size
    whole = SAMPLES.get(place.shape, "1")
    text = whole[: max(size, 0)] if size < len(whole) else whole + "1" * (size - len(whole))
    fits = shape.pattern is None or place.shape in CHECKED_ELSEWHERE or re.fullmatch(shape.pattern, text)
    return text if fits and len(text) == size else None


BOUNDED = [
    pytest.param(name, place, bound, id=f"{name}-{place.name}-{bound}")
    for name in NAMES
    for place in places(OPERATIONS[name].input)
    for bound in ("min", "max")
    if getattr(SHAPES[place.shape], bound) is not None
]


@pytest.mark.parametrize(("name", "place", "bound"), BOUNDED)
def test_a_bound_is_kept_to_the_last_one(name: str, place: Place, bound: str) -> None:
    shape, limit = SHAPES[place.shape], getattr(SHAPES[place.shape], bound)
    members = sample(OPERATIONS[name].input, full=True)
    allowed = of_size(place, limit)
    if allowed is not None:
        kept = with_value(members, place.path, allowed)
        assert read(name, kept, is_checked=False) == kept
    beyond = limit + (1 if bound == "max" else -1)
    if beyond < 0 and shape.type != "integer":
        return
    value = of_size(place, beyond)
    if value is None:
        value = "1" * beyond
    message = refusal(name, with_value(members, place.path, value))
    measure = "value" if shape.type == "integer" else "length"
    relation = "less" if bound == "max" else "greater"
    shows = isinstance(value, str | int) and len(str(value)) <= 128 and not place.is_sensitive
    echo = f" '{value}'" if shows else ""
    assert message == (
        f"1 validation error detected: Value{echo} at '{place.name}' failed to satisfy "
        f"constraint: Member must have {measure} {relation} than or equal to {limit}"
    )


PATTERNED = [
    pytest.param(name, place, id=f"{name}-{place.name}")
    for name in NAMES
    for place in places(OPERATIONS[name].input)
    if place.shape not in CHECKED_ELSEWHERE and (SHAPES[place.shape].pattern or SHAPES[place.shape].enum)
]


@pytest.mark.parametrize(("name", "place"), PATTERNED)
def test_a_pattern_or_a_set_of_values_is_kept_by_the_whole_value(name: str, place: Place) -> None:
    shape = SHAPES[place.shape]
    rule = f"regular expression pattern: {shape.pattern}" if shape.pattern else f"enum value set: [{shape.enum[0]}"
    good = sample(place.shape, full=True)
    for value in (f"{good}\n", f"\n{good}", "?" * max(shape.min or 1, 1)):
        if shape.max is not None and len(value) > shape.max:
            continue
        message = refusal(name, with_value(sample(OPERATIONS[name].input, full=True), place.path, value))
        echo = "" if place.is_sensitive else f" '{value}'"
        start = f"1 validation error detected: Value{echo} at '{place.name}' failed to satisfy constraint: Member must"
        assert message.startswith(f"{start} satisfy {rule}")


WRONG = {"structure": [], "list": {}, "map": [], "string": 1, "blob": 1, "boolean": "true", "integer": "1"}


@pytest.mark.parametrize(("name", "place"), INPUT_PLACES)
def test_a_member_of_another_type_is_refused(name: str, place: Place) -> None:
    fact = SHAPES[OPERATIONS[name].input].members[str(place.path[0])]
    if fact.location == "querystring":
        return  # there, everything is text
    members = with_value(sample(OPERATIONS[name].input, full=True), place.path, WRONG[SHAPES[place.shape].type])
    body = {member: value for member, value in members.items() if member == place.path[0]}
    with pytest.raises(SerializationException):
        Reader(name).read(Request(written(name, sample(OPERATIONS[name].input, full=True)).query, encoded(body)))


def encoded(document: Any) -> bytes:
    return json.dumps(document, default=lambda blob: base64.b64encode(blob).decode()).encode()


# --- responses


@pytest.mark.parametrize("full", [False, True], ids=["smallest", "fullest"])
@pytest.mark.parametrize("name", NAMES)
def test_botocore_reads_what_is_written(name: str, full: bool) -> None:
    document = json.loads(encoded(sample(OPERATIONS[name].output, full=full)))
    answer = {"status_code": 200, "headers": {}, "body": response.body(document)}
    parsed = create_parser("rest-json").parse(answer, MODEL.operation_model(name).output_shape)
    parsed.pop("ResponseMetadata")
    assert json.loads(json.dumps(parsed, default=datetime.timestamp)) == document


# --- errors


UNMODELLED = {("SendWhatsAppMessage", "AccessDeniedByMetaException")}
"""Errors that AWS's model has not, and that say more than those that it has."""

PUBLIC_KEY = (
    rsa.generate_private_key(65537, 2048)
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    .decode()
)

ALLOWED: Mapping[str, Mapping[str, Any]] = {
    "AssociateWhatsAppBusinessAccount": {"signupCallback": {"accessToken": "EAAG"}},
    "GetWhatsAppMessageMedia": {"metadataOnly": True},
    "PostWhatsAppMessageMedia": {"sourceS3File": {"bucketName": "inbox", "key": "a.ogg"}},
    "UpdateWhatsAppFlow": {"flowName": "Survey"},
    "CreateWhatsAppMessageTemplateMedia": {"sourceS3File": {"bucketName": "inbox", "key": "a.png"}},
    "DeleteWhatsAppMessageTemplate": {"deleteAllLanguages": True},
    "GetWhatsAppMessageTemplate": {"metaTemplateId": "1"},
    "UpdateWhatsAppMessageTemplate": {"metaTemplateId": "1", "templateCategory": "UTILITY"},
    "GetWhatsAppCallPermission": {"destinationPhoneNumber": "+15550100"},
    "SendWhatsAppCallEvent": {"metaApiVersion": "v25.0", "callEvent": b'{"messaging_product": "whatsapp"}'},
    "SendWhatsAppConversionEvent": {"eventData": b'{"event_name": "Purchase"}'},
    "PutWhatsAppBusinessPublicKey": {"businessPublicKey": PUBLIC_KEY},
    "SendWhatsAppMessage": {"metaApiVersion": "v25.0", "message": b'{"messaging_product": "whatsapp"}'},
}
"""What the smallest input needs to come through the rules that the model does not have."""


class Linked:
    """Every number and account is linked."""

    async def phone_number(self, id_: str) -> PhoneNumber:
        return PhoneNumber(id_, "arn", "4711", TOKEN)

    async def linked_account(self, id_: str) -> Account:
        return Account(id_, "arn", "4712", TOKEN)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('registry') / 'whaul.db'}"


async def error_of(name: str, parts: Any, caller: Caller = CALLER) -> ApiError:
    """The error of the smallest call that is allowed; it must be one that SDKs have a type for."""
    members = sample(OPERATIONS[name].input, full=False) | ALLOWED.get(name, {})
    with pytest.raises(ApiError) as caught:
        await operation(name, BUILT[name], parts)(written(name, members), caller, Call("id"))
    assert caught.value.code in OPERATIONS[name].errors or (name, caught.value.code) in UNMODELLED
    return caught.value


@pytest.mark.anyio
@pytest.mark.parametrize("name", NAMES)
async def test_a_caller_without_the_right_is_denied_before_anything_is_looked_up(name: str) -> None:
    other = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"}
    policy = Policy.parse(json.dumps({"Version": "2012-10-17", "Statement": other}))
    nobody = Caller("AKIA", "nobody", "arn:aws:iam::111122223333:user/nobody", policy)
    error = await error_of(name, components(), nobody)
    assert error.code == "AccessDeniedException"
    assert f"perform: social-messaging:{name} on resource" in error.message


@pytest.mark.anyio
@pytest.mark.parametrize("name", [name for name in NAMES if BUILT[name].names_resource])
async def test_what_is_not_linked_is_not_found(name: str, database: str) -> None:
    cipher = Cipher(SecretStr(Fernet.generate_key().decode()))
    async with open_registry(database, cipher, account_id=ACCOUNT_ID, region=REGION, create=True) as registry:
        error = await error_of(name, components(registry=registry, linked=registry.accounts))
    assert error.code in {"ResourceNotFoundException", "InvalidParametersException"}
    assert "linked in this account and region" in error.message


METAS_REFUSALS = [
    reply(401, {"error": {"code": 190}}),
    reply(400, {"error": {"code": 100, "error_subcode": 33}}),
    reply(400, {"error": {"code": 100}}),
    reply(404, {"error": {"code": 4711}}),
    reply(400, {"error": {"code": 4}}, retry_after=3600),
    reply(500, b"<html>", retry_after=3600),
]


@pytest.fixture(scope="module")
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient() as client:
        yield client


@pytest.mark.anyio
@pytest.mark.parametrize("answer", METAS_REFUSALS)
@pytest.mark.parametrize("name", [name for name in NAMES if BUILT[name].find or name in ALLOWED])
async def test_what_meta_refuses_is_a_modelled_error(http: HttpClient, name: str, answer: Reply) -> None:
    if name in {
        "PostWhatsAppMessageMedia",
        "CreateWhatsAppMessageTemplateMedia",
        "PutWhatsAppBusinessAccountEventDestinations",
    }:
        return  # a store is asked first (see tests/e2e/test_uploads.py), or Meta not at all
    async with Loopback(answer) as server:
        graph = GraphClient(http, url=server.url, version="v25.0", user_agent="x", media_hosts=MediaHosts(()))
        slots = TransferSlots(1, 1, Metrics())
        await error_of(name, components(linked=Linked(), graph=graph, slots=slots))
        assert server.requests
