"""Which files WhatsApp takes: types and sizes, as data.

https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/media
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from whaul.errors import InvalidParametersException

KIB, MIB = 1024, 1024 * 1024

MIME_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+( *;[\x20-\x7e]*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class MediaKind:
    """One row of Meta's table."""

    name: str
    max_size: int
    """Bytes."""
    types: frozenset[str]


KINDS = (
    # `audio/opus` is in none of Meta's tables, but in the list of types with which it refuses others.
    MediaKind(
        "audio file",
        16 * MIB,
        frozenset({"audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg", "audio/opus"}),
    ),
    MediaKind("image", 5 * MIB, frozenset({"image/jpeg", "image/png"})),
    MediaKind("video", 16 * MIB, frozenset({"video/mp4", "video/3gpp"})),
    MediaKind(
        "document",
        100 * MIB,
        frozenset(
            {
                "text/plain",
                "application/pdf",
                "application/msword",
                "application/vnd.ms-excel",
                "application/vnd.ms-powerpoint",
                "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
                "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
                "application/vnd.openxmlformats-officedocument.presentationml.presentation",
            }
        ),
    ),
    MediaKind("sticker", 500 * KIB, frozenset({"image/webp"})),  # a still one: 100 KiB, which only its bytes tell
)
HEADER_KINDS = (
    MediaKind("image", 5 * MIB, frozenset({"image/jpeg", "image/jpg", "image/png"})),
    MediaKind("video", 16 * MIB, frozenset({"video/mp4"})),
    MediaKind("document", 100 * MIB, frozenset({"application/pdf"})),
)
"""The same for the headers of templates. https://developers.facebook.com/docs/graph-api/guides/upload"""


def essence(mime_type: str) -> str:
    """Cut a MIME type's parameters off."""
    return mime_type.partition(";")[0].strip().lower()


def media_kind(mime_type: str | None, kinds: Sequence[MediaKind] = KINDS) -> MediaKind:
    """Find the row of a MIME type, whose parameters do not count.

    Raises `InvalidParametersException` for a type that WhatsApp does not take.
    """
    if mime_type is not None and MIME_TYPE.fullmatch(mime_type):
        for kind in kinds:
            if essence(mime_type) in kind.types:
                return kind
    known = ", ".join(sorted(name for kind in kinds for name in kind.types))
    raise InvalidParametersException(
        f"WhatsApp does not take the source's Content-Type here. Give the source its right type, one of: {known}."
    )


def check_size(kind: MediaKind, size: int) -> None:
    """Raise `InvalidParametersException` for a file that is too large for its kind, or empty."""
    if size > kind.max_size:
        article = "an" if kind.name[0] in "aeiou" else "a"
        raise InvalidParametersException(
            f"On WhatsApp, {article} {kind.name} has at most {kind.max_size} bytes; the source has {size}."
        )
    if size == 0:
        raise InvalidParametersException("The source is empty; WhatsApp takes no empty files.")
