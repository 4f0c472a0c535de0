"""The heart: one file from its source to its destination, bounded in memory and time, verified, all or nothing.

A small file is held whole, proven, and then sent; its PUT can be tried again without a second download. A large
one streams: the PUT starts once a first part is here, and the last part is held back until the length and the hash
are known to be Meta's, so that a bad file breaks the PUT off and no store ever makes it visible.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

from pyreqwest.bytes import Bytes

from whaul.errors import DependencyException, Retry
from whaul.model import MediaInfo, StoredObject
from whaul.outbound.errors import HttpError
from whaul.outbound.http import READ_AHEAD, Body, Download
from whaul.storage import Destination
from whaul.transfer.attempts import Attempts

SMALL_FILE = 1024 * 1024
"""Bytes: up to this size a file is held whole."""
FIRST_PART = 512 * 1024
"""Bytes of a larger file that are here before its PUT starts. More than the HTTP client gathers before it sends
(about 400 KiB), so that a PUT that is broken off has always sent some of its body: a PUT without
Content-Type that closes before its body began is an empty object to SeaweedFS."""
PART = 256 * 1024
"""Bytes moved and hashed at a time: large enough to be cheap for each byte, small enough to hash (about 0.2 ms)
without holding up the event loop."""
INLINE_HASH = 256 * 1024
"""Bytes that are hashed on the event loop at the most; more goes to a thread."""

T = TypeVar("T")


class Source(Protocol):
    """A file at Meta."""

    async def describe(self) -> MediaInfo:
        """Resolve the media id, with a fresh download URL."""
        ...

    def download(self, info: MediaInfo, ahead: int) -> AbstractAsyncContextManager[Download]:
        """Open the file at `info.url`; `ahead` bytes may come at a time before they are read."""
        ...


class Transfer:
    """One transfer, with its attempts."""

    def __init__(
        self,
        source: Source,
        destination: Destination,
        info: MediaInfo,
        attempts: Attempts,
        seconds: dict[str, float] | None = None,
    ) -> None:
        """`info` is what the source said last; its URL is used for the first download.

        `seconds` takes the durations of the last attempt's hops: `get`, until the download answered (a small file:
        until it was here whole), and `put` (a large file: with the download beside it).
        """
        self._source = source
        self._destination = destination
        self._info = info
        self._url_is_fresh = True
        self._attempts = attempts
        self._seconds = {} if seconds is None else seconds
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
        async with self._open() as download:
            if self._info.file_size > SMALL_FILE:
                first = await _read(download, FIRST_PART)
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

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[Download]:
        """Open the file, at a fresh URL after a failure."""
        if not self._url_is_fresh:
            described = await self._source.describe()
            if described.mime_type != self._info.mime_type:
                # The key was chosen, and allowed, for the first description.
                raise DependencyException("Meta now gives the media another MIME type.", retry=Retry.NO)
            self._info = described
        self._url_is_fresh = False
        started = time.monotonic()
        ahead = SMALL_FILE + 1 if self._info.file_size <= SMALL_FILE else READ_AHEAD
        async with self._source.download(self._info, ahead) as download:
            self._seconds["get"] = time.monotonic() - started
            yield download

    async def _whole(self, download: Download) -> Bytes:
        """Read and prove a small file."""
        started = time.monotonic()
        data = await _read(download, self._info.file_size + 1)
        _check_length(len(data), self._info)
        digest = hashlib.sha256(data) if len(data) <= INLINE_HASH else await asyncio.to_thread(hashlib.sha256, data)
        _check_digest(digest.digest(), self._info)
        self._seconds["get"] += time.monotonic() - started
        return data

    async def _proven(self, first: list[Bytes], download: Download) -> AsyncIterator[Bytes]:
        """Yield a large file's parts, the last one only when all of them are proven.

        The first part goes at once, before anything can fail; see `FIRST_PART`. It is taken out of its list, so that
        nobody holds it any longer than the others.
        """
        part = first.pop()
        digest = hashlib.sha256(part)
        received = len(part)
        yield part
        while part and received < self._info.file_size:
            part = await _read(download, PART)
            received += len(part)
            digest.update(part)
            if received < self._info.file_size:
                yield part
        received += len(await _read(download, 1))  # nothing, if Meta keeps its word
        _check_length(received, self._info)
        _check_digest(digest.digest(), self._info)
        self._is_proven = True
        yield part

    async def _put(self, body: Body) -> str:
        started = time.monotonic()
        try:
            return await self._destination.put(body, self._info)
        finally:
            self._seconds["put"] = time.monotonic() - started


async def _read(download: Download, amount: int) -> Bytes:
    try:
        return await download.read(amount) or Bytes()
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


class Flights(Generic[T]):
    """Work in flight by what it does, so that identical calls share it.

    A piece of work is a task of its own: it goes on when the call that began it, or all that wait for it, are gone.
    """

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[T]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    async def join(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Wait for the work under way for `key`, or begin it."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.get_running_loop().create_task(work())
            task.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(task)

    async def land(self) -> None:
        """Wait for all work in flight."""
        while self._tasks:
            await asyncio.wait(self._tasks.values())

    def _landed(self, key: Hashable, task: asyncio.Task[T]) -> None:
        del self._tasks[key]
        if not task.cancelled():
            task.exception()  # seen here, since every waiter may be gone
