# ruff: noqa: ASYNC240 - looking at a file in tmp_path holds up nobody

import multiprocessing
import os
import stat
import subprocess
import sys
import threading
from asyncio import run
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

import whaul.events.database.tables  # noqa: F401 - they are tables of the registry's database
from whaul.database_url import database_file
from whaul.registry import schema
from whaul.registry.database import create_database, for_writing, key_file, open_engine
from whaul.registry.errors import (
    RegistryUnavailableError,
    SchemaError,
    SchemaMissingError,
    SchemaOutdatedError,
    SchemaTooNewError,
)
from whaul.registry.tables import Table

pytestmark = pytest.mark.anyio

OLD_KEY = (
    "INSERT INTO access_keys (access_key_id, owner, name, secret_access_key, policy, created_at) "
    "VALUES ('A', '1', 'n', 's', 'p', '2026-03-01 00:00:00')"
)
"""A row of the oldest revision."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


@pytest.fixture
def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """A database that is missing (SQLite) or empty (PostgreSQL)."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "empty_postgresql_url"))


async def _execute(url: str, statement: str) -> list[object]:
    create_database(url)
    engine = open_engine(url)
    async with for_writing(engine).begin() as connection:
        result = await connection.execute(text(statement))
        rows = list(result.scalars()) if result.returns_rows else []
    await engine.dispose()
    return rows


def _alembic(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


async def _bring_to(url: str, revision: str) -> dict[str, Any]:
    """Make the database what an older version left, and return its structure."""
    create_database(url)
    engine = open_engine(url)
    async with for_writing(engine).begin() as connection:
        await connection.run_sync(lambda sync: command.upgrade(_alembic(sync), revision))
        structure = await connection.run_sync(_structure)
    await engine.dispose()
    return structure


async def _tables(url: str) -> list[str]:
    engine = open_engine(url)
    async with engine.connect() as connection:
        tables = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    await engine.dispose()
    return tables


def _index(found: Mapping[str, Any]) -> dict[str, Any]:
    """Read an index; the condition of a partial one is an object that equals nothing but itself."""
    options = {name: str(value) for name, value in found.get("dialect_options", {}).items()}
    return {**found, "dialect_options": options}


def _is_partition(table: str) -> bool:
    """Whether it is one of PostgreSQL's for the dedupe keys of events, of which the tables know nothing."""
    return table.startswith("event_keys_")


def _structure(connection: Connection) -> dict[str, Any]:
    inspector = inspect(connection)
    return {
        table: (
            [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in inspector.get_columns(table)],
            inspector.get_pk_constraint(table),
            inspector.get_foreign_keys(table),
            sorted(map(_index, inspector.get_indexes(table)), key=str),
            inspector.get_unique_constraints(table),
        )
        for table in inspector.get_table_names()
        if table != "alembic_version" and not _is_partition(table)
    }


async def test_the_migrations_and_the_tables_describe_the_same_schema(url: str) -> None:
    await schema.migrate(url)
    engine = open_engine(url)
    options = {"compare_type": True, "include_name": lambda name, kind, _: kind != "table" or not _is_partition(name)}
    async with engine.connect() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync, opts=options), Table.metadata)
        )
    await engine.dispose()
    assert differences == []


async def test_a_migrated_database_has_the_very_structure_that_the_tables_create(url: str) -> None:
    create_database(url)
    engine = open_engine(url)
    async with for_writing(engine).begin() as connection:
        await connection.run_sync(Table.metadata.create_all)
        created = await connection.run_sync(_structure)
        await connection.run_sync(Table.metadata.drop_all)
    await schema.migrate(url)
    async with engine.connect() as connection:
        assert await connection.run_sync(_structure) == created
    await engine.dispose()
    assert set(created) == set(Table.metadata.tables)


def test_the_revisions_are_alembic_s_in_order() -> None:
    script = ScriptDirectory.from_config(_alembic())
    assert script.get_heads() == [schema.HEAD]
    assert tuple(reversed([revision.revision for revision in script.walk_revisions()])) == schema.REVISIONS


def test_checking_does_not_load_alembic(url: str) -> None:
    run(schema.migrate(url))
    program = (
        "import asyncio, sys\nfrom whaul.registry import schema\n"
        "asyncio.run(schema.check(sys.argv[1]))\n"
        "assert 'alembic' not in sys.modules\n"
        "assert ('asyncpg' in sys.modules) == sys.argv[1].startswith('postgresql')"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, url], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_may_fail_is_known_without_a_database() -> None:
    program = "import sys, whaul.registry.errors\nassert 'sqlalchemy' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


