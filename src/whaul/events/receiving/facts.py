"""What an item says about itself: who, when, which message, which files, and what makes it the same as another.

Meta leaves out what one would expect (`from`, `wa_id`, `contacts`, `metadata`), so nothing is taken for granted.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from whaul.events.model import Kind, MediaRef

_LATEST: Final = 253_402_300_800
"""Unix seconds: the year 10000, which no clock of ours can show."""
_PEOPLE: Final = frozenset(
    [
        *("wa_id", "user_id", "parent_user_id", "from", "from_user_id", "from_parent_user_id"),
        *("to", "to_user_id", "to_parent_user_id", "recipient_id", "recipient_user_id", "recipient_parent_user_id"),
        *("parent_recipient_user_id", "recipient_participant_id", "recipient_participant_user_id"),
    ]
)
"""Members that hold a person's phone number or business-scoped user id."""
# Whom an item is with: the business-scoped user id before the number, which may be missing.
# https://developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids
_FROM: Final = ("from_user_id", "user_id", "from")
_TO: Final = ("to_user_id", "user_id", "to")
_RECIPIENT: Final = ("recipient_user_id", "user_id", "recipient_id")
_OTHER_PARTY: Final[Mapping[Kind, Sequence[str]]] = {"message": _FROM, "status": _RECIPIENT, "echo": _TO}
_OUTGOING: Final = "BUSINESS_INITIATED"
_TYPES: Final[Mapping[Kind, str]] = {"message": "type", "echo": "type", "status": "status", "call": "event"}
"""The member that says an item's type."""
_MEDIA_ID: Final = re.compile(r"(?!\.+\Z)[A-Za-z0-9._~-]{1,200}")
"""Ids of Meta's are digits. What a stranger's secret has signed may be anything, and becomes a part of a URL that the
account's token goes to: one that could lead to another one names no file."""
_written = json.JSONEncoder(separators=(",", ":")).encode


class Facts(NamedTuple):
    """See `model.Item`."""

    type: str | None
    wamid: str | None
    at: int | None
    meta_phone_number_id: str | None
    display_phone_number: str | None
    conversation: str
    parties: tuple[str, ...]
    media: tuple[MediaRef, ...]
    revokes: str | None
    sameness: bytes | None
    """None when Meta gave nothing that would tell two of the kind apart."""


def of(kind: Kind, element: Any, value: Mapping[str, Any], waba_id: str) -> Facts:
    """Read an item: its element of one of the lists, or the change's whole value."""
    members = element if isinstance(element, dict) else {}
    metadata = value.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    number = _text(metadata.get("phone_number_id"))
    display = _text(metadata.get("display_phone_number")) or _text(value.get("display_phone_number"))
    listed = kind in _TYPES
    return Facts(
        type=_text(members.get(_TYPES[kind])) if listed else None,
        wamid=_text(members.get("id")) if listed else None,
        at=seconds(members.get("timestamp")),
        meta_phone_number_id=number,
        display_phone_number=re.sub(r"\D", "", display) or None if display else None,
        conversation=_conversation(kind, members, number) or waba_id,
        parties=tuple(dict.fromkeys(people(value))),
        media=tuple(_media(members) if listed else _history_media(value)),
        revokes=_revoked(kind, members) if listed else None,
        sameness=_sameness(kind, members),
    )


def people(value: Any) -> Iterator[str]:
    """Find the phone numbers and user ids of people in decoded JSON."""
    if isinstance(value, dict):
        for name, member in value.items():
            if isinstance(member, str):
                if member and name in _PEOPLE:
                    yield member
            else:
                yield from people(member)
    elif isinstance(value, list):
        for member in value:
            yield from people(member)


def seconds(value: Any) -> int | None:
    """Read a time in Unix seconds, as a number or as text; None for what is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    return value if type(value) is int and 0 <= value < _LATEST else None


def _conversation(kind: Kind, members: Mapping[str, Any], number: str | None) -> str | None:
    names = _OTHER_PARTY.get(kind, ())
    if kind == "call":
        names = _TO if members.get("direction") == _OUTGOING else _FROM
    for name in ("group_id", *names):
        party = _text(members.get(name))
        if party is not None:
            return json.dumps([number, party])
    return None


def _sameness(kind: Kind, members: Mapping[str, Any]) -> bytes | None:
    """Write what is equal in copies of an item: not its bytes, since the URL of a file differs between them."""
    id_ = _text(members.get("id"))
    if kind not in _TYPES or id_ is None:
        return None
    parts = [id_]
    if kind == "status":
        participant = members.get("recipient_participant_user_id") or members.get("recipient_participant_id")
        recipient = participant or members.get("recipient_user_id") or members.get("recipient_id")
        parts += [str(members.get("status")), str(members.get("timestamp")), str(recipient)]
    elif kind == "call":
        parts += [str(members.get("event")), str(members.get("timestamp"))]
    return _written(parts).encode()


def _revoked(kind: Kind, members: Mapping[str, Any]) -> str | None:
    """Find the message that an item takes back.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/revoke
    """
    if kind == "status":
        return _text(members.get("id")) if members.get("status") == "deleted" else None
    content = members.get("revoke") if members.get("type") == "revoke" else None
    return _text(content.get("original_message_id")) if isinstance(content, dict) else None


def _history_media(value: Mapping[str, Any]) -> Iterator[MediaRef]:
    """Find files in the threads of a history, which come in one piece."""
    for chunk in _objects(value.get("history")):
        for thread in _objects(chunk.get("threads")):
            for message in _objects(thread.get("messages")):
                yield from _media(message)


def _media(message: Mapping[str, Any]) -> Iterator[MediaRef]:
    """Find the file of a message: an object under the name of its type; an edit holds the message anew.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/edit
    """
    type_ = message.get("type")
    content = message.get(type_) if isinstance(type_, str) else None
    if not isinstance(content, dict):
        return
    if type_ == "edit":
        edited = content.get("message")
        if isinstance(edited, dict):
            outer = {name: message[name] for name in ("id", "timestamp") if name in message}
            yield from _media(edited | outer)
        return
    media_id, mime_type = content.get("id"), content.get("mime_type")
    if isinstance(media_id, str) and isinstance(mime_type, str) and _MEDIA_ID.fullmatch(media_id):
        yield MediaRef(
            media_id=media_id,
            mime_type=mime_type,
            sha256=_text(content.get("sha256")),
            message_id=_text(message.get("id")),
            message_type=str(type_),
            at=seconds(message.get("timestamp")),
        )


def _objects(value: Any) -> list[dict[str, Any]]:
    return [element for element in value if isinstance(element, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
