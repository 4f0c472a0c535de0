"""Database URLs, the file behind them, and the engine: all that is particular to SQLite is in this module.

Owns where the database is and how it is opened. Does not know the tables.
"""

import asyncio
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiosqlite
from sqlalchemy import URL, Connection, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from whaul.registry.errors import RegistryUnavailable
from whaul.secrets import create_private_folder

_SCHEME: Final = "sqlite:///"
_WRITES: Final = "whaul_writes"

_BUSY_TIMEOUT: Final = 10  # seconds
_PRAGMAS: Final = (
    f"PRAGMA busy_timeout = {_BUSY_TIMEOUT * 1000}",  # first, because the next one may meet a lock
    "PRAGMA journal_mode = WAL",  # readers and the writer do not wait for each other
    # WAL with NORMAL may lose the last commits in a power cut: an access key whose secret was shown once, or the
    # disabling of one. Writes are rare here, so each may wait for the disk. https://sqlite.org/wal.html
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)


def database_file(url: str) -> Path:
    """Read the file out of `sqlite:///relative.db` or `sqlite:////absolute/path.db`.

    Raises ValueError for any other URL; the message does not repeat it, since a URL may hold a password.
    """
    scheme = url.partition(":")[0].partition("+")[0].lower()
    if scheme in {"postgresql", "postgres"}:
        raise ValueError("PostgreSQL is not supported by this version yet; use sqlite:///path/to/registry.db")
    path = url.removeprefix(_SCHEME)
    if path == url or path in {"", "/", ":memory:"} or path.endswith("/") or "?" in path or "\0" in path:
        raise ValueError(
            "the database URL is not usable: expected sqlite:///relative.db or sqlite:////absolute/path.db, "
            "without options"
        )
    return Path(path).absolute()


def key_file(url: str) -> Path:
    """Say where the secret key of a SQLite database is kept: beside it, under its name and `.key`."""
    path = database_file(url)
    return path.with_name(f"{path.name}.key")


def database_exists(url: str) -> bool:
    """Say whether there is a database file, whatever is in it."""
    return database_file(url).exists()


def create_database(url: str) -> None:
    """Make the database file (mode 0600) and its folder (0700) when there are none; close a file open to all."""
    path = database_file(url)
    with translated():
        create_private_folder(path.parent)
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            # By name: opening and closing the file would drop the locks that SQLite holds on it in this process.
            # https://sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & stat.S_IRWXO:
                with suppress(PermissionError):  # another user's file: secrets in it are encrypted all the same
                    path.chmod(mode & ~stat.S_IRWXO)


def open_engine(url: str) -> AsyncEngine:
    """Build the engine; no connection is made yet. The caller disposes of it. Raises ValueError for a bad URL.

    The database file must exist by the first connection: SQLite would make one that everybody can read.
    """
    location = URL.create(
        "sqlite+aiosqlite",
        database=f"file:{quote(str(database_file(url)))}",
        query={"mode": "rw", "uri": "true"},
    )
    engine = create_async_engine(location, hide_parameters=True)
    event.listen(engine.sync_engine, "connect", _set_up_connection)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def for_writing(engine: AsyncEngine) -> AsyncEngine:
    """Answer the same engine, whose transactions are going to write.

    SQLite then takes the write lock at once and waits for it; a transaction that reads first and writes later
    fails instead of waiting when another one wrote in between.
    """
    return engine.execution_options(**{_WRITES: True})


@contextmanager
def translated() -> Iterator[None]:
    """Turn what a database or its driver raises into RegistryUnavailable, keeping the cause."""
    try:
        yield
    except (SQLAlchemyError, OSError) as exc:
        raise RegistryUnavailable from exc


def _set_up_connection(connection: Any, _record: object) -> None:
    # The driver begins no transactions of its own: it would leave out SELECT and CREATE TABLE.
    connection.isolation_level = None
    connection.run_async(_run_pragmas)


async def _run_pragmas(connection: aiosqlite.Connection) -> None:
    loop = asyncio.get_running_loop()
    give_up = loop.time() + _BUSY_TIMEOUT
    for pragma in _PRAGMAS:
        while True:
            try:
                await (await connection.execute(pragma)).close()
                break
            except sqlite3.OperationalError as exc:
                # Two processes that switch a new database to WAL at once: one of them is told that it is locked,
                # at once and whatever the busy timeout, since both would wait for each other.
                # https://sqlite.org/c3ref/busy_handler.html
                if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or loop.time() > give_up:
                    raise
                await asyncio.sleep(0.01)


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
