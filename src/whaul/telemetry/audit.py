"""Audit records in the shape of AWS CloudTrail's, one for each API call.

Owns what a record says and which members it hides. `audit_writer` writes it.
https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
"""

import re
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qsl

import msgspec

from whaul.api.service import OPERATIONS, SHAPES
from whaul.telemetry.audit_writer import AuditWriter
from whaul.telemetry.call import Call

EVENT_VERSION = "1.11"
EVENT_SOURCE = "social-messaging.amazonaws.com"
CONSOLE_SOURCE = "console.whaul"
SIGN_INS = frozenset({"SignIn", "SignOut"})
HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"
"""What CloudTrail writes in place of a sensitive value."""
MAX_FIELD = 100 * 1024
"""Bytes of `requestParameters` or `responseElements`. Of larger ones only the size is recorded, as by CloudTrail."""
MAX_USER_AGENT = 1024
HIDDEN_MEMBERS = frozenset(
    {
        *("accessToken", "businessPublicKey", "callbackUrl", "flowJson", "linkedAccountsWithIncompleteSetup"),
        *("phoneNumber", "templateComponents", "templateDefinition", "url"),
    }
)
"""Members that the model does not call sensitive, but are secret, personal, or a document of their own."""

RESOURCE_TYPES = {"phone-number-id": "AWS::SocialMessaging::PhoneNumberId"}
"""CloudTrail has a type only for phone numbers.

https://docs.aws.amazon.com/awscloudtrail/latest/userguide/logging-data-events-with-cloudtrail.html
"""
DATA_EVENTS = frozenset(
    {"SendWhatsAppMessage", "PostWhatsAppMessageMedia", "GetWhatsAppMessageMedia", "DeleteWhatsAppMessageMedia"}
)
"""Operations on the data of a phone number; the others are management events.

https://docs.aws.amazon.com/social-messaging/latest/userguide/logging-using-cloudtrail.html
"""
READING = ("Get", "List")
"""Prefixes of operations that change nothing."""

_ACCESS_KEY_ID = re.compile(r"\w{3,32}", re.ASCII)
_RESOURCE = re.compile(r"(phone-number-id|waba)[-/]([0-9a-f]{32})")

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleAction:
    """What somebody did in the console."""

    name: str
    """The action without `whaul:`, or `SignIn`, `SignOut`."""
    access_key_id: str | None
    """None if nobody signed in."""
    caller: str | None
    client: str | None
    user_agent: str | None
    reads: bool
    parameters: Mapping[str, Any]
    """Nothing secret or personal."""
    error: str | None = None
    message: str | None = None
    person: str | None = None
    """Whom a sign-in provider named."""


