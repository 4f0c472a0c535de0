"""The inputs of the account and tag operations, with botocore as the oracle: it writes what we read."""

from typing import Any
from urllib.parse import urlencode

import botocore.session
import pytest
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from whaul.api.service import ROUTES
from whaul.errors import ApiError, InvalidParametersException, SerializationException, ValidationException
from whaul.wire import accounts, constraints, tags
from whaul.wire.constraints import Constraint

MODEL = botocore.session.Session().get_service_model("socialmessaging")
HEX = "0123456789abcdef0123456789abcdef"
WABA, WABA_ARN = f"waba-{HEX}", f"arn:aws:social-messaging:eu-west-1:123456789012:waba/{HEX}"
NUMBER, NUMBER_ARN = f"phone-number-id-{HEX}", f"arn:aws:social-messaging:eu-west-1:123456789012:phone-number-id/{HEX}"


def written(operation: str, **members: Any) -> tuple[bytes, bytes]:
    """The query string and the body that botocore writes."""
    model = MODEL.operation_model(operation)
    request = create_serializer("rest-json").serialize_to_request(members, model)
    assert ROUTES[request["method"], request["url_path"]] == operation
    return urlencode(request["query_string"]).encode(), request["body"] or b""


def refusal(kind: type[ApiError], read: Any, raw: bytes) -> str:
    with pytest.raises(ApiError) as caught:
        read(raw)
    assert type(caught.value) is kind, caught.value.message
    return caught.value.message


# --- what botocore writes is read


@pytest.mark.parametrize("operation", ["GetLinkedWhatsAppBusinessAccount", "DisassociateWhatsAppBusinessAccount"])
@pytest.mark.parametrize("id_", [WABA, WABA_ARN])
def test_the_id_of_an_account_is_read(operation: str, id_: str) -> None:
    assert accounts.waba_id(written(operation, id=id_)[0]) == id_


@pytest.mark.parametrize("id_", [NUMBER, NUMBER_ARN])
def test_the_id_of_a_phone_number_is_read(id_: str) -> None:
    query, _ = written("GetLinkedWhatsAppBusinessAccountPhoneNumber", id=id_)
    assert accounts.phone_number_id(query) == id_


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, (100, None)),
        ({"maxResults": 1}, (1, None)),
        ({"maxResults": 100, "nextToken": "a+/=&%"}, (100, "a+/=&%")),
    ],
)
def test_a_list_is_read(members: dict[str, Any], expected: tuple[int, str | None]) -> None:
    assert accounts.list_accounts(written("ListLinkedWhatsAppBusinessAccounts", **members)[0]) == expected


def test_tags_are_read() -> None:
    given = [{"key": "a", "value": "ä 🐋"}, {"key": "b"}, {"key": "c" * 128, "value": "v" * 256}]
    _, body = written("TagResource", resourceArn=WABA_ARN, tags=given)
    assert tags.tag_resource(body) == (WABA_ARN, {"a": "ä 🐋", "b": "", "c" * 128: "v" * 256})


def test_keys_to_remove_are_read() -> None:
    _, body = written("UntagResource", resourceArn=NUMBER_ARN, tagKeys=["a", "b"])
    assert tags.untag_resource(body) == (NUMBER_ARN, ("a", "b"))


def test_the_arn_whose_tags_are_listed_is_read() -> None:
    assert tags.list_tags(written("ListTagsForResource", resourceArn=WABA_ARN)[0]) == WABA_ARN


# --- what we write is read by botocore


@pytest.mark.parametrize(
    ("operation", "body", "expected"),
    [
        ("TagResource", tags.done(), {"statusCode": 200}),
        ("UntagResource", tags.done(), {"statusCode": 200}),
        ("ListTagsForResource", tags.listed([]), {"statusCode": 200, "tags": []}),
        (
            "ListTagsForResource",
            tags.listed([("a", "ä"), ("b", "")]),
            {"statusCode": 200, "tags": [{"key": "a", "value": "ä"}, {"key": "b", "value": ""}]},
        ),
    ],
)
def test_botocore_reads_the_answers_about_tags(operation: str, body: bytes, expected: dict[str, Any]) -> None:
    answer = {"status_code": 200, "headers": {}, "body": body}
    parsed = create_parser("rest-json").parse(answer, MODEL.operation_model(operation).output_shape)
    parsed.pop("ResponseMetadata")
    assert parsed == expected


# --- what is refused


@pytest.mark.parametrize(
    ("query", "violation"),
    [
        (b"", "Value null at 'id'"),
        (b"id", "Value null at 'id'"),
        (b"id=", "length greater than or equal to 1"),
        (b"Id=" + WABA.encode(), "Value null at 'id'"),
        (b"id=400000000000001", "regular expression pattern"),
        (b"id=" + NUMBER.encode(), "regular expression pattern"),
        (b"id=" + NUMBER_ARN.encode(), "regular expression pattern"),
        (b"id=waba-" + b"0" * 111, "length less than or equal to 115"),
    ],
)
def test_an_id_that_names_no_account_is_refused(query: bytes, violation: str) -> None:
    if query == b"id":
        query = b""
    assert violation in refusal(ValidationException, accounts.waba_id, query)


@pytest.mark.parametrize("query", [b"", b"id=", b"id=" + WABA.encode(), b"id=5", b"id=phone-number-id-" + b"0" * 100])
def test_an_id_that_names_no_phone_number_is_refused(query: bytes) -> None:
    refusal(ValidationException, accounts.phone_number_id, query)


