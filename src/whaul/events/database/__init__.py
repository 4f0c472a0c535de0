"""The tables of events, and how statements reach them, on SQLite and PostgreSQL alike."""

from whaul.database_url import is_postgresql
from whaul.events.database.store import Store


def open_store(url: str, *, connections: int, timeout: float) -> Store:
    """Build the store of a database URL. It connects when it is first used.

    `timeout` is in seconds, for a transaction and all waiting before it. Raises ValueError for a bad URL.
    """
    if is_postgresql(url):
        from whaul.events.database.postgresql import PostgresqlStore  # noqa: PLC0415 - as its driver, only where it is used

        return PostgresqlStore(url, connections=connections, timeout=timeout)
    from whaul.events.database.sqlite import SqliteStore  # noqa: PLC0415

    return SqliteStore(url, timeout=timeout)
