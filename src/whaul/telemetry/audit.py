"""Audit records: one for each API call, in the shape of AWS CloudTrail's; which members they show, and which they hide.

Owns what a record says. Where it goes, and what happens when it cannot go there, is `audit_writer`'s.
https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
"""

import re
import time
import uuid
from collections.abc import Iterable
from typing import Any, cast
from urllib.parse import parse_qsl

import msgspec

from whaul.telemetry.audit_writer import AuditWriter
from whaul.telemetry.call import Call

EVENT_VERSION = "1.11"
EVENT_SOURCE = "social-messaging.amazonaws.com"
HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"
"""CloudTrail's own words in place of a sensitive value."""
LARGEST_FIELD = 100 * 1024
"""Bytes of `requestParameters` or `responseElements`, beyond which only their size is told, as CloudTrail does."""
LONGEST_USER_AGENT = 1024
DEEPEST = 8
"""Levels of a document that are looked into; the model has fewer."""

# What the members of botocore's model 2024-01-01 are, by their names on the wire. A test compares both tables with
# the model: what it calls sensitive is hidden, and no member is missing.
SHOWN_MEMBERS = frozenset(
    (  # noqa: SIM905 - a line for each would be a hundred
        "addContactNumber addLearnMoreLink addSecurityRecommendation addTrackPackageLink callEnabled callHours callId "
        "callIconVisibility callSettings callbackPermissionStatus categories category cloneFlowId closeTime "
        "codeExpirationMinutes ctaUrlLinkTrackingOptedOut dataLocalizationRegion datasetId date dayOfWeek "
        "deleteAllTemplates enabled endTime endpointUri eventDestinationArn eventDestinations filters flowId flowName "
        "holidaySchedule hours id invalidate key kmsKeyArn libraryTemplateBodyInputs libraryTemplateButtonInputs "
        "libraryTemplateName linkedWhatsAppBusinessAccountId maxResults mediaId messageId metaApiVersion metaAppId "
        "metaHeaderHandle metaLibraryTemplate metaTemplateId metadataOnly minutes nextToken openTime "
        "originationPhoneNumberId otpType parameterFormat phoneNumberId phoneNumberParent phoneNumbers publish "
        "requestId resourceArn roleArn setupFinalization signupCallback signupCallbackResult startTime statusCode "
        "success supportedApps tagKeys tags templateCategory templateLanguage templateLanguageCode templateName "
        "templateStatus timezone type validationErrors value waba weeklyOperatingHours zeroTapTermsAccepted"
    ).split()
)
SHOWN_MAPS = frozenset({"filters", "supportedApps"})
"""Shown members whose own names the caller chooses."""
HIDDEN_MEMBERS = frozenset(
    (  # noqa: SIM905 - as above
        # sensitive in the model
        "associateInProgressToken callEvent destinationPhoneNumber destinationS3File destinationS3PresignedUrl "
        "endUserBsuid eventData message sourceS3File sourceS3PresignedUrl twoFactorPin "
        # not called so there, but secret, personal, or a document of its own
        "accessToken businessPublicKey callbackUrl flowJson linkedAccountsWithIncompleteSetup phoneNumber "
        "templateComponents templateDefinition url"
    ).split()
)

RESOURCE_TYPES = {"phone-number-id": "AWS::SocialMessaging::PhoneNumberId"}
"""CloudTrail has a type for phone numbers only.

https://docs.aws.amazon.com/awscloudtrail/latest/userguide/logging-data-events-with-cloudtrail.html
"""
DATA_EVENTS = frozenset(
    {"SendWhatsAppMessage", "PostWhatsAppMessageMedia", "GetWhatsAppMessageMedia", "DeleteWhatsAppMessageMedia"}
)
"""Operations on data of a phone number; the others manage something.

https://docs.aws.amazon.com/social-messaging/latest/userguide/logging-using-cloudtrail.html
"""
READING = ("Get", "List")
"""What the names of operations that change nothing begin with."""

