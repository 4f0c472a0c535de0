"""The registry: what is linked and who may call, in one database."""

import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

from sqlalchemy import TableClause, column, select, table, update

from whaul.arns import Arns
from whaul.registry import schema
from whaul.registry.access_keys import AccessKeys
from whaul.registry.accounts import Accounts
from whaul.registry.console_sign_ins import ConsoleSignIns
from whaul.registry.database import Database, open_engine, utc_now
from whaul.registry.errors import SchemaMissingError, SchemaTooNewError
from whaul.registry.pages import PageTokens
from whaul.registry.signups import Signups
from whaul.registry.tags import Tags
from whaul.secrets import Cipher

ENCRYPTED: Final[Mapping[str, tuple[str, ...]]] = {
    "access_keys": ("access_key_id", "secret_access_key", "session_token"),
    "accounts": ("id", "access_token", "app_secret"),
    "destinations": ("number", "secret", "old_secret", "headers", "last_error"),
    "installation": ("owner", "hash_key", "verify_token", "old_verify_token"),
    "parked_accounts": ("account_id", "reason"),
    "signups": ("token_hash", "access_token"),
}
"""The columns that hold secrets, of each table, after the table's key. They are written out, since a server would load
the tables of events only to find theirs. That saves 3.5 MB a worker."""


class Registry:
    """What belongs to one account number.

    Every method, of the parts too, raises RegistryUnavailableError when the database does not answer; those that return
    a secret raise SecretKeyError when the cipher's keys do not fit.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.accounts = Accounts(database)
        self.tags = Tags(database)
        self.signups = Signups(database, self.accounts, self.tags)
        self.access_keys = AccessKeys(database)
        self.console_sign_ins = ConsoleSignIns(database)
        self.page_tokens = PageTokens(database.cipher, database.account_id)

    async def check_secret_key(self) -> None:
        """Raise SecretKeyError if the cipher cannot decrypt all stored secrets; an empty registry passes."""
        async with self._database.reading() as session:
            for rows, _, secret in _encrypted_columns():
                stored = select(rows.c[secret]).where(rows.c.owner == self._database.account_id)
                for token in await session.scalars(stored):
                    if token is not None:
                        self._database.cipher.decrypt(token)

    async def rotate_secrets(self) -> int:
        """Encrypt with the first key whatever other keys encrypted; return how many secrets that were.

        All or nothing. Raises SecretKeyError when no key fits one of them, and SchemaTooNewError for a newer database,
        which may hold secrets that this version does not know.
        """
        if await schema.check_engine(self._database.engine) != schema.HEAD:
            raise SchemaTooNewError
        renewed = 0
        async with self._database.writing() as session:
            for rows, key, secret in _encrypted_columns():
                stored = select(rows.c[key], rows.c[secret]).where(
                    rows.c.owner == self._database.account_id, rows.c[secret].is_not(None)
                )
                for id_, token in (await session.execute(stored)).all():
                    fresh = self._database.cipher.renew(token)
                    if fresh is not None:
                        await session.execute(update(rows).where(rows.c[key] == id_).values({secret: fresh}))
                        renewed += 1
        return renewed

    async def ping(self) -> None:
        """Raise a RegistryError unless the database answers and this version can use its schema."""
        await schema.check_engine(self._database.engine)


def _encrypted_columns() -> Iterator[tuple[TableClause, str, str]]:
    """Yield each column that holds secrets: its table, the name of that one's key, and its own."""
    for name, (key, *secrets) in ENCRYPTED.items():
        rows = table(name, *map(column, {"owner", key, *secrets}))
        for secret in secrets:
            yield rows, key, secret


@asynccontextmanager
async def open_registry(
    url: str,
    cipher: Cipher,
    *,
    account_id: str,
    region: str,
    create: bool = False,
    clock: Callable[[], datetime] = utc_now,
    rng: random.Random | None = None,
) -> AsyncIterator[Registry]:
    """Open the registry behind a database URL, and dispose of its connections at the end.

    A database that is missing or empty is made with `create`, and is SchemaMissingError without. `rng` must be fit for
    secrets. Raises SchemaOutdatedError or SchemaTooNewError, ValueError for a bad URL, and RegistryUnavailableError
    when the database does not answer.
    """
    try:
        await schema.check(url)
    except SchemaMissingError:
        if not create:
            raise
        await schema.migrate(url)
    engine = open_engine(url)
    try:
        yield Registry(
            Database(
                engine=engine,
                cipher=cipher,
                arns=Arns(account_id, region),
                clock=clock,
                rng=rng or random.SystemRandom(),
            )
        )
    finally:
        await engine.dispose()
