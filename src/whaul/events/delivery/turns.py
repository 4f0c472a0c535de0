"""The turns of conversations: what keeps the deliveries of an ordered destination in order.

    theory of operation

A conversation that waits at an ordered destination has one row here, a job like any other. Only who holds it delivers
for the conversation: the oldest delivery, then the next one after that one's outcome is committed, until none is left
and the row goes. A delivery that is to be tried again holds up those behind it, so its moment is the turn's.

Whoever makes a delivery makes the turn in the same transaction, or locks the one that is there. And whoever holds the
turn looks for its next delivery with that row locked. So one of the two comes first: either the new delivery is seen,
or the turn is gone and made anew.

Two processes that believe to hold a turn are told apart by its fence, and by that of the delivery, which is claimed
with it; an attempt ends before its lease does.
"""

from collections.abc import Collection, Sequence
from typing import Final

from whaul.events.database.columns import listed
from whaul.events.database.leases import Jobs, ids
from whaul.events.database.store import Row, Statement, Store, until_it_answers
from whaul.events.delivery.deliveries import COLUMNS, PAGE, Deliveries, Delivery, Turn

_SAME: Final = """
    d.state = 'pending' AND d.destination = conversation_turns.destination
    AND d.conversation = conversation_turns.conversation"""


class Turns:
    """Those of one account number, as one process sees them."""

    def __init__(self, store: Store, deliveries: Deliveries, process: str) -> None:
        self._store = store
        self._deliveries = deliveries
        self._process = process
        self._jobs = Jobs(store, "conversation_turns", process, counted=False)

    async def due(self, numbers: Collection[int]) -> set[int]:
        """Say which of these destinations have a turn that is due."""
        given = self._store.rows("$1", id="bigint")
        waits = f"SELECT 1 FROM conversation_turns WHERE destination = g.id AND due_at <= {self._store.now}"
        [rows] = await self._store.run((f"SELECT id FROM {given} WHERE EXISTS ({waits})", (listed(numbers),)))
        return {row[0] for row in rows}

    async def claim(self, number: int, limit: int, now: float) -> list[Delivery]:
        """Claim conversations that are due, and the oldest delivery of each."""
        claim = self._jobs.claim("destination = $3", "due_at", "destination, conversation", limit, number)
        [rows] = await self._store.run(claim)
        turns = [Turn(id_, fence, destination, conversation) for id_, fence, _, destination, conversation in rows]
        if not turns:
            return []
        # As a rule each has a delivery that is due: then there is no more to be done about the turns.
        _, claimed = await until_it_answers(lambda: self._store.run(self._locked(turns), self._claim_oldest(turns)))
        deliveries = await self._read(turns, claimed, now)
        held = {id(delivery.turn) for delivery in deliveries}
        others = [turn for turn in turns if id(turn) not in held]
        if others:
            results = await until_it_answers(lambda: self._store.run(*self.advance(others)))
            deliveries += await self.advanced(others, results, now)
        return deliveries

    def advance(self, turns: Sequence[Turn]) -> list[Statement]:
        """Go on to the next delivery of conversations that are ours; one without any is over.

        `advanced` reads the rows.
        """
        claimed = f"EXISTS (SELECT 1 FROM deliveries d WHERE {_SAME} AND d.lease_owner = '{self._process}')"
        due_at = f"(SELECT d.due_at FROM deliveries d WHERE {_SAME} ORDER BY d.id LIMIT 1)"
        return [
            *([self._locked(turns)] if len(turns) > 1 else []),
            self._jobs.extend(turns),
            self._jobs.delete(turns, f"NOT EXISTS (SELECT 1 FROM deliveries d WHERE {_SAME})"),
            self._claim_oldest(turns),
            self._jobs.change(f"due_at = {due_at}, lease_owner = NULL", turns, f"NOT {claimed}"),
        ]

    async def advanced(self, turns: Sequence[Turn], results: Sequence[Sequence[Row]], now: float) -> list[Delivery]:
        """Read the next deliveries from the rows of all statements of `advance`."""
        return await self._read(turns, results[-2], now)

    def _claim_oldest(self, turns: Sequence[Turn]) -> Statement:
        """Claim the oldest delivery of each conversation, if it is due, or was left by who held the turn before."""
        statement = f"""
            UPDATE deliveries SET due_at = {self._store.lease_end}, lease_owner = $2, fence = fence + 1,
              takeovers = takeovers + CASE WHEN lease_owner IS NULL THEN 0 ELSE 1 END,
              attempts = attempts + CASE WHEN lease_owner IS NULL THEN 0 ELSE 1 END
            WHERE id IN (
              SELECT (SELECT d.id FROM deliveries d WHERE {_SAME} ORDER BY d.id LIMIT 1)
              FROM conversation_turns WHERE {self._jobs.ours()})
              AND (lease_owner IS NOT NULL OR due_at <= {self._store.now}) AND {self._deliveries.readable}
            RETURNING id, fence, takeovers, {COLUMNS}"""
        return statement, (ids(turns), self._process)

    async def _read(self, turns: Sequence[Turn], rows: Sequence[Row], now: float) -> list[Delivery]:
        by_conversation = {(turn.destination, bytes(turn.conversation)): turn for turn in turns}
        deliveries = await self._deliveries.read(rows, now)
        for delivery in deliveries:
            delivery.turn = by_conversation[delivery.destination, bytes(delivery.event.conversation)]
        return deliveries

    async def revive(self, number: int) -> int:
        """Make some of a destination's turns due at once, as their deliveries are; return how many."""
        statement = f"""
            UPDATE conversation_turns SET due_at = {self._store.now} WHERE id IN (
              SELECT id FROM conversation_turns
              WHERE destination = $1 AND due_at > {self._store.now} AND lease_owner IS NULL
              ORDER BY due_at LIMIT {PAGE} {self._store.for_update}) RETURNING id"""
        [rows] = await self._store.run((statement, (number,)))
        return len(rows)

    def extend(self, turns: Sequence[Turn]) -> list[Statement]:
        """Extend leases."""
        return [self._locked(turns), self._jobs.extend(turns)]

    def release(self, turns: Sequence[Turn]) -> list[Statement]:
        """Give turns back; they are due at once."""
        return [self._locked(turns), self._jobs.release(turns)]

    def _locked(self, turns: Sequence[Turn]) -> Statement:
        """Lock turns in the order in which the inbox does: whoever did it in another one could wait for it for ever."""
        lock = self._store.for_update.partition(" SKIP")[0]
        statement = f"""
            SELECT id FROM conversation_turns WHERE {self._jobs.ours()} ORDER BY destination, conversation {lock}"""
        return statement, (ids(turns), self._process)
