"""Events in SQLite: one thread with one connection writes, another one reads what takes long."""

import asyncio
import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, TypeVar
from urllib.parse import quote

from whaul.database_url import database_file
from whaul.events.database.columns import microseconds_now
from whaul.events.database.store import Born, Group, NewDelivery, NewEvent, NewFile, Row, Statement, UnfitDataError
from whaul.registry.errors import RegistryUnavailableError
from whaul.registry.sqlite import PRAGMAS, Identity, ends_session, identities, identity, leave

T = TypeVar("T")

_FOREVER: Final = 2**62
"""When a lease ends here: see `leases`."""
_PARAMETER: Final = re.compile(r"\$(\d)")
# Values of no type that a column takes, or beyond its range, or text that is none.
_UNFIT: Final = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, OverflowError, UnicodeEncodeError)


class SqliteStore:
    """See `Store`."""

    now = "microseconds()"
    lease_end = str(_FOREVER)
    for_update = ""
    partitions = False

    def __init__(self, url: str, *, timeout: float) -> None:
        path = database_file(url)
        self._writer = _Thread(path, timeout, "BEGIN IMMEDIATE")
        self._reader = _Thread(path, timeout, "BEGIN")

    def rows(self, parameter: str, **columns: str) -> str:
        """See `Store`. JSON's own types are those of the columns."""
        members = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in columns)
        return f"(SELECT {members} FROM json_each({parameter})) AS g"

    def together(self, first: Statement, last: Statement) -> list[Statement]:
        """See `Store`."""
        return [first, last]

    async def run(self, *statements: Statement) -> list[list[Row]]:
        """See `Store`."""
        written = [(_translate(statement), parameters) for statement, parameters in statements]
        return await self._writer.run(partial(_execute_all, written))

    async def read(self, statement: str, *parameters: Any) -> list[Row]:
        """See `Store`."""
        [rows] = await self._reader.run(partial(_execute_all, [(_translate(statement), parameters)]))
        return rows

    async def put(self, group: Group) -> Born:
        """See `Store`."""
        return await self._writer.run(lambda connection: _Put(connection, group).put())

    async def aclose(self) -> None:
        """See `Store`."""
        await self._writer.aclose()
        await self._reader.aclose()


