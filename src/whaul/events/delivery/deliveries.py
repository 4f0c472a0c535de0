"""Deliveries in the database: how one process claims them, and writes down what came of them."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from whaul.events.database.columns import listed, microseconds_now, moment, readable
from whaul.events.database.leases import LEASE, Jobs
from whaul.events.database.store import Row, Statement, Store, until_it_answers
from whaul.events.model import Event
from whaul.secrets import Cipher

FIRST_ATTEMPTS: Final = 10
LAST_ATTEMPTS: Final = 10
"""Of each delivery so many attempts are kept."""
MAX_DETAILS: Final = 256
"""Different details of attempts that are kept encrypted in memory, of at most a few kilobytes each."""
PAGE: Final = 500
"""Rows that are changed at a time where many are: a slice of a few milliseconds."""

COLUMNS: Final = "seq, destination, attempts, first_at, waits, replay, conversation"
_EVENT_COLUMNS: Final = (
    "seq, message_id, received_at, kind, type, field, waba_id, meta_phone_number_id, wamid, events.conversation, "
    "account_id, trace, entry"
)

Results = Callable[[Sequence[int]], Awaitable[Mapping[int, bytes]]]
"""Reads what became of the files of events, as `Event.outcome` has it."""


@dataclass(slots=True, eq=False)
class Turn:
    """A conversation of an ordered destination that is ours: see `turns`."""

    id: int
    fence: int
    destination: int
    conversation: bytes


@dataclass(slots=True, eq=False)
class Delivery:
    """A delivery that is ours."""

    id: int
    fence: int
    destination: int
    event: Event
    until: float
    """When the lease ends, by the event loop's clock."""
    attempts: int = 0
    first_at: int | None = None
    """When it was tried first, by the destination's own clock."""
    takeovers: int = 0
    replay: bool = False
    turn: Turn | None = None

    @property
    def age(self) -> float:
        """Seconds since the event came."""
        return max(0.0, microseconds_now() / 1_000_000 - self.event.received_at.timestamp())


class _Gone(NamedTuple):
    """A delivery whose event is no longer there."""

    id: int
    fence: int


class Attempt(NamedTuple):
    """What came of a delivery that is ours."""

    delivery: Delivery
    outcome: str
    """`delivered`, or why not."""
    detail: str
    at: int
    """Microseconds."""
    seconds: float
    state: str
    """`done`, `dead`, or `pending` to try again."""
    wait: float = 0.0
    """Seconds until then."""
    counted: bool = True
    """Whether it used up an attempt."""
    first_at: int | None = None


