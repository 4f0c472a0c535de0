"""Where a file goes and where one comes from: S3 (signed by us), presigned URLs (signed by the caller), directories."""

import re
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from whaul.errors import InvalidParametersException
from whaul.model import MediaInfo
from whaul.outbound.http import Body, Download

_ENCODING = re.compile(r"[a-z0-9, -]{1,40}")


class Destination(Protocol):
    """A place that takes one file, whole or not at all."""

    async def put(self, body: Body, info: MediaInfo) -> str:
        """Store `info.file_size` bytes; return the ETag that the store gave them.

        Raises an `ApiError` that says what the store answered, and whether trying again can help.
        """
        ...


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file of which no byte has been read yet."""

    mime_type: str | None
    """With its parameters; None when the store said none."""
    size: int
    """Bytes."""
    download: Download


class Source(Protocol):
    """A place that holds one file."""

    def open(self) -> AbstractAsyncContextManager[OpenFile]:
        """Ask for the file.

        Raises an `ApiError` that says what the store answered, and whether trying again can help.
        """
        ...


def opened(mime_type: str | None, download: Download) -> OpenFile:
    """Describe a file that a store has begun to send.

    Raises `InvalidParametersException` for one of unknown length, or that is stored encoded: nothing decodes it on
    the way to WhatsApp. `aws-chunked` is how an SDK sent it once, which some stores keep.
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
