"""The revision of the database: bring it to this version's, or say why it cannot be used.

A database may be newer than this version, since servers are upgraded one after the other. The database itself keeps
which versions can use it, as a revision that they must know: the latest that is not additive (`migrations/versions`).

Checking imports no Alembic, so that serving does not load it.
"""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, delete, insert, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from whaul.registry.database import create_database, database_exists, for_writing, open_engine, translated
from whaul.registry.errors import SchemaError, SchemaMissingError, SchemaOutdatedError, SchemaTooNewError
from whaul.registry.tables import SchemaCompatibilityRow

REVISIONS: Final = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010")
"""Every revision in `migrations/versions`, oldest first; a test holds the two together."""

HEAD: Final = REVISIONS[-1]

_VERSION_TABLE: Final = "alembic_version"
_MIGRATIONS: Final = Path(__file__).parent / "migrations"


async def migrate(url: str) -> str:
    """Bring the database to HEAD, making it if it is missing; return the revision that it has now.

    A newer one that this version can use stays as it is. All or nothing. If several processes do it at once, one does
    and the others wait. Raises ValueError for a bad URL, SchemaTooNewError, SchemaError when the tables are another
    program's, RegistryUnavailableError.
    """
    create_database(url)
    engine = open_engine(url, patient=True)
    try:
        with translated():
            async with for_writing(engine).begin() as connection:
                # Inside the write lock: what another process has just done is seen here.
                revision = await connection.run_sync(_usable_revision)
                if revision is None or (revision != HEAD and revision in REVISIONS):
                    await connection.run_sync(_upgrade)
                    revision = HEAD
    finally:
        await engine.dispose()
    return revision


async def check(url: str) -> str:
    """Return the revision of the database, or raise a SchemaError unless it is HEAD or a newer one that we can use.

    Makes no file. Raises ValueError for a bad URL, RegistryUnavailableError when the database does not answer.
    """
    if not database_exists(url):
        raise SchemaMissingError
    engine = open_engine(url)
    try:
        return await check_engine(engine)
    finally:
        await engine.dispose()


async def check_engine(engine: AsyncEngine) -> str:
    """Check the database of an open engine."""
    with translated():
        async with engine.connect() as connection:
            revision = await connection.run_sync(_usable_revision)
    if revision is None:
        raise SchemaMissingError
    if revision != HEAD and revision in REVISIONS:
        raise SchemaOutdatedError
    return revision


def _usable_revision(connection: Connection) -> str | None:
    """Return the revision, None for an empty database. Raises SchemaTooNewError for one that we cannot use."""
    tables = inspect(connection).get_table_names()
    if not tables:
        return None
    if _VERSION_TABLE not in tables:
        raise SchemaError("the database holds the tables of another program; give whaul a database of its own")
    # Written out: this is the one statement of the serving path on a table that is Alembic's.
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if revision is None or revision in REVISIONS:
        return revision
    oldest = select(SchemaCompatibilityRow.oldest_revision)
    if SchemaCompatibilityRow.__tablename__ not in tables or connection.scalar(oldest) not in REVISIONS:
        raise SchemaTooNewError
    return revision


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - see the module's docstring
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)
    steps = ScriptDirectory.from_config(config).iterate_revisions(HEAD, "base")
    oldest = next(step.revision for step in steps if not step.module.additive)
    connection.execute(delete(SchemaCompatibilityRow))
    connection.execute(insert(SchemaCompatibilityRow).values(oldest_revision=oldest))
