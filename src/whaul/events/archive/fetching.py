"""One file from Meta into its archive: proven, whole or not at all, and once.

    theory of operation

The bytes move as for GetWhatsAppMessageMedia (`transfer.download`). What is added is that a file leaves one version of
one object, whatever process dies when:

- A store that honours `If-None-Match: *` takes the second PUT of a key for none. Two processes may then try at once.
- Any other store takes it. There a HEAD looks for the object first, and the last bytes of a PUT leave only within
  `CONFIRMED` seconds of a renewal of the job's lease that the database has confirmed. A lease lasts far longer: whoever
  takes the job over finds what came of the PUT. What remains is a process that freezes between the renewal and the
  send, and wakes after its lease.

Each object carries its hash (`SHA256_METADATA`). One that has none, put there by somebody else, is read. One with
another hash is never overwritten.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from pyreqwest.bytes import Bytes

from whaul.errors import (
    AccessDeniedByMetaException,
    AccessDeniedException,
    ApiError,
    DependencyException,
    InvalidParametersException,
    ResourceNotFoundException,
    Retry,
)
from whaul.graph.client import GraphClient
from whaul.graph.media import MediaSource
from whaul.model import GraphToken, MediaInfo, S3File
from whaul.outbound.errors import HttpError
from whaul.outbound.http import Body
from whaul.storage.s3 import SHA256_METADATA, ObjectExistsError, S3Store
from whaul.telemetry.call import Hops
from whaul.transfer.attempts import Attempts
from whaul.transfer.download import PART, Transfer
from whaul.transfer.slots import TransferSlots

PATIENCE: Final = 5.0
"""Seconds from the first failure for which an attempt goes on by itself; then the file waits for the next one."""
CONFIRMED: Final = 5.0
"""Seconds after a renewal of the lease in which the last bytes of a PUT may leave."""
KEY_TAKEN: Final = "key taken"

Renew = Callable[[], Awaitable[bool]]
"""Renews the lease of a job in the database; False if it is no longer ours."""


class Stored(NamedTuple):
    """The object is there."""

    etag: str
    sha256: bytes
    size: int


class Unstored(NamedTuple):
    """The object is not there."""

    why: Literal["permanent", "missing", "refused", "account", "bucket", "file", "lost"]
    """`permanent`: it never will be. `missing`: Meta says that there is no such id. `refused`: Meta refuses the token.
    `account`, `bucket`, `file`: what is to blame for a failure that may pass. `lost`: the job is no longer ours."""
    detail: str
    retry_after: float | None = None
    """Seconds that the far side asks to wait."""


class _LostError(Exception):
    """The lease is no longer ours, so nothing may be put."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetching:
    """Fetches files with the means of this process."""

    graph: GraphClient
    store: S3Store
    slots: TransferSlots
    deadline: float
    """Seconds for one attempt."""
    max_file_size: int
    """Bytes."""
    patience: float = PATIENCE
    """Seconds; see there."""

    async def fetch(
        self,
        media_id: str,
        place: S3File,
        token: GraphToken,
        renew: Renew,
        *,
        is_conditional: bool,
        is_first: bool,
        hops: Hops | None = None,
    ) -> Stored | Unstored:
        """Try once. `is_conditional` says whether the store honours `If-None-Match`; `is_first`, that nobody tried.

        `hops` receives `describe` and those of the transfer.
        """
        hops = Hops() if hops is None else hops
        async with self.slots.quiet_slot():
            attempts = Attempts(asyncio.get_running_loop().time() + self.deadline, patience=self.patience, hops=hops)
            source = MediaSource(self.graph, token, media_id, self.max_file_size)
            try:
                with hops.timed("describe"):
                    async with attempts.bounded():
                        info = await attempts.run(source.describe)
            except ApiError as error:
                return _undescribed(error)
            put = _Put(self.store, place, renew, is_conditional=is_conditional)
            try:
                async with attempts.bounded():
                    if not (is_conditional and is_first):
                        found = await attempts.run(lambda: self._found(place, info))
                        if found is not None:
                            return found
                    stored = await Transfer(source, put, info, attempts, hops).run()
            except ObjectExistsError:
                return await self._taken(place, info, attempts)
            except _LostError:
                return Unstored("lost", "another process has the file")
            except ApiError as error:
                return _failed(error, by_source=put.source_failed)
            return Stored(stored.etag, stored.sha256, stored.file_size)

    async def _taken(self, place: S3File, info: MediaInfo, attempts: Attempts) -> Stored | Unstored:
        """Say what is under a key at which there is something."""
        try:
            async with attempts.bounded():
                found = await attempts.run(lambda: self._found(place, info))
        except ApiError as error:
            return _failed(error, by_source=False)
        return found or Unstored("bucket", "The store says that there is an object, and then that there is none.")

    async def _found(self, place: S3File, info: MediaInfo) -> Stored | Unstored | None:
        """Look whether the object is there already; None if nothing is."""
        facts = await self.store.head(place)
        if facts is None:
            return None
        is_same = facts.size == info.file_size and (
            facts.sha256 == info.sha256.hex() if facts.sha256 is not None else await self._digest(place) == info.sha256
        )
        return Stored(facts.etag, info.sha256, info.file_size) if is_same else Unstored("permanent", KEY_TAKEN)

    async def _digest(self, place: S3File) -> bytes:
        digest = hashlib.sha256()
        try:
            async with self.store.open(place) as opened:
                while part := await opened.download.read(PART):
                    digest.update(part)
        except HttpError as error:
            raise DependencyException(f"The GET from S3 failed: {error}.", retry=error.retry) from error
        return digest.digest()


