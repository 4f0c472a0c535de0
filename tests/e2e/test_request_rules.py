"""The rules of a request, each as a client meets it: through boto3, and raw where boto3 would not send it."""

import json
import uuid
from typing import Any

import boto3
import pytest

from harness.client import Reply
from harness.store import BUCKET, Store
from harness.world import Gateway
from whaul.simulator import Simulator

JPEG, VOICE, PDF = "100000000000001", "100000000000002", "100000000000003"
FILE = {"bucketName": BUCKET, "key": "rules_"}
URL = {"url": "https://inbox.s3.amazonaws.com/x?X-Amz-Signature=5e5e5e", "headers": {}}
TYPED = {"SerializationException": 400, "ValidationException": 400, "InvalidParametersException": 400}


def refused(reply: Reply, code: str) -> str:
    """The message of an answer that must have this code."""
    assert (reply.status, reply.code) == (TYPED[code], code), reply.body
    return reply.message


@pytest.mark.parametrize(
    ("media_id", "mime_type", "name"),
    [
        (JPEG, "image/jpeg", f"{JPEG}.jpeg"),
        (VOICE, "audio/ogg; codecs=opus", f"{VOICE}.ogg"),
        (PDF, "application/pdf", f"{PDF}.pdf"),
    ],
)
def test_a_file_goes_whole_from_its_media_id_into_the_bucket(
    *, gateway: Gateway, store: Store, simulator: Simulator, prefix: str, media_id: str, mime_type: str, name: str
) -> None:
    media = simulator.media[media_id]
    answer = gateway.get_to(media_id, prefix)
    assert (answer["mimeType"], answer["fileSize"]) == (mime_type, media.size)
    assert store.read(prefix + name) == media.read()
    assert store.content_type(prefix + name) == mime_type
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-whaul-bucket"] == BUCKET
    assert headers["x-whaul-key"] == prefix + name
    assert headers["x-whaul-sha256"] == media.sha256().hex()
    assert headers["x-whaul-etag"] == store.client.head_object(Bucket=BUCKET, Key=prefix + name)["ETag"]


