"""Messages as a form has them, as Meta's API wants them. Pure.

https://developers.facebook.com/documentation/business-messaging/whatsapp/reference/whatsapp-business-phone-number/message-api
https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/overview
https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/utility-templates/location-templates
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

MEDIA: Final = ("image", "video", "audio", "document", "sticker")
KINDS: Final[Mapping[str, str]] = {
    "text": "Text",
    "template": "Template",
    **{kind: kind.capitalize() for kind in MEDIA},
    "reaction": "Reaction",
    "json": "Any message, as JSON",
}
WITH_CAPTION: Final = frozenset({"image", "video", "document"})
BUTTONS: Final[Mapping[str, str]] = {"URL": "url", "COPY_CODE": "copy_code"}
"""Buttons of a template that take a parameter, and how they are called when it is sent."""
LOCATION: Final[Mapping[str, str]] = {
    "latitude": "latitude, in degrees, such as 52.5163",
    "longitude": "longitude, in degrees, such as 13.3777",
    "name": "name of the place",
    "address": "address",
}
"""What a header with a map takes."""
_DEGREES: Final[Mapping[str, int]] = {"latitude": 90, "longitude": 180}
"""How far they go, to either side."""
_NUMBER: Final = re.compile(r"[+-]?\d{1,3}(\.\d{1,20})?", re.ASCII)
_VARIABLE: Final = re.compile(r"\{\{\s*(\w{1,64})\s*\}\}")

Given = Mapping[str, str]


class DraftError(Exception):
    """It is no message yet; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a template wants to be given."""

    name: str
    """Of the form's field."""
    label: str


@dataclass(frozen=True, slots=True)
class _Slot:
    """A component with parameters, when it is sent."""

    members: Mapping[str, Any]
    kind: str
    """`text`, `coupon_code`, `location`, or a media."""
    parameters: Sequence[tuple[Parameter, str | None]]
    """With the variable's name, if it has one; of a location, its members."""


class Template:
    """An approved template of an account, as Meta describes it."""

    def __init__(self, description: Any) -> None:
        found = description if isinstance(description, dict) else {}
        self.id = _text(found.get("id"))
        self.name = _text(found.get("name"))
        self.language = _text(found.get("language"))
        self._is_named = found.get("parameter_format") == "NAMED"
        self._components = [each for each in _list(found.get("components")) if isinstance(each, dict)]
        self._slots = [*self._read()]

    @property
    def parameters(self) -> list[Parameter]:
        """What it wants to be given, in order."""
        return [parameter for slot in self._slots for parameter, _ in slot.parameters]

    @property
    def says(self) -> str:
        """Its text, with its variables."""
        return "\n\n".join(filter(None, (_text(each.get("text")) for each in self._components)))

    @property
    def beyond(self) -> list[str]:
        """Parts whose parameters this form does not know."""
        known = {"HEADER", "BODY", "FOOTER", "BUTTONS"}
        parts = {_text(each.get("type")) for each in self._components} - known
        headers = {_text(each.get("format")) for each in self._components if each.get("type") == "HEADER"}
        return sorted(filter(None, (parts | headers) - {"TEXT", "LOCATION", *(kind.upper() for kind in MEDIA)}))

    def members(self, given: Given) -> dict[str, Any]:
        """Write it as it is sent. Raises DraftError."""
        shown: dict[str, Any] = {"name": self.name, "language": {"code": self.language}}
        components = [{**slot.members, "parameters": self._written(slot, given)} for slot in self._slots]
        return shown | ({"components": components} if components else {})

    def _read(self) -> Iterator[_Slot]:
        for component in self._components:
            type_, format_ = _text(component.get("type")), _text(component.get("format")).lower()
            if type_ == "HEADER" and format_ in MEDIA:
                parameter = Parameter("header", f"Header: {format_}, an id or a link")
                yield _Slot({"type": "header"}, format_, [(parameter, None)])
            elif type_ == "HEADER" and format_ == "location":
                members = [(Parameter(f"header-{name}", f"Header: {what}"), name) for name, what in LOCATION.items()]
                yield _Slot({"type": "header"}, format_, members)
            elif type_ in {"HEADER", "BODY"}:
                part = type_.lower()
                names = dict.fromkeys(_VARIABLE.findall(_text(component.get("text"))))
                found = [Parameter(f"{part}-{name}", f"{part.capitalize()}: {{{{{name}}}}}") for name in names]
                if found:
                    pairs = zip(found, names if self._is_named else [None] * len(found), strict=True)
                    yield _Slot({"type": part}, "text", [*pairs])
            elif type_ == "BUTTONS":
                yield from self._of_buttons(component.get("buttons"))

    @staticmethod
    def _of_buttons(buttons: Any) -> Iterator[_Slot]:
        for index, button in enumerate(_list(buttons)):
            kind = BUTTONS.get(_text(button.get("type"))) if isinstance(button, dict) else None
            if kind is None or (kind == "url" and not _VARIABLE.search(_text(button.get("url")))):
                continue
            what = "end of its address" if kind == "url" else "code"
            parameter = Parameter(f"button-{index}", f"Button “{_text(button.get('text')) or kind}”: {what}")
            members = {"type": "button", "sub_type": kind, "index": str(index)}
            yield _Slot(members, "text" if kind == "url" else "coupon_code", [(parameter, None)])

    @staticmethod
    def _written(slot: _Slot, given: Given) -> list[dict[str, Any]]:
        values = [(variable, _value(parameter, given)) for parameter, variable in slot.parameters]
        if slot.kind == "location":
            return [{"type": "location", "location": _location({str(name): value for name, value in values})}]
        if slot.kind in MEDIA:
            return [{"type": slot.kind, slot.kind: _file(value)} for _, value in values]
        return [
            {"type": slot.kind, **({} if variable is None else {"parameter_name": variable}), slot.kind: value}
            for variable, value in values
        ]