class Deliveries:
    """Those of one account number, as one process sees them."""

    def __init__(self, store: Store, cipher: Cipher, owner: str, process: str, results: Results) -> None:
        self._store = store
        self._cipher = cipher
        self._owner = owner
        self._results = results
        self._jobs = Jobs(store, "deliveries", process, counted=True)
        # Targets say the same thing again and again: "HTTP 200" of nearly every event.
        self._seal_detail = lru_cache(MAX_DETAILS)(lambda detail: cipher.seal(detail.encode(errors="replace")))
        self.readable = readable(cipher.key_ids)
        """SQL: a row that is encrypted with a key that this process does not have is left to one that does."""

    async def due(self, numbers: Collection[int]) -> set[int]:
        """Say which of these unordered destinations have a delivery that is due."""
        first = f"""(
            SELECT due_at FROM deliveries WHERE state = 'pending' AND destination = g.id AND replay = {{replay}}
              AND due_at <= {self._store.now} ORDER BY due_at LIMIT 1) IS NOT NULL"""
        statement = f"""
            SELECT id FROM {self._store.rows("$1", id="bigint")}
            WHERE {first.format(replay="false")} OR {first.format(replay="true")}"""
        [rows] = await self._store.run((statement, (listed(numbers),)))
        return {row[0] for row in rows}

    async def claim(self, number: int, limit: int, *, replay: bool, now: float) -> list[Delivery]:
        """Claim deliveries of an unordered destination that are due, the oldest first."""
        where = f"state = 'pending' AND destination = $3 AND replay = $4 AND conversation IS NULL AND {self.readable}"
        [rows] = await self._store.run(self._jobs.claim(where, "due_at", COLUMNS, limit, number, replay))
        return await self.read(rows, now)

    async def read(self, rows: Sequence[Row], now: float) -> list[Delivery]:
        """Read the events of claimed rows; deliveries of events that were removed in the meantime are removed."""
        if not rows:
            return []
        events = await until_it_answers(lambda: self._events(row[3] for row in rows))
        found = {row[0]: row for row in events}
        waiting = [row[3] for row in rows if row[7]]  # they have waited, and say on every attempt what for
        results = await until_it_answers(lambda: self._results(waiting)) if waiting else {}
        deliveries, gone = [], []
        for id_, fence, takeovers, seq, destination, attempts, first_at, _, replay, _ in sorted(rows):
            if seq not in found:
                gone.append(_Gone(id_, fence))
                continue
            event = self._event(found[seq], results.get(seq), id_, bool(replay))
            deliveries.append(
                Delivery(
                    id=id_,
                    fence=fence,
                    destination=destination,
                    event=event,
                    until=now + LEASE,
                    attempts=attempts,
                    first_at=first_at,
                    takeovers=takeovers,
                    replay=bool(replay),
                )
            )
        if gone:
            await until_it_answers(lambda: self._store.run(self._jobs.delete(gone)))
        return deliveries

    def settle(self, attempts: Sequence[Attempt]) -> list[Statement]:
        """Write down what came of deliveries. All rows together are the ids of those that were still ours."""
        kept = [attempt for attempt in attempts if attempt.counted]
        late = [attempt.delivery for attempt in kept if attempt.delivery.attempts >= FIRST_ATTEMPTS + LAST_ATTEMPTS]
        done = [attempt.delivery for attempt in attempts if attempt.state == "done"]
        others = [attempt for attempt in attempts if attempt.state != "done"]
        if kept and done and not (late or others):  # as a rule
            return self._store.together(self._record(kept), self._jobs.delete(done))
        statements = []
        if kept:
            statements.append(self._record(kept))
        if late:
            statements.append(self._forget(late))
        if done:
            statements.append(self._jobs.delete(done))
        if others:
            statements.append(self._put_off(others))
        return statements

    def extend(self, deliveries: Iterable[Delivery]) -> Statement:
        """Extend leases; the rows are the ids of those still ours."""
        return self._jobs.extend(deliveries)

    def release(self, deliveries: Iterable[Delivery]) -> Statement:
        """Give deliveries back; they are due at once."""
        return self._jobs.release(deliveries)

    async def revive(self, number: int, *, replay: bool) -> int:
        """Make some of what waits for a destination due at once, to be claimed oldest first; return how many."""
        now = self._store.now
        statement = f"""
            UPDATE deliveries SET due_at = CASE WHEN created_at < {now} THEN created_at ELSE {now} END WHERE id IN (
              SELECT id FROM deliveries WHERE state = 'pending' AND destination = $1 AND replay = $2
                AND due_at > {self._store.now} AND lease_owner IS NULL AND (NOT waits OR first_at IS NOT NULL)
              ORDER BY due_at LIMIT {PAGE} {self._store.for_update}) RETURNING id"""
        [rows] = await self._store.run((statement, (number, replay)))
        return len(rows)

    def ready(self, seqs: Iterable[int]) -> list[Statement]:
        """Make deliveries due at once that wait for the files of these events; their outcome is known."""
        waiting = f"""
            SELECT id FROM deliveries WHERE state = 'pending' AND waits AND lease_owner IS NULL
              AND seq IN (SELECT id FROM {self._store.rows("$1", id="bigint")})"""
        turns = f"""
            UPDATE conversation_turns SET due_at = {self._store.now} WHERE lease_owner IS NULL
              AND (destination, conversation) IN (
                SELECT destination, conversation FROM deliveries WHERE id IN ({waiting}))"""
        deliveries = f"UPDATE deliveries SET due_at = {self._store.now} WHERE id IN ({waiting})"
        parameters = (listed(seqs),)
        return [(deliveries, parameters), (turns, parameters)]

    async def drop(self, number: int) -> int:
        """Remove some of what a removed destination has; return how many."""
        statement = f"""
            DELETE FROM deliveries WHERE id IN (
              SELECT id FROM deliveries WHERE destination = $1 AND state IN ('pending', 'dead')
              LIMIT {PAGE} {self._store.for_update}) RETURNING id"""
        turns = "DELETE FROM conversation_turns WHERE destination = $1"
        rows, _ = await self._store.run((statement, (number,)), (turns, (number,)))
        return len(rows)

    async def _events(self, seqs: Iterable[int]) -> list[Row]:
        statement = f"""
            SELECT {_EVENT_COLUMNS} FROM events
            WHERE seq IN (SELECT id FROM {self._store.rows("$1", id="bigint")})"""
        [rows] = await self._store.run((statement, (listed(seqs),)))
        return rows

    def _event(self, row: Row, outcome: bytes | None, id_: int, replay: bool) -> Event:
        seq, message_id, received_at, kind, type_, field, waba_id, number, wamid, conversation, account_id, *rest = row
        trace, entry = rest
        return Event(
            message_id=message_id,
            received_at=moment(received_at),
            kind=kind,
            type=type_,
            field=field,
            waba_id=waba_id,
            meta_phone_number_id=number,
            wamid=wamid,
            conversation=conversation,
            entry=self._cipher.unseal(entry),
            seq=seq,
            account_id=account_id,
            outcome=outcome,
            replay=replay,
            delivery=id_,
            arrival=trace,
        )

    def _record(self, attempts: Sequence[Attempt]) -> Statement:
        """Keep attempts in the journal. One that lost its lease was made all the same; its number may be taken."""
        types = {"seq": "bigint", "destination": "bigint", "delivery": "bigint", "number": "int", "at": "bigint"}
        types |= {"outcome": "text", "seconds": "float", "key_id": "text", "detail": "text"}
        rows = [
            {
                "seq": attempt.delivery.event.seq,
                "destination": attempt.delivery.destination,
                "delivery": attempt.delivery.id,
                "number": attempt.delivery.attempts + 1,
                "at": attempt.at,
                "outcome": attempt.outcome,
                "seconds": attempt.seconds,
                "key_id": self._cipher.key_ids[0],
                "detail": self._sealed(attempt.detail),
            }
            for attempt in attempts
        ]
        names = ", ".join(types)
        statement = f"""
            INSERT INTO attempts ({names}) SELECT {names} FROM {self._store.rows("$1", **types)}
            WHERE true ON CONFLICT DO NOTHING"""
        return statement, (msgspec.json.encode(rows).decode(),)

    def _forget(self, deliveries: Iterable[Delivery]) -> Statement:
        """Remove what is neither among the first attempts of a delivery nor among its last."""
        names = "seq, destination, delivery, number"
        given = self._store.rows("$1", seq="bigint", destination="bigint", delivery="bigint", number="int")
        rows = [
            {
                "seq": delivery.event.seq,
                "destination": delivery.destination,
                "delivery": delivery.id,
                "number": delivery.attempts + 1 - LAST_ATTEMPTS,
            }
            for delivery in deliveries
        ]
        statement = f"DELETE FROM attempts WHERE ({names}) IN (SELECT {names} FROM {given})"
        return statement, (msgspec.json.encode(rows).decode(),)

    def _put_off(self, attempts: Sequence[Attempt]) -> Statement:
        """Write when deliveries are tried again, or that they are dead."""
        now = self._store.now
        assignments = f"""
            state = g.state, attempts = attempts + g.counted, takeovers = 0, lease_owner = NULL,
            due_at = {now} + g.wait, died_at = CASE WHEN g.state = 'dead' THEN {now} END,
            first_at = coalesce(deliveries.first_at, g.first_at), last_error = g.last_error"""
        rows: list[dict[str, Any]] = [
            {
                "id": attempt.delivery.id,
                "fence": attempt.delivery.fence,
                "state": attempt.state,
                "counted": int(attempt.counted),
                "wait": int(attempt.wait * 1_000_000),
                "first_at": attempt.first_at,
                "last_error": self._sealed(attempt.detail),
            }
            for attempt in attempts
        ]
        types = {"state": "text", "counted": "int", "wait": "bigint", "first_at": "bigint"}
        return self._jobs.change_each(assignments, rows, **types, last_error="text")

    def _sealed(self, detail: str) -> str | None:
        return self._seal_detail(detail) if detail else None