def test_a_boto3_client_with_nothing_but_an_endpoint_and_keys_works(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    environment = {
        "AWS_ENDPOINT_URL_SOCIALMESSAGING": gateway.url,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": gateway.world.key.id,
        "AWS_SECRET_ACCESS_KEY": gateway.world.key.secret,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    client = boto3.session.Session().client("socialmessaging")
    answer = client.get_whatsapp_message_media(
        mediaId=JPEG,
        originationPhoneNumberId=gateway.world.phone_number_id,
        destinationS3File={"bucketName": BUCKET, "key": prefix},
    )
    client.close()
    assert answer["fileSize"] == 71300
    assert uuid.UUID(answer["ResponseMetadata"]["RequestId"])


def test_a_phone_number_may_be_named_by_its_arn(gateway: Gateway, prefix: str) -> None:
    file = {"bucketName": BUCKET, "key": prefix}
    number = gateway.world.phone_number_arn
    assert gateway.get(PDF, originationPhoneNumberId=number, destinationS3File=file)["fileSize"] == 1308


@pytest.mark.parametrize(
    ("member", "value", "rule"),
    [
        ("mediaId", "1" * 101, "length less than or equal to 100"),
        ("mediaId", "123\n", "pattern: [A-Za-z0-9]+"),
        ("originationPhoneNumberId", "500000000000001", "pattern"),
    ],
)
def test_a_member_that_breaks_its_rule_is_named_with_the_rule(
    gateway: Gateway, member: str, value: str, rule: str
) -> None:
    client = gateway.client()
    members = {"mediaId": "1", "originationPhoneNumberId": gateway.world.phone_number_id, member: value}
    with pytest.raises(client.exceptions.ValidationException) as refusal:
        client.get_whatsapp_message_media(**members, destinationS3File=FILE)
    message = refusal.value.response["Error"]["Message"]
    assert message.startswith("1 validation error detected: Value")
    assert f"at '{member}' failed to satisfy constraint" in message
    assert rule in message


@pytest.mark.parametrize(("member", "how"), [("mediaId", "missing"), ("originationPhoneNumberId", "empty")])
def test_a_required_member_must_be_there(gateway: Gateway, member: str, how: str) -> None:
    request = gateway.request()
    request |= {member: "" if how == "empty" else None}
    if how == "missing":
        del request[member]
    message = refused(gateway.post(request), "ValidationException")
    assert member in message
    rule = "length greater than or equal to 1" if how == "empty" else "must not be null"
    assert rule in message


@pytest.mark.parametrize("bucket", ["Inbox", "in/box"])
def test_a_bad_bucket_name_is_refused_without_repeating_it(gateway: Gateway, bucket: str) -> None:
    reply = gateway.post(gateway.request(destinationS3File={"bucketName": bucket, "key": "k"}))
    message = refused(reply, "ValidationException")
    assert message.startswith("1 validation error detected: Value at 'destinationS3File.bucketName'")
    assert not bucket or f"'{bucket}'" not in message


@pytest.mark.parametrize(
    ("destination", "named"),
    [
        ({"destinationS3File": {"bucketName": BUCKET}}, "destinationS3File.key"),
        ({"destinationS3PresignedUrl": URL | {"url": URL["url"] + "x" * 2000}}, "destinationS3PresignedUrl.url"),
        ({"destinationS3PresignedUrl": URL | {"headers": None}}, "destinationS3PresignedUrl.headers"),
    ],
)
def test_the_members_of_a_destination_have_their_rules(
    gateway: Gateway, destination: dict[str, Any], named: str
) -> None:
    request = gateway.request(destinationS3File=None) | destination
    message = refused(gateway.post(request), "ValidationException")
    assert f"at '{named}' failed" in message


def test_all_violations_are_told_in_one_message(gateway: Gateway) -> None:
    client = gateway.client()
    with pytest.raises(client.exceptions.ValidationException) as refusal:
        client.get_whatsapp_message_media(
            mediaId="not a media id",
            originationPhoneNumberId="12345",
            destinationS3File={"bucketName": "SECRET", "key": "k" * 1025},
        )
    error = refusal.value.response["Error"]
    assert error["Message"].startswith("4 validation errors detected: ")
    for place in ("mediaId", "originationPhoneNumberId", "destinationS3File.bucketName", "destinationS3File.key"):
        assert f"at '{place}'" in error["Message"]
    assert "SECRET" not in error["Message"]


def test_null_is_the_same_as_leaving_an_optional_member_out(gateway: Gateway) -> None:
    request = gateway.request(PDF, metadataOnly=None, destinationS3PresignedUrl=None)
    assert gateway.post(request).json() == {"fileSize": 1308, "mimeType": "application/pdf"}
    nothing = gateway.request(PDF, metadataOnly=None, destinationS3PresignedUrl=None, destinationS3File=None)
    assert "destination" in refused(gateway.post(nothing), "InvalidParametersException")


def test_unknown_members_are_ignored_wherever_they_are(gateway: Gateway, prefix: str) -> None:
    file = {"bucketName": BUCKET, "key": prefix, "versionId": {"new": [1]}}
    request = gateway.request(PDF, destinationS3File=file, clientToken="x", nested={"a": [None, 1e308]})
    assert gateway.post(request).status == 200


@pytest.mark.parametrize(
    "members",
    [{"mediaId": 1}, {"destinationS3PresignedUrl": {"url": "u", "headers": {"sensitive": 1}}}],
    ids=json.dumps,
)
def test_a_wrong_json_type_is_a_serialization_error(gateway: Gateway, members: dict[str, Any]) -> None:
    message = refused(gateway.post(gateway.request() | members), "SerializationException")
    assert "sensitive" not in message


@pytest.mark.parametrize("body", [b"[]", b'{"mediaId": "\xff"}', b"[" * 100_000], ids=lambda body: repr(body[:12]))
def test_what_is_not_a_json_object_is_a_serialization_error(gateway: Gateway, body: bytes) -> None:
    refused(gateway.post(body), "SerializationException")


def test_an_empty_body_misses_its_required_members(gateway: Gateway) -> None:
    assert "2 validation errors" in refused(gateway.post(b""), "ValidationException")


@pytest.mark.parametrize("metadata_only", [None, True])
def test_both_destinations_are_refused_also_with_metadata_only(
    gateway: Gateway, simulator: Simulator, metadata_only: bool | None
) -> None:
    client = gateway.client()
    more = {} if metadata_only is None else {"metadataOnly": metadata_only}
    with pytest.raises(client.exceptions.InvalidParametersException) as refusal:
        gateway.get(JPEG, destinationS3File=FILE, destinationS3PresignedUrl=URL, **more)
    assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert simulator.count(JPEG)["metadata"] == 0


@pytest.mark.parametrize("more", [{}, {"metadataOnly": False}])
def test_no_destination_is_refused(gateway: Gateway, more: dict[str, bool]) -> None:
    members = {"originationPhoneNumberId": gateway.world.phone_number_id} | more
    with pytest.raises(gateway.client().exceptions.InvalidParametersException):
        gateway.client().get_whatsapp_message_media(mediaId=JPEG, **members)


@pytest.mark.parametrize(
    "destination", [{}, {"destinationS3File": FILE}, {"destinationS3PresignedUrl": URL}], ids=["none", "s3", "url"]
)
def test_metadata_only_answers_and_moves_nothing(
    gateway: Gateway, simulator: Simulator, store: Store, destination: dict[str, Any]
) -> None:
    answer = gateway.get(VOICE, metadataOnly=True, **destination)
    assert (answer["fileSize"], answer["mimeType"]) == (31692, "audio/ogg; codecs=opus")
    assert not [name for name in answer["ResponseMetadata"]["HTTPHeaders"] if name.startswith("x-whaul")]
    assert simulator.count(VOICE) == {
        "metadata": 1,
        "download": 0,
        "completed_downloads": 0,
        "upload": 0,
        "delete": 0,
        "register": 0,
        "send": 0,
        "settings": 0,
    }
    assert store.keys(f"rules_{VOICE}") == []
