"""Requests as members, and the wording in which those are refused that break a constraint."""

import json
import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from whaul.api.request import MAX_VIOLATIONS, Members, Reader, Request
from whaul.api.service import OPERATIONS, SHAPES
from whaul.errors import ApiError, SerializationException, ValidationException

READER = Reader("GetWhatsAppMessageMedia")
SECRET = "S3cr3tS1gnature"
NUMBER = "phone-number-id-0123456789abcdef0123456789abcdef"
ARN = "arn:aws:social-messaging:eu-west-1:123456789012:phone-number-id/0123456789abcdef0123456789abcdef"
FILE = {"bucketName": "inbox", "key": "inbound_"}
PRESIGNED = {"url": f"https://inbox.s3.amazonaws.com/k?X-Amz-Signature={SECRET}", "headers": {"x-amz-acl": "private"}}
LEAST = {"mediaId": "42", "originationPhoneNumberId": NUMBER, "metadataOnly": True}


def body(**members: Any) -> bytes:
    return json.dumps(LEAST | members).encode()


def read(raw: bytes) -> Members:
    return READER.read(Request(b"", raw))


def refusal(kind: type[ApiError], raw: bytes, operation: str = "GetWhatsAppMessageMedia", query: bytes = b"") -> str:
    with pytest.raises(ApiError) as caught:
        Reader(operation).read(Request(query, raw))
    assert type(caught.value) is kind, caught.value.message
    return caught.value.message


# --- what is read


def test_null_is_the_same_as_absent() -> None:
    absent = {"destinationS3File": None, "destinationS3PresignedUrl": None}
    assert {name: value for name, value in read(body(**absent)).items() if value is not None} == read(body())


def test_members_of_newer_models_are_let_be() -> None:
    newer = body(tomorrow={"deep": [1, None, "x"]}, destinationS3File=FILE | {"versionId": 7})
    assert read(newer)["destinationS3File"] == FILE


def test_of_a_member_that_comes_twice_the_last_counts() -> None:
    raw = body().replace(b'"mediaId": "42"', b'"mediaId": 42, "mediaId": "43"', 1)
    assert refusal(SerializationException, raw)
    raw = body().replace(b'"mediaId": "42"', b'"mediaId": "42", "mediaId": "43"', 1)
    assert read(raw)["mediaId"] == "43"


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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=10,
)
MEMBERS = "mediaId originationPhoneNumberId metadataOnly destinationS3File destinationS3PresignedUrl url headers key"
MEMBER = st.sampled_from([*MEMBERS.split(), "bucketName"]) | st.text()


def test_advice_is_given_for_a_member_that_is_wrong_and_only_then() -> None:
    asked: list[str | None] = []

    def advise(value: str | None) -> str:
        asked.append(value)
        return "Give another." if value == "5" else ""

    reader = Reader("GetWhatsAppMessageMedia", {"originationPhoneNumberId": advise})
    reader.read(Request(b"", body()))
    assert asked == []
    with pytest.raises(ValidationException, match=r"pattern: .*\. Give another\.$"):
        reader.read(Request(b"", body(originationPhoneNumberId="5")))
    with pytest.raises(ValidationException, match="pattern") as caught:
        reader.read(Request(b"", body(mediaId="!", originationPhoneNumberId="x")))
    assert "Give" not in caught.value.message


@given(st.dictionaries(MEMBER, JSON | st.dictionaries(MEMBER, JSON)).map(lambda value: json.dumps(value).encode()))
@example(b'{"mediaId": "' + b"9" * 5000 + b'"}')
@example(b'{"x": ' + b"9" * 5000 + b"}")
def test_any_json_is_read_or_refused_as_a_request_error(raw: bytes) -> None:
    read_or_refused(raw)


@given(st.binary() | st.binary().map(lambda raw: b'{"mediaId": "' + raw))
def test_any_bytes_are_read_or_refused_as_a_request_error(raw: bytes) -> None:
    read_or_refused(raw)


def read_or_refused(raw: bytes) -> None:
    with suppress(SerializationException, ValidationException):
        assert read(raw)["mediaId"].isalnum()


