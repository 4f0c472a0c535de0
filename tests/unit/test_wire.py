"""rest-json, with botocore as the oracle: it writes the requests that we read, and reads the answers that we write."""

import json
import math
from contextlib import suppress
from typing import Any

import botocore.session
import pytest
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import example, given
from hypothesis import strategies as st

from whaul import errors, wire
from whaul.api import response
from whaul.api.service import ROUTES
from whaul.errors import (
    ApiError,
    InvalidParametersException,
    SerializationException,
    ThrottledRequestException,
    ValidationException,
)
from whaul.model import GetMedia, MediaInfo, PresignedUrl, S3File, StoredObject

MODEL = botocore.session.Session().get_service_model("socialmessaging")
OPERATION = MODEL.operation_model("GetWhatsAppMessageMedia")
SECRET = "S3cr3tS1gnature"
NUMBER = "phone-number-id-0123456789abcdef0123456789abcdef"
ARN = "arn:aws:social-messaging:eu-west-1:123456789012:phone-number-id/0123456789abcdef0123456789abcdef"
FILE = {"bucketName": "inbox", "key": "inbound_"}
PRESIGNED = {"url": f"https://inbox.s3.amazonaws.com/k?X-Amz-Signature={SECRET}", "headers": {"x-amz-acl": "private"}}
LEAST = {"mediaId": "42", "originationPhoneNumberId": NUMBER, "metadataOnly": True}


def body(**members: Any) -> bytes:
    return json.dumps(LEAST | members).encode()


def refusal(kind: type[ApiError], raw: bytes) -> str:
    with pytest.raises(ApiError) as caught:
        wire.get_media(raw)
    assert type(caught.value) is kind, caught.value.message
    return caught.value.message


# --- what botocore writes is read


@pytest.mark.parametrize("number", [NUMBER, ARN])
@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"destinationS3File": FILE}, (False, S3File("inbox", "inbound_"), None)),
        ({"destinationS3File": FILE | {"key": ""}}, (False, S3File("inbox", ""), None)),
        ({"destinationS3File": FILE | {"key": "ä/ +%?#\t🐋"}}, (False, S3File("inbox", "ä/ +%?#\t🐋"), None)),
        (
            {"destinationS3PresignedUrl": PRESIGNED},
            (False, None, PresignedUrl(str(PRESIGNED["url"]), {"x-amz-acl": "private"})),
        ),
        (
            {"destinationS3PresignedUrl": PRESIGNED | {"headers": {}}},
            (False, None, PresignedUrl(str(PRESIGNED["url"]), {})),
        ),
        ({"metadataOnly": True}, (True, None, None)),
        ({"metadataOnly": True, "destinationS3File": FILE}, (True, S3File("inbox", "inbound_"), None)),
        ({"metadataOnly": False, "destinationS3File": FILE}, (False, S3File("inbox", "inbound_"), None)),
    ],
)
def test_a_request_that_botocore_writes_is_read(
    number: str, members: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    given = {"mediaId": "42", "originationPhoneNumberId": number} | members
    request = create_serializer("rest-json").serialize_to_request(given, OPERATION)
    assert ROUTES[request["method"], request["url_path"]] == "GetWhatsAppMessageMedia"
    assert wire.get_media(request["body"]) == GetMedia("42", number, *expected)


def test_null_is_the_same_as_absent() -> None:
    absent = {"destinationS3File": None, "destinationS3PresignedUrl": None}
    assert wire.get_media(body(**absent)) == wire.get_media(body())


def test_members_of_newer_models_are_let_be() -> None:
    newer = body(tomorrow={"deep": [1, None, "x"]}, destinationS3File=FILE | {"versionId": 7})
    assert wire.get_media(newer).s3_file == S3File("inbox", "inbound_")


def test_of_a_member_that_comes_twice_the_last_counts() -> None:
    raw = body().replace(b'"mediaId": "42"', b'"mediaId": 42, "mediaId": "43"', 1)
    assert refusal(SerializationException, raw)
    raw = body().replace(b'"mediaId": "42"', b'"mediaId": "42", "mediaId": "43"', 1)
    assert wire.get_media(raw).media_id == "43"


# --- what is refused


NO_OBJECTS = [b"[]", b"null", b"1", b'"x"', b"true", b"{", b"{}}", b"{} {}", b"{'a': 1}", b"mediaId=42", b"\xff", b"\0"]
NO_OBJECTS += ["{}".encode("utf-16"), b"\xef\xbb\xbf{}", b'{"mediaId": NaN}', b'{"mediaId": "\xff"}', b'{"a": 1,}']
NO_OBJECTS += [
    b"[" * 200_000,
    b'{"a":' * 200_000,
    b'{"mediaId": 1e999}',
    b'{"mediaId": "a\nb"}',
    b'{"mediaId": "\\ud800"}',
]


@pytest.mark.parametrize("raw", NO_OBJECTS)
def test_a_body_that_is_no_json_object_is_refused(raw: bytes) -> None:
    assert "not" in refusal(SerializationException, raw) or "Expected" in refusal(SerializationException, raw)


@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({"mediaId": 42}, "$.mediaId"),
        ({"mediaId": ["42"]}, "$.mediaId"),
        ({"mediaId": {}}, "$.mediaId"),
        ({"mediaId": True}, "$.mediaId"),
        ({"originationPhoneNumberId": 1.5}, "$.originationPhoneNumberId"),
        ({"metadataOnly": "true"}, "$.metadataOnly"),
        ({"metadataOnly": 1}, "$.metadataOnly"),
        ({"destinationS3File": "inbox"}, "$.destinationS3File"),
        ({"destinationS3File": []}, "$.destinationS3File"),
        ({"destinationS3File": {"bucketName": 1, "key": SECRET}}, "$.destinationS3File.bucketName"),
        ({"destinationS3File": {"bucketName": SECRET, "key": []}}, "$.destinationS3File.key"),
        ({"destinationS3PresignedUrl": {"url": [SECRET], "headers": {}}}, "$.destinationS3PresignedUrl.url"),
        ({"destinationS3PresignedUrl": {"url": SECRET, "headers": [SECRET]}}, "$.destinationS3PresignedUrl.headers"),
        ({"destinationS3PresignedUrl": {"url": SECRET, "headers": {SECRET: 1}}}, "$.destinationS3PresignedUrl.headers"),
        ({"destinationS3PresignedUrl": {"url": SECRET, "headers": {"a": None}}}, "$.destinationS3PresignedUrl.headers"),
    ],
)
def test_a_member_of_another_type_is_named_by_its_place(members: dict[str, Any], place: str) -> None:
    message = refusal(SerializationException, body(**members))
    assert place in message
    assert SECRET not in message


