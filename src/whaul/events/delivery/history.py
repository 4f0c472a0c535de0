"""How destinations take events: how fast, what came back lately, and what is tried next. Only reads.

There is no index of attempts by destination or by time, which every delivery would have to pay for. So only those at
the newest events are looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from whaul.events.database.columns import moment
from whaul.events.database.store import Row, Store
from whaul.events.journal import unsealed
from whaul.events.routing import Destination
from whaul.secrets import Cipher

MAX_LOOKED_AT: Final = 20_000
"""Events, of the newest."""
SPAN: Final = 300
"""Seconds over which attempts are counted."""
DELIVERED: Final = "delivered"
# When a delivery is tried next; a conversation of an ordered destination has its turn.
_DUE: Final = "coalesce(t.due_at, d.due_at)"
_LEASED: Final = "CASE WHEN t.id IS NULL THEN d.lease_owner ELSE t.lease_owner END IS NOT NULL"
_TURN: Final = """
    LEFT JOIN conversation_turns t ON t.destination = d.destination AND t.conversation = d.conversation"""


class Pace(NamedTuple):
    """Attempts of the last `SPAN` seconds."""

    delivered: int = 0
    failed: int = 0
    last_at: datetime | None = None


class Place(NamedTuple):
    """Where a page of attempts goes on."""

    at: int
    seq: int
    number: int


@dataclass(frozen=True, slots=True)
class PastAttempt:
    """An attempt, and what it led to."""

    message_id: str
    waba_id: str
    at: datetime
    number: int
    outcome: str
    detail: str
    seconds: float
    state: str | None
    """`pending` or `dead` if this was the delivery's last attempt so far; else None."""
    next_at: datetime | None
    """When a pending one is tried again; None while it is under way."""


@dataclass(frozen=True, slots=True)
class WaitingDelivery:
    """A delivery that waits."""

    message_id: str
    waba_id: str
    since: datetime
    attempts: int
    is_replay: bool
    next_at: datetime | None
    """None while it is under way."""
    last_error: str | None


class History:
    """That of one account number. Methods raise RegistryUnavailableError."""

    def __init__(self, store: Store, cipher: Cipher, owner: str) -> None:
        self._store = store
        self._cipher = cipher
        self._owner = owner

    async def paces(self) -> Mapping[int, Pace]:
        """Count the attempts of the last minutes, by the number of the destination."""
        statement = f"""
            SELECT destination, sum(CASE WHEN outcome = '{DELIVERED}' THEN 1 ELSE 0 END), count(*), max(at)
            FROM attempts WHERE seq > $1 AND at > {self._store.now} - {SPAN * 1_000_000}
              AND destination IN (SELECT number FROM destinations WHERE owner = $2) GROUP BY destination"""
        rows = await self._store.read(statement, await self._first(), self._owner)
        return {
            number: Pace(int(delivered), count - int(delivered), moment(last_at))
            for number, delivered, count, last_at in rows
        }

    async def attempts(
        self, destination: Destination, limit: int, before: Place | None = None, *, outcome: str | None = None
    ) -> tuple[list[PastAttempt], Place | None]:
        """Read attempts at a destination, the newest first, and where the next page goes on.

        `outcome` is one of them, or `failed` for all but `delivered`.
        """
        place = before or Place(2**62, 2**62, 0)
        chosen = {None: "", "failed": f"AND a.outcome <> '{DELIVERED}'"}.get(outcome, "AND a.outcome = $6")
        statement = f"""
            SELECT e.message_id, e.waba_id, a.at, a.seq, a.number, a.outcome, a.detail, a.seconds, d.state, {_DUE},
              {_LEASED}
            FROM attempts a JOIN events e ON e.seq = a.seq
            LEFT JOIN deliveries d ON d.id = a.delivery AND d.attempts = a.number {_TURN}
            WHERE a.destination = $1 AND a.seq > $2 AND (a.at, a.seq, a.number) < ($3, $4, $5) {chosen}
            ORDER BY a.at DESC, a.seq DESC, a.number DESC LIMIT {limit + 1}"""
        parameters = (destination.number, await self._first(), *place, *([outcome] if "$6" in chosen else []))
        rows = await self._store.read(statement, *parameters)
        last = rows[limit - 1] if len(rows) > limit else None
        return [self._attempt(row) for row in rows[:limit]], None if last is None else Place(last[2], last[3], last[4])

    async def waiting(self, destination: Destination, limit: int) -> list[WaitingDelivery]:
        """Read what is tried next at a destination."""
        statement = f"""
            SELECT {_DUE} AS due, e.message_id, e.waba_id, d.created_at, d.attempts, d.replay, {_LEASED}, d.last_error
            FROM deliveries d JOIN events e ON e.seq = d.seq {_TURN}
            WHERE d.destination = $1 AND d.state = 'pending' AND d.replay = $2 ORDER BY d.due_at LIMIT {limit}"""
        rows = [
            row
            for replay in (False, True)  # as the index has it
            for row in await self._store.read(statement, destination.number, replay)
        ]
        return [self._waiting(row) for row in sorted(rows, key=lambda row: int(row[0]))[:limit]]

    async def _first(self) -> int:
        [(newest,)] = await self._store.read("SELECT coalesce(max(seq), 0) FROM events")
        return int(newest) - MAX_LOOKED_AT

    def _attempt(self, row: Row) -> PastAttempt:
        message_id, waba_id, at, _, number, outcome, detail, seconds, state, due_at, is_leased = row
        told = unsealed(self._cipher, detail) or ""
        next_at = moment(due_at) if state == "pending" and not is_leased else None
        return PastAttempt(message_id, waba_id, moment(at), number, outcome, told, seconds, state, next_at)

    def _waiting(self, row: Row) -> WaitingDelivery:
        due_at, message_id, waba_id, created_at, attempts, replay, is_leased, error = row
        next_at = None if is_leased else moment(due_at)
        told = unsealed(self._cipher, error)
        return WaitingDelivery(message_id, waba_id, moment(created_at), attempts, bool(replay), next_at, told)
