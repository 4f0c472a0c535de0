"""A run over many media: each is stored, skipped or fails, and none of these stops the others.

The place says what is stored already, never Meta, which keeps ids for days only. Memory is bounded whatever the number
of ids: one file for each worker, and `MAX_KNOWN` names of stored files.

While Meta throttles an account, its media wait (`throttle`): that counts as no failure, and against no deadline but
one that was asked for.
"""

import asyncio
import math
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from whaul.bulk.bandwidth import Bandwidth, SlowSource
from whaul.bulk.media_ids import MediaIds
from whaul.bulk.names import NameTemplate
from whaul.bulk.outcomes import MAY_PASS, Outcome, Tally
from whaul.bulk.throttle import Door, Pause, StoppedError
from whaul.bulk.wanted import Wanted
from whaul.errors import (
    AccessDeniedByMetaException,
    AccessDeniedException,
    ApiError,
    DependencyException,
    ResourceNotFoundException,
    ThrottledRequestException,
    ValidationException,
)
from whaul.model import MediaInfo, PhoneNumber
from whaul.outbound.http import Body
from whaul.storage.naming import MEDIA_ID, extension
from whaul.transfer.attempts import CEILING, FIRST_CEILING, Attempts
from whaul.transfer.download import Readable, Source, Transfer

MAX_KNOWN = 100_000
"""Names of stored files that are remembered, some 20 MB; if there are more, each id is looked up in the place."""

MAX_REFUSALS = 20
"""Refusals of an account in a row after which Meta is not asked for it: Meta blocks numbers that keep failing."""
MAX_FAILURES: Mapping[type[ApiError], int] = {
    AccessDeniedException: 20,
    ThrottledRequestException: 20,
    DependencyException: 100,
}
"""Failures in a row, the last of this kind, that stop the run."""


class Place(Protocol):
    """Where files go by media id: a prefix of a bucket, or a directory."""

    async def prepare(self, *, listed: bool, written: bool = True) -> None:
        """Raise an `ApiError` if nothing can be `written` there or, if `listed`, if the place cannot be listed."""
        ...

    async def names(self, limit: int, wanted: int | None = None) -> dict[str, str] | None:
        """Return the names of the stored files by media id; None to ask `find` for each instead."""
        ...

    async def find(self, stem: str) -> str | None:
        """Return the name of the file that is `stem` and an extension, if it is stored."""
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
class Found:
    """A media with the number that it is asked for."""

    source: Source
    number: PhoneNumber
    account: Hashable
    """What Meta throttles: the media of one account wait together."""


