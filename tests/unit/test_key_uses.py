"""That the last use of access keys is written seldom, in the background, and that nothing depends on it."""

import asyncio
from collections.abc import Mapping

import pytest
import structlog

from whaul.model import KeyUse
from whaul.registry.errors import RegistryUnavailableError
from whaul.server.key_uses import INTERVAL, KeyUses
from whaul.testing import Clock

pytestmark = pytest.mark.anyio


class Registry:
    """Remembers the operations that were written, by key."""

    def __init__(self) -> None:
        self.writes: list[dict[str, str | None]] = []
        self.wrote = asyncio.Event()
        self.tried = asyncio.Event()
        self.is_down = False

    async def record_uses(self, uses: Mapping[str, KeyUse]) -> None:
        self.tried.set()
        if self.is_down:
            raise RegistryUnavailableError
        self.writes.append({id_: use.operation for id_, use in uses.items()})
        self.wrote.set()

    async def next_write(self) -> dict[str, str | None]:
        await self.wrote.wait()
        self.wrote.clear()
        return self.writes[-1]


async def test_the_first_use_is_written_soon_and_further_ones_once_in_the_interval() -> None:
    registry, clock = Registry(), Clock()
    uses = KeyUses(registry.record_uses, pause=0, clock=clock)
    async with uses.written():
        uses.note("A", "one")
        uses.note("A", "two")
        assert await registry.next_write() == {"A": "two"}
        uses.note("A", "three")
        uses.note("B", "one")
        assert await registry.next_write() == {"B": "one"}
        clock.advance(INTERVAL)
        assert await registry.next_write() == {"A": "three"}
        clock.advance(INTERVAL)  # A is not used any more, so nothing is written for it
        uses.note("C", None)
        assert await registry.next_write() == {"C": None}
    assert len(registry.writes) == 4


async def test_what_is_left_is_written_at_the_end() -> None:
    registry = Registry()
    uses = KeyUses(registry.record_uses, pause=0, clock=Clock())
    async with uses.written():
        uses.note("A", "one")
        await registry.next_write()
        uses.note("A", "two")
    assert registry.writes == [{"A": "one"}, {"A": "two"}]


async def test_while_the_registry_cannot_be_written_uses_wait_and_the_log_says_so_once() -> None:
    registry = Registry()
    registry.is_down = True
    uses = KeyUses(registry.record_uses, pause=0, outage_pause=0, clock=Clock())
    with structlog.testing.capture_logs() as lines:
        async with uses.written():
            for operation in ("one", "two"):
                uses.note("A", operation)
                registry.tried.clear()
                await registry.tried.wait()
            registry.is_down = False
            assert await registry.next_write() == {"A": "two"}
    assert [(line["log_level"], line["event"]) for line in lines] == [("warning", "key_uses_unwritten")]


async def test_a_registry_that_is_away_holds_up_no_stop() -> None:
    registry = Registry()
    registry.is_down = True
    uses = KeyUses(registry.record_uses, pause=0, outage_pause=0, clock=Clock())
    async with uses.written():
        uses.note("A", "one")
    assert registry.writes == []
