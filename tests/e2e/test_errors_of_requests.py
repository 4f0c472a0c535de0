"""Which failure becomes which error: the request, its signature, the caller's policy, the registry, the quotas."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from harness.client import Reply, send
from harness.error_rows import ROWS, STATUS, fails, shows
from harness.store import BUCKET
from harness.waiting import eventually
from harness.world import MEDIA_PATH, Gateway, Key, World, signed
from whaul.simulator import Simulator
from whaul.testing import signed_headers

JPEG, VOICE, PDF = "100000000000001", "100000000000002", "100000000000003"
GET_MEDIA = "social-messaging:GetWhatsAppMessageMedia"
PLAIN = {"Content-Type": "application/json"}


def refused(reply: Reply, row: str, status: int | None = None) -> str:
    code = ROWS[row]
    assert (reply.status, reply.code) == (status or STATUS[code], code), reply.body
    return reply.message


@shows("request: not JSON, or a wrong JSON type", "request: body over the limit")
def test_a_body_that_cannot_be_read(gateway: Gateway) -> None:
    refused(gateway.post(b"{"), "request: not JSON, or a wrong JSON type")
    refused(gateway.post(gateway.request(mediaId=1)), "request: not JSON, or a wrong JSON type")
    refused(gateway.post(b" " * (256 * 1024 + 1)), "request: body over the limit")


@shows("request: member missing, length or pattern broken", "request: both or no destination")
def test_members_that_break_their_rules(gateway: Gateway) -> None:
    refused(gateway.post(b"{}"), "request: member missing, length or pattern broken")
    refused(gateway.post(gateway.request("-")), "request: member missing, length or pattern broken")
    both = gateway.request(destinationS3PresignedUrl={"url": "https://s3.amazonaws.com/b/k", "headers": {}})
    refused(gateway.post(both), "request: both or no destination")
    refused(gateway.post(gateway.request(destinationS3File=None)), "request: both or no destination")


@shows("request: refused presigned host or header", "request: final key too long or with a dot segment")
def test_destinations_that_are_refused(gateway: Gateway) -> None:
    def to(**presigned: Any) -> Reply:
        return gateway.post(gateway.request(PDF, destinationS3File=None, destinationS3PresignedUrl=presigned))

    refused(to(url="https://evil.example/s3.amazonaws.com/x", headers={}), "request: refused presigned host or header")
    refused(to(url="https://s3.amazonaws.com/b/k", headers={"Host": "x"}), "request: refused presigned host or header")
    for key in ("k" * 1020, "a/../"):
        file = {"bucketName": BUCKET, "key": key}
        reply = gateway.post(gateway.request(PDF, destinationS3File=file))
        refused(reply, "request: final key too long or with a dot segment")


@shows("request: no such route", "request: known route, wrong method")
def test_routes_that_are_not_there(gateway: Gateway) -> None:
    refused(gateway.send("POST", "/v1/nothing"), "request: no such route")
    refused(gateway.send("GET", MEDIA_PATH), "request: known route, wrong method", 405)


def sent(gateway: Gateway, headers: dict[str, str]) -> Reply:
    return send(gateway.port, "POST", MEDIA_PATH, b"{}", headers)


@pytest.fixture
def signature(gateway: Gateway) -> dict[str, str]:
    """The headers of a well-signed request."""
    return signed(f"{gateway.url}{MEDIA_PATH}", "POST", b"{}", PLAIN, gateway.world.key)


@shows("auth: no Authorization")
def test_a_request_without_a_signature(gateway: Gateway) -> None:
    refused(sent(gateway, PLAIN), "auth: no Authorization")


@shows("auth: malformed or incomplete Authorization", "auth: date missing")
@pytest.mark.parametrize(
    "change",
    [
        lambda _: "Basic dXNlcjpwYXNz",
        lambda _: "AWS4-HMAC-SHA256",
        lambda value: value.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
        lambda value: value.partition(", Signature=")[0],
        lambda value: value.replace("Signature=", "Signature=zz"),
        lambda value: value.replace("/aws4_request", ""),
    ],
)
def test_an_authorization_that_is_not_whole(gateway: Gateway, signature: dict[str, str], change: Any) -> None:
    signature["Authorization"] = change(signature["Authorization"])
    refused(sent(gateway, signature), "auth: malformed or incomplete Authorization")


@shows("auth: date missing", "auth: host not signed", "auth: wrong scope")
def test_a_signature_that_leaves_out_what_must_be_signed(gateway: Gateway, signature: dict[str, str]) -> None:
    without_date = {name: value for name, value in signature.items() if name != "X-Amz-Date"}
    refused(sent(gateway, without_date), "auth: date missing")
    without_host = signature["Authorization"].replace("content-type;host;", "content-type;")
    refused(sent(gateway, signature | {"Authorization": without_host}), "auth: host not signed")
    unsigned = signature | {"X-Amz-Meta-More": "1"}
    refused(sent(gateway, unsigned), "auth: malformed or incomplete Authorization")


@shows("auth: wrong scope")
@pytest.mark.parametrize("scope", [{"region": "eu-west-1"}, {"service": "s3"}, {"service": "socialmessaging"}])
def test_a_signature_for_another_region_or_service(gateway: Gateway, scope: dict[str, str]) -> None:
    headers = signed(f"{gateway.url}{MEDIA_PATH}", "POST", b"{}", PLAIN, gateway.world.key, **scope)
    refused(sent(gateway, headers), "auth: wrong scope")


@shows("auth: unknown or disabled key", "auth: wrong session token")
def test_a_key_that_nobody_knows(gateway: Gateway) -> None:
    stranger = Key("AKIAAAAAAAAAAAAAAAAA", gateway.world.key.secret)
    fails(gateway, "auth: unknown or disabled key", lambda: gateway.get(JPEG, key=stranger))
    headers = signed(
        f"{gateway.url}{MEDIA_PATH}", "POST", b"{}", PLAIN | {"X-Amz-Security-Token": "t"}, gateway.world.key
    )
    refused(sent(gateway, headers), "auth: wrong session token")


@shows("auth: unknown or disabled key")
def test_a_disabled_key_stops_working(gateway: Gateway) -> None:
    key = gateway.world.make_key("--allow-all")
    gateway.get(PDF, key=key)
    gateway.world.do("keys", "disable", key.id)

    def is_refused() -> bool:
        try:
            gateway.get(PDF, key=key, metadataOnly=True)
        except ClientError as error:
            return bool(error.response["Error"]["Code"] == ROWS["auth: unknown or disabled key"])
        return False

    eventually(is_refused)


@shows("auth: signature differs")
def test_a_signature_made_with_another_secret_or_of_another_request(
    gateway: Gateway, signature: dict[str, str]
) -> None:
    impostor = Key(gateway.world.key.id, "x" * 40)
    fails(gateway, "auth: signature differs", lambda: gateway.get(JPEG, key=impostor))
    refused(send(gateway.port, "POST", MEDIA_PATH, b"{ }", signature), "auth: signature differs")
    refused(send(gateway.port, "POST", MEDIA_PATH + "?a=b", b"{}", signature), "auth: signature differs")
    refused(sent(gateway, signature | {"Content-Type": "text/plain"}), "auth: signature differs")


@shows("auth: date more than 15 minutes off")
@pytest.mark.parametrize("minutes", [-16, 16])
def test_a_signature_of_another_time(gateway: Gateway, minutes: int) -> None:
    then = datetime.now(UTC) + timedelta(minutes=minutes)
    key = gateway.world.key
    url = f"{gateway.url}{MEDIA_PATH}"
    headers = signed_headers("POST", url, b"{}", (key.id, key.secret), region="us-east-1", at=then)
    refused(sent(gateway, headers), "auth: date more than 15 minutes off")


@pytest.fixture(scope="module")
def clerk(world: World) -> Key:
    """A key for the first phone number and one prefix of the bucket."""
    return world.key_with_policy(
        {"Effect": "Allow", "Action": GET_MEDIA, "Resource": world.phone_number_arn},
        {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{BUCKET}/clerk/*"},
        {"Effect": "Deny", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::*.pdf"},
    )


@shows("policy: phone number not allowed", "policy: bucket and key not allowed")
def test_a_policy_allows_what_it_names_and_nothing_else(
    gateway: Gateway, clerk: Key, simulator: Simulator, world: World
) -> None:
    def get(media_id: str, key: str, **members: Any) -> Any:
        return gateway.get(media_id, key=clerk, destinationS3File={"bucketName": BUCKET, "key": key}, **members)

    assert get(JPEG, "clerk/")["fileSize"] == 71300
    row = "policy: bucket and key not allowed"
    for media_id, key in ((JPEG, "clerks/"), (JPEG, ""), (PDF, "clerk/")):
        message = fails(gateway, row, lambda m=media_id, k=key: get(m, k))  # type: ignore[misc]
        assert "arn:aws:iam::000000000000:user/tester is not authorized to perform: s3:PutObject" in message
        assert "clerk" not in message
        assert BUCKET not in message
    assert simulator.count(PDF)["download"] == 0
    number = world.other_phone_number_id
    message = fails(
        gateway, "policy: phone number not allowed", lambda: get(JPEG, "clerk/", originationPhoneNumberId=number)
    )
    assert f"is not authorized to perform: {GET_MEDIA} on resource: arn:aws:social-messaging:us-east-1:" in message


@shows("policy: phone number not allowed")
def test_a_policy_hides_which_phone_numbers_are_linked(gateway: Gateway, clerk: Key) -> None:
    unlinked = "phone-number-id-" + "0" * 32
    fails(
        gateway,
        "policy: phone number not allowed",
        lambda: gateway.get(JPEG, key=clerk, metadataOnly=True, originationPhoneNumberId=unlinked),
    )


@shows("policy: action not allowed")
def test_a_changed_policy_is_followed(gateway: Gateway) -> None:
    world = gateway.world
    key = world.key_with_policy({"Effect": "Allow", "Action": "social-messaging:Send*", "Resource": "*"})
    message = fails(gateway, "policy: action not allowed", lambda: gateway.get(PDF, key=key, metadataOnly=True))
    assert GET_MEDIA in message
    policy = world.policy_file({"Effect": "Allow", "Action": "*", "Resource": "*"})
    world.do("keys", "policy", key.id, str(policy))

    def is_allowed() -> bool:
        try:
            gateway.get(PDF, key=key, metadataOnly=True)
        except gateway.client().exceptions.AccessDeniedException:
            return False
        return True

    eventually(is_allowed)


@shows("registry: not linked", "registry: of another account or region")
@pytest.mark.parametrize(
    ("number", "row"),
    [
        ("phone-number-id-00000000000000000000000000000000", "registry: not linked"),
        ("phone-number-id-500000000000001", "registry: not linked"),
        ("phone-number-id-", "registry: not linked"),
        (
            "arn:aws:social-messaging:eu-west-1:000000000000:phone-number-id/{hex}",
            "registry: of another account or region",
        ),
        (
            "arn:aws:social-messaging:us-east-1:111111111111:phone-number-id/{hex}",
            "registry: of another account or region",
        ),
        (
            "arn:aws-cn:social-messaging:us-east-1:000000000000:phone-number-id/{hex}",
            "registry: of another account or region",
        ),
    ],
)
def test_a_phone_number_that_is_not_linked_here(gateway: Gateway, number: str, row: str) -> None:
    number = number.format(hex=gateway.world.phone_number_id.removeprefix("phone-number-id-"))
    fails(gateway, row, lambda: gateway.get(JPEG, metadataOnly=True, originationPhoneNumberId=number))


@pytest.fixture(scope="module")
def narrow_gateway(world: World) -> Iterator[Gateway]:
    """A gateway with one transfer at a time, no queue, and two calls in 200 seconds for each key."""
    limits = {"WHAUL_MAX_TRANSFERS": "1", "WHAUL_MAX_QUEUE": "0", "WHAUL_RATE_LIMIT": "0.01", "WHAUL_RATE_BURST": "2"}
    with world.gateway(**limits) as running:
        yield running


@shows("quota: caller's limit")
def test_a_caller_beyond_its_rate_is_told_when_to_try_again(narrow_gateway: Gateway, world: World) -> None:
    key, other = world.make_key("--allow-all"), world.make_key("--allow-all")
    narrow_gateway.client(key)
    for _ in range(2):
        assert narrow_gateway.get(PDF, key=key, metadataOnly=True)["fileSize"] == 1308
    with pytest.raises(narrow_gateway.client(key).exceptions.ThrottledRequestException) as refusal:
        narrow_gateway.get(PDF, key=key, metadataOnly=True)
    assert 1 < int(refusal.value.response["ResponseMetadata"]["HTTPHeaders"]["retry-after"]) <= 100
    assert narrow_gateway.get(PDF, key=other, metadataOnly=True)["fileSize"] == 1308


@shows("quota: server's limit")
def test_a_call_beyond_the_queue_is_told_when_to_try_again(
    narrow_gateway: Gateway, simulator: Simulator, world: World
) -> None:
    key = world.make_key("--allow-all", "--rate-limit", "0")
    narrow_gateway.client(key)
    simulator.fault(JPEG, kind="latency", seconds=60, times=1)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(narrow_gateway.get, JPEG)
        eventually(lambda: simulator.count(JPEG)["metadata"] == 1)
        for _ in range(20):
            with pytest.raises(narrow_gateway.client().exceptions.ThrottledRequestException) as refusal:
                narrow_gateway.get(PDF, key=key)
            assert refusal.value.response["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "1"
        assert not slow.done()
        simulator.advance(60)
        assert slow.result()["fileSize"] == 71300
    assert simulator.count(PDF)["metadata"] == 0
    assert narrow_gateway.get(PDF, key=key)["fileSize"] == 1308


@shows("registry: the database does not answer")
def test_a_database_that_does_not_answer_is_told_without_a_word_of_it(world: World, tmp_path: Path) -> None:
    database = _copy_of_the_database(world, tmp_path)
    with world.gateway(WHAUL_DATABASE_URL=f"sqlite:///{database}") as running:
        assert running.get(PDF, metadataOnly=True)["fileSize"] == 1308
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("ALTER TABLE phone_numbers RENAME TO secret_name_of_a_table")
            connection.commit()
        members = {"metadataOnly": True, "originationPhoneNumberId": world.other_phone_number_id}
        message = fails(running, "registry: the database does not answer", lambda: running.get(PDF, **members))
        assert running.get(PDF, metadataOnly=True)["fileSize"] == 1308
    assert message == "The server cannot reach its database. Try again later."
    lines = map(json.loads, running.log.read_text(encoding="utf-8").splitlines())
    told = next(line for line in lines if line["event"] == "database_failed")
    assert any("sqlite3." in link for link in told["error"]), "to the operator, by its class"


def _copy_of_the_database(world: World, folder: Path) -> Path:
    for name in ("whaul.db", "whaul.db.key"):
        shutil.copy2(world.folder / name, folder / name)
    return folder / "whaul.db"


@shows("auth: expired temporary key")
def test_a_temporary_key_that_has_expired_is_told_as_such(world: World, gateway: Gateway) -> None:
    key = world.make_key("--allow-all", "--expires-in", "1s")
    made = next(each for each in world.whaul("keys", "list")["accessKeys"] if each["accessKeyId"] == key.id)
    end = datetime.fromisoformat(made["expiration"])
    eventually(lambda: datetime.now(UTC) >= end)
    row = "auth: expired temporary key"
    assert fails(gateway, row, lambda: gateway.get(PDF, key=key)).endswith("Use a new one.")


@shows("ours: anything unforeseen")
def test_an_unforeseen_error_says_nothing_but_its_request_id(world: World, tmp_path: Path) -> None:
    database = _copy_of_the_database(world, tmp_path)
    with world.gateway(WHAUL_DATABASE_URL=f"sqlite:///{database}") as running:
        assert running.get(PDF, metadataOnly=True)["fileSize"] == 1308
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("UPDATE accounts SET access_token = 'a secret that does not decrypt'")
            connection.commit()
        members = {"metadataOnly": True, "originationPhoneNumberId": world.other_phone_number_id}
        with pytest.raises(running.client().exceptions.InternalServiceException) as refusal:
            running.get(PDF, **members)
    answer = refusal.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 500
    request_id = answer["ResponseMetadata"]["RequestId"]
    assert answer["Error"]["Message"].endswith(f"Request id: {request_id}")
    assert "decrypt" not in answer["Error"]["Message"]
    log = running.log.read_text(encoding="utf-8")
    assert f'"request_id":"{request_id}"' in log
    assert "unforeseen" in log
