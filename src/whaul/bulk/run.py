"""A run over many media ids: each is stored, skipped or fails, and none of these stops the others.

The place says what is stored already, never Meta, which keeps ids for days only. Memory is bounded whatever the number
of ids: one file for each worker, and `MAX_KNOWN` names of stored files.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol

from whaul.bulk.media_ids import MediaIds
from whaul.errors import (
    AccessDeniedByMetaException,
    AccessDeniedException,
    ApiError,
    DependencyException,
    ResourceNotFoundException,
    ThrottledRequestException,
    ValidationException,
)
from whaul.model import MediaInfo
from whaul.outbound.http import Body
from whaul.storage.naming import MEDIA_ID, extension
from whaul.transfer.attempts import CEILING, FIRST_CEILING, Attempts
from whaul.transfer.download import Source, Transfer

MAX_KNOWN = 100_000
"""Names of stored files that are remembered, some 20 MB; if there are more, each id is looked up in the place."""

MAX_FAILURES: Mapping[type[ApiError], int] = {
    AccessDeniedByMetaException: 20,
    AccessDeniedException: 20,
    ThrottledRequestException: 20,
    DependencyException: 100,
}
"""Failures in a row, the last of this kind, that stop the run: Meta blocks numbers that keep failing."""
MAY_PASS = (ThrottledRequestException, DependencyException)


class Place(Protocol):
    """Where files go by media id: a prefix of a bucket, or a directory."""

    async def prepare(self, *, listed: bool) -> None:
        """Raise an `ApiError` if nothing can be stored there or, if `listed`, if the place cannot be listed."""
        ...

    async def names(self, limit: int, wanted: int | None = None) -> dict[str, str] | None:
        """Return the names of the stored files by media id; None to ask `find` for each instead."""
        ...

    async def find(self, media_id: str) -> str | None:
        """Return the name of a media id's file, if it is stored."""
        ...

    async def put(self, name: str, body: Body, info: MediaInfo) -> str:
        """Store the file of that name; see `storage.Put`."""
        ...

    def location(self, name: str) -> dict[str, str]:
        """Where the file is, for people and programs."""
        ...

    async def close(self) -> None:
        """Make what was stored last."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome for one id."""

    media_id: str
    status: Literal["stored", "skipped", "failed"]
    name: str | None = None
    """The file's name; None after a failure."""
    info: MediaInfo | None = None
    """What was stored."""
    error: ApiError | None = None

    @property
    def may_pass(self) -> bool:
        """Whether another run may succeed."""
        return isinstance(self.error, MAY_PASS)


@dataclass(slots=True)
class Tally:
    """The outcomes so far, counted."""

    stored: int = 0
    skipped: int = 0
    failed: int = 0
    bytes: int = 0
    """Of the files that were stored."""
    errors: Counter[str] = field(default_factory=Counter)
    """Failures by error code."""

    @property
    def done(self) -> int:
        """Ids whose outcome is known."""
        return self.stored + self.skipped + self.failed

    def count(self, outcome: Outcome) -> None:
        """Add one."""
        if outcome.status == "stored":
            self.stored += 1
            self.bytes += outcome.info.file_size if outcome.info else 0
        elif outcome.status == "skipped":
            self.skipped += 1
        else:
            self.failed += 1
            self.errors[outcome.error.code if outcome.error else ""] += 1