@pytest.mark.parametrize("query", [b"id=%ff", b"id=a&id=b", b"id=" + WABA.encode() + b"&id=" + WABA.encode(), b"\xff"])
def test_a_query_string_that_is_no_list_of_members_is_refused(query: bytes) -> None:
    refusal(SerializationException, accounts.waba_id, query)


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
    assert violation in refusal(ValidationException, accounts.list_accounts, query)


@pytest.mark.parametrize("text", ["", "x", "1.0", "1e1", "+1", "%201", "0x1", "१", "9" * 19, "1_0", "true"])
def test_a_count_that_is_no_whole_number_is_refused(text: str) -> None:
    refusal(SerializationException, accounts.list_accounts, f"maxResults={text}".encode())


@pytest.mark.parametrize(
    ("body", "violation"),
    [
        (b"{}", "2 validation errors"),
        (b'{"resourceArn": "arn:x"}', "Value null at 'tags'"),
        (b'{"tags": []}', "Value null at 'resourceArn'"),
        (b'{"resourceArn": "waba-1", "tags": []}', "arn:.*"),
        (b'{"resourceArn": "arn:x", "tags": [{}]}', "Value null at 'tags.1.member.key'"),
        (b'{"resourceArn": "arn:x", "tags": [{"key": "a"}, {"key": ""}]}', "'tags.2.member.key'"),
        (b'{"resourceArn": "arn:x", "tags": [{"key": "%s"}]}' % (b"k" * 129), "less than or equal to 128"),
        (b'{"resourceArn": "arn:x", "tags": [{"key": "k", "value": "%s"}]}' % (b"v" * 257), "equal to 256"),
        (b'{"resourceArn": "arn:%s", "tags": []}' % (b"x" * 2045), "less than or equal to 2048"),
    ],
)
def test_tags_that_break_a_constraint_are_refused(body: bytes, violation: str) -> None:
    assert violation in refusal(ValidationException, tags.tag_resource, body)


@pytest.mark.parametrize("key", ["aws:", "aws:cloudformation", "AWS:x", "aWs:x"])
def test_a_reserved_key_is_refused(key: str) -> None:
    _, body = written("TagResource", resourceArn=WABA_ARN, tags=[{"key": key, "value": ""}])
    assert "aws:" in refusal(InvalidParametersException, tags.tag_resource, body)


def test_a_key_given_twice_is_refused() -> None:
    _, body = written("TagResource", resourceArn=WABA_ARN, tags=[{"key": "a"}, {"key": "a", "value": "1"}])
    assert "twice" in refusal(InvalidParametersException, tags.tag_resource, body)


@pytest.mark.parametrize("tag", [b'{"key": "a\\u0000"}', b'{"key": "a", "value": "\\u0000"}'])
def test_a_character_that_cannot_be_stored_is_refused(tag: bytes) -> None:
    body = b'{"resourceArn": "arn:x", "tags": [%s]}' % tag
    assert "NUL" in refusal(InvalidParametersException, tags.tag_resource, body)
    body = b'{"resourceArn": "arn:x", "tagKeys": ["b", "a\\u0000"]}'
    assert "NUL" in refusal(InvalidParametersException, tags.untag_resource, body)


@pytest.mark.parametrize(
    "body", [b"[]", b'{"tags": {}}', b'{"tags": [1]}', b'{"tags": [{"key": 1}]}', b'{"tags": [null]}']
)
def test_tags_of_another_type_are_refused(body: bytes) -> None:
    refusal(SerializationException, tags.tag_resource, body)


@pytest.mark.parametrize("body", [b"{}", b'{"resourceArn": "arn:x"}', b'{"tagKeys": ["a"]}'])
def test_removing_tags_needs_the_resource_and_the_keys(body: bytes) -> None:
    refusal(ValidationException, tags.untag_resource, body)


# --- the model


@pytest.mark.parametrize(
    ("shape", "constraint"),
    [
        ("LinkedWhatsAppBusinessAccountId", constraints.WABA_ID),
        ("WhatsAppPhoneNumberId", constraints.PHONE_NUMBER_ID),
        ("NextToken", accounts.NEXT_TOKEN),
        ("Arn", constraints.ARN),
        ("TagKeyString", constraints.TAG_KEY),
        ("TagValueString", constraints.TAG_VALUE),
    ],
)
def test_a_constraint_is_the_models(shape: str, constraint: Constraint) -> None:
    metadata = MODEL.shape_for(shape).metadata
    assert (constraint.least, constraint.most) == (metadata.get("min", 0), metadata["max"])
    assert constraint.pattern == metadata.get("pattern")
    assert constraint.sensitive == metadata.get("sensitive", False)


def test_the_largest_page_is_the_models() -> None:
    assert MODEL.shape_for("MaxResults").metadata == {"min": 1, "max": accounts.LARGEST_PAGE}


@pytest.mark.parametrize(
    ("operation", "members", "required"),
    [
        ("ListLinkedWhatsAppBusinessAccounts", {"nextToken", "maxResults"}, set()),
        ("GetLinkedWhatsAppBusinessAccount", {"id"}, {"id"}),
        ("GetLinkedWhatsAppBusinessAccountPhoneNumber", {"id"}, {"id"}),
        ("DisassociateWhatsAppBusinessAccount", {"id"}, {"id"}),
        ("TagResource", {"resourceArn", "tags"}, {"resourceArn", "tags"}),
        ("UntagResource", {"resourceArn", "tagKeys"}, {"resourceArn", "tagKeys"}),
        ("ListTagsForResource", {"resourceArn"}, {"resourceArn"}),
    ],
)
def test_the_model_has_no_member_that_is_not_read(operation: str, members: set[str], required: set[str]) -> None:
    shape = MODEL.operation_model(operation).input_shape
    assert (set(shape.members), set(shape.required_members)) == (members, required)
