"""Events in whole processes: one that is killed at any step, and what another one makes of it."""

import asyncio
import signal
from collections import Counter
from pathlib import Path

import pytest

from harness.inbox import KEY, OWNER, installation, post, text
from harness.killed import EVENTS, LIMITS, STEPS, UNDER_LOAD, surroundings
from harness.waiting import PATIENCE
from harness.world import ZYGOTE
from whaul.events.delivery.destinations import Destinations
from whaul.events.delivery.replays import Replays
from whaul.events.processes import Processes
from whaul.events.running import Events, events_running
from whaul.events.selecting import Selection
from whaul.secrets import Cipher

pytestmark = pytest.mark.anyio


async def _prepared(url: str) -> None:
    async with installation(url) as here:
        await here.link()
        await here.add_destination()


async def _delivered(running: Events) -> None:
    """Wait until nothing waits. Leases of PostgreSQL end at once, instead of after a minute."""
    async with asyncio.timeout(PATIENCE):
        while True:
            [[(count,)]] = await running.store.run(("SELECT count(*) FROM deliveries", ()))
            if not count:
                return
            if running.store.partitions:
                ended = "UPDATE deliveries SET due_at = 0 WHERE lease_owner <> $1"
                await running.store.run((ended, (running.process,)))
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("step", STEPS)
async def test_what_was_answered_is_delivered_whenever_the_process_is_killed(
    url: str, step: str, tmp_path: Path
) -> None:
    await _prepared(url)
    answered, delivered = tmp_path / "answered", tmp_path / "delivered"
    answered.touch()
    arguments = [url, step, str(answered), str(delivered)]
    process = ZYGOTE.call("harness.killed:main", arguments, tmp_path / "log")
    assert await asyncio.to_thread(process.wait) == -signal.SIGKILL, (tmp_path / "log").read_text()
    async with events_running(url, Cipher(KEY), OWNER, LIMITS, surroundings(delivered)) as running:
        for number in range(EVENTS):  # Meta sends again what was not answered
            await running.inbox.put(post(text(f"wamid.{number}")))
        await _delivered(running)
    counts = Counter(delivered.read_text().split())
    assert set(counts) == {f"wamid.{number}" for number in range(EVENTS)}
    assert set(answered.read_text().split()) <= set(counts)
    if step == "after the settling":  # of the others, some may have been sent by then, and are sent again
        assert min(counts.values()) == 1
    elif step not in {"after the send", "idle"}:
        assert counts.total() == EVENTS


async def test_one_of_two_nodes_dies_under_load_and_nothing_is_lost(url: str, tmp_path: Path) -> None:
    await _prepared(url)
    answered, delivered = tmp_path / "answered", tmp_path / "delivered"
    async with events_running(url, Cipher(KEY), OWNER, LIMITS, surroundings(delivered)) as running:
        arguments = [url, "under load", str(answered), str(delivered)]
        process = ZYGOTE.call("harness.killed:main", arguments, tmp_path / "log")
        died = asyncio.create_task(asyncio.to_thread(process.wait))
        number = 0
        while not died.done():
            await running.inbox.put(post(text(f"here.{number}")))
            number += 1
        assert await died == -signal.SIGKILL, (tmp_path / "log").read_text()
        await _delivered(running)
    counts = Counter(delivered.read_text().split())
    assert {f"here.{each}" for each in range(number)} | set(answered.read_text().split()) <= set(counts)
    assert counts.total() - len(counts) <= UNDER_LOAD  # what the node had sent, and not written down


async def test_two_processes_share_the_work(url: str, tmp_path: Path) -> None:
    await _prepared(url)
    delivered = tmp_path / "delivered"
    around = surroundings(delivered)
    async with (
        events_running(url, Cipher(KEY), OWNER, LIMITS, around) as one,
        events_running(url, Cipher(KEY), OWNER, LIMITS, around) as two,
    ):
        posts = [post(*(text(f"wamid.{number}") for number in range(start, start + 10))) for start in range(0, 300, 10)]
        for sent in posts:
            await asyncio.gather(one.inbox.put(sent), two.inbox.put(sent))
        await _delivered(one)
    assert Counter(delivered.read_text().split()) == Counter(f"wamid.{number}" for number in range(300))


def test_a_process_lives_as_long_as_it_holds_its_lock(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'registry.db'}"
    one, two = Processes(url, "one"), Processes(url, "two")
    one.enter()
    two.enter()
    assert two._dead(["one", "two", "three"]) == ["three"]
    one.leave()
    assert two._dead(["one", "two"]) == ["one"]
    two.leave()


async def test_events_pass_a_pooler_in_transaction_mode(postgresql_url: str, pooler_port: int, tmp_path: Path) -> None:
    await _prepared(postgresql_url)
    before, _, database = postgresql_url.rpartition("/")
    url = f"{before.rpartition(':')[0]}:{pooler_port}/{database}"
    delivered = tmp_path / "delivered"
    async with events_running(url, Cipher(KEY), OWNER, LIMITS, surroundings(delivered)) as running:
        await running.inbox.put(post(*(text(f"wamid.{number}") for number in range(50))))
        await _delivered(running)
    assert len(delivered.read_text().split()) == 50


async def test_a_replay_goes_on_when_its_process_was_killed(url: str, tmp_path: Path) -> None:
    delivered, wamids = tmp_path / "delivered", {f"wamid.{number}" for number in range(100)}
    async with installation(url) as here:
        await here.link()
        await here.inbox.put(post(*map(text, sorted(wamids))))
        await here.add_destination()
        [orders] = await Destinations(here.store, here.cipher, OWNER).all()
        left = Replays(here.store, here.cipher, OWNER)
        await left.start(Selection(), orders, await left.match(Selection(), orders))
    arguments = [url, "in a replay", str(tmp_path / "answered"), str(delivered)]
    process = ZYGOTE.call("harness.killed:main", arguments, tmp_path / "log")
    assert await asyncio.to_thread(process.wait) == -signal.SIGKILL, (tmp_path / "log").read_text()
    async with events_running(url, Cipher(KEY), OWNER, LIMITS, surroundings(delivered)) as running:
        async with asyncio.timeout(PATIENCE):
            while True:
                [found] = await Replays(running.store, Cipher(KEY), OWNER).all()
                if found.state == "done":
                    break
                await asyncio.sleep(0.05)
        await _delivered(running)
    counts = Counter(delivered.read_text().split())
    assert set(counts) == wamids
    assert counts.total() - len(wamids) <= UNDER_LOAD  # what was sent, and not written down
