"""Request bodies: whatever comes, it is a request that keeps every constraint, or a client's error."""

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.examples import examples, json_values, spoilt
from whaul.api import response
from whaul.api.request import Members, Reader, Request
from whaul.errors import ApiError, InvalidParametersException, SerializationException, ValidationException
from whaul.operations.media import one_destination

REFUSALS = (SerializationException, ValidationException, InvalidParametersException)
SECRET = "s3cr3t"
GOOD_FILE: dict[str, Any] = {
    "mediaId": "1234567890",
    "originationPhoneNumberId": "phone-number-id-0123456789abcdef0123456789abcdef",
    "metadataOnly": False,
    "destinationS3File": {"bucketName": f"inbox-{SECRET}", "key": f"{SECRET}/"},
}
GOOD_URL: dict[str, Any] = {
    "mediaId": "1234567890",
    "originationPhoneNumberId": "arn:aws:social-messaging:us-east-1:000000000000:phone-number-id/0123456789abcdef",
    "destinationS3PresignedUrl": {
        "url": f"https://inbox.s3.amazonaws.com/{SECRET}?X-Amz-Signature={SECRET}",
        "headers": {"x-amz-meta-a": SECRET},
    },
}
PATHS = [
    ("mediaId",),
    ("originationPhoneNumberId",),
    ("metadataOnly",),
    ("destinationS3File",),
    ("destinationS3File", "bucketName"),
    ("destinationS3File", "key"),
    ("destinationS3PresignedUrl",),
    ("destinationS3PresignedUrl", "url"),
    ("destinationS3PresignedUrl", "headers"),
    ("destinationS3PresignedUrl", "headers", "x-amz-meta-a"),
]


READER = Reader("GetWhatsAppMessageMedia")


def members_of(body: bytes) -> Members:
    members = READER.read(Request(b"", body))
    one_destination(members)
    return members


def read(body: bytes) -> Members | None:
    """Read a body; None when it was refused as it should be."""
    try:
        members = members_of(body)
    except REFUSALS as refusal:
        response.error(refusal)
        refusal.message.encode()
        return None
    assert re.fullmatch("[A-Za-z0-9]{1,100}", members["mediaId"])
    assert 1 <= len(members["originationPhoneNumberId"]) <= 115
    file, presigned = members.get("destinationS3File"), members.get("destinationS3PresignedUrl")
    assert file is None or presigned is None
    assert members.get("metadataOnly") or file or presigned
    if file:
        assert re.fullmatch("[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", file["bucketName"])
        assert len(file["key"]) <= 1024
        file["key"].encode()
    if presigned:
        assert 1 <= len(presigned["url"]) <= 2000
        assert all(isinstance(text, str) for pair in presigned["headers"].items() for text in pair)
    return members


def refusal_of(body: bytes) -> str:
    try:
        members_of(body)
    except ApiError as error:
        return error.message
    return ""


@examples(200)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    read(body)


@examples(150)
@given(json_values())
def test_any_json_is_read_or_refused(document: Any) -> None:
    read(json.dumps(document).encode("utf-8", "surrogatepass"))


@examples(200)
@given(st.sampled_from([GOOD_FILE, GOOD_URL]), st.sampled_from(PATHS), json_values())
def test_any_value_in_any_place_is_read_or_refused(good: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    document = json.loads(json.dumps(good))
    inner = document
    for step in path[:-1]:
        inner = inner.setdefault(step, {})
    inner[path[-1]] = value
    request = read(json.dumps(document).encode())
    if request is not None and path == ("mediaId",):
        assert request["mediaId"] == value


@examples(150)
@given(st.data())
def test_a_spoilt_request_means_what_other_parsers_say_it_means(data: st.DataObject) -> None:
    good = data.draw(st.sampled_from([GOOD_FILE, GOOD_URL]))
    body = data.draw(spoilt(json.dumps(good).encode()))
    request = read(body)
    if request is None:
        return
    # Members that nobody reads are skipped unread, so they may hold what is not UTF-8.
    document = json.loads(body.decode(errors="replace"))
    assert bool(request.get("metadataOnly")) == bool(document.get("metadataOnly"))
    for name in ("mediaId", "originationPhoneNumberId", "destinationS3File", "destinationS3PresignedUrl"):
        wanted, found = document.get(name), request.get(name)
        assert found == (wanted if not isinstance(found, dict) else {member: wanted[member] for member in found})


@examples(150)
@given(st.data())
@example(None)
def test_no_message_repeats_a_destination(data: st.DataObject | None) -> None:
    bodies = [json.dumps(GOOD_FILE | GOOD_URL).encode()]
    if data is not None:
        path = data.draw(st.sampled_from([path for path in PATHS if path[0] != "destinationS3PresignedUrl"][3:]))
        wrong = data.draw(st.sampled_from([f"{SECRET} A", SECRET * 400, [SECRET], {SECRET: SECRET}]))
        document = json.loads(json.dumps(GOOD_FILE))
        (document[path[0]] if len(path) == 2 else document)[path[-1]] = wrong
        bodies = [json.dumps(document).encode(), data.draw(spoilt(json.dumps(GOOD_URL).encode()))]
    for body in bodies:
        message = refusal_of(body)
        assert SECRET not in message
        assert "amazonaws" not in message


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"a":' * 50_000,
        b'{"mediaId":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"unknown":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"mediaId":' + b"9" * 200_000 + b"}",
        b'{"mediaId":1e' + b"9" * 200_000 + b"}",
        b'{"mediaId":"' + b"\\u0041" * 40_000 + b'"}',
        b'{"metadataOnly":' + b"-" * 200_000 + b"}",
        b"{" + b",".join(b'"%d":0' % i for i in range(20_000)) + b"}",
        b"\xef\xbb\xbf{}",
        b"\x00" * 200_000,
        json.dumps(GOOD_FILE).encode("utf-16"),
    ],
    ids=lambda body: repr(body[:16]),
)
def test_a_body_made_to_exhaust_a_parser_is_refused(body: bytes) -> None:
    assert read(body) is None


def test_of_a_member_given_twice_the_last_counts_as_it_does_for_json_at_large() -> None:
    body = json.dumps(GOOD_FILE).encode()[:-1] + b', "mediaId": "42"}'
    request = read(body)
    assert request is not None
    assert request["mediaId"] == json.loads(body)["mediaId"] == "42"
