"""`whaul rotate-secrets`: the second half of changing the secret key."""

import asyncio
from typing import TYPE_CHECKING

from whaul.cli import output

if TYPE_CHECKING:
    from datetime import datetime

    from whaul.settings import Settings


def rotate_secrets() -> None:
    """Encrypt all stored secrets with the first key of WHAUL_SECRET_KEY. Then the other keys are not needed.

    Examples:
        WHAUL_SECRET_KEY=NEW,OLD whaul rotate-secrets
    """
    from whaul.settings import Settings

    settings = Settings.load()
    count, jobs, needed_until = asyncio.run(_rotate(settings))
    secrets = "1 secret was" if count == 1 else f"{count} secrets were"
    all_secrets = f"All secrets of account number {settings.account_id}"
    output.line(f"{secrets} re-encrypted. {all_secrets} are now encrypted with the first key.")
    if jobs:
        waits = "1 event or file that waits" if jobs == 1 else f"{jobs} events and files that wait"
        output.line(f"So is the content of {waits}.")
    if needed_until is not None:
        output.line(f"Events that are only kept need the old key until {needed_until:%Y-%m-%d %H:%M} UTC.")


async def _rotate(settings: "Settings") -> tuple[int, int, "datetime | None"]:
    from whaul.components import cipher, event_store, open_registry
    from whaul.events.rotation import Rotation

    async with open_registry(settings) as registry:
        count = await registry.rotate_secrets()
    async with event_store(settings) as store:
        rotation = Rotation(store, cipher(settings), settings.account_id)
        retention = settings.event_retention.total_seconds()
        return count, await rotation.renew(), await rotation.old_key_needed_until(retention)
