"""`whaul migrate`."""

import asyncio

from whaul.cli import output


def migrate() -> None:
    """Bring the database to the current schema; make it if there is none.

    The order of the steps of an upgrade is in upgrade.md, in the folder that `whaul help docs` names.
    """
    from whaul.components import cipher
    from whaul.registry import schema
    from whaul.settings import Settings

    settings = Settings.load()
    cipher(settings)  # makes the key file of a new SQLite database, which is not made later
    revision = asyncio.run(schema.migrate(settings.database_url.get_secret_value()))
    newer = "" if revision == schema.HEAD else " of a newer whaul, which this one can use"
    output.line(f"The database is at revision {revision}{newer}.")
