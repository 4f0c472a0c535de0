"""An event as its receivers get it: AWS's envelope, and the forms that are not AWS's. Pure.

https://docs.aws.amazon.com/social-messaging/latest/userguide/managing-event-destination-dlrs.html
"""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec

from whaul.arns import Arns
from whaul.events.model import Event
from whaul.events.receiving.items import OBJECT

SOURCE: Final = "whaul.social-messaging"
"""EventBridge takes no `aws.` from anybody but AWS."""
MAX_ARNS: Final = 10_000
"""ARNs of each kind that are remembered."""
_DETAIL_TYPES: Final[Mapping[str | None, str]] = {
    "sent": "WhatsApp Message Sent",
    "delivered": "WhatsApp Message Delivered",
    "read": "WhatsApp Message Read",
    "failed": "WhatsApp Message Failed",
}
_NO_XML: Final = ((b"\xef\xbf\xbe", b"\\ufffe"), (b"\xef\xbf\xbf", b"\\uffff"))
"""Characters that SQS and SNS refuse, and what JSON can have in their place."""
_RECEIVED: Final = "WhatsApp Message Received"
_OTHER: Final = "WhatsApp Unknown Notification Received"


class Detail(NamedTuple):
    """What EventBridge gets."""

    detail_type: str
    detail: bytes


class Envelopes:
    """Those of one account number in one region."""

    def __init__(self, arns: Arns) -> None:
        self._arns = arns
        # Nearly all events are of few accounts and numbers, and to derive an ARN takes as long as to write the rest.
        self._account_arn = lru_cache(MAX_ARNS)(lambda waba_id: arns.arn(arns.waba_id(waba_id)))
        self._number_arn = lru_cache(MAX_ARNS)(lambda meta_id: arns.arn(arns.phone_number_id(meta_id)))

    def aws(self, event: Event) -> bytes:
        """Write the envelope as AWS publishes it to SNS; the outcome of files, if it was waited for, comes last."""
        number = event.meta_phone_number_id
        numbers = [] if number is None else [{"metaPhoneNumberId": number, "arn": self._number_arn(number)}]
        envelope: dict[str, Any] = {
            "context": {
                "MetaWabaIds": [{"wabaId": event.waba_id, "arn": self._account_arn(event.waba_id)}],
                "MetaPhoneNumberIds": numbers,
            },
            "whatsAppWebhookEntry": event.entry.decode(),
            "aws_account_id": self._arns.account_id,
            "message_timestamp": nanoseconds(event.received_at),
            "messageId": event.message_id,
        }
        if event.outcome is not None:
            envelope["whaul"] = msgspec.Raw(event.outcome)
        written = msgspec.json.encode(envelope)
        for character, escape in _NO_XML:
            written = written.replace(character, escape)
        return written

    def eventbridge(self, event: Event) -> Detail:
        """Choose the type, and write the detail: AWS's own form where one is known, else the envelope.

        https://docs.aws.amazon.com/social-messaging/latest/userguide/monitor-event-bridge.html
        """
        if event.kind == "status" and event.type in _DETAIL_TYPES:
            return Detail(_DETAIL_TYPES[event.type], _status_detail(event))
        return Detail(_RECEIVED if event.kind == "message" else _OTHER, self.aws(event))

    def cloudevent_headers(self, event: Event) -> dict[str, str]:
        """Name an event in CloudEvents' binary mode; the body is the envelope.

        https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/http-protocol-binding.md
        """
        number = event.meta_phone_number_id
        source = self._account_arn(event.waba_id) if number is None else self._number_arn(number)
        headers = {
            "ce-specversion": "1.0",
            "ce-id": event.message_id,
            "ce-source": source,
            "ce-type": f"whaul.{event.field}.{event.kind}",
            "ce-time": nanoseconds(event.received_at),
        }
        return {name: header_value(value) for name, value in headers.items()}


def meta(event: Event) -> bytes:
    """Write a webhook's body as Meta's, with this one item."""
    return b'{"object":"%s","entry":[%s]}' % (OBJECT.encode(), event.entry)


def nanoseconds(moment: datetime) -> str:
    """Write a moment, UTC, as AWS does here: RFC 3339 with nine digits of the second."""
    return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}000Z"


def _status_detail(event: Event) -> bytes:
    """Write AWS's detail. A stranger's value may have anything in these places: what is not as expected is left out."""
    value = msgspec.json.decode(event.entry)["changes"][0]["value"]
    metadata = value.get("metadata")
    [status] = value.get("standby", value)["statuses"]
    errors = status.get("errors")
    told = [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    detail: dict[str, Any] = {
        "wabaId": event.waba_id,
        "originationPhoneNumber": _text(metadata.get("display_phone_number") if isinstance(metadata, dict) else None),
        "originationPhoneNumberId": event.meta_phone_number_id or "",
        "messageId": event.wamid or "",
        "status": event.type,
        "eventTimestamp": _text(status.get("timestamp")),
    }
    if told:
        detail["errors"] = [{name: error.get(name) for name in ("code", "title", "message")} for error in told]
    return msgspec.json.encode(detail)


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int) else ""


def header_value(text: str) -> str:
    """Percent-encode what may not be in a header as it is: all but printable ASCII, and `%` and `"` besides."""
    return quote(text, safe=" !#$&'()*+,-./:;<=>?@[\\]^_`{|}~")