class Run:
    """One run."""

    def __init__(
        self,
        ids: MediaIds,
        source: Callable[[str], Source],
        place: Place,
        *,
        extensions: Mapping[str, str],
        deadline: float,
        force: bool,
        on_outcome: Callable[[Outcome], None],
        max_known: int = MAX_KNOWN,
    ) -> None:
        """`extensions` are the overrides by MIME type; `deadline` is in seconds, for one file.

        `force` also fetches what is stored already. An id that comes twice is fetched once all the same.
        """
        self.tally = Tally()
        self.stopped: str | None = None
        """Why the run ended early."""
        self._ids = ids
        self._source = source
        self._place = place
        self._extensions = extensions
        self._deadline = deadline
        self._force = force
        self._on_outcome = on_outcome
        self._max_known = max_known
        self._known: dict[str, str] = {}
        self._asks = False
        """Whether the place must be asked about an id that is not in `_known`."""
        self._under_way: dict[str, asyncio.Event] = {}
        self._failures = 0
        """In a row."""
        self._stopping = asyncio.Event()

    async def run(self, concurrency: int, total: int | None) -> None:
        """Fetch every id, `concurrency` at a time. Raises an `ApiError` if the run cannot start."""
        await self._attempts().run(partial(self._place.prepare, listed=not self._force))
        if not self._force:
            names = await self._attempts().run(lambda: self._place.names(self._max_known, total))
            self._known, self._asks = names or {}, names is None
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(concurrency if total is None else min(concurrency, total)):
                    workers.create_task(self._work())
        finally:
            try:
                await asyncio.shield(self._place.close())
            except ApiError as error:
                self.stop(error.message)

    def stop(self, reason: str) -> None:
        """Take no more ids, and finish those under way."""
        self.stopped = self.stopped or reason
        self._stopping.set()
        self._ids.close()

    def _attempts(self) -> Attempts:
        return Attempts(asyncio.get_running_loop().time() + self._deadline)

    async def _work(self) -> None:
        while (media_id := await self._next()) is not None:
            while (other := self._under_way.get(media_id)) is not None:
                await other.wait()
            done = self._under_way[media_id] = asyncio.Event()
            try:
                outcome = await self._outcome(media_id)
            finally:
                del self._under_way[media_id]
                done.set()
            self.tally.count(outcome)
            self._on_outcome(outcome)
            if outcome.error is not None:
                await self._rest(outcome.error)
            elif outcome.status == "stored":
                self._failures = 0

    async def _next(self) -> str | None:
        """Take the next id; None if there are no more, or if reading fails, which stops the run."""
        try:
            return await self._ids.next()
        except OSError as error:
            self.stop(f"the ids cannot be read: {error.strerror}.")
            return None

    async def _outcome(self, media_id: str) -> Outcome:
        try:
            return await self._fetch(media_id)
        except ApiError as error:
            return Outcome(media_id, "failed", error=error)

    async def _fetch(self, media_id: str) -> Outcome:
        if not MEDIA_ID.fullmatch(media_id):
            raise ValidationException("A media id is 1 to 100 letters and digits.")
        attempts = self._attempts()
        source = self._source(media_id)
        async with attempts.bounded():
            name = self._known.get(media_id)
            if name is None and self._asks:
                name = await attempts.run(partial(self._place.find, media_id))
            if name is not None:
                return Outcome(media_id, "skipped", name)
            info = await attempts.run(source.describe)
        name = media_id + extension(info.mime_type, self._extensions)
        stored = await Transfer(source, partial(self._place.put, name), info, attempts).run()
        self._remember(media_id, name)
        return Outcome(media_id, "stored", name, MediaInfo(info.mime_type, stored.file_size, stored.sha256, info.url))

    def _remember(self, media_id: str, name: str) -> None:
        if len(self._known) < self._max_known:
            self._known[media_id] = name
        else:
            self._asks = not self._force

    async def _rest(self, error: ApiError) -> None:
        """After a failure that is not about this media alone: stop if there were too many in a row, else wait."""
        max_failures = MAX_FAILURES.get(type(error))
        if max_failures is None:
            if isinstance(error, ResourceNotFoundException):  # Meta answers, and lets us ask
                self._failures = 0
            return
        self._failures += 1
        if self._failures >= max_failures:
            self.stop(f"{self._failures} ids failed in a row, the last with {error.code}: {error.message}")
        elif isinstance(error, MAY_PASS):
            ceiling = min(CEILING, FIRST_CEILING * 2 ** min(self._failures, 10))
            with suppress(TimeoutError):
                async with asyncio.timeout(random.uniform(0.0, ceiling)):  # noqa: S311 - a pause, no secret
                    await self._stopping.wait()
