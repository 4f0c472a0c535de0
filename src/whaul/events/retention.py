"""What is kept for a while goes again, in slices that nobody notices.

Dedupe keys go by the day: on PostgreSQL a day is a partition, made ahead and dropped as a whole; on SQLite it goes by
small deletes. Webhooks' bodies go after `WHAUL_WEBHOOK_RETENTION`, events after `WHAUL_EVENT_RETENTION` if nothing
waits for them: no delivery, no dead letter, no file. Unrouted and unparsed events, which a stranger may send, have a
limit for each app besides.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import structlog

from whaul.events.database.columns import listed, microseconds_now
from whaul.events.database.duties import Duty
from whaul.events.database.store import Row, Store, UnfitDataError
from whaul.events.receiving.drafts import KEY_DAYS
from whaul.registry.errors import RegistryUnavailableError

log = structlog.get_logger()

PAUSE: Final = 60.0
"""Seconds between two runs."""
BETWEEN: Final = 0.05
"""Seconds between two slices."""
PAGE: Final = 200
"""Rows of a slice."""
KEPT_DAYS: Final = 2 * KEY_DAYS + 1
"""Days of an item's own time for which keys are kept: one that was 8 days old may come again 8 days later."""
AHEAD: Final = 3
"""Days for which there are partitions before they come."""
MAX_LOOSE_EVENTS: Final = 100_000
MAX_LOOSE_BYTES: Final = 1024**3
"""What the unrouted and unparsed events of one app may hold."""
_IS_NEEDED: Final = """
    EXISTS (SELECT 1 FROM deliveries d WHERE d.seq = events.seq) OR EXISTS (
      SELECT 1 FROM event_files f JOIN files ON files.id = f.file
      WHERE f.seq = events.seq AND files.state IN ('pending', 'parked'))"""
"""SQL: whether something waits for an event."""
_DAY: Final = 86_400_000_000
AGAIN: Final = 3_600_000_000
"""Microseconds after which old events that were needed are looked at again."""
_PATIENCE: Final = ("SET LOCAL lock_timeout = '200ms'", "SET LOCAL statement_timeout = '500ms'")
"""Whoever waits for a table's lock, or holds it, holds up those behind."""


