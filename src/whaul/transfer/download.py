"""The heart: one file from Meta to a place, bounded in memory and time, proven, all or nothing.

The problem: Meta states a file's length and SHA-256 before it sends the file, and what it sends may be cut short,
damaged, or an error page with status 200. A file that is not the stated one must never be visible at the store, and
a 100 MB file must not be held in memory to find out.

A small file (up to `SMALL_FILE`) is held whole, proven, and then sent. If the store fails, the same bytes are sent
again without another download.

A large file streams, so its PUT starts before the end is known. The way out: the last part is held back. A PUT
announces its Content-Length, and a store makes an object visible only when all bytes are there. So the last part is
sent only after the length and the hash of everything, that part included, are Meta's. If they are not, the PUT is
broken off, and the store drops what it has. Three details follow:

- The first part is here before the PUT starts (`FIRST_PART`), so that an error page or an empty answer costs no PUT.
- A store that answers before it has the last part is not believed, whatever it answers: it cannot have the file.
- S3's PUT also names Meta's hash as its payload hash, so that the store refuses other bytes even if all this fails.

Attempts share one deadline (`transfer.attempts`). After a failure the media id is resolved again, since a download
URL expires after minutes. The file may then have another length or hash, if Meta corrected them, but not another
MIME type: the object's key and the caller's permission depend on it.

Identical calls share a transfer (`transfer.single_flight`), which therefore outlives the call that started it and
brings a deadline of its own.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from pyreqwest.bytes import Bytes

from whaul.errors import DependencyException, Retry
from whaul.model import MediaInfo, StoredObject
from whaul.outbound.errors import HttpError
from whaul.outbound.http import READ_AHEAD, Body
from whaul.storage import Put
from whaul.telemetry.call import Hop, Hops
from whaul.transfer.attempts import Attempts

SMALL_FILE = 1024 * 1024
"""Bytes; a file of at most this size is held whole."""
FIRST_PART = 512 * 1024
"""Bytes of a larger file that are here before its PUT starts. The HTTP client gathers about 400 KiB before it sends;
with more, a PUT that is broken off has always sent a part of its body. SeaweedFS takes a PUT without Content-Type that
ends before its body for an empty object."""
PART = 256 * 1024
"""Bytes moved and hashed at a time, or half as many, or what the HTTP client has read at once: large enough to be cheap
per byte, and hashed in about 0.2 ms, which the event loop can spare."""
INLINE_HASH = 256 * 1024
"""Bytes that are hashed on the event loop; more goes to a thread."""


class Readable(Protocol):
    """A body that is read bit by bit, such as an `outbound.response.Download`."""

    async def read(self, amount: int) -> Bytes | None:
        """Read `amount` bytes, fewer only at the end; None when nothing is left."""
        ...

    async def part(self, amount: int) -> Bytes | None:
        """Read what has come, at least half of `amount` bytes; fewer only at the end, and None when nothing is left."""
        ...


class Source(Protocol):
    """A file at Meta."""

    async def describe(self) -> MediaInfo:
        """Resolve the media id, with a fresh download URL."""
        ...

    def download(self, info: MediaInfo, ahead: int) -> AbstractAsyncContextManager[Readable]:
        """Open the file at `info.url`; `ahead` bytes may come at a time before they are read."""
        ...


class Transfer:
    """One transfer, with its attempts."""

    def __init__(
        self,
        source: Source,
        put: Put,
        info: MediaInfo,
        attempts: Attempts,
        hops: Hops | None = None,
    ) -> None:
        """`info` is the source's latest description; its URL is used for the first download.

        `hops` receives those of each attempt: `get`, until the download answered (for a small file until it was here),
        and `put` (for a large file with the download beside it).
        """
        self._source = source
        self._put_file = put
        self._info = info
        self._url_is_fresh = True
        self._attempts = attempts
        self._hops = Hops() if hops is None else hops
        self._held: Bytes | None = None
        self._is_proven = False

    async def run(self) -> StoredObject:
        """Move the file before the deadline; raises an `ApiError`, and then nothing was stored."""
        async with self._attempts.bounded():
            etag = await self._attempts.run(self._attempt)
        return StoredObject(etag, self._info.sha256, self._info.file_size)

    async def _attempt(self) -> str:
        if self._held is not None:
            return await self._put(self._held)
        started, ahead = await self._begun()
        async with self._source.download(self._info, ahead) as download:
            self._hops.append(Hop("get", started, time.monotonic()))
            if self._info.file_size > SMALL_FILE:
                first = await _received(download.read(FIRST_PART))
                if len(first) < FIRST_PART:
                    _check_length(len(first), self._info)
                self._is_proven = False
                parts = self._proven([first], download)
                del first  # else it is held until the PUT is over
                etag = await self._put(parts)
                if not self._is_proven:
                    raise DependencyException("The destination answered before it had the whole file.")
                return etag
            self._held = await self._whole(download)
        return await self._put(self._held)

    async def _begun(self) -> tuple[float, int]:
        """Get a fresh URL after a failure. Return when the download begins, and how much of it may come at a time."""
        if not self._url_is_fresh:
            described = await self._source.describe()
            if described.mime_type != self._info.mime_type:
                # The key was chosen, and allowed, for the first description.
                raise DependencyException("Meta now gives the media another MIME type.", retry=Retry.NO)
            self._info = described
        self._url_is_fresh = False
        return time.monotonic(), SMALL_FILE + 1 if self._info.file_size <= SMALL_FILE else READ_AHEAD

    async def _whole(self, download: Readable) -> Bytes:
        """Read and prove a small file."""
        name, started, *_ = self._hops[-1]
        data = await _received(download.read(self._info.file_size + 1))
        _check_length(len(data), self._info)
        digest = hashlib.sha256(data) if len(data) <= INLINE_HASH else await asyncio.to_thread(hashlib.sha256, data)
        _check_digest(digest.digest(), self._info)
        self._hops[-1] = Hop(name, started, time.monotonic())
        return data

    async def _proven(self, first: list[Bytes], download: Readable) -> AsyncIterator[Bytes]:
        """Yield a large file's parts, the last one only after all of them are proven.

        The first part is yielded at once, before anything can fail; see `FIRST_PART`. It comes in a list, from which
        it is taken, so that it is not held longer than the others.
        """
        part = first.pop()
        digest = hashlib.sha256(part)
        received = len(part)
        yield part
        while part and received < self._info.file_size:
            part = await _received(download.part(PART))
            received += len(part)
            digest.update(part)
            if received < self._info.file_size:
                yield part
        received += len(await _received(download.read(1)))  # nothing, unless the file is longer than stated
        _check_length(received, self._info)
        _check_digest(digest.digest(), self._info)
        self._is_proven = True
        yield part

    async def _put(self, body: Body) -> str:
        with self._hops.timed("put"):
            return await self._put_file(body, self._info)


async def _received(reading: Awaitable[Bytes | None]) -> Bytes:
    try:
        return await reading or Bytes()
    except HttpError as error:
        raise DependencyException(f"Downloading from Meta failed: {error}.", retry=error.retry) from error


def _check_length(received: int, info: MediaInfo) -> None:
    if received != info.file_size:
        relation = "shorter" if received < info.file_size else "longer"
        message = f"The file from Meta is {relation} than Meta said; nothing was stored."
        raise DependencyException(message, retry=Retry.FEW)


def _check_digest(digest: bytes, info: MediaInfo) -> None:
    if digest != info.sha256:
        message = "The file from Meta does not have the SHA-256 that Meta said; nothing was stored."
        raise DependencyException(message, retry=Retry.FEW)