TOO_SHORT = "Member must have length greater than or equal to"
TOO_LONG = "Member must have length less than or equal to"
PATTERN = "Member must satisfy regular expression pattern"
NULL = "Member must not be null"


@pytest.mark.parametrize(
    ("members", "violation"),
    [
        ({"mediaId": None}, f"Value null at 'mediaId' failed to satisfy constraint: {NULL}"),
        ({"mediaId": ""}, f"Value '' at 'mediaId' failed to satisfy constraint: {TOO_SHORT} 1"),
        ({"mediaId": "a" * 101}, f"Value '{'a' * 101}' at 'mediaId' failed to satisfy constraint: {TOO_LONG} 100"),
        ({"mediaId": "a" * 999}, f"Value at 'mediaId' failed to satisfy constraint: {TOO_LONG} 100"),
        *[
            ({"mediaId": bad}, f"Value '{bad}' at 'mediaId' failed to satisfy constraint: {PATTERN}: [A-Za-z0-9]+")
            for bad in ("4-2", "4 2", "42\n", "../42", "4%32", "\uff14\uff12", "é", "42\x00", "42/43")
        ],
        (
            {"originationPhoneNumberId": None},
            f"Value null at 'originationPhoneNumberId' failed to satisfy constraint: {NULL}",
        ),
        ({"originationPhoneNumberId": ""}, TOO_SHORT),
        ({"originationPhoneNumberId": "phone-number-id-" + "a" * 100}, f"{TOO_LONG} 115"),
        *[
            ({"originationPhoneNumberId": bad}, PATTERN)
            for bad in (
                "1234567890",
                "xphone-number-id-1",
                "arn:aws:x:phone-number-id/",
                ARN + "/x",
                "phone-number-id-\n",
            )
        ],
        (
            {"destinationS3File": {"key": "k"}},
            f"Value null at 'destinationS3File.bucketName' failed to satisfy constraint: {NULL}",
        ),
        (
            {"destinationS3File": {"bucketName": "inbox"}},
            f"Value null at 'destinationS3File.key' failed to satisfy constraint: {NULL}",
        ),
        *[
            ({"destinationS3File": {"bucketName": bad, "key": ""}}, "Value at 'destinationS3File.bucketName' failed")
            for bad in (
                "in",
                "x" * 64,
                "Inbox",
                "-inbox",
                "inbox-",
                "in_box",
                "in/box",
                "..",
                ".in",
                "inbox\n",
                "in box",
            )
        ],
        (
            {"destinationS3File": FILE | {"key": SECRET * 99}},
            f"Value at 'destinationS3File.key' failed to satisfy constraint: {TOO_LONG} 1024",
        ),
        (
            {"destinationS3PresignedUrl": {"headers": {}}},
            f"Value null at 'destinationS3PresignedUrl.url' failed to satisfy constraint: {NULL}",
        ),
        (
            {"destinationS3PresignedUrl": {"url": SECRET}},
            f"Value null at 'destinationS3PresignedUrl.headers' failed to satisfy constraint: {NULL}",
        ),
        (
            {"destinationS3PresignedUrl": {"url": "", "headers": {}}},
            f"Value at 'destinationS3PresignedUrl.url' failed to satisfy constraint: {TOO_SHORT} 1",
        ),
        ({"destinationS3PresignedUrl": {"url": SECRET * 200, "headers": {}}}, f"{TOO_LONG} 2000"),
    ],
)
def test_a_broken_constraint_is_told_in_awss_words(members: dict[str, Any], violation: str) -> None:
    message = refusal(ValidationException, body(**members))
    assert message.startswith("1 validation error detected: ")
    assert violation in message
    assert SECRET not in message


