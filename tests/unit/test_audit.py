"""Audit records: CloudTrail's shape, and nothing in them that must not be seen."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape

from whaul.api.service import OPERATIONS, SHAPES, members
from whaul.telemetry.audit import (
    HIDDEN,
    HIDDEN_MEMBERS,
    MAX_FIELD,
    AuditLog,
    shown,
)
from whaul.telemetry.audit_writer import AuditFile, AuditWriter
from whaul.telemetry.call import Call
from whaul.telemetry.clients import claimed_access_key_id
from whaul.telemetry.metrics import Metrics

MODEL = botocore.session.Session().get_service_model("socialmessaging")
NUMBER = "phone-number-id-" + "ab" * 16
HEADERS = [(b"host", b"localhost"), (b"user-agent", b"Boto3/1.44.8"), (b"x-other", b"1")]


def audit_log(path: Path) -> AuditLog:
    writer = AuditWriter(AuditFile(path, 1_000_000, 1), Metrics())
    return AuditLog(writer, account_id="111122223333", region="eu-west-1", partition="aws")


def record(
    call: Call, headers: list[tuple[bytes, bytes]] = HEADERS, query: bytes = b"", path: Path = Path("unused")
) -> dict[str, Any]:
    if call.access_key_id is None:
        call.claimed_access_key_id = claimed_access_key_id(headers, query)  # as the gateway does
    line = audit_log(path).line(call, headers, query)
    assert b"\n" not in line
    document = json.loads(line)
    assert isinstance(document, dict)
    return document


def good_call(**members: Any) -> Call:
    call = Call("request-1", "GetWhatsAppMessageMedia", "192.0.2.7", "AKIAEXAMPLE", "inbox")
    call.phone_number_id = NUMBER
    call.body = json.dumps({"mediaId": "123", "originationPhoneNumberId": NUMBER} | members).encode()
    call.answer = b'{"fileSize":1,"mimeType":"image/jpeg"}'
    return call


def refused_call(code: str = "InvalidSignatureException") -> Call:
    call = Call("request-2", "GetWhatsAppMessageMedia", "192.0.2.7")
    call.error, call.message = code, "The request signature does not match."
    return call


def test_a_call_is_recorded_in_the_shape_of_cloudtrail() -> None:
    found = record(good_call(destinationS3File={"bucketName": "inbox", "key": "a/"}))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found.pop("eventTime"))
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", found.pop("eventID"))
    assert found == {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "IAMUser",
            "principalId": "AKIAEXAMPLE",
            "arn": "arn:aws:iam::111122223333:user/inbox",
            "accountId": "111122223333",
            "accessKeyId": "AKIAEXAMPLE",
            "userName": "inbox",
        },
        "eventSource": "social-messaging.amazonaws.com",
        "eventName": "GetWhatsAppMessageMedia",
        "awsRegion": "eu-west-1",
        "sourceIPAddress": "192.0.2.7",
        "userAgent": "Boto3/1.44.8",
        "requestParameters": {"mediaId": "123", "originationPhoneNumberId": NUMBER, "destinationS3File": HIDDEN},
        "responseElements": None,
        "requestID": "request-1",
        "readOnly": True,
        "resources": [
            {
                "accountId": "111122223333",
                "ARN": f"arn:aws:social-messaging:eu-west-1:111122223333:phone-number-id/{'ab' * 16}",
                "type": "AWS::SocialMessaging::PhoneNumberId",
            }
        ],
        "eventType": "AwsApiCall",
        "managementEvent": False,
        "recipientAccountId": "111122223333",
        "eventCategory": "Data",
    }


def test_an_error_is_recorded_with_its_code_and_message_and_what_was_asked() -> None:
    call = good_call()
    call.error, call.message, call.answer = "ThrottledRequestException", "Try again later.", b""
    found = record(call)
    assert (found["errorCode"], found["errorMessage"]) == ("ThrottledRequestException", "Try again later.")
    assert found["requestParameters"]["mediaId"] == "123"


def test_who_is_not_proven_is_unknown_with_the_key_that_was_claimed() -> None:
    credential = b"AWS4-HMAC-SHA256 Credential=AKIACLAIMED00000/20260101/eu-west-1/social-messaging/aws4_request, Sig"
    found = record(refused_call(), [*HEADERS, (b"authorization", credential)])
    assert found["userIdentity"] == {"type": "Unknown", "accessKeyId": "AKIACLAIMED00000"}
    assert found["errorCode"] == "InvalidSignatureException"
    assert found["requestParameters"] is None


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Bearer EAAtoken",
        b"AWS4-HMAC-SHA256 Credential=" + b"s" * 40 + b"/20260101/eu-west-1/x/aws4_request",  # a secret in its place
        b'AWS4-HMAC-SHA256 Credential=A"B\n/20260101',
        b"AWS4-HMAC-SHA256 Credential=\xc3\xa9\xc3\xa9\xc3\xa9/20260101",
        b"AWS4-HMAC-SHA256 Credential=AKIA",
    ],
)
def test_a_claim_that_is_no_access_key_id_is_not_repeated(header: bytes) -> None:
    assert record(refused_call(), [(b"authorization", header)])["userIdentity"] == {"type": "Unknown"}


def test_a_claim_in_the_query_is_one_too() -> None:
    query = b"X-Amz-Credential=AKIACLAIMED00000%2F20260101%2Feu-west-1&X-Amz-Signature=5161718"
    found = record(refused_call(), query=query)
    assert found["userIdentity"] == {"type": "Unknown", "accessKeyId": "AKIACLAIMED00000"}
    assert "5161718" not in json.dumps(found)


def test_what_somebody_unproven_sent_is_not_repeated() -> None:
    call = refused_call()
    call.body = b'{"mediaId": "123"}'
    assert record(call, query=b"id=waba-1")["requestParameters"] is None


def test_an_operation_that_changes_something_is_recorded_with_its_answer() -> None:
    call = Call("request-3", "SendWhatsAppMessage", "192.0.2.7", "AKIAEXAMPLE", "inbox")
    call.body = json.dumps(
        {"originationPhoneNumberId": NUMBER, "message": "c2VjcmV0", "metaApiVersion": "v25.0"}
    ).encode()
    call.answer = b'{"messageId":"wamid.1","secret":"x"}'
    found = record(call)
    assert found["readOnly"] is False
    assert found["responseElements"] == {"messageId": "wamid.1"}
    assert found["requestParameters"]["message"] == HIDDEN


@pytest.mark.parametrize("answer", [b"", b"{}"])
def test_an_empty_answer_is_null(answer: bytes) -> None:
    call = Call("request-3", "DisassociateWhatsAppBusinessAccount", None, "AKIAEXAMPLE", "inbox")
    call.answer = answer
    found = record(call, query=b"id=waba-" + b"0" * 32)
    assert found["responseElements"] is None
    assert found["requestParameters"] == {"id": "waba-" + "0" * 32}
    assert (found["managementEvent"], found["eventCategory"]) == (True, "Management")


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"null", b'"text"', b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_document_has_no_parameters(body: bytes) -> None:
    call = good_call()
    call.body = body
    assert record(call)["requestParameters"] is None


@pytest.mark.parametrize(
    "body",
    [
        rb'{"mediaId": "\ud800"}',
        b'{"mediaId": "\xed\xa0\x80"}',
        b'{"mediaId": 123456789012345678901234567890}',
        b'{"mediaId": ' + b"9" * 5000 + b"}",
        b'{"mediaId": 1e400}',
        rb'{"filters": {"\udc00": [[]]}}',
        b'{"id": ["waba-1"], "resourceArn": 5}',
    ],
)
@pytest.mark.parametrize("query", [b"id=%FF", b"id=\xff", b"id=%ED%A0%80", b"%", b"&" * 2000, b"=", b"\x00"])
def test_no_value_of_json_or_of_a_query_keeps_a_call_from_being_recorded(body: bytes, query: bytes) -> None:
    call = good_call()
    call.body = body
    assert record(call, query=query)["eventName"] == "GetWhatsAppMessageMedia"


def test_the_presigned_form_of_a_request_shows_nothing_of_its_signature() -> None:
    query = b"X-Amz-Signature=5161718&X-Amz-Credential=AKIAEXAMPLE%2F2026&X-Amz-Security-Token=tok&mediaId=7"
    found = record(good_call(), query=query)
    assert "5161718" not in json.dumps(found)
    assert found["requestParameters"]["mediaId"] == "123", "the body's member, as the operation takes it"


def test_members_that_the_model_does_not_have_are_left_out_wherever_they_are() -> None:
    document = {"secret": "s", "resourceArn": {"secret": "s"}, "tags": [{"key": "k", "value": "v", "secret": "s"}, "s"]}
    assert shown("TagResourceInput", document) == {"resourceArn": None, "tags": [{"key": "k", "value": "v"}, {}]}


def test_a_map_shows_what_the_model_says_is_in_it() -> None:
    filters = {"searchKey": "x", "deep": {"accessToken": "s"}, "list": ["s"]}
    shape = next(name for name, found in SHAPES.items() if "filters" in found.members)
    assert shown(shape, {"filters": filters}) == {"filters": {"searchKey": "x", "deep": None, "list": None}}


def test_members_beyond_cloudtrails_limit_are_told_by_their_size_only() -> None:
    found = record(good_call(mediaId="1" * MAX_FIELD))["requestParameters"]
    assert found["omitted"] is True
    assert found["originalSize"] > MAX_FIELD
    assert "mediaId" not in found


def test_a_user_agent_can_not_end_a_line_or_fill_it() -> None:
    found = record(good_call(), [(b"user-agent", b"a\r\n\x00\xff{" + b"x" * 5000)])
    assert found["userAgent"].startswith("a\r\n\x00\xff{")
    assert len(found["userAgent"]) == 1024


@pytest.mark.parametrize("named", ["123", "waba-1", "phone-number-id-" + "zz" * 16, ""])
def test_what_is_no_id_of_a_resource_names_none(named: str) -> None:
    call = good_call()
    call.phone_number_id = named
    assert "resources" not in record(call)


ACCOUNT_ARN = f"arn:aws:social-messaging:eu-west-1:111122223333:waba/{'cd' * 16}"


@pytest.mark.parametrize(
    ("operation", "query"),
    [
        ("GetLinkedWhatsAppBusinessAccount", f"id=waba-{'cd' * 16}"),
        ("GetLinkedWhatsAppBusinessAccount", f"id={ACCOUNT_ARN}"),
        ("ListTagsForResource", f"resourceArn={ACCOUNT_ARN}"),
    ],
)
def test_an_operation_on_an_account_names_it(operation: str, query: str) -> None:
    call = Call("id", operation, None, "AKIAEXAMPLE", "inbox")
    assert record(call, query=query.encode())["resources"] == [{"accountId": "111122223333", "ARN": ACCOUNT_ARN}]


def test_a_resource_of_elsewhere_is_not_named() -> None:
    call = Call("id", "ListTagsForResource", None, "AKIAEXAMPLE", "inbox")
    assert "resources" not in record(call, query=f"resourceArn={ACCOUNT_ARN.replace('eu', 'us')}".encode())


def test_a_request_that_names_no_operation_is_not_recorded(tmp_path: Path) -> None:
    log = audit_log(tmp_path / "audit.log")
    log.record(Call("id"), HEADERS, b"")
    assert len(log.writer._lines) == 0
    log.record(good_call(), HEADERS, b"")
    assert len(log.writer._lines) == 1


# What the model says, member by member


def leaves(shape: Shape, path: str, *, sensitive: bool, kept: list[tuple[str, bool]]) -> Any:
    """A document of that shape in which each leaf holds its own path; each is noted with whether it is sensitive."""
    sensitive = sensitive or bool(shape.metadata.get("sensitive"))
    if isinstance(shape, StructureShape):
        return {
            member.serialization.get("name", name): leaves(member, f"{path}.{name}", sensitive=sensitive, kept=kept)
            for name, member in shape.members.items()
        }
    if isinstance(shape, ListShape):
        return [leaves(shape.member, f"{path}[]", sensitive=sensitive, kept=kept)]
    if isinstance(shape, MapShape):
        sensitive = sensitive or bool(shape.key.metadata.get("sensitive"))
        return {"chosen": leaves(shape.value, f"{path}{{}}", sensitive=sensitive, kept=kept)}
    kept.append((f"<{path}>", sensitive))
    return f"<{path}>"


def documents() -> Iterator[Any]:
    for name in MODEL.operation_names:
        operation = MODEL.operation_model(name)
        if operation.input_shape is not None:
            yield pytest.param(operation.input_shape, id=f"{name}-request")
        if operation.output_shape is not None and not name.startswith(("Get", "List")):
            yield pytest.param(operation.output_shape, id=f"{name}-answer")


@pytest.mark.parametrize("shape", list(documents()))
def test_every_sensitive_member_of_the_model_is_hidden_and_every_other_is_shown(shape: StructureShape) -> None:
    kept: list[tuple[str, bool]] = []
    text = json.dumps(shown(shape.name, leaves(shape, shape.name, sensitive=False, kept=kept)))
    for leaf, sensitive in kept:
        names = re.findall(r"\w+", leaf)[1:]
        if sensitive:
            assert leaf not in text
        else:
            assert (leaf in text) != bool(HIDDEN_MEMBERS & set(names)), leaf


def test_what_is_hidden_besides_is_in_the_model() -> None:
    assert {name for name, _ in members()} >= HIDDEN_MEMBERS


def test_every_operation_of_the_model_can_be_recorded() -> None:
    for name in OPERATIONS:
        found = record(Call("id", name, None, "AKIAEXAMPLE", "inbox"))
        assert found["eventName"] == name
        assert found["readOnly"] == name.startswith(("Get", "List"))


def test_string_shapes_are_what_secrets_are_made_of() -> None:
    """The walk above finds the secrets that everybody knows of."""
    kept: list[tuple[str, bool]] = []
    leaves(MODEL.operation_model("SendWhatsAppMessage").input_shape, "in", sensitive=False, kept=kept)
    assert ("<in.message>", True) in kept
    assert isinstance(MODEL.shape_for("TwoFactorPin"), StringShape)
    assert MODEL.shape_for("TwoFactorPin").metadata["sensitive"]
