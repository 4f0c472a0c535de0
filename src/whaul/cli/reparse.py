"""`whaul events reparse`: what could not be parsed when it came."""

import asyncio
from typing import TYPE_CHECKING

from whaul.cli import output
from whaul.cli.accounts import Json
from whaul.cli.event_filters import Since
from whaul.cli.inbound import moment_from, opened

if TYPE_CHECKING:
    from datetime import datetime

    from whaul.events.reparse import Reparsed
    from whaul.settings import Settings


def reparse(since: Since = None, json: Json = False) -> None:
    """Split what could not be parsed when it came, after an upgrade that knows more. It then goes its way.

    Examples:
        whaul events reparse --since 7d
    """
    from whaul.settings import Settings

    found = asyncio.run(_reparse(Settings.load(), moment_from("--since", since)))
    if json:
        output.document({"matched": found.matched, "routed": found.routed})
    else:
        output.line(f"{found.matched} could not be parsed when they came; {found.routed} events were made of them.")


async def _reparse(settings: "Settings", since: "datetime | None") -> "Reparsed":
    from whaul.events.database.columns import microseconds
    from whaul.events.reparse import Reparse

    async with opened(settings) as inbound:
        work = Reparse(
            store=inbound.store,
            cipher=inbound.cipher,
            owner=inbound.owner,
            operators=tuple(settings.app_secrets),
            extensions=settings.extensions,
            max_events=settings.max_backlog,
            max_bytes=settings.max_backlog_bytes,
        )
        return await work.run(None if since is None else microseconds(since))
