"""The name of a stored object: the caller's key, the media id, and an extension for the MIME type."""

import mimetypes
import re
from collections.abc import Mapping
from functools import cache

from whaul.errors import InvalidParametersException
from whaul.outbound.netguard import has_dot_segment

MAX_KEY_LENGTH = 1024
"""Bytes of UTF-8. https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html"""

MEDIA_ID = re.compile(r"[A-Za-z0-9]{1,100}")

EXTENSIONS: Mapping[str, str] = {
    "image/jpeg": ".jpeg",
    "image/png": ".png",
    "image/webp": ".webp",
    "audio/aac": ".aac",
    "audio/amr": ".amr",
    "audio/mpeg": ".mp3",
    "audio/mp4": ".m4a",
    "audio/ogg": ".ogg",
    "video/mp4": ".mp4",
    "video/3gp": ".3gp",
    "video/3gpp": ".3gp",
    "text/plain": ".txt",
    "application/pdf": ".pdf",
    "application/msword": ".doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.ms-excel": ".xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "application/vnd.ms-powerpoint": ".ppt",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
}
"""AWS publishes `.jpeg` and `.ogg` only; the others follow its table of supported types and convention.
https://docs.aws.amazon.com/social-messaging/latest/userguide/supported-media-types.html"""


def extension(mime_type: str, overrides: Mapping[str, str]) -> str:
    """Return the extension of a MIME type, with its dot; empty if there is none."""
    essence = mime_type.partition(";")[0].strip().lower()
    for table in (overrides, EXTENSIONS):
        if essence in table:
            return table[essence]
    known = _python_types().guess_extension(essence)
    if known:
        return known
    subtype = essence.partition("/")[2]
    return f".{subtype}" if re.fullmatch(r"[a-z0-9]{1,64}", subtype) else ""


@cache
def _python_types() -> mimetypes.MimeTypes:
    """Python's own table. `mimetypes.guess_extension` adds the machine's, so that keys would differ between hosts."""
    return mimetypes.MimeTypes()


def split_name(name: str, overrides: Mapping[str, str]) -> tuple[str, str] | None:
    """Split a stored name into media id and extension; None for a name that whaul would not give."""
    media_id, dot, rest = name.partition(".")
    return (media_id, dot + rest) if is_extension(dot + rest, overrides) and MEDIA_ID.fullmatch(media_id) else None


def is_extension(text: str, overrides: Mapping[str, str]) -> bool:
    """Whether a name may end so after its media id: with nothing, or with one extension."""
    return not text or re.fullmatch(r"\.[A-Za-z0-9]+", text) is not None or text in overrides.values()


def object_key(key: str, media_id: str, extension: str, *, exact: bool) -> str:
    """Join the final object key, with nothing in between; if `exact`, it is `key` itself.

    Raises `InvalidParametersException` for a key that S3 cannot hold, or that could lead out of its prefix.
    """
    final = key if exact else f"{key}{media_id}{extension}"
    return checked_key(final)


def checked_key(key: str) -> str:
    """Return an object's key if it can be used; raises `InvalidParametersException` as `object_key` does."""
    if not key:
        raise InvalidParametersException("The object key is empty.")
    if len(key.encode()) > MAX_KEY_LENGTH:
        raise InvalidParametersException(
            f"The object key (with media id and extension) is longer than {MAX_KEY_LENGTH} bytes in UTF-8."
        )
    if has_dot_segment(key):
        raise InvalidParametersException(
            "The object key holds a '.' or '..' path segment; remove it, since stores resolve such segments."
        )
    return key
