"""The account operations with unmodified clients: boto3, its paginator, and raw requests that no client would send."""

import asyncio
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography.fernet import Fernet
from pydantic import SecretStr

from harness.error_rows import fails, shows
from harness.world import ACCOUNT_ID, Gateway, Key, World, signed
from tools.postgresql import PostgresqlServer
from whaul.components import open_registry
from whaul.model import GraphToken, MetaAccount, MetaPhoneNumber
from whaul.settings import Settings
from whaul.stack.local import REGION

COUNT = 205
FOREIGN = "arn:aws:social-messaging:{region}:{account}:{resource}/0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def changed(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway over a database of its own, for tests that change it."""
    folder = tmp_path_factory.mktemp("changed")
    own = World(world.simulator, world.environ | {"WHAUL_DATABASE_URL": f"sqlite:///{folder / 'whaul.db'}"}, folder)
    own.link()
    with own.gateway() as running:
        yield running


@pytest.fixture
def small(changed: Gateway) -> Gateway:
    """Its simulated account is linked, without tags."""
    for account in changed.world.whaul("accounts")["linkedAccounts"]:
        changed.world.do("unlink", account["id"], "--yes")
    changed.world.whaul("link", "--waba-id", changed.world.simulator.waba_id)
    return changed


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def crowded(
    request: pytest.FixtureRequest, world: World, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A gateway with more linked accounts than two pages hold."""
    folder = tmp_path_factory.mktemp("crowd")
    url = f"sqlite:///{folder / 'whaul.db'}"
    if request.param == "postgresql":
        server: PostgresqlServer = request.getfixturevalue("postgresql")
        url = server.url(server.create_database(request.getfixturevalue("postgresql_template")))
    environ = world.environ | {"WHAUL_DATABASE_URL": url, "WHAUL_SECRET_KEY": Fernet.generate_key().decode()}
    own = World(world.simulator, environ, folder)
    own.key = own.make_key("--allow-all")
    asyncio.run(_link_many(environ))
    with own.gateway() as running:
        yield running


async def _link_many(environ: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - environ.keys():
            patch.delenv(name)
        for name, value in environ.items():
            patch.setenv(name, value)
        settings = Settings.load()
    async with open_registry(settings) as registry, registry.accounts._database.writing() as session:
        for i in range(COUNT):
            number = MetaPhoneNumber(f"6{i:05}", f"+1 555-{i:06}", f"Number {i}", "GREEN")
            account = MetaAccount(f"7{i:05}", f"Account {i}", (number,))
            await registry.accounts.link_in(session, account, GraphToken(SecretStr("token")))


def account_id(gateway: Gateway) -> str:
    return str(gateway.client().list_linked_whatsapp_business_accounts()["linkedAccounts"][0]["id"])


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])


# --- list


@pytest.mark.parametrize("page_size", [None, 1, 7, 100])
def test_the_paginator_goes_through_all_accounts(crowded: Gateway, page_size: int | None) -> None:
    paginator = crowded.client().get_paginator("list_linked_whatsapp_business_accounts")
    limit = 30 if page_size == 1 else COUNT
    pages = list(paginator.paginate(PaginationConfig={"PageSize": page_size, "MaxItems": limit}))
    accounts = [account for page in pages for account in page["linkedAccounts"]]
    assert [account["wabaName"] for account in accounts] == [f"Account {i}" for i in range(limit)]
    assert len({account["id"] for account in accounts}) == limit
    assert all(len(page["linkedAccounts"]) == (page_size or 100) for page in pages[:-1])
    assert all(before["linkDate"] <= after["linkDate"] for before, after in pairwise(accounts))


def test_a_list_can_be_taken_up_where_another_client_stopped(crowded: Gateway) -> None:
    paginator = crowded.client().get_paginator("list_linked_whatsapp_business_accounts")
    first = paginator.paginate(PaginationConfig={"PageSize": 4, "MaxItems": 6}).build_full_result()
    rest = paginator.paginate(PaginationConfig={"MaxItems": 2, "StartingToken": first["NextToken"]})
    names = [account["wabaName"] for account in rest.build_full_result()["linkedAccounts"]]
    assert names == ["Account 6", "Account 7"]


def test_a_summary_is_complete(gateway: Gateway, world: World) -> None:
    answer = gateway.client().list_linked_whatsapp_business_accounts(maxResults=1)
    (account,) = answer["linkedAccounts"]
    assert "nextToken" not in answer
    assert (
        account["arn"] == f"arn:aws:social-messaging:{REGION}:{ACCOUNT_ID}:waba/{account['id'].removeprefix('waba-')}"
    )
    assert (account["wabaId"], account["registrationStatus"]) == (world.simulator.waba_id, "COMPLETE")
    assert (account["wabaName"], account["eventDestinations"]) == ("Whaul Harbour (simulated)", [])
    assert (datetime.now(UTC) - account["linkDate"]).total_seconds() < 3600
    assert "phoneNumbers" not in account


@shows("request: nextToken that was not given out")
def test_a_tampered_token_is_refused(crowded: Gateway) -> None:
    client = crowded.client()
    token = client.list_linked_whatsapp_business_accounts(maxResults=1)["nextToken"]
    for wrong in (token[:-2] + ("AA" if token[-2:] != "AA" else "BB"), token[1:], "zzz", token + "A", "é" * 10):
        message = fails(
            crowded,
            "request: nextToken that was not given out",
            lambda wrong=wrong: client.list_linked_whatsapp_business_accounts(nextToken=wrong),  # type: ignore[misc]
        )
        assert wrong not in message


# --- one account, one number


@pytest.mark.parametrize("form", ["id", "arn"])
def test_an_account_is_shown_with_its_numbers(gateway: Gateway, world: World, form: str) -> None:
    client = gateway.client()
    (summary,) = client.list_linked_whatsapp_business_accounts()["linkedAccounts"]
    account = client.get_linked_whatsapp_business_account(id=summary[form])["account"]
    numbers = account.pop("phoneNumbers")
    assert account == summary
    first = world.simulator.phone_numbers[0]
    assert numbers[0] == {
        "arn": world.phone_number_arn,
        "phoneNumber": "+15550100001",
        "phoneNumberId": world.phone_number_id,
        "metaPhoneNumberId": first.id,
        "displayPhoneNumberName": first.verified_name,
        "displayPhoneNumber": first.display_phone_number,
        "qualityRating": "GREEN",
    }
    assert len(numbers) == 2


def test_a_number_is_shown_with_its_account(gateway: Gateway, world: World) -> None:
    client = gateway.client()
    account = client.get_linked_whatsapp_business_account(id=account_id(gateway))["account"]
    for id_ in (world.phone_number_id, world.phone_number_arn):
        answer = client.get_linked_whatsapp_business_account_phone_number(id=id_)
        assert answer["phoneNumber"] == account["phoneNumbers"][0]
        assert answer["linkedWhatsAppBusinessAccountId"] == account["id"]


def test_an_id_of_metas_is_answered_with_the_one_to_give(gateway: Gateway, world: World) -> None:
    client, meta_id = gateway.client(), world.simulator.phone_numbers[0].id
    waba_id = account_id(gateway)

    def message(call: Callable[[], object]) -> str:
        with pytest.raises(ClientError) as caught:
            call()
        assert caught.value.response["Error"]["Code"] in {
            "ValidationException",
            "ResourceNotFoundException",
            "InvalidParametersException",
        }
        return str(caught.value.response["Error"]["Message"])

    for value in (meta_id, f"phone-number-id-{meta_id}", world.phone_number_arn.rpartition("/")[0] + f"/{meta_id}"):
        told = message(lambda value=value: client.get_linked_whatsapp_business_account_phone_number(id=value))  # type: ignore[misc]
        assert world.phone_number_id in told
    assert world.phone_number_id in message(lambda: gateway.get("1", originationPhoneNumberId=meta_id))
    told = message(lambda: client.get_linked_whatsapp_business_account(id=world.simulator.waba_id))
    assert waba_id in told
    tagged = message(lambda: client.list_tags_for_resource(resourceArn=meta_id))
    assert world.phone_number_arn in tagged
    assert world.phone_number_id not in message(
        lambda: client.get_linked_whatsapp_business_account_phone_number(id="1")
    )


def test_the_command_line_shows_the_same(gateway: Gateway, world: World) -> None:
    (listed,) = world.whaul("accounts")["linkedAccounts"]
    (answered,) = gateway.client().list_linked_whatsapp_business_accounts()["linkedAccounts"]
    assert listed.pop("phoneNumbers")
    milliseconds = round(datetime.fromisoformat(listed.pop("linkDate")).timestamp(), 3)
    assert answered.pop("linkDate").timestamp() == pytest.approx(milliseconds, abs=0.0005)
    assert answered == listed


def test_a_disassociated_account_is_gone_with_its_numbers_and_tags(small: Gateway) -> None:
    client = small.client()
    id_ = account_id(small)
    arn = client.get_linked_whatsapp_business_account(id=id_)["account"]["arn"]
    client.tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "1"}])
    client.disassociate_whatsapp_business_account(id=arn)
    assert client.list_linked_whatsapp_business_accounts()["linkedAccounts"] == []
    number = small.world.phone_number_id
    missing = [
        lambda: client.get_linked_whatsapp_business_account(id=id_),
        lambda: client.get_linked_whatsapp_business_account_phone_number(id=number),
        lambda: client.disassociate_whatsapp_business_account(id=id_),
    ]
    assert {code_of(call) for call in missing} == {"ResourceNotFoundException"}
    assert code_of(lambda: client.list_tags_for_resource(resourceArn=arn)) == "InvalidParametersException"
    small.world.whaul("link", "--waba-id", small.world.simulator.waba_id)
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == []


# --- tags


def test_tags_are_set_listed_and_removed(small: Gateway) -> None:
    client = small.client()
    arn = client.list_linked_whatsapp_business_accounts()["linkedAccounts"][0]["arn"]
    for resource in (arn, small.world.phone_number_arn):
        tags = [{"key": "team", "value": "harbour"}, {"key": "stage"}]
        assert client.tag_resource(resourceArn=resource, tags=tags)["statusCode"] == 200
        answer = client.list_tags_for_resource(resourceArn=resource)
        assert answer["statusCode"] == 200
        assert answer["tags"] == [{"key": "stage", "value": ""}, {"key": "team", "value": "harbour"}]
        assert client.untag_resource(resourceArn=resource, tagKeys=["team"])["statusCode"] == 200
        assert client.list_tags_for_resource(resourceArn=resource)["tags"] == [{"key": "stage", "value": ""}]
    small.world.whaul("link", "--waba-id", small.world.simulator.waba_id)
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == [{"key": "stage", "value": ""}]


@shows("request: tags that are not possible")
def test_tags_that_are_not_possible_are_refused(gateway: Gateway) -> None:
    client = gateway.client()
    for tags in (
        [{"key": f"k{i}"} for i in range(51)],
        [{"key": "aws:x", "value": ""}],
        [{"key": "a"}, {"key": "a"}],
    ):
        fails(
            gateway,
            "request: tags that are not possible",
            lambda tags=tags: client.tag_resource(resourceArn=gateway.world.phone_number_arn, tags=tags),  # type: ignore[misc]
        )
    assert client.list_tags_for_resource(resourceArn=gateway.world.phone_number_arn)["tags"] == []


# --- refusals

CALLS: dict[str, Callable[[Any, str, str], object]] = {
    "ListLinkedWhatsAppBusinessAccounts": lambda client, *_: client.list_linked_whatsapp_business_accounts(),
    "GetLinkedWhatsAppBusinessAccount": lambda client, waba, _: client.get_linked_whatsapp_business_account(id=waba),
    "GetLinkedWhatsAppBusinessAccountPhoneNumber": lambda client, _, number: (
        client.get_linked_whatsapp_business_account_phone_number(id=number)
    ),
    "UpdateLinkedWhatsAppBusinessAccountPhoneNumber": lambda client, _, number: (
        client.update_linked_whatsapp_business_account_phone_number(id=number, callSettings={"callEnabled": False})
    ),
    "DisassociateWhatsAppBusinessAccount": lambda client, waba, _: client.disassociate_whatsapp_business_account(
        id=waba
    ),
    "TagResource": lambda client, waba, _: client.tag_resource(resourceArn=waba, tags=[{"key": "a"}]),
    "UntagResource": lambda client, _, number: client.untag_resource(resourceArn=number, tagKeys=["a"]),
    "ListTagsForResource": lambda client, waba, _: client.list_tags_for_resource(resourceArn=waba),
}
TAGGING = {"TagResource", "UntagResource", "ListTagsForResource"}


@pytest.mark.parametrize("operation", sorted(CALLS.keys() - {"ListLinkedWhatsAppBusinessAccounts"}))
@pytest.mark.parametrize(("region", "account"), [("eu-north-1", ACCOUNT_ID), (REGION, "111122223333"), (REGION, "")])
@shows("registry: account of another account or region")
def test_a_foreign_arn_is_not_found(gateway: Gateway, operation: str, region: str, account: str) -> None:
    arns = [FOREIGN.format(region=region, account=account, resource=kind) for kind in ("waba", "phone-number-id")]
    code = code_of(lambda: CALLS[operation](gateway.client(), *arns))
    assert code == ("InvalidParametersException" if operation in TAGGING else "ResourceNotFoundException")


@pytest.mark.parametrize("operation", sorted(CALLS.keys() - {"ListLinkedWhatsAppBusinessAccounts"}))
@shows("registry: account not linked")
def test_what_is_not_linked_is_not_found(gateway: Gateway, operation: str) -> None:
    arns = [FOREIGN.format(region=REGION, account=ACCOUNT_ID, resource=kind) for kind in ("waba", "phone-number-id")]
    code = code_of(lambda: CALLS[operation](gateway.client(), *arns))
    assert code == ("InvalidParametersException" if operation in TAGGING else "ResourceNotFoundException")


@pytest.mark.parametrize("operation", CALLS)
@shows("policy: action on an account not allowed")
def test_each_operation_needs_its_action_and_hides_what_is_linked(gateway: Gateway, operation: str) -> None:
    world = gateway.world
    others = [f"social-messaging:{name}" for name in CALLS if name != operation]
    key = world.key_with_policy({"Effect": "Allow", "Action": others, "Resource": "*"})
    waba = gateway.client().list_linked_whatsapp_business_accounts()["linkedAccounts"][0]["arn"]
    unknown = waba[:-4] + ("0000" if waba[-4:] != "0000" else "1111")
    for names in ((waba, world.phone_number_arn), (unknown, world.phone_number_arn[:-4] + "0000")):
        message = fails(
            gateway,
            "policy: action on an account not allowed",
            lambda names=names: CALLS[operation](gateway.client(key), *names),  # type: ignore[misc]
        )
        assert f"social-messaging:{operation} on resource: " in message


@pytest.mark.parametrize("operation", CALLS)
def test_an_action_on_its_resource_is_enough(small: Gateway, operation: str) -> None:
    world = small.world
    waba = small.client().list_linked_whatsapp_business_accounts()["linkedAccounts"][0]["arn"]
    resource = "*" if operation.startswith("List") and operation not in TAGGING else [waba, world.phone_number_arn]
    statement = {"Effect": "Allow", "Action": f"social-messaging:{operation}", "Resource": resource}
    CALLS[operation](small.client(world.key_with_policy(statement)), waba, world.phone_number_arn)


def test_a_policy_for_one_account_says_nothing_of_another(gateway: Gateway) -> None:
    key = gateway.world.key_with_policy(
        {
            "Effect": "Allow",
            "Action": "social-messaging:*",
            "Resource": FOREIGN.format(region=REGION, account=ACCOUNT_ID, resource="waba"),
        }
    )
    client = gateway.client(key)
    assert (
        code_of(lambda: client.get_linked_whatsapp_business_account(id=account_id(gateway))) == "AccessDeniedException"
    )
    assert code_of(client.list_linked_whatsapp_business_accounts) == "AccessDeniedException"


@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        ("GET", "/v1/whatsapp/waba/list?maxResults=0", 400, "ValidationException"),
        ("GET", "/v1/whatsapp/waba/list?maxResults=101", 400, "ValidationException"),
        ("GET", "/v1/whatsapp/waba/list?maxResults=x", 400, "SerializationException"),
        ("GET", "/v1/whatsapp/waba/list?maxResults=1&maxResults=2", 400, "SerializationException"),
        ("GET", "/v1/whatsapp/waba/list?nextToken=", 400, "ValidationException"),
        ("GET", "/v1/whatsapp/waba/details", 400, "ValidationException"),
        ("GET", "/v1/whatsapp/waba/details?id=400000000000001", 400, "ValidationException"),
        ("GET", "/v1/whatsapp/waba/phone/details?id=waba-1", 400, "ValidationException"),
        ("PUT", "/v1/whatsapp/waba/phone", 400, "ValidationException"),
        ("GET", "/v1/whatsapp/waba/phone", 405, "UnknownOperationException"),
        ("DELETE", "/v1/whatsapp/waba/disassociate", 400, "ValidationException"),
        ("DELETE", "/v1/whatsapp/waba/details?id=waba-1", 405, "UnknownOperationException"),
        ("GET", "/v1/tags/list", 400, "ValidationException"),
        ("POST", "/v1/tags/tag-resource", 400, "ValidationException"),
        ("GET", "/v1/tags/tag-resource", 405, "UnknownOperationException"),
    ],
)
def test_a_request_that_no_client_would_send_is_refused(
    gateway: Gateway, method: str, target: str, status: int, code: str
) -> None:
    reply = gateway.send(method, target, sign_with=gateway.world.key)
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (status, code)


@pytest.mark.parametrize("target", ["/v1/whatsapp/waba/list", "/v1/tags/list?resourceArn=arn:x"])
def test_an_unsigned_request_is_refused(gateway: Gateway, target: str) -> None:
    assert gateway.send("GET", target).status == 403
    assert gateway.send("GET", target, sign_with=Key("AKIAAAAAAAAAAAAAAAAA", "x" * 40)).status == 403


def test_the_query_string_is_part_of_what_is_signed(gateway: Gateway) -> None:
    target = "/v1/whatsapp/waba/list?maxResults=1"
    headers = signed(f"{gateway.url}{target}", "GET", b"", {"Content-Type": "application/json"}, gateway.world.key)
    assert gateway.send("GET", target, headers=headers).status == 200
    assert gateway.send("GET", target + "0", headers=headers).code == "InvalidSignatureException"