class AuditLog:
    """Builds records and hands them to the writer."""

    def __init__(self, writer: AuditWriter, *, account_id: str, region: str, partition: str) -> None:
        self.writer = writer
        self._account_id = account_id
        self._region = region
        self._user_arn = f"arn:{partition}:iam::{account_id}:user/"
        self._resource_arn = f"arn:{partition}:social-messaging:{region}:{account_id}:"
        writer.gap = self.gap

    def record(self, call: Call, headers: Iterable[tuple[bytes, bytes]], query: bytes) -> None:
        """Record a finished call, unless its request named no operation."""
        if call.operation is not None and self.writer.has_room():
            self.writer.put(self.line(call, headers, query))

    def line(self, call: Call, headers: Iterable[tuple[bytes, bytes]], query: bytes) -> bytes:
        """Build the record of a call, without a line end."""
        operation = call.operation or ""
        reads = operation.startswith(READING)
        manages = operation not in DATA_EVENTS
        user_agent = next((value for name, value in headers if name == b"user-agent"), None)
        record: dict[str, Any] = {
            "eventVersion": EVENT_VERSION,
            "userIdentity": self._identity(call),
            "eventTime": _now(),
            "eventSource": EVENT_SOURCE,
            "eventName": operation,
            "awsRegion": self._region,
            "sourceIPAddress": call.client,
            "userAgent": user_agent and user_agent[:MAX_USER_AGENT].decode("latin-1"),
        }
        if call.error is not None:
            record["errorCode"] = call.error
            record["errorMessage"] = call.message
        # What an unauthenticated caller sent is not worth reading.
        members = {} if call.access_key_id is None else _members(operation, query, call.body)
        record["requestParameters"] = _bounded(members)
        record["responseElements"] = None
        if call.answer and not reads:
            record["responseElements"] = _bounded(shown(OPERATIONS[operation].output, _decode(call.answer)))
        record["requestID"] = call.request_id
        record["eventID"] = str(uuid.uuid4())
        record["readOnly"] = reads
        resource = self._resource(call.phone_number_id or members.get("id") or members.get("resourceArn"))
        if resource is not None:
            record["resources"] = [resource]
        record["eventType"] = "AwsApiCall"
        record["managementEvent"] = manages
        record["recipientAccountId"] = self._account_id
        record["eventCategory"] = "Management" if manages else "Data"
        return _encode(record)

    def record_console(self, action: ConsoleAction) -> None:
        """Record what somebody did in the console."""
        if self.writer.has_room():
            self.writer.put(self.console_line(action))

    def console_line(self, action: ConsoleAction) -> bytes:
        """Build the record of it, without a line end.

        https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-aws-console-sign-in-events.html
        """
        record: dict[str, Any] = {
            "eventVersion": EVENT_VERSION,
            "userIdentity": self._identity(action) | _session(action.person),
            "eventTime": _now(),
            "eventSource": CONSOLE_SOURCE,
            "eventName": action.name,
            "awsRegion": self._region,
            "sourceIPAddress": action.client,
            "userAgent": action.user_agent and action.user_agent[:MAX_USER_AGENT],
        }
        if action.error is not None:
            record["errorCode"] = action.error
            record["errorMessage"] = action.message
        return _encode(
            record
            | {
                "requestParameters": _bounded(dict(action.parameters)),
                "responseElements": None,
                "eventID": str(uuid.uuid4()),
                "readOnly": action.reads,
                "eventType": "AwsConsoleSignIn" if action.name in SIGN_INS else "AwsConsoleAction",
                "managementEvent": True,
                "recipientAccountId": self._account_id,
                "eventCategory": "Management",
            }
        )

    def gap(self, dropped: int) -> bytes:
        """Build the record that stands for a number of dropped ones."""
        return _encode(
            {
                "eventVersion": EVENT_VERSION,
                "userIdentity": {"type": "AWSService", "invokedBy": EVENT_SOURCE},
                "eventTime": _now(),
                "eventSource": EVENT_SOURCE,
                "eventName": "AuditRecordsDropped",
                "awsRegion": self._region,
                "sourceIPAddress": EVENT_SOURCE,
                "userAgent": EVENT_SOURCE,
                "requestParameters": None,
                "responseElements": None,
                "eventID": str(uuid.uuid4()),
                "readOnly": True,
                "eventType": "AwsServiceEvent",
                "managementEvent": True,
                "recipientAccountId": self._account_id,
                "serviceEventDetails": {"droppedRecords": dropped},
                "eventCategory": "Management",
            }
        )

    def _identity(self, call: Call | ConsoleAction) -> dict[str, str]:
        if call.access_key_id is None:
            claim = (call.claimed_access_key_id if isinstance(call, Call) else None) or ""
            return {"type": "Unknown"} | ({"accessKeyId": claim} if _ACCESS_KEY_ID.fullmatch(claim) else {})
        return {
            "type": "IAMUser",
            "principalId": call.access_key_id,
            "arn": f"{self._user_arn}{call.caller}",
            "accountId": self._account_id,
            "accessKeyId": call.access_key_id,
            "userName": call.caller or "",
        }

    def _resource(self, named: object) -> dict[str, str] | None:
        """The phone number or account that a call named by id or ARN; None for anything else."""
        found = _RESOURCE.fullmatch(named.removeprefix(self._resource_arn)) if isinstance(named, str) else None
        if found is None:
            return None
        kind = found[1]
        resource = {"accountId": self._account_id, "ARN": f"{self._resource_arn}{kind}/{found[2]}"}
        return resource | ({"type": RESOURCE_TYPES[kind]} if kind in RESOURCE_TYPES else {})


def _session(person: str | None) -> dict[str, Any]:
    """Who uses an access key that several people sign in as.

    https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html
    """
    return {} if person is None else {"sessionContext": {"sourceIdentity": person}}


def shown(name: str, document: Any) -> Any:
    """The part of a value of shape `name` that may be shown: modelled members, sensitive ones by name only."""
    shape = SHAPES[name]
    if shape.type == "structure":
        named = {member.location_name or name: member.shape for name, member in shape.members.items()}
        given = document if isinstance(document, dict) else {}
        return {
            name: HIDDEN if name in HIDDEN_MEMBERS or _is_sensitive(named[name]) else shown(named[name], value)
            for name, value in given.items()
            if name in named
        }
    if shape.type == "list":
        return [shown(shape.member, item) for item in document] if isinstance(document, list) else []
    if shape.type == "map":
        return {name: shown(shape.value, item) for name, item in document.items()} if isinstance(document, dict) else {}
    return None if isinstance(document, dict | list) else document


def _is_sensitive(name: str) -> bool:
    shape = SHAPES[name]
    return shape.sensitive or any(SHAPES[part].sensitive for part in (shape.member, shape.key, shape.value) if part)


def _members(operation: str, query: bytes, body: bytes) -> dict[str, Any]:
    """The members of a request that may be shown; none of a body that cannot be read."""
    members: dict[str, Any] = {}
    if query:
        members.update(parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="replace"))
    try:
        document = _decode(body) if body else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        document = {}
    if isinstance(document, dict):
        members.update(document)
    return cast("dict[str, Any]", shown(OPERATIONS[operation].input, members))


def _bounded(members: Any) -> Any:
    if not members:
        return None
    raw = _encode(members)
    if len(raw) > MAX_FIELD:
        return {"omitted": True, "originalSize": len(raw), "reason": f"larger than {MAX_FIELD} bytes"}
    return msgspec.Raw(raw)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