async def test_a_migrated_database_passes_the_check(url: str) -> None:
    assert await schema.migrate(url) == schema.HEAD
    await schema.check(url)


@pytest.mark.parametrize("revision", schema.REVISIONS[:-1])
async def test_a_database_of_any_older_revision_is_brought_up_with_what_is_stored(url: str, revision: str) -> None:
    await _bring_to(url, schema.REVISIONS[0])
    await _execute(url, OLD_KEY)
    await _bring_to(url, revision)
    with pytest.raises(SchemaOutdatedError, match="run `whaul migrate`"):
        await schema.check(url)
    assert await schema.migrate(url) == schema.HEAD
    assert await _execute(url, "SELECT access_key_id FROM access_keys") == ["A"]
    await schema.check(url)


async def test_what_an_additive_revision_finds_stays_as_it_is(url: str) -> None:
    """A release that does not know the revision reads and writes what it knows."""
    steps = ScriptDirectory.from_config(_alembic())
    before: dict[str, Any] = {}
    for revision in schema.REVISIONS:
        after = await _bring_to(url, revision)
        if steps.get_revision(revision).module.additive:
            for table, (columns, *keys, indexes, unique) in before.items():
                new_columns, *new_keys, new_indexes, new_unique = after[table]
                assert columns == new_columns[: len(columns)]
                assert all(nullable or default for _, _, nullable, default in new_columns[len(columns) :])
                assert (keys, unique) == (new_keys, new_unique)
                assert [index for index in new_indexes if index["unique"] or index in indexes] == indexes
        before = after


async def test_the_database_says_which_revision_must_be_known_to_use_it(url: str) -> None:
    await schema.migrate(url)
    steps = ScriptDirectory.from_config(_alembic())
    latest = max(revision for revision in schema.REVISIONS if not steps.get_revision(revision).module.additive)
    assert await _execute(url, "SELECT oldest_revision FROM schema_compatibility") == [latest]


async def test_migrating_again_keeps_what_is_stored(url: str) -> None:
    await schema.migrate(url)
    await _execute(url, OLD_KEY)
    await schema.migrate(url)
    assert await _execute(url, "SELECT access_key_id FROM access_keys") == ["A"]


async def test_a_missing_database_is_told_and_not_made(sqlite_url: str, path: Path) -> None:
    with pytest.raises(SchemaMissingError, match="whaul migrate"):
        await schema.check(sqlite_url)
    assert not path.exists()


async def test_an_empty_database_is_told_and_can_be_migrated(url: str) -> None:
    create_database(url)
    with pytest.raises(SchemaMissingError):
        await schema.check(url)
    await schema.migrate(url)
    await schema.check(url)


async def test_a_newer_database_that_this_version_can_use_is_used_and_left_alone(url: str) -> None:
    await schema.migrate(url)
    await _execute(url, "UPDATE alembic_version SET version_num = '9999'")
    assert await schema.check(url) == "9999"
    assert await schema.migrate(url) == "9999"
    assert await _execute(url, "SELECT version_num FROM alembic_version") == ["9999"]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE schema_compatibility SET oldest_revision = '9998'",
        "DELETE FROM schema_compatibility",
        "DROP TABLE schema_compatibility",
    ],
)
async def test_a_newer_database_that_this_version_cannot_use_is_told_and_left_alone(url: str, change: str) -> None:
    await schema.migrate(url)
    await _execute(url, "UPDATE alembic_version SET version_num = '9999'")
    await _execute(url, change)
    for call in (schema.check, schema.migrate):
        with pytest.raises(SchemaTooNewError, match="newer whaul"):
            await call(url)
    assert await _execute(url, "SELECT version_num FROM alembic_version") == ["9999"]


async def test_the_database_of_another_program_is_told_and_left_alone(url: str) -> None:
    await _execute(url, "CREATE TABLE recipes (name TEXT)")
    for call in (schema.check, schema.migrate):
        with pytest.raises(SchemaError, match="another program") as caught:
            await call(url)
        assert not isinstance(caught.value, SchemaMissingError)
    assert await _tables(url) == ["recipes"]


