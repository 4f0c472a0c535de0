"""A process that archives, until somebody kills it."""

import asyncio

from harness.archive import fetching, pictures
from harness.inbox import KEY, OWNER
from harness.killed import LIMITS, Silent
from harness.outbox import ScriptedTarget
from whaul.events.running import Surroundings, events_running
from whaul.outbound.http import HttpClient
from whaul.secrets import Cipher

SLOTS = 8


def surroundings(http: HttpClient, graph_url: str, s3_url: str) -> Surroundings:
    """No destinations, and an archive."""
    return Surroundings(
        targets=lambda _destination: ScriptedTarget(),
        observer=Silent(),
        fetching=fetching(http, graph_url, s3_url),
        archive_slots=SLOTS,
    )


def main(url: str, graph_url: str, s3_url: str, *media_ids: str) -> None:
    """Take in a message with each of these files, and archive them."""
    asyncio.run(_main(url, graph_url, s3_url, media_ids))


async def _main(url: str, graph_url: str, s3_url: str, media_ids: tuple[str, ...]) -> None:
    async with HttpClient() as http:
        around = surroundings(http, graph_url, s3_url)
        async with events_running(url, Cipher(KEY), OWNER, LIMITS, around) as running:
            for start in range(0, len(media_ids), 20):
                await running.inbox.put(pictures(media_ids[start : start + 20]))
            await asyncio.Event().wait()
