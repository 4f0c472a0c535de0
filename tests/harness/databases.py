"""PostgreSQL databases for tests: a few that are emptied after each, since to copy one costs ten times as much."""

from typing import Final

from tools.postgresql import PostgresqlServer

EMPTYING: Final = """
CREATE FUNCTION tests.emptied() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    used text;
    found text;
BEGIN
    PERFORM pg_terminate_backend(pid, 60000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid();
    SELECT string_agg(oid::regclass::text, ', ') INTO used FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND pg_relation_size(oid) > 0
        AND relname NOT IN ('alembic_version', 'schema_compatibility');
    IF used IS NOT NULL THEN
        EXECUTE 'TRUNCATE ' || used || ' RESTART IDENTITY CASCADE';
    END IF;
    SELECT md5(string_agg(part, ' ' ORDER BY part)) INTO found FROM (
        SELECT concat_ws(' ', relname, relkind, relacl, reloptions) FROM pg_class
            WHERE relnamespace = 'public'::regnamespace
        UNION ALL
        SELECT concat_ws(' ', relname, attname, atttypid, attnotnull, attidentity, attgenerated)
            FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid
            WHERE relnamespace = 'public'::regnamespace AND attnum > 0
        UNION ALL
        SELECT concat_ws(' ', relname, pg_get_expr(adbin, adrelid))
            FROM pg_attrdef JOIN pg_class ON adrelid = pg_class.oid
        UNION ALL
        SELECT concat_ws(' ', conname, pg_get_constraintdef(oid)) FROM pg_constraint
            WHERE connamespace = 'public'::regnamespace
        UNION ALL
        SELECT concat_ws(' ', proname, prosrc) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        UNION ALL
        SELECT concat_ws(' ', tgname, tgenabled) FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL
        SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg!_%' ESCAPE '!'
        UNION ALL
        SELECT setconfig::text FROM pg_db_role_setting
            WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
        UNION ALL
        SELECT version_num FROM alembic_version
        UNION ALL
        SELECT oldest_revision FROM schema_compatibility
    ) AS parts (part);
    RETURN found;
END $$
"""
"""Ends all sessions, removes all rows, and says what else the database is, from its tables to its settings."""


class Databases:
    """Copies of a migrated database without rows."""

    def __init__(self, server: PostgresqlServer, template: str) -> None:
        self._server = server
        self._template = template
        server.execute("CREATE SCHEMA tests", template)
        server.execute(EMPTYING, template)
        self._pristine = self._emptied(template)
        self._free: list[str] = []

    def take(self) -> str:
        """Return the name of one that nobody uses."""
        return self._free.pop() if self._free else self._server.create_database(self._template)

    def give_back(self, name: str) -> None:
        """Keep it for the next test, unless a test has changed more than rows."""
        if self._emptied(name) == self._pristine:
            self._free.append(name)
        else:
            self._server.drop_database(name)

    def _emptied(self, name: str) -> str:
        [(found,)] = self._server.execute("SELECT tests.emptied()", name)
        return str(found)