async def test_a_migration_that_fails_leaves_nothing_behind(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade = schema._upgrade

    def upgrade_and_fail(connection: Connection) -> None:
        upgrade(connection)
        connection.execute(text("SELECT * FROM no_such_table"))

    monkeypatch.setattr(schema, "_upgrade", upgrade_and_fail)
    with pytest.raises(RegistryUnavailableError):
        await schema.migrate(url)
    assert await _tables(url) == []


def _migrate(url: str, ready, answers) -> None:
    ready.wait()
    try:
        answers.put(run(schema.migrate(url)))
    except BaseException as exc:  # noqa: BLE001 - reported to the test
        answers.put(f"{exc!r} {exc.__cause__!r}")


@pytest.mark.long
@pytest.mark.parametrize("exists", [False, True])
def test_processes_that_migrate_at_once_all_succeed(url: str, exists: bool) -> None:
    if exists:
        create_database(url)
    context = multiprocessing.get_context("spawn")
    ready, answers = context.Barrier(4), context.Queue()
    processes = [context.Process(target=_migrate, args=(url, ready, answers)) for _ in range(4)]
    for process in processes:
        process.start()
    results = [answers.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert results == [schema.HEAD] * 4
    run(schema.check(url))


def test_threads_that_switch_a_new_database_to_wal_at_once_all_succeed(tmp_path: Path) -> None:
    for attempt in range(8):
        url = f"sqlite:///{tmp_path / str(attempt)}.db"
        ready = threading.Barrier(12)

        def connect(url: str = url, ready: threading.Barrier = ready) -> None:
            create_database(url)
            ready.wait()
            run(_begin_writing(url))

        with ThreadPoolExecutor(12) as threads:
            for done in [threads.submit(connect) for _ in range(12)]:
                done.result()


async def _begin_writing(url: str) -> None:
    engine = open_engine(url)
    async with for_writing(engine).begin() as connection:
        assert (await connection.execute(text("PRAGMA journal_mode"))).scalar_one() == "wal"
    await engine.dispose()


async def test_the_database_and_its_companions_are_closed_to_other_users(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "registry.db"
    url = f"sqlite:///{path}"
    old = os.umask(0)
    try:
        await schema.migrate(url)
        engine = open_engine(url)
        async with for_writing(engine).begin() as connection:
            await connection.execute(text("DELETE FROM accounts"))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        await engine.dispose()
    finally:
        os.umask(old)
    assert modes == {"registry.db": 0o600, "registry.db-wal": 0o600, "registry.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700


async def test_a_database_open_to_every_user_is_closed_to_them(sqlite_url: str, path: Path) -> None:
    path.touch()
    path.chmod(0o664)
    await schema.migrate(sqlite_url)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


async def test_connections_are_set_up_for_many_readers_and_lasting_writes(sqlite_url: str) -> None:
    await schema.migrate(sqlite_url)
    engine = open_engine(sqlite_url)
    async with engine.connect() as connection:
        settings = [
            (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    await engine.dispose()
    assert settings == ["wal", 2, 1, 10000]


async def test_a_database_in_a_folder_that_cannot_be_made_is_a_registry_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RegistryUnavailableError):
        await schema.migrate(f"sqlite:///{tmp_path}/file/registry.db")


def test_three_slashes_are_relative_and_four_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert database_file("sqlite:///data/registry.db") == tmp_path / "data" / "registry.db"
    assert database_file("sqlite:////var/lib/whaul/registry.db") == Path("/var/lib/whaul/registry.db")


def test_the_key_file_is_beside_the_database() -> None:
    assert key_file("sqlite:////var/lib/whaul/registry.db") == Path("/var/lib/whaul/registry.db.key")


async def test_a_path_may_hold_any_character_that_a_url_or_a_format_would_take_for_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a b%41#c&ü'" / "régistry%s.db"
    await schema.migrate(f"sqlite:///{path}")
    await schema.check(f"sqlite:///{path}")
    assert path.exists()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "registry.db",
        "/var/lib/whaul/registry.db",
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite:////",
        "sqlite:///:memory:",
        "sqlite://registry.db",
        "sqlite:///folder/",
        "sqlite:///registry.db?mode=memory",
        "sqlite+aiosqlite:///registry.db",
        "mysql://whaul:hunter2@db.example.com/whaul",
    ],
)
def test_any_other_url_is_refused_with_what_is_expected(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected sqlite:///relative\.db or sqlite:////absolute/path\.db") as caught:
        database_file(url)
    assert "hunter2" not in str(caught.value)
