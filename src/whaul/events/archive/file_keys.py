"""The key of an archived file: the archive's template, filled in. Pure."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from whaul.errors import InvalidParametersException
from whaul.events.model import Item, MediaRef
from whaul.events.routing import Archive
from whaul.storage.naming import checked_key, extension

DEFAULT_TEMPLATE: Final = "{media}{ext}"
MEMBERS: Final = frozenset(["media", "ext", "waba", "number", "wamid", "type", "yyyy", "mm", "dd"])
_MEMBER: Final = re.compile(r"\{([^{}]*)\}")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]")
_LONGEST_ID: Final = 200
"""Characters. Two files of one account cannot share so much of an id of Meta's and differ behind it."""


def check_template(prefix: str, template: str) -> None:
    """Raise ValueError, which says what is wrong, for a template of which no key can be made."""
    members = set(_MEMBER.findall(template))
    if unknown := members - MEMBERS:
        names = ", ".join(f"{{{name}}}" for name in sorted(MEMBERS))
        raise ValueError(f"the key's template has {{{min(unknown)}}}; known are {names}")
    if not members & {"media", "wamid"}:
        raise ValueError("the key's template must hold {media} or {wamid}, or files would share a key")
    if "{" in (rest := _MEMBER.sub("", template)) or "}" in rest:
        raise ValueError("the key's template has a brace without its partner")
    try:
        checked_key(prefix + _MEMBER.sub("0", template))
    except InvalidParametersException as error:
        raise ValueError(str(error)) from None


def file_key(
    archive: Archive, item: Item, media: MediaRef, received_at: datetime, extensions: Mapping[str, str]
) -> str:
    """Fill in an archive's template. Days are those of the message, in UTC; else of its arrival."""
    at = media.at if media.at is not None else item.at
    day = received_at if at is None else datetime.fromtimestamp(at, UTC)
    values = {
        "media": _safe(media.media_id),
        "waba": _safe(item.waba_id),
        "number": _safe(item.meta_phone_number_id or ""),
        "wamid": _safe(media.message_id or item.wamid or media.media_id),
        "type": _safe(media.message_type),
        "ext": extension(media.mime_type, extensions),
        "yyyy": f"{day:%Y}",
        "mm": f"{day:%m}",
        "dd": f"{day:%d}",
    }
    return archive.prefix + _MEMBER.sub(lambda found: values[found[1]], archive.key)


def _safe(id_: str) -> str:
    """Write an id so that it is one segment of a key, and not the one that leads out of it."""
    text = _UNSAFE.sub("_", id_)[:_LONGEST_ID]
    return "_" * len(text) if set(text) <= {"."} else text