# --- query strings


HEX = "0123456789abcdef0123456789abcdef"
WABA = f"waba-{HEX}"


@pytest.mark.parametrize(
    ("query", "violation"),
    [
        (b"", "Value null at 'id'"),
        (b"id=", "length greater than or equal to 1"),
        (b"Id=" + WABA.encode(), "Value null at 'id'"),
        (b"id=400000000000001", "regular expression pattern"),
        (b"id=" + NUMBER.encode(), "regular expression pattern"),
        (b"id=" + ARN.encode(), "regular expression pattern"),
        (b"id=waba-" + b"0" * 111, "length less than or equal to 115"),
    ],
)
def test_a_member_of_the_query_string_keeps_its_constraints(query: bytes, violation: str) -> None:
    assert violation in refusal(ValidationException, b"", "GetLinkedWhatsAppBusinessAccount", query)


@pytest.mark.parametrize("query", [b"id=%ff", b"id=a&id=b", b"id=" + WABA.encode() + b"&id=" + WABA.encode(), b"\xff"])
def test_a_query_string_that_is_no_list_of_members_is_refused(query: bytes) -> None:
    refusal(SerializationException, b"", "GetLinkedWhatsAppBusinessAccount", query)


@pytest.mark.parametrize(
    ("query", "violation"),
    [
        (b"maxResults=0", "Value '0' at 'maxResults'"),
        (b"maxResults=-1", "greater than or equal to 1"),
        (b"maxResults=101", "less than or equal to 100"),
        (b"nextToken=", "greater than or equal to 1"),
        (b"nextToken=" + b"a" * 601, "less than or equal to 600"),
        (b"nextToken=&maxResults=0", "2 validation errors"),
    ],
)
def test_a_list_outside_its_bounds_is_refused(query: bytes, violation: str) -> None:
    assert violation in refusal(ValidationException, b"", "ListLinkedWhatsAppBusinessAccounts", query)


@pytest.mark.parametrize("text", ["", "x", "1.0", "1e1", "+1", "%201", "0x1", "१", "9" * 19, "1_0", "true"])
def test_a_count_that_is_no_whole_number_is_refused(text: str) -> None:
    query = f"maxResults={text}".encode()
    refusal(SerializationException, b"", "ListLinkedWhatsAppBusinessAccounts", query)


@pytest.mark.parametrize("text", ["", "1", "yes", "True", "%20true"])
def test_a_switch_in_the_query_string_is_true_or_false(text: str) -> None:
    query = f"id={WABA}&deleteAllTemplates={text}".encode()
    assert "deleteAllTemplates" in refusal(SerializationException, b"", "DeleteWhatsAppMessageTemplate", query)


def test_a_member_of_the_query_string_is_found_by_its_name_there() -> None:
    query = f"id={WABA}&templateName=a&deleteAllTemplates=true&deleteAllLanguages=false".encode()
    members = Reader("DeleteWhatsAppMessageTemplate").read(Request(query, b""))
    assert members == {"id": WABA, "templateName": "a", "deleteAllLanguages": True}


def test_a_query_string_and_a_body_can_both_have_members() -> None:
    request = Request(f"id={WABA}&nextToken=of-the-body".encode(), b'{"maxResults": 3, "id": 4}')
    assert Reader("ListWhatsAppTemplateLibrary").read(request) == {"id": WABA, "maxResults": 3}


# --- lists, maps, numbers


OPENING = {"dayOfWeek": "MONDAY", "openTime": {"hours": 9, "minutes": 0}, "closeTime": {"hours": 10, "minutes": 0}}
UPDATE = "UpdateLinkedWhatsAppBusinessAccountPhoneNumber"


def hours_refused(*openings: object) -> str:
    hours = {"enabled": True, "timezone": "UTC", "weeklyOperatingHours": openings}
    raw = json.dumps({"callSettings": {"callEnabled": True, "callHours": hours}}).encode()
    return refusal(ValidationException, raw, UPDATE, f"id={NUMBER}".encode())


