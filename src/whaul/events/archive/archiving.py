"""The archive: files of messages into the bucket, until each is there or never will be.

    theory of operation

As in the outbox (see `outbox`), a new file comes from the inbox by hand, leased to this process, as long as there is
room in memory and nobody waits before it; the others are claimed when there is room, those first that Meta forgets
first. How one file is fetched, and why only once, is in `fetching`; whose files wait for another token, in `parking`.

A bucket that is away, and an account that Meta throttles, are left alone as a destination is that is down: one file at
a time asks, and the first that comes through makes all that wait due. Files of other accounts and buckets go on.

An outcome is written with the fence of its claim. Then it is told (`outcomes`), which may be done again by anybody: so
no process that dies leaves a file that is stored and not told.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import structlog

from whaul.events.archive.fetching import Fetching, Stored, Unstored
from whaul.events.archive.file_retries import Healths, judged
from whaul.events.archive.files import FileJob, Files, Settled, born
from whaul.events.archive.outcomes import Outcomes, PutAgain
from whaul.events.archive.parking import Parking
from whaul.events.backlog import Backlog, of_files
from whaul.events.database.columns import microseconds_now
from whaul.events.database.leases import EXTEND_AT, LEASE, MAX_TAKEOVERS, MIN_LEFT
from whaul.events.database.store import UnfitDataError
from whaul.events.observer import Observer
from whaul.events.periodic import Tasks, every, watching
from whaul.events.receiving.drafts import NewFileJob
from whaul.registry.errors import RegistryUnavailableError
from whaul.telemetry import logs
from whaul.telemetry.call import Hops

if TYPE_CHECKING:
    from whaul.telemetry.spans import Tracing

log = structlog.get_logger()

SWEEP: Final = 1.0
"""Seconds between two looks for what is due."""
EXTEND: Final = 10.0
"""Seconds between two looks for leases that are to be extended."""
CLEAN_UP: Final = 5.0
"""Seconds between two looks for what processes left that died."""
STOP: Final = 20.0
"""Seconds that transfers under way have when the process stops."""
SETTLED_DOWN: Final = 5.0
"""Seconds in which what a process sent before it ended has reached the store."""
AGAIN: Final = 1.0
"""Seconds until a database that does not answer is tried again."""
HELD: Final = 2
"""How many times its concurrency a process holds."""
_TOGETHER: Final = 0.02
"""Seconds in which outcomes are gathered."""


class Archiving:
    """Archives files, in one process; an intake for the inbox, whose lanes are accounts."""

    def __init__(
        self,
        *,
        files: Files,
        parking: Parking,
        outcomes: Outcomes,
        fetching: Fetching,
        observer: Observer,
        backlog: Backlog,
        concurrency: int,
        rng: random.Random,
        tracing: "Tracing | None" = None,
    ) -> None:
        """`concurrency` is how many files are fetched at once."""
        self._files = files
        self._parking = parking
        self._outcomes = outcomes
        self._fetching = fetching
        self._observer = observer
        self._backlog = backlog
        self._concurrency = concurrency
        self._rng = rng
        self._tracing = tracing
        self._healths = Healths(rng)
        self._queue: deque[FileJob] = deque()
        self._in_flight: dict[FileJob, asyncio.Task[None]] = {}
        self._settled: list[Settled] = []
        self._reserved = 0
        self._behind = True
        """Whether there may be files in the database that nobody holds: new ones are not to overtake them."""
        self._fetches = False
        self._settles: asyncio.Task[None] | None = None
        self._tasks = Tasks()
        self._stopping = False

    # The intake: see `Intake`.

    def reserve(self, lane: str) -> bool:
        """Keep a place for a new file; False if it would overtake others, or there is no room."""
        if self._behind or self._stopping or self._room() <= 0 or lane in self._parking.accounts:
            return False
        self._reserved += 1
        return True

    def cancel(self, _lane: str) -> None:
        """Give back a place."""
        self._reserved -= 1

    def take(self, job: NewFileJob) -> None:
        """Archive what was born leased to this process."""
        self._reserved -= 1
        file = born(job)
        if self._healths.down(file):
            self._tasks.start(self._admit([file]))
        else:
            self._queue.append(file)
            self._move()

    def wake(self, _lane: str) -> None:
        """Look for files in the database."""
        self._behind = True
        self._fetch_soon()

    # Moving: from the database to the transfer.

    def _room(self) -> int:
        return HELD * self._concurrency - len(self._queue) - len(self._in_flight) - self._reserved

    def _move(self) -> None:
        while self._queue and len(self._in_flight) < self._concurrency and not self._stopping:
            job = self._queue.popleft()
            task = asyncio.create_task(self._attempt(job))
            self._in_flight[job] = task
            task.add_done_callback(lambda _task, job=job: self._landed(job))  # type: ignore[misc]
        if self._behind:
            self._fetch_soon()

    def _landed(self, job: FileJob) -> None:
        self._in_flight.pop(job, None)
        self._move()

    def _fetch_soon(self) -> None:
        """Claim more, unless there is plenty in memory."""
        plenty = self._queue and self._room() < self._concurrency
        if not (self._fetches or plenty or self._stopping or self._room() <= 0):
            self._fetches = True
            self._tasks.start(self._fetch())

    async def _fetch(self) -> None:
        try:
            while self._behind and self._room() > 0 and not self._stopping:
                self._behind = False  # whoever puts one in the database meanwhile says so again
                room = self._room()
                self._reserved += room
                try:
                    now = asyncio.get_running_loop().time()
                    found = await self._files.claim(room, now, *self._healths.resting(now))
                finally:
                    self._reserved -= room
                self._behind = self._behind or len(found) >= room
                await self._admit(found)
        except RegistryUnavailableError:
            self._behind = True  # the next sweep tries again
        finally:
            self._fetches = False

    async def _admit(self, found: Iterable[FileJob]) -> None:
        """Take files that were claimed, of what is down one; the others are given back for a while."""
        now = asyncio.get_running_loop().time()
        asking = {key for job in (*self._queue, *self._in_flight) for key in self._healths.down(job)}
        given_back: dict[float, list[FileJob]] = {}
        for job in found:
            down = self._healths.down(job)
            if down & asking:
                given_back.setdefault(self._healths.pause(down, now), []).append(job)
                continue
            asking |= down
            if job.takeovers:
                self._observer.taken_over(1)
            self._queue.append(job)
        for wait, jobs in given_back.items():
            await self._files.release(jobs, wait)
        self._move()

    # Attempts.

    async def _attempt(self, job: FileJob) -> None:
        token, hops, started = "", Hops(), time.monotonic()
        try:
            outcome, token = await self._try(job, hops)
        except RegistryUnavailableError:
            self._settle(Settled(job, "pending", wait=AGAIN, counted=False, missing=job.missing))
            return
        except Exception as error:  # noqa: BLE001 - a defect of one file must not end the others
            log.error("a file could not be archived", error=logs.without_text(error))
            outcome = Unstored("file", f"an error of whaul's: {type(error).__name__}")
        if self._tracing is not None:
            attributes = {"whaul.media_id": job.media_id, "whaul.attempt": job.attempts + 1}
            reason = outcome.why if isinstance(outcome, Unstored) else None
            self._tracing.archive(job.arrival, hops, started, attributes, reason)
        await self._judge(job, outcome, token)

    async def _try(self, job: FileJob, hops: Hops) -> tuple[Stored | Unstored, str]:
        """Try once; return what came of it, and the token as parking names it."""
        if job.takeovers >= MAX_TAKEOVERS:
            return Unstored("permanent", f"given up: {MAX_TAKEOVERS} processes ended while they had it"), ""
        if job.revoked:
            return Unstored("permanent", "the message was revoked before its file was fetched"), ""
        if job.until - asyncio.get_running_loop().time() < MIN_LEFT and not await self._renew(job):
            return Unstored("lost", "another process has the file"), ""
        found = await self._parking.token(job.account_id)
        if found is None:
            return Unstored("refused", "The account is not linked; link it again (whaul link)."), ""
        token, name = found
        is_conditional = await self._files.is_conditional(job.place.bucket_name)
        if job.takeovers and not is_conditional:
            await asyncio.sleep(SETTLED_DOWN)
        outcome = await self._fetching.fetch(
            job.media_id,
            job.place,
            token,
            lambda: self._renew(job),
            is_conditional=is_conditional,
            is_first=job.is_first,
            hops=hops,
        )
        return outcome, name

    async def _renew(self, job: FileJob) -> bool:
        asked = asyncio.get_running_loop().time()
        if job.id not in await self._files.extend([job]):
            return False
        job.until = asked + LEASE
        return True

    async def _judge(self, job: FileJob, outcome: Stored | Unstored, token: str) -> None:
        """Decide what becomes of a file after an attempt."""
        if isinstance(outcome, Unstored) and outcome.why == "lost":
            self._observer.archived("lost")
            return
        if isinstance(outcome, Unstored) and outcome.why == "refused":
            await self._park(job, outcome, token)
            return
        is_taken = isinstance(outcome, Stored) or outcome.why != "account"
        if token and is_taken and job.account_id in self._parking.accounts:
            log.info("Meta takes the token again; the account's files go on", account=job.account_id)
            self._tasks.start(self._released(job.account_id))
        self._note(job, outcome)
        self._settle(judged(job, outcome, microseconds_now(), self._rng))

    async def _park(self, job: FileJob, outcome: Unstored, token: str) -> None:
        if job.account_id not in self._parking.accounts:
            log.error("files of an account wait for another token", account=job.account_id, reason=outcome.detail)
        with suppress(RegistryUnavailableError):  # then the next of its files parks it
            await self._parking.park(job.account_id, token, outcome.detail)
        self._settle(Settled(job, "parked", detail=outcome.detail, counted=False, missing=job.missing))

    async def _released(self, account_id: str) -> None:
        await self._parking.release(account_id)
        self.wake(account_id)

    def _note(self, job: FileJob, outcome: Stored | Unstored) -> None:
        """Learn what an outcome says of the account at Meta, and of the bucket."""
        for (column, name), change in self._healths.note(job, outcome, asyncio.get_running_loop().time()):
            if change == "down":
                log.warning("files wait, and one at a time asks", **{column: name})
            else:
                log.info("files go on", **{column: name})
                self._tasks.start(self._revive(column, name))

    async def _revive(self, column: str, name: str) -> None:
        while await self._files.revive(column, name):
            self.wake(name)

    # Outcomes, many in one transaction.

    def _settle(self, settled: Settled) -> None:
        self._settled.append(settled)
        if self._settles is None:
            self._settles = asyncio.create_task(self._settle_all())

    async def _settle_all(self) -> None:
        try:
            while self._settled:
                await asyncio.sleep(_TOGETHER)
                group = list(self._settled)
                try:
                    ours = await self._files.settle(group)
                except RegistryUnavailableError:
                    await asyncio.sleep(AGAIN)  # the leases are extended as long as they can be
                    continue
                except UnfitDataError:
                    log.error("outcomes of files could not be written", files=[each.file.id for each in group])
                    ours = set()
                del self._settled[: len(group)]
                self._tell_of(group, ours)
        finally:
            self._settles = None

    def _tell_of(self, group: Sequence[Settled], ours: Collection[str]) -> None:
        done = []
        for settled in group:
            if settled.file.id not in ours:
                self._observer.archived("lost")
                continue
            self._observer.archived("retry" if settled.state == "pending" else settled.state)
            if settled.state in {"stored", "failed"}:
                done.append(settled.file.id)
                self._backlog.remove(of_files(settled.file.account_id), settled.file.seq, settled.file.size)
        if done:
            self._tasks.start(self._tell(done))

    async def _tell(self, ids: Collection[str] | None = None) -> None:
        for number in await self._outcomes.tell(self._put_again, ids):
            self._wake_destination(number)

    # As long as it runs.

    @asynccontextmanager
    async def running(self, put_again: PutAgain, wake_destination: Callable[[int], None]) -> AsyncIterator[None]:
        """Archive. At the end, transfers under way have some time, and the rest is given back.

        `put_again` takes our own events, `wake_destination` numbers of destinations that messages are due for.
        """
        self._put_again, self._wake_destination = put_again, wake_destination
        try:
            async with watching(every(SWEEP, self.sweep), every(EXTEND, self._extend), every(CLEAN_UP, self.clean_up)):
                yield
        finally:
            self._stopping = True
            await self._end()

    async def _end(self) -> None:
        await self._tasks.end(AGAIN)
        under_way = list(self._in_flight.items())
        if under_way:
            _, late = await asyncio.wait([task for _, task in under_way], timeout=STOP)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        broken_off = [job for job, task in under_way if task.cancelled()]
        if self._settles is not None:
            await asyncio.wait({self._settles}, timeout=STOP)
        await self._tasks.end(STOP)
        with suppress(RegistryUnavailableError):  # then their leases end
            if self._queue:
                await self._files.release(self._queue)
            if broken_off:  # what was sent may be on its way
                await self._files.release(broken_off, 2 * SETTLED_DOWN)

    async def sweep(self) -> None:
        """Look for what nobody holds, and for accounts that are parked or back."""
        await self._parking.refresh(lambda: self.wake(""))
        for id_ in await self._parking.probes():
            await self._admit(await self._files.claim_one(id_, asyncio.get_running_loop().time()))
        if await self._files.is_due():
            self.wake("")

    async def clean_up(self) -> None:
        """Tell what nobody told, and look after what is parked."""
        ended = await self._parking.clean_up()
        if ended:
            await self._tell(ended)
        await self._tell()

    async def _extend(self) -> None:
        """Extend the leases of what takes long here, and let go of what is no longer ours."""
        now = asyncio.get_running_loop().time()
        everything = [*self._queue, *self._in_flight, *(settled.file for settled in self._settled)]
        held = [job for job in everything if job.until - now < EXTEND_AT]
        if not held:
            return
        ours = await self._files.extend(held)
        for job in held:
            if job.id in ours:
                job.until = now + LEASE
            elif job in self._in_flight:
                self._in_flight[job].cancel()
            else:
                with suppress(ValueError):
                    self._queue.remove(job)
