"""`whaul rotate-secrets`: the second half of changing the secret key."""

import asyncio
from typing import TYPE_CHECKING

from whaul.cli import output

if TYPE_CHECKING:
    from whaul.settings import Settings


def rotate_secrets() -> None:
    """Encrypt all stored secrets with the first key of WHAUL_SECRET_KEY. Then the other keys are not needed.

    Examples:
        WHAUL_SECRET_KEY=NEW,OLD whaul rotate-secrets
    """
    from whaul.settings import Settings

    settings = Settings.load()
    count = asyncio.run(_rotate(settings))
    secrets = "1 secret was" if count == 1 else f"{count} secrets were"
    all_secrets = f"All secrets of account number {settings.account_id}"
    output.line(f"{secrets} re-encrypted. {all_secrets} are now encrypted with the first key.")


async def _rotate(settings: "Settings") -> int:
    from whaul.components import open_registry

    async with open_registry(settings) as registry:
        return await registry.rotate_secrets()
