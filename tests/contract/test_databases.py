"""The databases that tests share one after the other: nobody finds what another has left."""

import pytest

from harness.databases import Databases
from tools.postgresql import PostgresqlServer

COLUMNS = {
    "owner": "1",
    "name": "orders",
    "target": "https://127.0.0.1:1/hook",
    "format": "aws",
    "ordered": "false",
    "concurrency": "1",
    "filter": "{}",
    "attributes": "false",
    "media_wait": "0",
    "created_at": "0",
    "state": "active",
    "stopped_for": "0",
}
VALUES = ", ".join(f"'{value}'" for value in COLUMNS.values())
INSERT = f"INSERT INTO destinations ({', '.join(COLUMNS)}) VALUES ({VALUES}) RETURNING number"  # noqa: S608


def test_a_database_is_used_again_without_rows(postgresql: PostgresqlServer, postgresql_databases: Databases) -> None:
    name = postgresql_databases.take()
    [(first,)] = postgresql.execute(INSERT, name)
    postgresql_databases.give_back(name)
    assert postgresql_databases.take() == name
    assert postgresql.execute("SELECT 1 FROM destinations", name) == []
    assert postgresql.execute(INSERT, name) == [(first,)]
    postgresql_databases.give_back(name)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE others ()",
        "DROP TABLE event_files",
        "ALTER TABLE destinations DROP COLUMN filter",
        "ALTER TABLE destinations ALTER COLUMN filter DROP NOT NULL",
        "CREATE INDEX others ON destinations (filter)",
        "REVOKE UPDATE ON destinations FROM whaul",
        "CREATE SCHEMA others",
        "UPDATE alembic_version SET version_num = '9999'",
        "DELETE FROM schema_compatibility",
    ],
)
def test_a_database_of_which_more_than_rows_was_changed_is_not_used_again(
    postgresql: PostgresqlServer, postgresql_databases: Databases, statement: str
) -> None:
    name = postgresql_databases.take()
    postgresql.execute(statement, name)
    postgresql_databases.give_back(name)
    assert postgresql.execute(f"SELECT 1 FROM pg_database WHERE datname = '{name}'") == []  # noqa: S608
