"""Where files go and come from: the operator's S3, URLs that callers presigned, and directories.

A place writes with a `put`, all or nothing, and is read with an `open`. Both raise an `ApiError` that says what the
store answered, and whether trying again can help.
"""

import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from whaul.errors import InvalidParametersException
from whaul.model import MediaInfo
from whaul.outbound.http import Body
from whaul.outbound.response import Download

_ENCODING = re.compile(r"[a-z0-9, -]{1,40}")


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file of which no byte has been read yet."""

    mime_type: str | None
    """With its parameters; None if the store names none."""
    size: int
    """Bytes."""
    download: Download


Put = Callable[[Body, MediaInfo], Awaitable[str]]
"""Stores the `file_size` bytes of a file; returns the ETag that the store gave them."""

Open = Callable[[], AbstractAsyncContextManager[OpenFile]]
"""Asks for a file."""


def opened(mime_type: str | None, download: Download) -> OpenFile:
    """Describe a file that a store has begun to send.

    Raises `InvalidParametersException` for a file of unknown length, and for one that is stored encoded: nothing on the
    way to WhatsApp decodes it. `aws-chunked` is how an SDK once sent the file; some stores keep the word.
    """
    text = download.header("content-length") or ""
    if not text.isdecimal() or len(text) > 15:
        raise InvalidParametersException("The store does not say how long the source is, so it cannot be uploaded.")
    encodings = {name.strip().lower() for name in (download.header("content-encoding") or "").split(",")}
    encoding = ", ".join(sorted(encodings - {"", "identity", "aws-chunked"}))
    if encoding:
        named = encoding if _ENCODING.fullmatch(encoding) else "of another kind"
        raise InvalidParametersException(
            f"The source is stored with Content-Encoding {named}, and would reach WhatsApp so; store it without."
        )
    return OpenFile(mime_type, int(text), download)