# In the Authorization header, or the query. A secret key, should one be there instead, has 40 characters.
_CREDENTIAL = re.compile(rb"Credential=(\w{3,32})(?:/|%2[Ff])", re.ASCII)
_RESOURCE = re.compile(r"(phone-number-id|waba)[-/]([0-9a-f]{32})")

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class AuditLog:
    """Makes the records and hands them to the writer."""

    def __init__(self, writer: AuditWriter, *, account_id: str, region: str, partition: str) -> None:
        self.writer = writer
        self._account_id = account_id
        self._region = region
        self._user_arn = f"arn:{partition}:iam::{account_id}:user/"
        self._resource_arn = f"arn:{partition}:social-messaging:{region}:{account_id}:"
        writer.gap = self.gap

    def record(self, call: Call, headers: Iterable[tuple[bytes, bytes]], query: bytes) -> None:
        """Record a call that has been answered; a request that named no operation is none."""
        if call.operation is not None and self.writer.has_room():
            self.writer.put(self.line(call, headers, query))

    def line(self, call: Call, headers: Iterable[tuple[bytes, bytes]], query: bytes) -> bytes:
        """Write the record of a call, without a line's end."""
        operation = call.operation or ""
        reads = operation.startswith(READING)
        manages = operation not in DATA_EVENTS
        user_agent, credential = None, query
        for name, value in headers:
            if name == b"user-agent":
                user_agent = value[:LONGEST_USER_AGENT].decode("latin-1")
            elif name == b"authorization":
                credential = value
        record: dict[str, Any] = {
            "eventVersion": EVENT_VERSION,
            "userIdentity": self._identity(call, credential),
            "eventTime": _now(),
            "eventSource": EVENT_SOURCE,
            "eventName": operation,
            "awsRegion": self._region,
            "sourceIPAddress": call.client,
            "userAgent": user_agent,
        }
        if call.error is not None:
            record["errorCode"] = call.error
            record["errorMessage"] = call.message
        # What somebody unproven sent is not worth reading.
        members = {} if call.access_key_id is None else _members(query, call.body)
        record["requestParameters"] = _bounded(members)
        record["responseElements"] = None if reads or not call.answer else _elements(call.answer)
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

    def gap(self, dropped: int) -> bytes:
        """Write the record that stands for so many others that could not be written."""
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

    def _identity(self, call: Call, credential: bytes) -> dict[str, str]:
        if call.access_key_id is None:
            claim = _CREDENTIAL.search(credential)
            return {"type": "Unknown"} | ({"accessKeyId": claim[1].decode()} if claim else {})
        return {
            "type": "IAMUser",
            "principalId": call.access_key_id,
            "arn": f"{self._user_arn}{call.caller}",
            "accountId": self._account_id,
            "accessKeyId": call.access_key_id,
            "userName": call.caller or "",
        }

    def _resource(self, named: object) -> dict[str, str] | None:
        """The phone number or account that a call named by its id or ARN; None for anything else."""
        found = _RESOURCE.fullmatch(named.removeprefix(self._resource_arn)) if isinstance(named, str) else None
        if found is None:
            return None
        kind = found[1]
        resource = {"accountId": self._account_id, "ARN": f"{self._resource_arn}{kind}/{found[2]}"}
        return resource | ({"type": RESOURCE_TYPES[kind]} if kind in RESOURCE_TYPES else {})


def shown(document: Any, depth: int = DEEPEST) -> Any:
    """What may be seen of a document: members that are known, sensitive ones by their name only."""
    if isinstance(document, dict):
        if not depth:
            return {}
        return {
            name: HIDDEN
            if name in HIDDEN_MEMBERS
            else _scalars(value)
            if name in SHOWN_MAPS
            else shown(value, depth - 1)
            for name, value in document.items()
            if name in SHOWN_MEMBERS or name in HIDDEN_MEMBERS
        }
    if isinstance(document, list):
        return [shown(item, depth - 1) for item in document] if depth else []
    return document


def _scalars(document: Any) -> Any:
    """A map, or a list of maps, whose names are anything; values that are no scalars are left out."""
    if isinstance(document, list):
        return [_scalars(item) for item in document if isinstance(item, dict)]
    if not isinstance(document, dict):
        return document
    return {name: value for name, value in document.items() if not isinstance(value, dict | list)}


def _members(query: bytes, body: bytes) -> dict[str, Any]:
    """The members of a request, as far as they may be seen; none of a body that cannot be read."""
    members: dict[str, Any] = {}
    if query:
        members.update(parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="replace"))
    try:
        document = _decode(body) if body else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        document = {}
    if isinstance(document, dict):
        members.update(document)
    return cast("dict[str, Any]", shown(members))


def _elements(answer: bytes) -> Any:
    return _bounded(shown(_decode(answer)))


def _bounded(members: Any) -> Any:
    if not members:
        return None
    raw = _encode(members)
    if len(raw) > LARGEST_FIELD:
        return {"omitted": True, "originalSize": len(raw), "reason": f"larger than {LARGEST_FIELD} bytes"}
    return msgspec.Raw(raw)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