class Run:
    """One run."""

    def __init__(
        self,
        ids: MediaIds,
        source: Callable[[Wanted], Awaitable[Found]],
        place: Place,
        *,
        extensions: Mapping[str, str],
        patience: float,
        on_outcome: Callable[[Outcome], None],
        on_pause: Callable[[Pause], None] = lambda _pause: None,
        deadline: float = math.inf,
        force: bool = False,
        dry: bool = False,
        names: NameTemplate | None = None,
        bandwidth: Bandwidth | None = None,
        max_known: int = MAX_KNOWN,
    ) -> None:
        """`source` finds who received a media, or raises an `ApiError`. `extensions` are the overrides by MIME type.

        What fails is tried again for `patience` (seconds); with `deadline` (seconds), one file takes no longer, with
        all its waits. `force` also fetches what is stored already. An id that comes twice is fetched once all the
        same. A `dry` run only says what it would store.
        """
        self.tally = Tally()
        self.stopped: str | None = None
        """Why the run ended early."""
        self._ids = ids
        self._source = source
        self._place = place
        self._extensions = extensions
        self._patience = patience
        self._deadline = deadline
        self._force = force
        self._dry = dry
        self._on_outcome = on_outcome
        self._on_pause = on_pause
        self._names = names or NameTemplate()
        self._bandwidth = bandwidth
        self._max_known = max_known
        self._known: dict[str, str] = {}
        """Names by their stems."""
        self._asks = False
        """Whether the place must be asked about a stem that is not in `_known`."""
        self._under_way: dict[str, asyncio.Event] = {}
        self._doors: dict[Hashable, Door] = {}
        self._failures = 0
        """In a row, for reasons that concern all accounts."""
        self._refusals: dict[Hashable, tuple[AccessDeniedByMetaException, int]] = {}
        """What Meta said last, and how often in a row, by account."""
        self._stopping = asyncio.Event()

    @property
    def under_way(self) -> int:
        """How many media are being fetched; those that wait for Meta are not."""
        return len(self._under_way) - sum(door.waiting for door in self._doors.values())

    @property
    def seconds_to_wait(self) -> float:
        """Seconds until Meta may be asked again, for the account that waits longest."""
        return max((door.seconds_left for door in self._doors.values()), default=0.0)

    async def run(self, concurrency: int, total: int | None) -> None:
        """Fetch every id, `concurrency` at a time. Raises an `ApiError` if the run cannot start."""
        await self._attempts().run(partial(self._place.prepare, listed=not self._force, written=not self._dry))
        if not self._force:
            names = None
            if self._names.is_default:
                names = await self._attempts().run(lambda: self._place.names(self._max_known, total))
            self._known, self._asks = names or {}, names is None
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(concurrency if total is None else min(concurrency, total)):
                    workers.create_task(self._work())
        finally:
            if not self._dry:
                try:
                    await asyncio.shield(self._place.close())
                except ApiError as error:
                    self.stop(error.message)

    def stop(self, reason: str) -> None:
        """Take no more ids, and finish those under way."""
        self.stopped = self.stopped or reason
        self._stopping.set()
        self._ids.close()

    def _attempts(self, deadline: float = math.inf) -> Attempts:
        return Attempts(deadline, patience=self._patience)

    async def _work(self) -> None:
        with suppress(StoppedError):
            while (wanted := await self._next()) is not None:
                outcome = await self._outcome(wanted)
                self.tally.count(outcome)
                self._on_outcome(outcome)
                if outcome.error is not None:
                    await self._rest(outcome.error)
                elif outcome.status == "stored":
                    self._failures = 0

    async def _next(self) -> Wanted | None:
        """Take the next; None if there are no more, or if reading fails, which stops the run."""
        try:
            return await self._ids.next()
        except OSError as error:
            self.stop(f"the ids cannot be read: {error.strerror}.")
            return None

    async def _outcome(self, wanted: Wanted) -> Outcome:
        number = wanted.number
        try:
            if wanted.problem is not None:
                raise ValidationException(wanted.problem)
            if not MEDIA_ID.fullmatch(wanted.media_id):
                raise ValidationException("A media id is 1 to 100 letters and digits.")
            found = await self._source(wanted)
            number = found.number.id
            stem = self._names.stem(wanted, found.number.meta_id)
            async with self._alone(stem):
                return await self._fetch(wanted, stem, found)
        except ApiError as error:
            return Outcome(wanted.media_id, "failed", number, error=error)

    @asynccontextmanager
    async def _alone(self, stem: str) -> AsyncGenerator[None]:
        """Let nobody else fetch the same."""
        while (other := self._under_way.get(stem)) is not None:
            await other.wait()
        done = self._under_way[stem] = asyncio.Event()
        try:
            yield
        finally:
            del self._under_way[stem]
            done.set()

    async def _fetch(self, wanted: Wanted, stem: str, found: Found) -> Outcome:
        media_id = wanted.media_id
        deadline = asyncio.get_running_loop().time() + self._deadline
        name = self._known.get(stem)
        if name is None and self._asks:
            attempts = self._attempts(deadline)
            async with attempts.bounded():
                name = await attempts.run(partial(self._place.find, stem))
        if name is not None:
            return Outcome(media_id, "skipped", found.number.id, name)
        self._check_refusals(found)
        door = self._doors.get(found.account)
        if door is None:
            door = self._doors[found.account] = Door(self._stopping, self._on_pause)
        watched = _Watched(found.source, door)
        source = watched if self._bandwidth is None else SlowSource(watched, self._bandwidth)
        while True:
            try:
                name, info = await self._store(stem, source, door, deadline)
                self._remember(stem, name)
                self._refusals.pop(found.account, None)
                return Outcome(media_id, "planned" if self._dry else "stored", found.number.id, name, info)
            except ThrottledRequestException as error:
                now = asyncio.get_running_loop().time()
                if error is not watched.throttle or now + door.seconds_left >= deadline:
                    raise  # a place throttles, too, and that is another matter
            except ResourceNotFoundException:
                self._refusals.pop(found.account, None)  # Meta answers, and lets us ask
                raise
            except AccessDeniedByMetaException as error:
                self._refuse(error, found, is_named=wanted.number is not None)
                raise

    def _check_refusals(self, found: Found) -> None:
        error, times = self._refusals.get(found.account, (None, 0))
        if error is not None and times >= MAX_REFUSALS:
            message = f"{error.message} Meta is not asked again for this account, after {times} such answers in a row."
            raise AccessDeniedByMetaException(message)

    def _refuse(self, error: AccessDeniedByMetaException, found: Found, *, is_named: bool) -> None:
        """Count what Meta refuses an account: too much stops a run about one number, or else leaves out its others."""
        times = self._refusals.get(found.account, (None, 0))[1] + 1
        self._refusals[found.account] = error, times
        if times >= MAX_REFUSALS and not is_named:
            self.stop(f"{times} ids failed in a row, the last with {error.code}: {error.message}")

    async def _store(self, stem: str, source: Source, door: Door, deadline: float) -> tuple[str, MediaInfo]:
        """Store one file, or say how that would be; what throttles it is raised at once."""
        async with door.entered(deadline):
            attempts = self._attempts(deadline)
            async with attempts.bounded():
                info = await attempts.run(source.describe)
        name = stem + extension(info.mime_type, self._extensions)
        if not self._dry:
            stored = await Transfer(source, partial(self._place.put, name), info, attempts).run()
            info = MediaInfo(info.mime_type, stored.file_size, stored.sha256, info.url)
        return name, info

    def _remember(self, stem: str, name: str) -> None:
        if len(self._known) < self._max_known:
            self._known[stem] = name
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


class _Watched:
    """A source whose door learns from each call. See `whaul.transfer.download.Source`."""

    def __init__(self, source: Source, door: Door) -> None:
        self._source = source
        self._door = door
        self.throttle: ThrottledRequestException | None = None
        """The last one."""

    async def describe(self) -> MediaInfo:
        async with self._watched():
            return await self._source.describe()

    @asynccontextmanager
    async def download(self, info: MediaInfo, ahead: int) -> AsyncGenerator[Readable]:
        async with AsyncExitStack() as stack:
            async with self._watched():  # not while the file is stored: a place may throttle, too
                download = await stack.enter_async_context(self._source.download(info, ahead))
            yield download

    @asynccontextmanager
    async def _watched(self) -> AsyncGenerator[None]:
        try:
            async with self._door.watched():
                yield
        except ThrottledRequestException as error:
            self.throttle = error
            raise
