"""The media in what Meta's webhooks bring: whole bodies, single messages, single media, and what carries them.

Also read are the events of AWS (`whatsAppWebhookEntry`), the envelopes of SNS and SQS, and the lines that `whaul get`
itself writes. What people wrote in a message is never read as JSON: nobody may choose by a text what is fetched.
https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages
https://docs.aws.amazon.com/social-messaging/latest/userguide/managing-event-destination-dlrs.html
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import msgspec

from whaul.bulk.wanted import MAX_TEXT, Wanted, moment

KINDS: Final = frozenset({"audio", "document", "image", "sticker", "video", "voice"})
"""The members of a message that are a media."""
CARRIERS: Final = frozenset({"whatsAppWebhookEntry", "Message", "Body"})
"""Members whose text is JSON: of AWS's event, of an SNS notification, of an SQS message."""
ANSWERS: Final = "response_json"
"""What a customer filled in, with the media of it: https://developers.facebook.com/docs/whatsapp/flows"""


@dataclass(frozen=True, slots=True)
class _Around:
    """What the objects around a media say."""

    number: str | None = None
    sender: str | None = None
    sent_at: datetime | None = None
    is_answer: bool = False
    """Whether a customer's device wrote it, which names media, but not who received them."""

    def within(self, members: Mapping[str, Any]) -> "_Around":
        if self.is_answer:
            return self
        metadata = members.get("metadata")
        named = metadata if isinstance(metadata, dict) else members
        number = _first(named, "phone_number_id", "phoneNumberId", "metaPhoneNumberId")
        sent_at = moment(_first(members, "timestamp", "sentAt"))
        return replace(
            self,
            number=number or self.number,
            sender=_first(members, "from", "from_user_id", "sender") or self.sender,
            sent_at=sent_at or self.sent_at,
        )


def media_in(document: object) -> Iterator[Wanted]:
    """Find the media in a JSON document, in their order."""
    left: list[tuple[str, Any, _Around]] = [("", document, _Around())]
    while left:
        name, value, around = left.pop()
        if isinstance(value, list):
            left += [(name, item, around) for item in reversed(value)]
        elif isinstance(value, dict):
            around = around.within(value)
            media_id = _media_id(name, value, around)
            if media_id is not None:
                yield _wanted(name, value, media_id, around)
            else:
                left += [(key, item, around) for key, item in reversed(value.items())]
        elif isinstance(value, str) and (name in CARRIERS or name == ANSWERS):
            inside = _decoded(value)
            if inside is not None:
                left.append(("", inside, replace(around, is_answer=around.is_answer or name == ANSWERS)))


def _media_id(name: str, members: Mapping[str, Any], around: _Around) -> str | None:
    has_type = _first(members, "mime_type", "mimeType") is not None
    if not around.is_answer:
        named = _first(members, "mediaId", "media_id")
        if named is not None:
            return named
        is_flat = not any(isinstance(value, dict | list) for value in members.values())
        is_record = not name and is_flat and (_first(members, "id") or "").isdigit()
        has_type = has_type or name in KINDS or is_record
    return _first(members, "id") if has_type else None


def _wanted(name: str, members: Mapping[str, Any], media_id: str, around: _Around) -> Wanted:
    return Wanted(
        media_id,
        number=around.number,
        file_name=_first(members, "filename", "file_name", "fileName", "name"),
        sender=around.sender,
        kind=name if name in KINDS else _first(members, "type"),
        sent_at=around.sent_at,
    )


def _first(members: Mapping[str, Any], *names: str) -> str | None:
    """Return the first of these members that is text or a whole number."""
    for name in names:
        value = members.get(name)
        if isinstance(value, str) and value:
            return value[:MAX_TEXT]
        if type(value) is int:
            return str(value)
    return None


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
