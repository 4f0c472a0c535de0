"""The other way: one file from its source to Meta, bounded in memory and time, and checked before it moves.

Parts are sent as they come, and reading waits for sending. If the source breaks off or ends early, so does the upload,
before its last byte: Meta never takes a part for the whole.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

from pyreqwest.bytes import Bytes

from whaul.errors import DependencyException, InvalidParametersException
from whaul.graph.media_types import KINDS, MediaKind, check_size, media_kind
from whaul.outbound.errors import HttpError
from whaul.outbound.response import Download
from whaul.storage import Open, OpenFile
from whaul.telemetry.call import Hops
from whaul.transfer.attempts import Attempts

PART = 128 * 1024
"""Bytes moved at a time."""

Take = Callable[[str, int, AsyncGenerator[Bytes]], Awaitable[str]]
"""Sends a file (its MIME type, size and bytes) to Meta; returns the id that Meta gives it."""


class Upload:
    """One upload, with its attempts."""

    def __init__(
        self,
        source: Open,
        take: Take,
        max_file_size: int,
        attempts: Attempts,
        hops: Hops,
        *,
        kinds: Sequence[MediaKind] = KINDS,
    ) -> None:
        """`hops` receives those of each attempt: `open` at the source, until it answered, and `upload`.

        `kinds` are the files that Meta takes here.
        """
        self._open = source
        self._take = take
        self._max_file_size = max_file_size
        self._attempts = attempts
        self._hops = hops
        self._kinds = kinds
        self.size = 0
        """Bytes of the file, once it is open."""

    async def run(self) -> str:
        """Move the file; return Meta's id of it. Raises an `ApiError`; then Meta has no file."""
        return await self._attempts.run(self._attempt)

    async def _attempt(self) -> str:
        async with AsyncExitStack() as stack:
            with self._hops.timed("open"):
                file = await stack.enter_async_context(self._open())
            mime_type = self._checked(file)
            parts = _parts(file.download, file.size)
            with self._hops.timed("upload"):
                try:
                    return await self._take(mime_type, file.size, parts)
                finally:
                    await parts.aclose()

    def _checked(self, file: OpenFile) -> str:
        """Refuse what Meta would refuse, before any byte is moved."""
        check_size(media_kind(file.mime_type, self._kinds), file.size)
        if file.size > self._max_file_size:
            raise InvalidParametersException(
                f"The source has {file.size} bytes; this server uploads at most {self._max_file_size} "
                "(WHAUL_MAX_FILE_SIZE)."
            )
        self.size = file.size
        return file.mime_type or ""


async def _parts(download: Download, size: int) -> AsyncGenerator[Bytes]:
    left = size
    while left:
        try:
            part = await download.read(min(PART, left))
        except HttpError as error:
            raise DependencyException(f"Reading the source failed: {error}.", retry=error.retry) from error
        if not part:
            raise DependencyException("The source ended before its announced length; nothing was uploaded.")
        left -= len(part)
        yield part
