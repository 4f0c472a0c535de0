"""All that is particular to PostgreSQL: how connections are made, how long they may take, and the lock of writers."""

import ssl
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from whaul.database_url import SYSTEM_ROOTS, postgresql_options
from whaul.registry.errors import RegistryUnavailable

MOST_CONNECTIONS: Final = 5
"""Per process. Answers are kept for seconds, so few questions reach the database."""
CONNECT_TIMEOUT: Final = 3.0
STATEMENT_TIMEOUT: Final = 5.0
"""Seconds until a statement is given up and cancelled, waiting for a lock or for a place in the pool included."""
_CONNECTION_AGE: Final = 1800
"""Seconds until a connection is made anew, before a firewall forgets it, and to follow a server's change of address."""
_LOCK: Final = int.from_bytes(b"whaul")
"""The advisory lock of this database's writers."""


def create_engine(url: str, *, patient: bool) -> AsyncEngine:
    """Build the engine. A patient one waits as long as a statement takes."""
    options = postgresql_options(url)
    arguments: dict[str, Any] = {
        "dsn": url,
        "timeout": CONNECT_TIMEOUT,
        "command_timeout": None if patient else STATEMENT_TIMEOUT,
        "server_settings": {"application_name": options.get("application_name", "whaul")},
    }

    async def connect() -> Any:
        import asyncpg  # noqa: PLC0415 - loaded for PostgreSQL only

        if options.get("sslrootcert") == SYSTEM_ROOTS:
            arguments["ssl"] = ssl.create_default_context()
        try:
            return await asyncpg.connect(**arguments)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as exc:
            raise RegistryUnavailable from exc

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        hide_parameters=True,
        pool_size=MOST_CONNECTIONS,
        max_overflow=0,
        pool_timeout=STATEMENT_TIMEOUT,
        pool_pre_ping=True,  # a connection that the server or a firewall closed is found out before it is used
        pool_recycle=_CONNECTION_AGE,
    )


def begin(connection: Connection, writes: bool) -> None:
    """Take turns with other writers, of other processes too, so that none writes on what it read before another wrote.

    SQLite has it so by itself; here it saves every write of the registry from races that only PostgreSQL has. The
    lock ends with the transaction.
    """
    if writes:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
