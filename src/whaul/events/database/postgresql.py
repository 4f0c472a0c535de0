"""Events in PostgreSQL."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
import msgspec

from whaul.database_url import check_database_url
from whaul.events.database.leases import LEASE
from whaul.events.database.store import Born, Group, NewBody, NewEvent, Row, Statement, UnfitDataError
from whaul.registry.errors import RegistryUnavailableError
from whaul.registry.postgresql import MAX_CONNECTION_AGE, STATEMENT_TIMEOUT, connect, ends_session

_NOW: Final = "(extract(epoch FROM statement_timestamp()) * 1000000)::bigint"
_MICROSECONDS: Final = 1_000_000
SECONDS_AN_EVENT: Final = 0.001
"""What a group may take beyond the time of a transaction. The inbox decides how many events there are."""
_PARAMETER: Final = re.compile(r"\$(\d+)")
_LEASE_END: Final = f"({_NOW} + {int(LEASE * _MICROSECONDS)})"
# Values that no row can have; constraints; more of something than the server takes.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_UNFIT: Final = ("22", "23", "54")
_AGAIN: Final = ("40",)  # a deadlock, or another reason to undo one of two transactions
# What the driver raises for a connection that has ended; the last, for a prepared statement on it.
_LOST: Final = (asyncpg.PostgresConnectionError, ConnectionError, asyncpg.InternalClientError)
_STALE: Final = ("0A000", "26000", "42P05")  # a prepared statement that a migration or a pooler has made useless

_EVENT: Final = """
    day int, key text, own_day int, message_id text, app text, received_at bigint, item_at bigint, field text,
    kind text, type text, waba_id text, account_id text, meta_phone_number_id text, wamid text, conversation text,
    state text, body_id text, size int, key_id text, entry text, parties json, revokes text, deliveries json,
    files json, trace text"""

# One statement is one round of messages, and one transaction without a BEGIN. Keys, turns and files are made in
# order, so that two groups wait for each other in one direction only. What the last SELECT does not refer to is done
# all the same.
_PUT: Final = f"""
WITH setting AS (
  SELECT set_config('synchronous_commit',
    CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true) AS value
), generation AS (
  SELECT coalesce((SELECT number FROM inbound_generation WHERE owner = $1), 0) AS number
), given AS MATERIALIZED (
  SELECT g.*, decode(g.key, 'base64') AS binary_key
  FROM ROWS FROM (json_to_recordset($5::json) AS ({_EVENT})) WITH ORDINALITY AS g
), fresh AS (
  INSERT INTO event_keys (day, key, arrived)
  SELECT day, binary_key, $4 FROM given WHERE (SELECT number FROM generation) = $2 {{unless_known}}
  ORDER BY day, binary_key ON CONFLICT DO NOTHING RETURNING day, key
), made AS (
  INSERT INTO events (message_id, owner, app, received_at, item_at, field, kind, type, waba_id, account_id,
    meta_phone_number_id, wamid, conversation, state, body_id, size, key_id, entry, trace)
  SELECT message_id, $1, app, received_at, item_at, field, kind, type, waba_id, account_id,
    meta_phone_number_id, wamid, decode(conversation, 'base64'), state, body_id, size, key_id, entry, trace
  FROM given JOIN fresh ON fresh.day = given.day AND fresh.key = given.binary_key ORDER BY ordinality
  RETURNING seq, message_id, body_id, received_at, size, key_id
), whole AS (
  INSERT INTO webhook_bodies (id, owner, app, received_at, key_id, body)
  SELECT b.id, $1, b.app, b.received_at, b.key_id, b.body
  FROM json_to_recordset($6::json) AS b(id text, app text, received_at bigint, key_id text, body text)
  WHERE b.id IN (SELECT body_id FROM made)
), people AS (
  INSERT INTO event_parties (party, seq)
  SELECT decode(p.party, 'base64'), seq
  FROM made JOIN given USING (message_id) CROSS JOIN json_array_elements_text(given.parties) AS p(party)
  ON CONFLICT DO NOTHING
), wanted AS MATERIALIZED (
  SELECT made.seq, made.size, made.key_id, made.received_at, d.*, decode(d.conversation, 'base64') AS talk
  FROM made JOIN given USING (message_id)
  CROSS JOIN json_to_recordset(given.deliveries)
    AS d(destination bigint, conversation text, leased bool, wait bigint, dead text)
), born AS (
  INSERT INTO deliveries (owner, seq, destination, conversation, state, attempts, created_at, died_at, waits, replay,
    size, key_id, last_error, due_at, lease_owner, fence, takeovers)
  SELECT $1, seq, destination, talk, CASE WHEN dead IS NULL THEN 'pending' ELSE 'dead' END, 0,
    received_at, CASE WHEN dead IS NOT NULL THEN {_NOW} END, wait > 0, false, size, key_id, dead,
    CASE WHEN leased THEN {_LEASE_END} ELSE {_NOW} + wait * {_MICROSECONDS} END,
    CASE WHEN leased THEN $3 END, leased::int, 0
  FROM wanted ORDER BY seq, destination
  RETURNING id, seq, destination, lease_owner{{turns}}{{files}}{{revoked}}
)
SELECT generation.number, setting.value, made.message_id, made.seq, born.destination, born.id,
  {{born_files}}
