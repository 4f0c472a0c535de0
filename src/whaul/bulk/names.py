"""The names of files: the media id and an extension, or what a template makes of what the list says.

A name is known but for its extension before Meta is asked, so that what is stored already is found by it.
"""

import re
from collections.abc import Mapping
from typing import Final

from whaul.bulk.wanted import Wanted

DEFAULT: Final = "{media}{ext}"
UNKNOWN: Final = "unknown"
"""In place of what the list does not say."""
MAX_PART: Final = 100
"""Characters of a name or a sender that are used."""
FIELDS: Final = ("media", "number", "sender", "name", "type", "yyyy", "mm", "dd", "ext")

_FIELD = re.compile(r"\{([a-z]*)\}")
_LITERAL = re.compile(r"[A-Za-z0-9._=/-]*")


class NameTemplate:
    """What files are called, such as `{yyyy}/{mm}/{sender}-{media}{ext}`."""

    def __init__(self, text: str = DEFAULT) -> None:
        """Raises ValueError, which says what is wrong with the text."""
        fields = _FIELD.findall(text)
        if unknown := set(fields) - set(FIELDS):
            raise ValueError(f"there is no {{{min(unknown)}}}; there are {', '.join(f'{{{f}}}' for f in FIELDS)}")
        if "media" not in fields or fields.count("ext") != 1 or not text.endswith("{ext}"):
            raise ValueError("it must hold {media}, so that no two files have one name, and end with {ext}")
        if not _LITERAL.fullmatch(_FIELD.sub("", text)):
            raise ValueError("use letters, digits and ._=-/ between the fields")
        if any(not part or part[0] in ".-=" for part in text.split("/")):
            raise ValueError("a folder or a name must begin with a letter, a digit or a field")
        self._text = text.removesuffix("{ext}")
        self.is_default = text == DEFAULT

    def stem(self, wanted: Wanted, number: str) -> str:
        """Return the name without its extension; `number` is Meta's id of the phone number."""
        if self.is_default:
            return wanted.media_id
        facts = _facts(wanted, number)
        return _FIELD.sub(lambda field: facts[field[1]], self._text)


def _facts(wanted: Wanted, number: str) -> Mapping[str, str]:
    day = wanted.sent_at
    name = re.sub(r"\.[A-Za-z0-9]{1,8}$", "", wanted.file_name or "")
    return {
        "media": wanted.media_id,
        "number": _part(number),
        "sender": _part(wanted.sender),
        "name": _part(name),
        "type": _part(wanted.kind),
        "yyyy": f"{day:%Y}" if day else UNKNOWN,
        "mm": f"{day:%m}" if day else UNKNOWN,
        "dd": f"{day:%d}" if day else UNKNOWN,
    }


def _part(text: str | None) -> str:
    """Make what others wrote a part of a name: no folders, nothing hidden, nothing that a shell would read."""
    part = re.sub(r"[^A-Za-z0-9._-]+", "_", text or "")[:MAX_PART]
    return part.lstrip(".-") or UNKNOWN