class _Thread:
    """A thread with a connection that is made when it is first used, and again after the file was replaced.

    An executor does the same with two futures and a lock for each transaction, of which this saves the CPU time.
    """

    def __init__(self, path: Path, timeout: float, begin: str) -> None:
        self._path = path
        self._timeout = timeout
        self._begin = begin
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="whaul-events", daemon=True)
        self._thread.start()
        self._connection: sqlite3.Connection | None = None
        self._opened: dict[Path, Identity] = {}
        self._file: Identity = None

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do the work in a transaction. Only the wait for a lock has an end, so that a commit's outcome is known."""
        try:
            return await self._do(lambda: self._transact(work))
        except _UNFIT as error:
            raise UnfitDataError from error
        except (sqlite3.Error, OSError) as error:  # TimeoutError is an OSError
            raise RegistryUnavailableError from error

    async def aclose(self) -> None:
        """End the thread once it has done what it was given."""
        await self._do(self._close)
        self._jobs.put(None)

    async def _do(self, work: Callable[[], T]) -> T:
        job = _Job(work, asyncio.get_running_loop())
        self._jobs.put(job)
        result: T = await job.result
        return result

    def _work(self) -> None:
        while job := self._jobs.get():
            job.do()
            del job  # what it holds is not kept until the next one comes

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connected()
        try:
            connection.execute(self._begin)
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException as error:
            if ends_session(error):
                self._close()
            elif connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None and identity(self._path) != self._file:
            leave(self._connection, self._path, self._opened)
            self._close()
        if self._connection is None:
            location = f"file:{quote(str(self._path))}?mode=rw"
            connection = sqlite3.connect(location, uri=True, isolation_level=None, timeout=self._timeout)
            connection.create_function("microseconds", 0, microseconds_now)
            for pragma in PRAGMAS:
                connection.execute(pragma).fetchall()
            connection.execute(f"PRAGMA busy_timeout = {int(self._timeout * 1000)}")
            self._connection, self._opened = connection, identities(self._path)
            self._file = self._opened[self._path]
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Job:
    """Work for a thread, and the future of what comes of it."""

    def __init__(self, work: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self._work = work
        self._loop = loop
        self.result: asyncio.Future[Any] = loop.create_future()

    def do(self) -> None:
        """Do it in this thread, unless nobody waits for it any more."""
        if self.result.cancelled():
            return
        try:
            self._tell(self.result.set_result, self._work())
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it
            self._tell(self.result.set_exception, error)

    def _tell(self, tell: Callable[[Any], None], what: Any) -> None:
        def told() -> None:
            if not self.result.done():
                tell(what)

        with suppress(RuntimeError):  # the loop was closed, so nobody waits
            self._loop.call_soon_threadsafe(told)


@lru_cache(256)
def _translate(statement: str) -> str:
    return _PARAMETER.sub(r"?\1", statement)


def _execute_all(statements: Sequence[Statement], connection: sqlite3.Connection) -> list[list[Row]]:
    return [connection.execute(statement, parameters).fetchall() for statement, parameters in statements]


def _insert(table: str, columns: str, after: str = "") -> str:
    marks = ", ".join("?" for _ in columns.split(","))
    return f"INSERT INTO {table} ({columns}) VALUES ({marks}) {after}"


_KEY: Final = _insert("event_keys", "day, key, arrived", "ON CONFLICT DO NOTHING")
_KNOWN: Final = "SELECT 1 FROM event_keys WHERE day = ? AND key = ?"
_EVENT: Final = _insert(
    "events",
    "message_id, owner, app, received_at, item_at, field, kind, type, waba_id, account_id, meta_phone_number_id, "
    "wamid, conversation, state, body_id, size, key_id, entry, trace",
)
_BODY: Final = _insert("webhook_bodies", "id, owner, app, received_at, key_id, body")
_PARTY: Final = _insert("event_parties", "party, seq", "ON CONFLICT DO NOTHING")
_DELIVERY: Final = _insert(
    "deliveries",
    "owner, seq, destination, conversation, state, attempts, created_at, died_at, waits, replay, size, key_id, "
    "last_error, due_at, lease_owner, fence, takeovers",
)
_TURN: Final = _insert(
    "conversation_turns",
    "destination, conversation, due_at, fence, takeovers",
    "ON CONFLICT DO NOTHING",
)
_FILE: Final = _insert(
    "files",
    "id, owner, account_id, media_id, seq, message_type, message_id, mime_type, bucket, key, state, attempts, run, "
    "created_at, expires_at, missing, revoked, told, key_id, last_error, due_at, lease_owner, fence, takeovers",
    "ON CONFLICT DO NOTHING",
)
_AGAIN: Final = "UPDATE files SET told = false WHERE id = ? AND state IN ('stored', 'failed')"
"""A message that comes later may wait for the same file."""
_REVOKE: Final = """
    UPDATE files SET revoked = true, due_at = CASE WHEN lease_owner IS NULL THEN ? ELSE due_at END
    WHERE account_id = ? AND message_id = ? AND state IN ('pending', 'parked')"""
_LINK: Final = _insert("event_files", "seq, file", "ON CONFLICT DO NOTHING")
_GENERATION: Final = "SELECT coalesce((SELECT number FROM inbound_generation WHERE owner = ?), 0)"


class _Put:
    """One group on its way into the database."""

    def __init__(self, connection: sqlite3.Connection, group: Group) -> None:
        self._connection = connection
        self._group = group
        self._now = microseconds_now()

    def put(self) -> Born:
        """Put it, unless the generation has moved."""
        execute, group = self._connection.execute, self._group
        [generation] = execute(_GENERATION, (group.owner,)).fetchone()
        self._born = born = Born(generation, {}, {}, set())
        if generation != group.generation:
            return born
        for new in group.events:
            if new.own_day != new.day and execute(_KNOWN, (new.own_day, new.key)).fetchone():
                continue
            if execute(_KEY, (new.day, new.key, group.today)).rowcount:
                self._event(new)
        used = {new.body_id for new in group.events if new.message_id in born.events}
        for body in group.bodies:
            if body.id in used:
                execute(_BODY, (body.id, group.owner, body.app, body.received_at, body.key_id, body.body))
        return born

    def _event(self, new: NewEvent) -> None:
        what = (new.item_at, new.field, new.kind, new.type, new.waba_id, new.account_id, new.meta_phone_number_id)
        rest = (new.wamid, new.conversation, new.state, new.body_id, new.size, new.key_id, new.entry, new.trace)
        row = (new.message_id, self._group.owner, new.app, new.received_at, *what, *rest)
        seq = self._connection.execute(_EVENT, row).lastrowid or 0
        self._born.events[new.message_id] = seq
        self._connection.executemany(_PARTY, [(party, seq) for party in new.parties])
        for delivery in new.deliveries:
            self._delivery(new, seq, delivery)
        for file in new.files:
            self._file(new, seq, file)
        if new.revokes is not None:
            self._connection.execute(_REVOKE, (self._now, new.account_id, new.revokes))

    def _delivery(self, new: NewEvent, seq: int, delivery: NewDelivery) -> None:
        alive = delivery.dead is None
        what = (seq, delivery.destination, delivery.conversation, "pending" if alive else "dead", 0, new.received_at)
        rest = (None if alive else self._now, delivery.wait > 0, False, new.size, new.key_id, delivery.dead)
        lease = self._lease(delivery.leased, delivery.wait)
        id_ = self._connection.execute(_DELIVERY, (self._group.owner, *what, *rest, *lease)).lastrowid or 0
        if delivery.leased:
            self._born.deliveries[seq, delivery.destination] = id_
        if delivery.conversation is not None and alive:
            self._connection.execute(_TURN, (delivery.destination, delivery.conversation, self._now, 0, 0))

    def _file(self, new: NewEvent, seq: int, file: NewFile) -> None:
        state = "pending" if file.failed is None else "failed"
        what = (seq, file.message_type, file.message_id, file.mime_type, file.bucket, file.key, state, 0, 0)
        row = (file.id, self._group.owner, file.account_id, file.media_id, *what, new.received_at, file.expires_at)
        rest = (False, False, False, new.key_id, file.failed, *self._lease(file.leased))
        made = self._connection.execute(_FILE, (*row, *rest)).rowcount
        if made and file.leased:
            self._born.files.add(file.id)
        if not made:
            self._connection.execute(_AGAIN, (file.id,))
        self._connection.execute(_LINK, (seq, file.id))

    def _lease(self, leased: bool, wait: int = 0) -> tuple[int, str | None, int, int]:
        """Return `due_at`, `lease_owner`, `fence` and `takeovers` of a new job."""
        return (_FOREVER, self._group.process, 1, 0) if leased else (self._now + wait * 1_000_000, None, 0, 0)
