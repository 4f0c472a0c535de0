"""All that is particular to SQLite: the file, how connections to it are set up, and how transactions begin."""

import asyncio
import os
import sqlite3
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from sqlalchemy import URL, Connection, event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from whaul.database_url import database_file
from whaul.folders import create_private_folder

if TYPE_CHECKING:
    import aiosqlite

BUSY_TIMEOUT: Final = 10  # seconds
PRAGMAS: Final = (
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT * 1000}",  # first, because the next one may meet a lock
    "PRAGMA journal_mode = WAL",  # readers and the writer do not wait for each other
    # WAL with NORMAL may lose the last commits in a power cut: an access key whose secret was shown once, or the
    # disabling of one. Writes are rare here, so each may wait for the disk. https://sqlite.org/wal.html
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "SELECT count(*) FROM sqlite_schema",  # opens the log, so that it is known which one this connection has
)

_FILES: Final = "files"
"""Where a connection's record keeps which files it has open."""
Identity = tuple[int, int] | None
# Read-only when it was opened; input or output failed; damaged; cannot be opened; no database.
# https://sqlite.org/rescode.html
_LOST_SESSION: Final = {
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOTADB,
}


def create_file(path: Path) -> None:
    """Make the database file (mode 0600) and its folder (0700) if missing; restrict a file that others can use."""
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


def create_engine(url: str, *, patient: bool) -> AsyncEngine:  # noqa: ARG001 - here a migration takes no longer
    """Build the engine. The file must exist by the first connection: SQLite would make one that all can read."""
    path = database_file(url)
    location = URL.create("sqlite+aiosqlite", database=f"file:{quote(str(path))}", query={"mode": "rw", "uri": "true"})
    engine = create_async_engine(location, hide_parameters=True)

    def set_up(connection: Any, record: Any) -> None:
        # The driver begins no transactions of its own: it would leave out SELECT and CREATE TABLE.
        connection.isolation_level = None
        connection.run_async(_run_pragmas)
        record.info[_FILES] = identities(path)

    def follow(connection: Any, record: Any, _proxy: object) -> None:
        opened: dict[Path, Identity] = record.info[_FILES]
        if identity(path) != opened[path]:
            leave(connection, path, opened)
            raise InvalidatePoolError

    event.listen(engine.sync_engine, "connect", set_up)
    event.listen(engine.sync_engine, "checkout", follow)
    return engine


def begin(connection: Connection, writes: bool) -> None:
    """Begin a transaction.

    One that writes takes the write lock at once and waits for it; a transaction that reads first and writes later
    fails instead of waiting when another one wrote in between.
    """
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def ends_session(error: BaseException) -> bool:
    """Whether a connection is useless after an error. It would never notice that the file is well again."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _LOST_SESSION


def identities(path: Path) -> dict[Path, Identity]:
    """Which files a connection that was just made has open."""
    return {file: identity(file) for file in (path, *log_files(path))}


def log_files(path: Path) -> tuple[Path, Path]:
    """The files in which SQLite keeps what is not in the database's own file yet."""
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def identity(file: Path) -> Identity:
    """Which file has this name now; None if none has."""
    try:
        found = os.stat(file)  # noqa: PTH116 - for each transaction: a path's own method takes twice as long
    except OSError:
        return None
    return found.st_dev, found.st_ino


def leave(connection: Any, path: Path, opened: Mapping[Path, Identity]) -> None:
    """Leave a database whose file was replaced or moved, and remove its log.

    Otherwise SQLite would apply the old log to the new file. https://sqlite.org/howtocorrupt.html#unlinked
    """
    cursor = connection.cursor()
    cursor.execute("PRAGMA wal_checkpoint(FULL)")  # whoever moved the file may use it elsewhere
    cursor.close()
    for file in log_files(path):
        if opened[file] is not None and identity(file) == opened[file]:
            file.unlink(missing_ok=True)


async def _run_pragmas(connection: "aiosqlite.Connection") -> None:
    loop = asyncio.get_running_loop()
    give_up = loop.time() + BUSY_TIMEOUT
    for pragma in PRAGMAS:
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