FROM generation CROSS JOIN setting LEFT JOIN made ON true
  LEFT JOIN born ON born.seq = made.seq AND born.lease_owner IS NOT NULL
"""
# A turn that is there is locked: see `turns`.
_TURNS: Final = f"""
), turns AS (
  INSERT INTO conversation_turns (destination, conversation, due_at, fence, takeovers)
  SELECT DISTINCT destination, talk, {_NOW}, 0, 0
  FROM wanted WHERE conversation IS NOT NULL AND dead IS NULL ORDER BY destination, talk
  ON CONFLICT (destination, conversation) DO UPDATE SET due_at = conversation_turns.due_at"""
# A message that comes later may wait for a file that is done: that is told once more.
_FILES: Final = f"""
), named AS MATERIALIZED (
  SELECT made.seq, made.received_at, made.key_id, f.*
  FROM made JOIN given USING (message_id) CROSS JOIN json_to_recordset(given.files)
    AS f(id text, account_id text, media_id text, message_type text, message_id text, mime_type text, bucket text,
      key text, expires_at bigint, failed text, leased bool)
), kept AS (
  INSERT INTO files (id, owner, account_id, media_id, seq, message_type, message_id, mime_type, bucket, key, state,
    attempts, run, created_at, expires_at, missing, revoked, told, key_id, last_error, due_at, lease_owner, fence,
    takeovers)
  SELECT DISTINCT ON (id) id, $1, account_id, media_id, seq, message_type, message_id, mime_type, bucket, key,
    CASE WHEN failed IS NULL THEN 'pending' ELSE 'failed' END, 0, 0, received_at, expires_at, false, false, false,
    key_id, failed,
    CASE WHEN leased THEN {_LEASE_END} ELSE {_NOW} END,
    CASE WHEN leased THEN $3 END, leased::int, 0
  FROM named ORDER BY id, seq
  ON CONFLICT (id) DO UPDATE SET told = false WHERE files.state IN ('stored', 'failed') RETURNING id, lease_owner
), links AS (
  INSERT INTO event_files (seq, file) SELECT seq, id FROM named ON CONFLICT DO NOTHING"""
_REVOKED: Final = f"""
), revoked AS (
  UPDATE files SET revoked = true, due_at = CASE WHEN lease_owner IS NULL THEN {_NOW} ELSE due_at END
  FROM made JOIN given USING (message_id)
  WHERE files.account_id = given.account_id AND files.message_id = given.revokes
    AND files.state IN ('pending', 'parked')"""
_BORN_FILES: Final = "(SELECT json_agg(id) FROM kept WHERE lease_owner IS NOT NULL)"
_UNLESS_KNOWN: Final = """
    AND NOT EXISTS (SELECT FROM event_keys k WHERE k.day = given.own_day AND k.key = given.binary_key)"""


class PostgresqlStore:
    """See `Store`."""

    now = _NOW
    lease_end = _LEASE_END
    for_update = "FOR UPDATE SKIP LOCKED"
    partitions = True

    def __init__(self, url: str, *, connections: int, timeout: float) -> None:
        check_database_url(url)
        self._url = url
        self._timeout = timeout
        self._free = asyncio.Semaphore(connections)
        self._idle: list[_Session] = []
        """The one that was used last is taken first."""

    def rows(self, parameter: str, **columns: str) -> str:
        """See `Store`."""
        return f"json_to_recordset({parameter}::json) AS g({', '.join(map(' '.join, columns.items()))})"

    def together(self, first: Statement, last: Statement) -> list[Statement]:
        """See `Store`. One statement is two rounds of messages; two in a transaction are six."""
        (begun, given), (ended, more) = first, last
        ended = _PARAMETER.sub(lambda found: f"${int(found[1]) + len(given)}", ended)
        return [(f"WITH begun AS ({begun}) {ended}", (*given, *more))]

    async def run(self, *statements: Statement) -> list[list[Row]]:
        """See `Store`."""
        if len(statements) == 1:
            [(statement, parameters)] = statements
            return [await self._fetch(self._timeout, statement, parameters)]
        async with self._session(self._timeout) as session, session.connection.transaction():
            return [await session.connection.fetch(statement, *parameters) for statement, parameters in statements]

    async def read(self, statement: str, *parameters: Any) -> list[Row]:
        """See `Store`."""
        return await self._fetch(STATEMENT_TIMEOUT, statement, parameters)

    async def put(self, group: Group) -> Born:
        """See `Store`. A deadlock, and a connection that was lost, is tried again once."""
        statement = _put_statement(group)
        parameters = (
            group.owner,
            group.generation,
            group.process,
            group.today,
            _json(group.events),
            _json(group.bodies),
        )
        seconds = self._timeout + SECONDS_AN_EVENT * len(group.events)
        try:
            rows = await self._fetch(seconds, statement, parameters, hot=_is_hot(group))
        except _AgainError:  # what it has done in spite of that, it finds done
            rows = await self._fetch(seconds, statement, parameters)
        return Born(
            generation=rows[0][0],
            events={row[2]: row[3] for row in rows if row[2] is not None},
            deliveries={(row[3], row[4]): row[5] for row in rows if row[5] is not None},
            files=set(msgspec.json.decode(rows[0][6] or b"[]")),
        )

    async def aclose(self) -> None:
        """See `Store`."""
        for session in self._idle:
            session.connection.terminate()
        self._idle.clear()

    async def _fetch(
        self, seconds: float, statement: str, parameters: Sequence[Any], *, hot: bool = False
    ) -> list[Row]:
        async with self._session(seconds) as session:
            runner = await session.prepared(statement) if hot else None
            if runner is None:
                rows: list[Row] = await session.connection.fetch(statement, *parameters)
            else:
                rows = await runner.fetch(*parameters)
            return rows

    @asynccontextmanager
    async def _session(self, seconds: float) -> AsyncIterator["_Session"]:
        session = None
        try:
            async with asyncio.timeout(seconds), self._free:
                session = await self._connected()
                yield session
        except BaseException as error:
            if session is not None:
                if isinstance(error, asyncpg.PostgresError) and not (ends_session(error) or _is_stale(error)):
                    self._idle.append(session)
                else:
                    session.connection.terminate()
            raise _translated(error) from error
        self._idle.append(session)

    async def _connected(self) -> "_Session":
        now = asyncio.get_running_loop().time()
        while self._idle:
            session = self._idle.pop()
            if not session.connection.is_closed() and now - session.made < MAX_CONNECTION_AGE:
                return session
            session.connection.terminate()
        return _Session(await connect(self._url, STATEMENT_TIMEOUT), now)


class _Session:
    """A connection, and what was prepared on it.

    To parse and plan the statement that puts a group takes the server longer than to run it for one event, and asks for
    a round of messages of its own. So it is prepared, where the server itself is at the other end. A pooler in
    transaction mode would lose it; such a one gives out process ids of its own.
    """

    def __init__(self, connection: Any, made: float) -> None:
        self.connection = connection
        self.made = made
        """By the event loop's clock."""
        self._is_direct: bool | None = None
        self._prepared: dict[str, Any] = {}

    async def prepared(self, statement: str) -> Any | None:
        """Return the prepared statement; None where there can be none."""
        if self._is_direct is None:
            process = await self.connection.fetchval("SELECT pg_backend_pid()")
            self._is_direct = process == self.connection.get_server_pid()
        if not self._is_direct:
            return None
        if statement not in self._prepared:
            name = f"whaul_{len(self._prepared)}"  # without one it lasts until the next statement
            self._prepared[statement] = await self.connection.prepare(statement, name=name)
        return self._prepared[statement]


def _put_statement(group: Group) -> str:
    """Write the statement that puts a group, without what it has no use for: planning takes longer than running."""
    ordered = any(delivery.conversation is not None for new in group.events for delivery in new.deliveries)
    files = any(new.files for new in group.events)
    return _PUT.format(
        unless_known=_UNLESS_KNOWN if any(new.day != new.own_day for new in group.events) else "",
        turns=_TURNS if ordered else "",
        files=_FILES if files else "",
        revoked=_REVOKED if any(new.revokes for new in group.events) else "",
        born_files=_BORN_FILES if files else "NULL",
    )


def _is_hot(group: Group) -> bool:
    """Whether the statement for a group is to be prepared: only if it reads no table that grows.

    A plan that is kept was made for tables as they were: it might read the whole of one that has grown since.
    """
    return not any(new.day != new.own_day or new.revokes for new in group.events)


def _json(rows: Sequence[NewEvent | NewBody]) -> str:
    try:
        return msgspec.json.encode(rows).decode()
    except UnicodeEncodeError as error:  # half of a surrogate pair
        raise UnfitDataError from error


class _AgainError(RegistryUnavailableError):
    """What was undone by no fault of its own, or whose end is not known."""


def _is_stale(error: BaseException) -> bool:
    return getattr(error, "sqlstate", None) in _STALE


def _translated(error: BaseException) -> BaseException:
    state = getattr(error, "sqlstate", None) or ""
    if state.startswith(_UNFIT) or isinstance(error, asyncpg.DataError | UnicodeEncodeError):
        return UnfitDataError()
    if state.startswith(_AGAIN) or _is_stale(error) or isinstance(error, _LOST):
        return _AgainError()
    if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError | OSError | TimeoutError):
        return RegistryUnavailableError()
    return error
