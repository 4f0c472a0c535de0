"""The inbox: webhooks into the database, before they are answered.

    theory of operation

A webhook is answered when all that it tells is durable. One transaction holds its dedupe keys, its events, their
deliveries and their files, so there is no moment in which one of them is there without the others. Webhooks that
arrive together share a transaction (`WINDOW`, `MAX_GROUP`), since a transaction costs about the same for one as for
many, most of it a wait for the disk. They share no fate: a group that the database refuses for what is in it is put
one webhook at a time, and the one that it refuses alone is kept as bytes that nobody could read.

What an event is routed by is in memory. The transaction compares its generation with the database's and puts nothing
if that has moved; then the routes are read again, and the group is routed again.

Nothing is asked of the network or of a file before the answer. If the database does not answer in time (`TIMEOUT`),
nobody knows what has become of the transaction: the webhook is refused, Meta sends it again, and its keys tell which
case it was.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain
from typing import Final, NamedTuple

import structlog

from whaul.events.backlog import of_destination, of_files
from whaul.events.database.columns import moment
from whaul.events.database.leases import LEASE
from whaul.events.database.store import Born, Group, NewEvent, Store, UnfitDataError
from whaul.events.model import Event
from whaul.events.observer import Observer
from whaul.events.receiving import items
from whaul.events.receiving.drafts import Candidate, Draft, Drafting, NewDeliveryJob, NewFileJob, Post
from whaul.events.routing import Routes, Routing
from whaul.registry.errors import RegistryUnavailableError
from whaul.telemetry import logs
from whaul.timeouts import Timeouts

log = structlog.get_logger()

WINDOW: Final = 0.002
"""Seconds that a group waits for further webhooks, if the last one was of several. One that comes alone waits for
nobody: others may come while it is put, and are the next group."""
MAX_GROUP: Final = 500
"""Webhooks in a group."""
MAX_GROUP_ITEMS: Final = 2000
"""Items in a group of more than one webhook."""
TIMEOUT: Final = 0.8
"""Seconds for a group and for the wait before it. One with more than `MANY_ITEMS` has more."""
MANY_ITEMS: Final = 500
SECONDS_AN_ITEM: Final = 0.001
"""Beyond so many."""
RETRY_AFTER: Final = 10
"""Seconds after which it is worth to try again."""
_MICROSECONDS_A_DAY: Final = 86_400_000_000
_MAX_ROUTINGS: Final = 5
"""How often a group is routed while the generation moves."""


class InboxUnavailableError(Exception):
    """The webhook was not kept, or nobody knows whether it was; its sender is to try again."""

    def __init__(self, reason: str, retry_after: int = RETRY_AFTER) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        """Seconds."""


class PutResult(NamedTuple):
    """What became of a webhook's items."""

    events: int = 0
    """New ones, the unparsed among them."""
    duplicates: int = 0
    foreign: int = 0
    """Dropped, since whoever signed may not speak for their account."""
    unparsed: int = 0


class _Waiting(NamedTuple):
    draft: Draft
    result: "asyncio.Future[PutResult]"


