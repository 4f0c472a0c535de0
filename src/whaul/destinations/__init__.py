"""Where a file goes: one PUT, signed by us (`s3`) or by the caller (`presigned`), or one file (`directory`)."""

from typing import Protocol

from whaul.http import Body
from whaul.model import MediaInfo


class Destination(Protocol):
    """A place that takes one file, whole or not at all."""

    async def put(self, body: Body, info: MediaInfo) -> str:
        """Store `info.file_size` bytes; return the ETag that the store gave them.

        Raises an `ApiError` that says what the store answered, and whether trying again can help.
        """
        ...
