"""All that is particular to PostgreSQL: how connections are made, when they are given up, and the lock of writers.

Nothing here outlives a transaction (prepared statements, settings and locks of a session), so that a pooler in
transaction mode, PgBouncer for one, may stand in between.
"""

import ssl
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from whaul.database_url import SYSTEM_ROOTS, postgresql_options, postgresql_servers
from whaul.registry.errors import RegistryUnavailableError

MAX_CONNECTIONS: Final = 5
"""Per process. What was read is cached for seconds, so few queries reach the database."""
CONNECT_TIMEOUT: Final = 3.0
"""Seconds for each server that the URL names."""
STATEMENT_TIMEOUT: Final = 5.0
"""Seconds until a statement is cancelled, including the wait for a lock or a connection."""
MIGRATION_TIMEOUT: Final = 600.0
"""Seconds for one statement of a migration."""
MAX_CONNECTION_AGE: Final = 60
"""Seconds until a connection is replaced: after a failover a host's name may mean another server."""
_LOCK: Final = int.from_bytes(b"whaul")
"""The advisory lock of this database's writers."""
_PREFERRED: Final = {None: "primary", "prefer-standby": "standby"}
"""Which of several servers we try first, by `target_session_attrs`, before we take any."""
# Connection exceptions; read-only, since it has failed over or is full; idle for too long; shut down or starting.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_LOST_SESSION: Final = ("08", "25006", "25P03", "57P")


def create_engine(url: str, *, patient: bool) -> AsyncEngine:
    """Build the engine. A patient one waits as long as a migration may take."""

    async def make() -> Any:
        return await connect(url, MIGRATION_TIMEOUT if patient else STATEMENT_TIMEOUT)

    return create_async_engine(
        "postgresql+asyncpg://",
        connect_args={"async_creator_fn": make, "prepared_statement_cache_size": 0},
        hide_parameters=True,
        pool_size=MAX_CONNECTIONS,
        max_overflow=0,
        pool_timeout=STATEMENT_TIMEOUT,
        pool_use_lifo=True,  # after silence, one that was just made is taken before those that may be dead as well
        pool_pre_ping=True,  # a connection that the server or a firewall closed is found before it is used
        pool_recycle=MAX_CONNECTION_AGE,
    )


async def connect(url: str, statement_timeout: float) -> Any:
    """Connect to the first server that qualifies; the connection is asyncpg's. Raises RegistryUnavailableError."""
    import asyncpg  # noqa: PLC0415 - loaded for PostgreSQL only

    options = postgresql_options(url)
    arguments: dict[str, Any] = {
        "timeout": CONNECT_TIMEOUT,
        "command_timeout": statement_timeout,
        "server_settings": {"application_name": options.get("application_name", "whaul")},
        "statement_cache_size": 0,
    }
    if options.get("sslrootcert") == SYSTEM_ROOTS:
        arguments["ssl"] = ssl.create_default_context()
    servers, wanted = postgresql_servers(url), options.get("target_session_attrs")
    preferred = _PREFERRED.get(wanted) if len(servers) > 1 else None
    attempts = [(server, preferred or wanted) for server in servers]
    if preferred is not None:
        attempts += [(server, "any") for server in servers]
    down: set[str] = set()
    failure: Exception | None = None
    for server, kind in attempts:
        if server in down:
            continue
        try:
            return await asyncpg.connect(server, target_session_attrs=kind, **arguments)
        except asyncpg.TargetServerAttributeNotMatched as exc:
            failure = exc
        except (OSError, UnicodeError, asyncpg.CannotConnectNowError) as exc:
            failure = exc
            down.add(server)
        # KeyError: the URL names no user, and the user of this process has no name.
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, KeyError) as exc:
            raise RegistryUnavailableError from exc
    raise RegistryUnavailableError from failure


def begin(connection: Connection, writes: bool) -> None:
    """Take turns with other writers, also of other processes, so that nobody acts on data that another has changed.

    SQLite serialises writers anyway. Doing the same here rules out races that only PostgreSQL would have. The lock
    ends with the transaction.
    """
    if writes:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


def ends_session(error: BaseException) -> bool:
    """Whether a connection is useless after an error. The driver only notices connections that were closed."""
    # Errors of the driver itself have a state too, but it is None: nobody knows how its connection stands.
    state = getattr(error, "sqlstate", "")
    return isinstance(error, OSError) or state is None or state.startswith(_LOST_SESSION)
