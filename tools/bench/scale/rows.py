"""Fills the tables: copies of the one account, key, destination or event that is there, under names of their own."""

from collections.abc import Mapping, Sequence

from tools.postgresql import PostgresqlServer
from whaul.events.database.tables import EventRow

Copies = Sequence[tuple[str, Mapping[str, str]]]
"""Tables, and what the columns of the copy number `n` hold where they are not as in the first row."""

ACCOUNTS: Copies = (
    ("accounts", {"id": "'waba-' || md5(n::text)", "meta_waba_id": "(900000000000 + n)::text"}),
    (
        "phone_numbers",
        {
            "id": "'phone-number-id-' || md5(n::text)",
            "account_id": "'waba-' || md5(n::text)",
            "meta_id": "(800000000000 + n)::text",
        },
    ),
)
KEYS: Copies = (("access_keys", {"access_key_id": "'AKIA' || lpad(n::text, 16, '0')"}),)
DESTINATIONS: Copies = (
    ("destinations", {"number": "nextval(pg_get_serial_sequence('destinations', 'number'))", "name": "'more-' || n"}),
    ("destination_accounts", {"destination": "first.destination + n"}),
)
EVENTS: Copies = (
    (
        "events",
        {
            "seq": "nextval(pg_get_serial_sequence('events', 'seq'))",
            "message_id": "md5(n::text)",
            "wamid": "'wamid.' || n",
        },
    ),
    ("attempts", {"seq": "first.seq + n", "delivery": "-n"}),
)


def fill(server: PostgresqlServer, database: str, copies: Copies, start: int, end: int) -> None:
    """Add the copies from `start` to before `end`."""
    for table, changed in copies:
        columns = [column.name for column in EventRow.metadata.tables[table].columns]
        values = ", ".join(changed.get(name, f'first."{name}"') for name in columns)
        names = ", ".join(f'"{name}"' for name in columns)
        server.execute(
            f"INSERT INTO {table} ({names}) SELECT {values} "
            f"FROM (SELECT * FROM {table} ORDER BY 1 LIMIT 1) AS first, generate_series({start}, {end - 1}) AS n",
            database,
        )
    # What the database would do later by itself would count as a cost of calls and events.
    server.execute("VACUUM ANALYZE", database)
    server.execute("CHECKPOINT", database)