def test_all_broken_constraints_come_in_one_message() -> None:
    message = refusal(ValidationException, b'{"destinationS3File": {}, "destinationS3PresignedUrl": {}}')
    assert message.startswith("6 validation errors detected: ")
    assert message.count("; ") == 5
    assert refusal(ValidationException, b"").startswith("2 validation errors detected: ")


@pytest.mark.parametrize("metadata_only", [True, False, None])
def test_two_destinations_are_refused(metadata_only: bool | None) -> None:
    both = body(metadataOnly=metadata_only, destinationS3File=FILE, destinationS3PresignedUrl=PRESIGNED)
    assert SECRET not in refusal(InvalidParametersException, both)


@pytest.mark.parametrize("metadata_only", [False, None])
def test_no_destination_is_refused_unless_only_metadata_is_wanted(metadata_only: bool | None) -> None:
    assert "metadataOnly" in refusal(InvalidParametersException, body(metadataOnly=metadata_only))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=10,
)
MEMBERS = "mediaId originationPhoneNumberId metadataOnly destinationS3File destinationS3PresignedUrl url headers key"
MEMBER = st.sampled_from([*MEMBERS.split(), "bucketName"]) | st.text()


@given(st.dictionaries(MEMBER, JSON | st.dictionaries(MEMBER, JSON)).map(lambda value: json.dumps(value).encode()))
@example(b'{"mediaId": "' + b"9" * 5000 + b'"}')
@example(b'{"x": ' + b"9" * 5000 + b"}")
def test_any_json_is_read_or_refused_as_a_request_error(raw: bytes) -> None:
    read_or_refused(raw)


@given(st.binary() | st.binary().map(lambda raw: b'{"mediaId": "' + raw))
def test_any_bytes_are_read_or_refused_as_a_request_error(raw: bytes) -> None:
    read_or_refused(raw)


def read_or_refused(raw: bytes) -> None:
    with suppress(SerializationException, ValidationException, InvalidParametersException):
        assert isinstance(wire.get_media(raw), GetMedia)


# --- what we write is read by botocore


def parsed(status: int, headers: response.Headers, raw: bytes, shape: Any) -> dict[str, Any]:
    response = {"status_code": status, "headers": dict(headers), "body": raw}
    answer: dict[str, Any] = create_parser("rest-json").parse(response, shape)
    return answer


def test_botocore_reads_the_answer() -> None:
    info = MediaInfo("audio/ogg; codecs=opus", 5 * 1024**3, bytes(32), "https://x")
    answer = parsed(200, [], wire.get_media_answer(info), OPERATION.output_shape)
    assert (answer["fileSize"], answer["mimeType"]) == (5 * 1024**3, "audio/ogg; codecs=opus")


ALL_ERRORS = sorted((kind for kind in ApiError.__subclasses__()), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", ALL_ERRORS)
def test_botocore_reads_an_error_with_its_code_and_message(kind: type[ApiError]) -> None:
    raw, headers = response.error(kind('Told: "ä"\n🐋'))
    answer = parsed(kind.status, headers, raw, OPERATION.output_shape)
    assert answer["Error"] == {"Code": kind.__name__, "Message": 'Told: "ä"\n🐋'}
    without_header = parsed(kind.status, [], raw, OPERATION.output_shape)
    assert without_header["Error"]["Code"] == kind.__name__


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.1, "2"), (3600.0, "3600")])
def test_a_throttle_says_how_long_to_wait_in_whole_seconds(seconds: float, header: str) -> None:
    _, headers = response.error(ThrottledRequestException(retry_after=seconds))
    assert dict(headers)["Retry-After"] == header
    assert int(header) >= math.ceil(seconds)


@pytest.mark.parametrize("error", [ThrottledRequestException(), errors.DependencyException(retry_after=9)])
def test_no_other_error_says_how_long_to_wait(error: ApiError) -> None:
    assert "Retry-After" not in dict(response.error(error)[1])


@pytest.mark.parametrize(
    ("key", "header"),
    [
        ("a/b~c.-_", "a/b~c.-_"),
        ("ä 🐋", "%C3%A4%20%F0%9F%90%8B"),
        ("+%?#\t\r\n", "%2B%25%3F%23%09%0D%0A"),
        ("//", "//"),
    ],
)
def test_where_the_file_went_is_told_in_headers(key: str, header: str) -> None:
    stored = StoredObject('"0123"', bytes(range(32)), file_size=8)
    told = dict(wire.stored_headers(stored, S3File("inbox", key)))
    assert told == {
        "x-whaul-bucket": "inbox",
        "x-whaul-key": header,
        "x-whaul-etag": '"0123"',
        "x-whaul-sha256": bytes(range(32)).hex(),
    }
    assert set(wire.stored_headers(stored, None)) == {
        ("x-whaul-etag", '"0123"'),
        ("x-whaul-sha256", bytes(range(32)).hex()),
    }


def test_request_ids_are_uuids_and_never_the_same() -> None:
    ids = {response.request_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(len(text) == 36 for text in ids)
