"""What a message says, in a line: for lists of events. Anybody may write anything; nothing is taken for granted."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

MAX_TEXT: Final = 200
"""Characters."""
_SENDERS: Final = ("from", "from_user_id", "recipient_id", "recipient_user_id", "to", "to_user_id")
_LISTS: Final = ("messages", "message_echoes", "statuses", "calls", "errors")
_FILES: Final = ("image", "video", "audio", "document", "sticker")
# Where a text is, by the message's type.
_TEXTS: Final[Mapping[str, tuple[str, ...]]] = {
    "text": ("body",),
    "button": ("text",),
    "reaction": ("emoji",),
    "location": ("name", "address"),
    "system": ("body",),
}


@dataclass(frozen=True, slots=True)
class Summary:
    """What a list shows of an event."""

    person: str = ""
    """The other party's phone number or id."""
    name: str = ""
    """What they call themselves."""
    text: str = ""


def summary(entry: bytes) -> Summary:
    """Read an event's entry."""
    try:
        value = json.loads(entry)["changes"][0]["value"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return Summary(text=_cut(entry.decode(errors="replace")))
    members = value.get("standby", value) if isinstance(value, dict) else None
    if not isinstance(members, dict):
        return Summary()
    element = next(_elements(members), {})
    person = next((text for name in _SENDERS if (text := _text(element.get(name)))), "")
    return Summary(person, _name(members), _cut(" ".join(_said(element))))


def _elements(members: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for name in _LISTS:
        listed = members.get(name)
        if isinstance(listed, list):
            yield from (element for element in listed if isinstance(element, dict))


def _name(members: Mapping[str, Any]) -> str:
    contacts = members.get("contacts")
    first = contacts[0] if isinstance(contacts, list) and contacts else None
    profile = first.get("profile") if isinstance(first, dict) else None
    return _cut(_text(profile.get("name"))) if isinstance(profile, dict) else ""


def _said(element: Mapping[str, Any]) -> Iterator[str]:
    type_ = _text(element.get("type"))
    part = element.get(type_)
    if isinstance(part, dict):
        names = ("caption", "filename") if type_ in _FILES else _TEXTS.get(type_, ())
        yield from filter(None, (_text(part.get(name)) for name in names))
        if type_ == "interactive":
            yield from _titles(part)
    errors = element.get("errors")
    for error in errors if isinstance(errors, list) else []:
        if isinstance(error, dict):
            yield _text(error.get("title")) or _text(error.get("message"))


def _titles(part: Mapping[str, Any]) -> Iterator[str]:
    for reply in part.values():
        if isinstance(reply, dict):
            yield _text(reply.get("title")) or _text(reply.get("body"))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_TEXT else f"{line[: MAX_TEXT - 1]}…"