class Retention:
    """That of one account number; keys are common to all that share the database."""

    def __init__(self, store: Store, owner: str, *, webhooks: float, events: float) -> None:
        """`webhooks` and `events` are the seconds for which bodies and events are kept."""
        self._store = store
        self._owner = owner
        self._webhooks = int(webhooks * 1_000_000)
        self._events = int(events * 1_000_000)
        self._duty = Duty(store, owner, "retention", PAUSE)
        self._begun = self._walked = 0

    async def run(self) -> None:
        """Remove what is to go, if it is this process's turn."""
        if not await self._duty.is_ours():
            return
        await self.prepare()
        today = microseconds_now() // _DAY
        await self._drop_days(today)
        await self._delete_keys(today)
        await self._delete_bodies()
        await self._delete_events()
        await self._delete_loose_events()

    async def prepare(self) -> None:
        """Make the partitions of the days to come, and of those whose items may still come."""
        if not self._store.partitions:
            return
        today = microseconds_now() // _DAY
        made = await self._days()
        for day in range(today - KEY_DAYS, today + AHEAD + 1):
            if day not in made:
                bounds = f"FOR VALUES FROM ({day}) TO ({day + 1})"
                await self._define(f"CREATE TABLE {_name(day)} PARTITION OF event_keys {bounds}")

    async def _days(self) -> set[int]:
        children = """
            SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = 'event_keys'::regclass"""
        [rows] = await self._store.run((children, ()))
        names = [str(row[0]).rpartition("_")[2] for row in rows]
        return {int(name) for name in names if name.isdigit()}

    async def _drop_days(self, today: int) -> None:
        if self._store.partitions:
            for day in sorted(await self._days()):
                if day < today - KEPT_DAYS:
                    await self._define(f"DROP TABLE {_name(day)}")

    async def _delete_keys(self, today: int) -> None:
        others, undated = ("event_keys_default", "event_keys_others") if self._store.partitions else ("event_keys",) * 2
        for table, old in ((others, "day > 0 AND day < $1"), (undated, "day = 0 AND arrived < $1")):
            await self._delete(
                f"""
                DELETE FROM {table} WHERE (day, key) IN (SELECT day, key FROM {table} WHERE {old} LIMIT {PAGE})
                RETURNING day""",
                today - KEPT_DAYS,
            )

    async def _delete_bodies(self) -> None:
        """A body's id begins with the moment of its arrival."""
        oldest = f"{microseconds_now() - self._webhooks:016x}"
        await self._delete(
            f"""
            DELETE FROM webhook_bodies WHERE id IN (
              SELECT id FROM webhook_bodies WHERE id < $1 AND owner = $2 ORDER BY id LIMIT {PAGE}) RETURNING id""",
            oldest,
            self._owner,
        )

    async def _delete_events(self) -> None:
        """Walk over the old events, which have the lowest numbers, and remove those that nothing needs.

        The walk goes on where it ended, and begins anew now and then for what was needed the last time.
        """
        statement = f"""
            SELECT seq, owner, received_at, {_IS_NEEDED} FROM events WHERE seq > $1 ORDER BY seq LIMIT {PAGE}"""
        now = microseconds_now()
        if now - self._begun > AGAIN:
            self._begun, self._walked = now, 0
        while rows := await self._rows(statement, self._walked):
            old = [row for row in rows if row[2] < now - self._events]
            await self._remove(seq for seq, owner, _, needed in old if owner == self._owner and not needed)
            if old:
                self._walked = old[-1][0]
            if len(old) < len(rows):
                return

    async def _delete_loose_events(self) -> None:
        """Remove the oldest of what nobody has a use for, where an app has more of it than it may."""
        count = """
            SELECT app, count(*), sum(size) FROM events WHERE owner = $1 AND state <> 'routed' GROUP BY app"""
        for app, events, size in await self._store.read(count, self._owner):
            removed = await self._delete_oldest(app or "", events - MAX_LOOSE_EVENTS, int(size) - MAX_LOOSE_BYTES)
            if removed:
                log.warning("unrouted or unparsed events beyond their limit were removed", app=app, events=removed)

    async def _delete_oldest(self, app: str, too_many: int, too_large: int) -> int:
        """Remove the oldest unrouted or unparsed events of an app; return how many."""
        oldest = f"""
            SELECT seq, size FROM events WHERE owner = $1 AND state <> 'routed' AND coalesce(app, '') = $2
            ORDER BY seq LIMIT {PAGE}"""
        removed = 0
        while too_many > removed or too_large > 0:
            rows = await self._rows(oldest, self._owner, app)
            if not rows:
                break
            await self._remove(row[0] for row in rows)
            removed += len(rows)
            too_large -= sum(row[1] for row in rows)
        return removed

    async def _remove(self, seqs: Iterable[int]) -> None:
        """Remove events with all that belongs to them, files that nobody names any more too.

        They are locked before they are looked at again: one may have been replayed in the meantime, or its file begun
        anew.
        """
        given, parameter = f"(SELECT id FROM {self._store.rows('$1', id='bigint')})", (listed(seqs),)
        lock = (
            f"SELECT seq FROM events WHERE seq IN {given} ORDER BY seq {self._store.for_update.partition(' SKIP')[0]}"
        )
        events = f"""
            DELETE FROM events WHERE seq IN {given} AND NOT ({_IS_NEEDED})"""
        gone = f"seq IN {given} AND NOT EXISTS (SELECT 1 FROM events e WHERE e.seq = {{table}}.seq)"
        files = f"""
            DELETE FROM files WHERE state IN ('stored', 'failed')
              AND id IN (SELECT file FROM event_files WHERE {gone.format(table="event_files")})
              AND NOT EXISTS (
                SELECT 1 FROM event_files f JOIN events e ON e.seq = f.seq WHERE f.file = files.id)"""
        tables = ("event_files", "event_parties", "attempts")
        rest = [f"DELETE FROM {table} WHERE {gone.format(table=table)}" for table in tables]
        await self._store.run(*((statement, parameter) for statement in (lock, events, files, *rest)))

    async def _rows(self, statement: str, *parameters: object) -> list[Row]:
        await asyncio.sleep(BETWEEN)
        [rows] = await self._store.run((statement, parameters))
        return rows

    async def _delete(self, statement: str, *parameters: object) -> None:
        """Delete slice by slice, until there is nothing left."""
        while len(await self._rows(statement, *parameters)) == PAGE:
            pass

    async def _define(self, statement: str) -> None:
        """Make or drop a partition; another process may be first, or hold a lock: there is a next time."""
        with suppress(RegistryUnavailableError, UnfitDataError):  # unfit: there are keys of that day already
            await self._store.run(*((setting, ()) for setting in _PATIENCE), (statement, ()))


def _name(day: int) -> str:
    return f"event_keys_{day}"
