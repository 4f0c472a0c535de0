"""The revision of the database: bring it to this version's, or say why it cannot be used.

Checking imports no Alembic, so that serving does not load it.
"""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from whaul.registry.database import create_database, database_exists, for_writing, open_engine, translated
from whaul.registry.errors import SchemaError, SchemaMissingError, SchemaOutdatedError, SchemaTooNewError

REVISIONS: Final = ("0001", "0002", "0003", "0004")
"""Every revision in `migrations/versions`, oldest first; a test holds the two together."""

HEAD: Final = REVISIONS[-1]

_VERSION_TABLE: Final = "alembic_version"
_MIGRATIONS: Final = Path(__file__).parent / "migrations"


async def migrate(url: str) -> str:
    """Bring the database to HEAD, making it if it is missing; return the revision that it has now.

    All or nothing. If several processes do it at once, one does and the others wait. Raises ValueError for
    a bad URL, SchemaTooNewError, SchemaError when the tables are another program's, RegistryUnavailableError.
    """
    create_database(url)
    engine = open_engine(url, patient=True)
    try:
        with translated():
            async with for_writing(engine).begin() as connection:
                # Inside the write lock: what another process has just done is seen here.
                revision = await connection.run_sync(_current_revision)
                if revision is not None and revision not in REVISIONS:
                    raise SchemaTooNewError
                if revision != HEAD:
                    await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()
    return HEAD


async def check(url: str) -> None:
    """Raise a SchemaError unless the database is at HEAD.

    Makes no file. Raises ValueError for a bad URL, RegistryUnavailableError when the database does not answer.
    """
    if not database_exists(url):
        raise SchemaMissingError
    engine = open_engine(url)
    try:
        await check_engine(engine)
    finally:
        await engine.dispose()


async def check_engine(engine: AsyncEngine) -> None:
    """Check the database of an open engine."""
    with translated():
        async with engine.connect() as connection:
            revision = await connection.run_sync(_current_revision)
    if revision is None:
        raise SchemaMissingError
    if revision not in REVISIONS:
        raise SchemaTooNewError
    if revision != HEAD:
        raise SchemaOutdatedError


def _current_revision(connection: Connection) -> str | None:
    tables = inspect(connection).get_table_names()
    if not tables:
        return None
    if _VERSION_TABLE not in tables:
        raise SchemaError("the database holds the tables of another program; give whaul a database of its own")
    # Written out: this is the one statement of the serving path on a table that is Alembic's.
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - see the module's docstring
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)
