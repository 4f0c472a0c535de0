"""Where a file that is sent comes from: one GET, signed by us (`s3`) or by the caller (`presigned`)."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from whaul.errors import InvalidParametersException
from whaul.http import Download


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


def announced_size(download: Download) -> int:
    """Read the length that a store announced; raises `InvalidParametersException` when it did not."""
    text = download.header("content-length") or ""
    if not text.isdecimal() or len(text) > 15:
        raise InvalidParametersException("The store does not say how long the source is, so it cannot be uploaded.")
    return int(text)
