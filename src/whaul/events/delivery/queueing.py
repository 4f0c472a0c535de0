"""Deliveries of events that are sent once more: replays, and dead letters that are tried again.

A delivery's place in the order is its id. So one that is made anew stands at the end, and a dead letter becomes a new
delivery; the old one first gives up its place as the only one of its event and destination.
"""

from collections.abc import Collection
from typing import Any, Final, NamedTuple

from whaul.events.database.columns import listed
from whaul.events.database.store import Statement, Store
from whaul.events.routing import Destination

QUEUED: Final = 1
"""Which of the statements returns the events that were queued."""


class If(NamedTuple):
    """What must be so for anything to happen."""

    condition: str = "true"
    """SQL with the parameters `$3`, `$4`, …"""
    parameters: tuple[Any, ...] = ()


def replay(store: Store, destination: Destination, seqs: Collection[int], only_if: If) -> list[Statement]:
    """Queue events for a destination, if they do not wait for it already; dead letters become alive."""
    return _queue(store, destination, seqs, only_if, "true")


def retry(store: Store, destination: Destination, seqs: Collection[int]) -> list[Statement]:
    """Queue those events that are dead letters of a destination."""
    gone = f"EXISTS (SELECT 1 FROM deliveries d WHERE d.seq = events.seq AND d.destination = {-destination.number})"
    return _queue(store, destination, seqs, If(), gone)


def _lock(store: Store) -> str:
    """Write what keeps events from being removed, as too old, before their deliveries are there."""
    return "FOR KEY SHARE" if store.for_update else ""


def _queue(store: Store, destination: Destination, seqs: Collection[int], only_if: If, which: str) -> list[Statement]:
    number, given = destination.number, f"(SELECT id FROM {store.rows('$1', id='bigint')})"
    parameters = (listed(seqs), number, *only_if.parameters)
    give_up = f"""
        UPDATE deliveries SET destination = -destination
        WHERE destination = $2 AND state = 'dead' AND seq IN {given} AND {only_if.condition}"""
    # One that waits for files is told what became of them so far.
    make = f"""
        INSERT INTO deliveries (owner, seq, destination, conversation, state, attempts, created_at, waits, replay, size,
          key_id, due_at, fence, takeovers)
        SELECT owner, seq, CAST($2 AS bigint), {"conversation" if destination.ordered else "NULL"}, 'pending', 0,
          {store.now}, {"true" if destination.media_wait else "false"}, true, size, key_id, {store.now}, 0, 0
        FROM events WHERE seq IN {given} AND {which} AND {only_if.condition}
        ORDER BY seq {_lock(store)} ON CONFLICT DO NOTHING RETURNING seq"""
    drop = f"DELETE FROM deliveries WHERE destination = $2 AND seq IN {given}"
    statements: list[Statement] = [(give_up, parameters), (make, parameters), (drop, (listed(seqs), -number))]
    if destination.ordered:
        turns = f"""
            INSERT INTO conversation_turns (destination, conversation, due_at, fence, takeovers)
            SELECT CAST($2 AS bigint), conversation, {store.now}, 0, 0
            FROM (SELECT DISTINCT conversation FROM events WHERE seq IN {given}) AS talks
            WHERE true ORDER BY conversation
            ON CONFLICT (destination, conversation) DO UPDATE SET due_at = conversation_turns.due_at"""  # see turns.py
        statements.append((turns, (listed(seqs), number)))
    return statements