class _Put:
    """Puts a file under its key, unless something is there; see `storage.Put`."""

    def __init__(self, store: S3Store, place: S3File, renew: Renew, *, is_conditional: bool) -> None:
        self._store = store
        self._place = place
        self._renew = renew
        self._is_conditional = is_conditional
        self.source_failed = True
        """Whether the last failure was before or within the body, and not the store's."""

    async def __call__(self, body: Body, info: MediaInfo) -> str:
        headers = {SHA256_METADATA: info.sha256.hex()}
        self.source_failed = False
        if self._is_conditional:
            headers["if-none-match"] = "*"
        if not self._is_conditional and not info.file_size:
            await self._confirm()
        elif not self._is_conditional or isinstance(body, AsyncIterator):
            body = self._watched(body, info.file_size)
        etag = await self._store.put(self._place, body, info, headers)
        self.source_failed = True
        return etag

    async def _watched(self, body: Body, size: int) -> AsyncIterator[Bytes]:
        """Yield the parts; without a condition the last one only if the lease was renewed just now."""
        sent = 0
        try:
            async for part in _parts(body):
                sent += len(part)
                if sent >= size and not self._is_conditional:
                    await self._confirm()
                yield part
        except ApiError:
            self.source_failed = True
            raise

    async def _confirm(self) -> None:
        clock = asyncio.get_running_loop().time
        asked = clock()
        if not await self._renew() or clock() - asked > CONFIRMED:
            raise _LostError


async def _parts(body: Body) -> AsyncIterator[Bytes]:
    if isinstance(body, AsyncIterator):
        async for part in body:
            yield part
    else:
        yield Bytes(body)


def _undescribed(error: ApiError) -> Unstored:
    if isinstance(error, ResourceNotFoundException):
        return Unstored("missing", error.message)
    if isinstance(error, InvalidParametersException):  # too large, or Meta could not take it from its sender
        return Unstored("permanent", error.message)
    if isinstance(error, AccessDeniedByMetaException):
        return Unstored("refused", error.message)
    return Unstored("account", error.message, error.retry_after)


def _failed(error: ApiError, *, by_source: bool) -> Unstored:
    """Say what is to blame: a file that comes damaged says nothing about others, and a store that is away does."""
    if by_source:
        why: Literal["account", "file"] = "account" if error.retry is Retry.YES else "file"
        return Unstored(why, error.message, error.retry_after)
    of_all = error.retry is Retry.YES or isinstance(error, AccessDeniedException | ResourceNotFoundException)
    return Unstored("bucket" if of_all else "file", error.message, error.retry_after)