def message(kind: str, given: Given, template: Template | None = None) -> dict[str, Any]:
    """Write a message. Raises DraftError for what is not whole; the rest is Meta's to say."""
    if kind == "json":
        return _any(given.get("json", ""))
    to = given.get("to", "").strip()
    if not to:
        raise DraftError("Say to whom: a phone number with its country code.")
    written: dict[str, Any] = {"messaging_product": "whatsapp", "recipient_type": "individual", "to": to, "type": kind}
    if reply := given.get("reply_to", "").strip():
        written["context"] = {"message_id": reply}
    return written | {kind: _content(kind, given, template)}


def _content(kind: str, given: Given, template: Template | None) -> dict[str, Any]:
    if kind == "text":
        body = given.get("text", "").replace("\r\n", "\n")
        if not body.strip():
            raise DraftError("Write a text.")
        return {"body": body} | ({"preview_url": True} if given.get("preview_url") else {})
    if kind == "reaction":
        if not (to := given.get("reaction_to", "").strip()):
            raise DraftError("Say to which message: Meta's id of it, wamid.…")
        return {"message_id": to, "emoji": given.get("emoji", "").strip()}
    if kind == "template":
        if template is None:
            raise DraftError("Choose a template.")
        return template.members(given)
    written: dict[str, Any] = _file(given.get("media", ""))
    if kind in WITH_CAPTION and (caption := given.get("caption", "").strip()):
        written["caption"] = caption
    if kind == "document" and (name := given.get("filename", "").strip()):
        written["filename"] = name
    return written


def _value(parameter: Parameter, given: Given) -> str:
    value = given.get(parameter.name, "")
    if not value.strip():
        raise DraftError(f"The template wants a value: {parameter.label}.")
    return value


def _location(members: Mapping[str, str]) -> dict[str, str]:
    written = {name: value.strip() for name, value in members.items()}
    for name, limit in _DEGREES.items():
        if not _NUMBER.fullmatch(written[name]) or abs(float(written[name])) > limit:
            raise DraftError(f"Write the {name} as a number from -{limit} to {limit}, with a point: 52.5163.")
    return written


def _file(text: str) -> dict[str, Any]:
    text = text.strip()
    if not text:
        raise DraftError("Name a file: Meta's media id, or an https:// link.")
    return {"link": text} if "://" in text else {"id": text}


def _any(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        told = f": {error}" if isinstance(error, json.JSONDecodeError) else ""
        raise DraftError(f"This is not JSON{told}.") from None
    if not isinstance(found, dict):
        raise DraftError("A message is a JSON object.")
    return {"messaging_product": "whatsapp"} | found


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