class Inbox:
    """Puts webhooks into the database."""

    def __init__(
        self,
        store: Store,
        routing: Routing,
        drafting: Drafting,
        *,
        process: str,
        observer: Observer | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._timeout = timeout
        self._timeouts = Timeouts()
        self._store = store
        self._routing = routing
        self._drafting = drafting
        self._process = process
        self._observer = observer
        self._waiting: deque[_Waiting] = deque()
        self._committing: asyncio.Task[None] | None = None
        self._shared = False
        """Whether the last group was of more than one webhook."""

    async def prepare(self) -> None:
        """Do now what the first webhook would wait for. Raises RegistryUnavailableError, SecretKeyError."""
        await self._drafting.hashes.load()
        await self._put([])

    async def put(self, post: Post) -> PutResult:
        """Keep a webhook; when this returns it is durable. Raises InboxUnavailableError.

        Items that its speaker may not tell are dropped, and those that are known already.
        """
        if self._drafting.backlog.is_full():
            raise InboxUnavailableError("the backlog is full")
        try:
            await self._drafting.hashes.load()
        except RegistryUnavailableError as error:
            raise InboxUnavailableError(str(error)) from error
        if len(post.items) > MANY_ITEMS:
            draft = await asyncio.to_thread(self._drafting.draft, post)
        else:
            draft = self._drafting.draft(post)
        result: asyncio.Future[PutResult] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(draft, result)
        self._waiting.append(waiting)
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_all())
        try:
            async with self._timeouts.after(self._timeout + SECONDS_AN_ITEM * max(0, len(post.items) - MANY_ITEMS)):
                return await result
        except TimeoutError:
            with suppress(ValueError):  # it is being committed
                self._waiting.remove(waiting)
            raise InboxUnavailableError("the database does not answer") from None

    async def put_again(self, posts: Sequence[tuple[Post, str]]) -> list[PutResult]:
        """Put items anew that are kept already, each with the id of its body, as they are routed now.

        Raises RegistryUnavailableError, UnfitDataError.
        """
        await self._drafting.hashes.load()
        return await self._put([self._drafting.draft(post, body_id) for post, body_id in posts])

    async def aclose(self) -> None:
        """Commit what waits."""
        while self._committing is not None:
            await asyncio.wait({self._committing})

    async def _commit_all(self) -> None:
        try:
            while self._waiting:
                if self._shared:
                    await asyncio.sleep(WINDOW)
                group = list(self._next_group())
                self._shared = len(group) > 1
                await self._commit(group)
        finally:
            self._committing = None

    def _next_group(self) -> Iterable[_Waiting]:
        room = MAX_GROUP_ITEMS
        for number in range(MAX_GROUP):
            if not self._waiting or (number and len(self._waiting[0].draft.parts) > room):
                return
            room -= len(self._waiting[0].draft.parts)
            yield self._waiting.popleft()

    async def _commit(self, group: Sequence[_Waiting]) -> None:
        """Put a group, and tell each of those who wait what became of theirs."""
        results: Sequence[PutResult | InboxUnavailableError]
        try:
            results = await self._put([waiting.draft for waiting in group])
        except UnfitDataError:
            if len(group) > 1:
                for waiting in group:
                    await self._commit([waiting])
                return
            results = [await self._unparsed(group[0].draft)]
        except RegistryUnavailableError as error:
            results = [InboxUnavailableError(str(error)) for _ in group]
        except Exception as error:  # noqa: BLE001 - those who wait must hear of it; the next group is put
            log.error("webhooks could not be kept", error=logs.without_text(error))
            results = [InboxUnavailableError(type(error).__name__) for _ in group]
        for waiting, result in zip(group, results, strict=True):
            if waiting.result.done():  # nobody waits any more
                continue
            if isinstance(result, PutResult):
                waiting.result.set_result(result)
            else:
                waiting.result.set_exception(result)

    async def _unparsed(self, draft: Draft) -> PutResult | InboxUnavailableError:
        """Keep a webhook that the database refuses as bytes."""
        post = draft.post
        unread = Post(post.body, [items.unparsed(post.body)], post.speaker, post.received_at, post.trace)
        try:
            [result] = await self._put([self._drafting.draft(unread)])
        except (UnfitDataError, RegistryUnavailableError) as error:
            return InboxUnavailableError(type(error).__name__)
        return result

    async def _put(self, drafts: Sequence[Draft]) -> list[PutResult]:
        routes = await self._routing.current()
        for _ in range(_MAX_ROUTINGS):
            routed = [list(self._drafting.route(draft, routes)) for draft in drafts]
            results = await self._put_routed(drafts, routed, routes)
            if results is not None:
                return results
            routes = await self._routing.refresh()
        raise RegistryUnavailableError

    async def _put_routed(
        self, drafts: Sequence[Draft], routed: Sequence[Sequence[Candidate]], routes: Routes
    ) -> list[PutResult] | None:
        """Put a group by these routes; None if they are no longer those of the database."""
        first: dict[bytes, Candidate] = {}
        """Of copies in this group, the first."""
        for candidates in routed:
            for candidate in candidates:
                first.setdefault(candidate.row.key, candidate)
        until = asyncio.get_running_loop().time() + LEASE
        try:
            if not first and not await self._routing.is_current():
                return None
            if first:
                born = await self._store.put(self._group(drafts, first.values(), routes))
                if born.generation != routes.generation:
                    return None
                for candidate in first.values():
                    candidate.seq = born.events.get(candidate.row.message_id)
                self._tell(first.values(), routes)
                self._hand_over(first.values(), born, until)
        finally:
            for candidate in chain.from_iterable(routed):
                if candidate.seq is None:
                    self._drafting.forget(candidate.row)
        return [_result(draft, candidates) for draft, candidates in zip(drafts, routed, strict=True)]

    def _group(self, drafts: Sequence[Draft], candidates: Iterable[Candidate], routes: Routes) -> Group:
        rows = [candidate.row for candidate in candidates]
        return Group(
            owner=self._drafting.owner,
            generation=routes.generation,
            process=self._process,
            today=max(row.received_at for row in rows) // _MICROSECONDS_A_DAY,
            bodies=[draft.body for draft in drafts if not draft.is_kept],
            events=rows,
        )

    def _tell(self, candidates: Iterable[Candidate], routes: Routes) -> None:
        """Tell of new events, and of what is given up before it is tried, since too much waits."""
        if self._observer is None:
            return
        for row in (candidate.row for candidate in candidates if candidate.seq is not None):
            self._observer.event(row.field, row.kind)
            for delivery in row.deliveries:
                if delivery.dead is not None:
                    self._observer.delivered(routes.destinations[delivery.destination].name, "dead", None)
            for file in row.files:
                if file.failed is not None:
                    self._observer.archived("failed")

    def _hand_over(self, candidates: Iterable[Candidate], born: Born, until: float) -> None:
        """Give the new jobs to those who do them, and count them."""
        for candidate in candidates:
            row, seq = candidate.row, candidate.seq
            if seq is not None and (row.deliveries or row.files):
                event = _event(candidate, seq)
                self._hand_over_deliveries(row, event, born, until)
                self._hand_over_files(row, event, born, until)
                self._drafting.backlog.add_event(seq, row.size, _waiting_jobs(row))

    def _hand_over_deliveries(self, row: NewEvent, event: Event, born: Born, until: float) -> None:
        intake, backlog = self._drafting.deliveries, self._drafting.backlog
        for delivery in row.deliveries:
            if delivery.dead is not None:
                continue
            backlog.add(of_destination(delivery.destination), row.size)
            if delivery.leased:
                id_ = born.deliveries[event.seq, delivery.destination]
                intake.take(NewDeliveryJob(id_, delivery.destination, event, until))
            elif not delivery.wait:
                intake.wake(delivery.destination)

    def _hand_over_files(self, row: NewEvent, event: Event, born: Born, until: float) -> None:
        intake, backlog = self._drafting.files, self._drafting.backlog
        for file in row.files:
            backlog.add(of_files(file.account_id), 0)
            if file.id in born.files:
                born.files.discard(file.id)  # several events of a group may name it
                intake.take(NewFileJob(file, event, until))
            elif file.leased:
                intake.cancel(file.account_id)
            else:
                intake.wake(file.account_id)


def _waiting_jobs(row: NewEvent) -> int:
    return sum(delivery.dead is None for delivery in row.deliveries) + sum(file.failed is None for file in row.files)


def _event(candidate: Candidate, seq: int) -> Event:
    item, row = candidate.item, candidate.row
    return Event(
        message_id=row.message_id,
        received_at=moment(row.received_at),
        kind=item.kind,
        type=row.type,
        field=row.field,
        waba_id=row.waba_id,
        meta_phone_number_id=row.meta_phone_number_id,
        wamid=row.wamid,
        conversation=row.conversation,
        entry=item.entry,
        seq=seq,
        account_id=row.account_id,
        arrival=row.trace,
    )


def _result(draft: Draft, candidates: Sequence[Candidate]) -> PutResult:
    new = [candidate for candidate in candidates if candidate.seq is not None]
    return PutResult(
        events=len(new),
        duplicates=len(candidates) - len(new),
        foreign=len(draft.parts) - len(candidates),
        unparsed=sum(candidate.row.state == "unparsed" for candidate in new),
    )
