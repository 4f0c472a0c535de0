"""The database behind a URL: whether it is there, its engine, and transactions over what belongs to one account number.

Owns the choice between SQLite and PostgreSQL; what is particular to one of them is in its own module. Does not know
the tables.
"""

import errno
import os
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import SecretStr
from sqlalchemy import Connection, ExceptionContext, event, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from whaul.arns import Arns
from whaul.database_url import check_database_url, database_file, is_postgresql
from whaul.registry import postgresql, sqlite
from whaul.registry.errors import RegistryUnavailableError
from whaul.secrets import Cipher

_WRITES: Final = "whaul_writes"
RAISE_GENERATION: Final = """
    INSERT INTO inbound_generation (owner, number) VALUES ($1, 1)
    ON CONFLICT (owner) DO UPDATE SET number = inbound_generation.number + 1"""
"""Says that what events of an owner are routed by has changed; see `GenerationRow`."""


def utc_now() -> datetime:
    """Return the time, UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """What belongs to one account number in a database.

    Secrets are encrypted before they reach the database and decrypted after they leave it. Every transaction raises
    RegistryUnavailableError when the database does not answer.
    """

    engine: AsyncEngine
    cipher: Cipher = field(repr=False)
    arns: Arns
    clock: Callable[[], datetime] = utc_now
    rng: random.Random = field(default_factory=random.SystemRandom)
    """Fit for secrets."""

    @property
    def account_id(self) -> str:
        """The owner of the rows."""
        return self.arns.account_id

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """Run a transaction that writes nothing."""
        with translated():
            async with AsyncSession(self.engine, expire_on_commit=False) as session:
                yield session

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """Run a transaction that writes. Writers take turns; an exception in the block undoes it."""
        with translated():
            async with AsyncSession(for_writing(self.engine), expire_on_commit=False) as session, session.begin():
                yield session

    async def raise_generation(self, session: AsyncSession) -> None:
        """Say that what events are routed by has changed, in the transaction that changes it."""
        await session.execute(text(RAISE_GENERATION.replace("$1", ":owner")), {"owner": self.account_id})

    def encrypt(self, secret: SecretStr | None) -> str | None:
        """Encrypt a secret that may be missing."""
        return None if secret is None else self.cipher.encrypt(secret)

    def decrypt(self, token: str | None) -> SecretStr | None:
        """Decrypt a secret that may be missing. Raises SecretKeyError."""
        return None if token is None else self.cipher.decrypt(token)


def key_file(url: str) -> Path:
    """Say where the secret key of a SQLite database is kept: beside it, under its name and `.key`."""
    path = database_file(url)
    return path.with_name(f"{path.name}.key")


def database_exists(url: str) -> bool:
    """Say whether the database exists, empty or not. A PostgreSQL database is assumed to exist.

    Raises RegistryUnavailableError for a file that may not be read, or a folder that may not be looked into.
    """
    if is_postgresql(url):
        return True
    path = database_file(url)
    with translated():
        if not path.exists():
            return False
        if not os.access(path, os.R_OK):  # the driver would only say that it cannot open the file
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return True


def create_database(url: str) -> None:
    """Make the file of a SQLite database if it is missing. A PostgreSQL database is made by its operator."""
    if not is_postgresql(url):
        path = database_file(url)
        with translated():
            sqlite.create_file(path)


def open_engine(url: str, *, patient: bool = False) -> AsyncEngine:
    """Build the engine; no connection is made yet. The caller disposes of it. Raises ValueError for a bad URL.

    A SQLite file must exist by the first connection. A patient engine waits as long as a migration may take.
    """
    check_database_url(url)
    backend = postgresql if is_postgresql(url) else sqlite
    engine: AsyncEngine = backend.create_engine(url, patient=patient)

    def begin(connection: Connection) -> None:
        backend.begin(connection, connection.get_execution_options().get(_WRITES, False))

    def handle_error(context: ExceptionContext) -> None:
        # The pool then replaces this connection, and those that are as old.
        context.is_disconnect = context.is_disconnect or backend.ends_session(context.original_exception)

    event.listen(engine.sync_engine, "begin", begin)
    event.listen(engine.sync_engine, "handle_error", handle_error)
    return engine


def for_writing(engine: AsyncEngine) -> AsyncEngine:
    """Return the same engine for transactions that write: they take turns."""
    return engine.execution_options(**{_WRITES: True})


@contextmanager
def translated() -> Iterator[None]:
    """Turn what a database or its driver raises into RegistryUnavailableError, keeping the cause."""
    try:
        yield
    except (SQLAlchemyError, OSError) as exc:
        raise RegistryUnavailableError from exc
