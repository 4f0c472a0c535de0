"""Events and replays as they come, on both databases."""

import pytest

from harness.inbox import OWNER, Installation, installation, post, text
from harness.waiting import PATIENCE
from whaul.events.database import open_store
from whaul.events.delivery import following
from whaul.events.delivery.following import Coming, Replayed
from whaul.events.delivery.replays import Replays
from whaul.events.journal import Journal
from whaul.events.selecting import Selection

pytestmark = pytest.mark.anyio


async def put(here: Installation, *numbers: int) -> None:
    for number in numbers:
        await here.inbox.put(post(text(f"wamid.{number}")))


def away() -> None:
    pytest.fail("the database is there")


def coming(here: Installation, since: int | None = None) -> Coming:
    return Coming(Journal(here.store, here.cipher, OWNER), Selection(since=since), away)


async def told(found: Coming) -> list[str | None]:
    """The wamids of one look after the other, until nothing is left."""
    wamids = [event.wamid for event in await found.look()]
    while found.has_more:
        wamids += [event.wamid for event in await found.look()]
    return wamids


async def test_events_and_replays_are_told_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "MOST", 2)
    async with installation(url) as here:
        await here.link()
        await put(here, 0, 1)
        from_now, from_then = coming(here), coming(here, since=0)
        await from_now.begin()
        await from_then.begin()
        assert await told(from_now) == []
        assert await told(from_then) == ["wamid.0", "wamid.1"]
        await put(here, 2, 3, 4)
        assert await told(from_now) == await told(from_then) == ["wamid.2", "wamid.3", "wamid.4"]
        assert await told(from_now) == []

        jobs = Replays(here.store, here.cipher, OWNER)
        number = await here.add_destination(state="paused")
        to = (await here.routing.refresh()).destinations[number]
        await jobs.start(Selection(), to, await jobs.match(Selection(), to))
        replayed = Replayed(jobs)
        await replayed.begin()
        assert await replayed.look() == []
        fourth = Selection(seqs=(4,))
        await jobs.start(fourth, to, await jobs.match(fourth, to))
        assert await replayed.look() == [4]
        assert await replayed.look() == []
        assert {job.queued for job in await jobs.all()} == {0}


async def test_a_replay_that_is_cancelled_is_told_no_further(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whaul.events.delivery.replays.PAGE", 2)
    async with installation(sqlite_url) as here:
        await here.link()
        await put(here, *range(5))
        number = await here.add_destination(state="paused")
        to = (await here.routing.refresh()).destinations[number]
        jobs = Replays(here.store, here.cipher, OWNER)
        replayed = Replayed(jobs)
        await replayed.begin()
        job = await jobs.start(Selection(), to, await jobs.match(Selection(), to))
        assert await replayed.look() == [1, 2]
        assert await jobs.cancel(job)
        assert await replayed.look() == []


async def test_a_database_that_is_away_is_told_of_once_and_waited_for(sqlite_url: str) -> None:
    async with installation(sqlite_url) as here:
        await here.link()
        store = open_store(sqlite_url, connections=1, timeout=PATIENCE)
        calls: list[None] = []
        found = Coming(Journal(store, here.cipher, OWNER), Selection(), lambda: calls.append(None))
        await found.begin()
        await here.rows("ALTER TABLE events RENAME TO gone")
        assert [await found.look(), await found.look()] == [[], []]
        assert len(calls) == 1
        await here.rows("ALTER TABLE gone RENAME TO events")
        await put(here, 1)
        assert await told(found) == ["wamid.1"]
        await store.aclose()