PATH = "callSettings.callHours.weeklyOperatingHours"


@pytest.mark.parametrize(
    ("openings", "violation"),
    [
        ([OPENING] * 15, f"Value at '{PATH}' failed to satisfy constraint: {TOO_LONG} 14"),
        ([OPENING, {}], f"Value null at '{PATH}.2.member.dayOfWeek' failed"),
        (
            [OPENING | {"dayOfWeek": "monday"}],
            "enum value set: [MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY, SATURDAY",
        ),
        (
            [OPENING | {"openTime": {"hours": 24, "minutes": 0}}],
            f"Value '24' at '{PATH}.1.member.openTime.hours' failed",
        ),
        ([OPENING | {"openTime": {"hours": -1, "minutes": 0}}], "Member must have value greater than or equal to 0"),
        ([OPENING | {"openTime": {"hours": 0, "minutes": 60}}], "Member must have value less than or equal to 59"),
        (
            [OPENING | {"openTime": {"hours": 10**200, "minutes": 0}}],
            f"Value at '{PATH}.1.member.openTime.hours' failed",
        ),
    ],
)
def test_what_is_in_a_list_is_named_by_its_place(openings: list[Any], violation: str) -> None:
    message = hours_refused(*openings)
    assert violation in message
    assert message.startswith("1 validation error" if openings[-1] else "3 validation errors")


def test_a_message_does_not_grow_with_the_request() -> None:
    assert len(hours_refused(*[{}] * 50_000)) < 10_000
    raw = json.dumps({"resourceArn": "arn:x", "tags": [{}] * 50_000}).encode()
    message = refusal(ValidationException, raw, "TagResource")
    assert message.startswith(
        f"More than {MAX_VIOLATIONS} validation errors detected: Value null at 'tags.1.member.key'"
    )
    assert message.count("; ") == MAX_VIOLATIONS - 1
    assert len(message) < 30_000


@pytest.mark.parametrize("digits", [19, 20, 400, 5_000, 100_000])
def test_a_number_of_many_digits_is_refused(digits: int) -> None:
    raw = (
        b'{"callSettings": {"callEnabled": true, "callHours": {"weeklyOperatingHours": [{"openTime": {"hours": %s}}]}}}'
    )
    with pytest.raises((SerializationException, ValidationException)) as caught:
        Reader(UPDATE).read(Request(b"id=x", raw % (b"7" * digits)))
    assert len(caught.value.message) < 1_500


@pytest.mark.parametrize(
    ("filters", "violation"),
    [
        ({"a" * 500: "x"}, "Map keys must satisfy constraint: [Member must have length less than or equal to"),
        ({"topic": "x" * 5000}, "Map value must satisfy constraint: [Member must have length less than or equal to"),
        ({str(number): "x" for number in range(11)}, f"Value at 'filters' failed to satisfy constraint: {TOO_LONG} 10"),
    ],
)
def test_what_is_in_a_map_keeps_its_constraints(filters: dict[str, str], violation: str) -> None:
    raw = json.dumps({"filters": filters}).encode()
    message = refusal(ValidationException, raw, "ListWhatsAppTemplateLibrary", f"id={WABA}".encode())
    assert message.startswith("1 validation error detected: ")
    assert violation in message


@given(st.text(max_size=200))
def test_both_looks_at_a_request_judge_it_alike(text: str) -> None:
    """The decoder knows the constraints, and so do the messages; they never contradict each other."""
    for operation, name in (("TagResource", "resourceArn"), ("GetWhatsAppMessageMedia", "mediaId")):
        good = {"resourceArn": "arn:x", "tags": []} if name == "resourceArn" else LEAST
        raw = json.dumps(good | {name: text}).encode()
        shape = SHAPES[SHAPES[OPERATIONS[operation].input].members[name].shape]
        keeps = (shape.min or 0) <= len(text) <= (shape.max or 0) and re.fullmatch(shape.pattern or "", text)
        if keeps:
            assert Reader(operation).read(Request(b"", raw))[name] == text
        else:
            refusal(ValidationException, raw, operation)
