"""The journal, replays and dead letters, on both databases."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from opentelemetry.trace import format_trace_id
from pydantic import SecretStr

from harness.collector import TRACE_ID, Memory, named
from harness.inbox import (
    ACCOUNT_ID,
    NOON,
    NUMBER,
    OWNER,
    WABA,
    AnySpeaker,
    Installation,
    image,
    installation,
    post,
    text,
    webhook,
)
from harness.outbox import Delivering, ScriptedTarget, delivering
from harness.waiting import PATIENCE
from whaul.events import journal as journal_module
from whaul.events.archive.archives import Archives
from whaul.events.archive.backfill import fetch_again
from whaul.events.archive.listing import list_files
from whaul.events.database.columns import microseconds, moment
from whaul.events.delivery import replays as replays_module
from whaul.events.delivery.dead import DeadLetters
from whaul.events.delivery.history import History
from whaul.events.delivery.replays import Replays
from whaul.events.delivery.waiting import waiting_for
from whaul.events.filters import Filter
from whaul.events.journal import UNREADABLE, EventRecord, FileRecord, Journal, find_file
from whaul.events.model import Accepted, Failed
from whaul.events.people import Hashes
from whaul.events.purge import Found, Purge
from whaul.events.receiving import items
from whaul.events.receiving.drafts import Post
from whaul.events.reparse import Reparse, Reparsed
from whaul.events.routing import Destination, write_filter
from whaul.events.selecting import Selection
from whaul.events.under_way import files_under_way, stopped_destinations
from whaul.secrets import Cipher
from whaul.telemetry.spans import Tracing

pytestmark = pytest.mark.anyio

ON_SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
"""For what is the same on both: a database of PostgreSQL takes long to make."""
TOO_LARGE = Failed("impossible", "too large")


@pytest.fixture
async def here(url: str) -> AsyncIterator[Installation]:
    async with installation(url) as opened:
        await opened.link()
        yield opened


def journal(here: Installation) -> Journal:
    return Journal(here.store, here.cipher, OWNER)


async def put(here: Installation, *numbers: int, **options: Any) -> None:
    """Have messages come, each by itself."""
    for number in numbers:
        await here.inbox.put(post(text(f"wamid.{number}"), **options))


async def listed(here: Installation, limit: int = 50, **chosen: Any) -> list[str | None]:
    """The wamids of all pages."""
    found: list[EventRecord] = []
    before = None
    while True:
        page = await journal(here).page(Selection(**chosen), limit, before)
        assert len(page.events) <= limit
        found += page.events
        if page.next is None:
            return [event.wamid for event in found]
        before = page.next


async def destination(there: Delivering | Installation, name: str = "orders") -> Destination:
    here = there.here if isinstance(there, Delivering) else there
    number = await here.value("SELECT number FROM destinations WHERE name = $1", name)
    return (await here.routing.refresh()).destinations[number]


# Reading


async def test_events_are_listed_the_newest_first(here: Installation) -> None:
    assert await listed(here) == []
    await put(here, *range(5))
    assert await listed(here) == [f"wamid.{number}" for number in reversed(range(5))]


@ON_SQLITE
@pytest.mark.parametrize("limit", [1, 2, 5, 6])
async def test_pages_have_no_gaps_and_no_doubles(here: Installation, limit: int) -> None:
    await put(here, *range(5))
    assert await listed(here, limit) == [f"wamid.{number}" for number in reversed(range(5))]


@ON_SQLITE
async def test_a_page_looks_at_so_many_events_at_most(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "MAX_LOOKED_AT", 2)
    await here.inbox.put(post(image("wamid.old", "1")))
    await put(here, *range(4))
    page = await journal(here).page(Selection(type="image"), 50)
    assert (page.events, page.next is None) == ([], False)
    assert await listed(here, type="image") == ["wamid.old"]


@ON_SQLITE
async def test_below_a_page_of_older_events_nobody_looks(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "MAX_LOOKED_AT", 2)
    await put(here, *range(6))
    late = microseconds(NOON + timedelta(hours=1))
    assert (await journal(here).page(Selection(since=late), 50)).next is None


async def test_events_are_chosen_by_what_they_are(here: Installation) -> None:
    await put(here, 1)
    await here.inbox.put(post(image("wamid.2", "77")))
    await here.inbox.put(post(text("wamid.3"), waba="999", number="888"))
    await here.inbox.put(webhook(b"no json"))
    later = post(text("wamid.4"))
    await here.inbox.put(webhook(later.body, received_at=NOON + timedelta(minutes=5)))
    newest, oldest = ["wamid.4", None, "wamid.3", "wamid.2", "wamid.1"], ["wamid.2", "wamid.1"]
    assert await listed(here) == newest
    assert await listed(here, account_id=ACCOUNT_ID) == ["wamid.4", *oldest]
    assert await listed(here, field="messages") == ["wamid.4", "wamid.3", *oldest]
    assert await listed(here, kind="message", type="image") == ["wamid.2"]
    assert await listed(here, meta_phone_number_id=NUMBER) == ["wamid.4", *oldest]
    assert await listed(here, wamid="wamid.2") == ["wamid.2"]
    assert await listed(here, state="unrouted") == ["wamid.3"]
    assert await listed(here, state="unparsed") == [None]
    assert await listed(here, since=microseconds(NOON + timedelta(minutes=1))) == ["wamid.4"]
    assert await listed(here, until=microseconds(NOON + timedelta(minutes=1))) == newest[1:]


@ON_SQLITE
async def test_another_account_numbers_events_are_not_seen(here: Installation) -> None:
    await put(here, 1)
    await here.rows("UPDATE events SET owner = '999999999999'")
    assert await listed(here) == []
    [message_id] = [row[0] for row in await here.rows("SELECT message_id FROM events")]
    assert await journal(here).find(message_id) is None


async def test_an_event_says_what_became_of_it(url: str) -> None:
    answers = {"wamid.1": TOO_LARGE, "wamid.2": Failed("rejected", "HTTP 400: no", retry_after=60)}
    target = ScriptedTarget(lambda event: answers.get(event.wamid or "", Accepted()))
    async with delivering(url, {"orders": target}) as there:
        here = there.here
        await here.link()
        await here.add_destination()
        await put(here, 1, 2, 3)
        await there.until("SELECT count(*) FROM attempts", 3)
        await there.until("SELECT count(*) FROM deliveries WHERE lease_owner IS NOT NULL", 0)
        number = (await destination(there)).number
        found = {event.wamid: event for event in (await journal(here).page(Selection(), 50)).events}
        [dead], [pending], [delivered] = (found[f"wamid.{number}"].deliveries for number in (1, 2, 3))
        assert (dead.destination, dead.state, dead.attempts, dead.last_error) == ("orders", "dead", 1, "too large")
        assert (pending.state, pending.delivered_at, pending.last_error) == ("pending", None, "HTTP 400: no")
        assert (delivered.state, delivered.attempts, delivered.last_error) == ("delivered", 1, None)
        assert delivered.delivered_at is not None
        for state, wamid in (("dead", "wamid.1"), ("pending", "wamid.2"), ("delivered", "wamid.3")):
            assert await listed(here, state=state) == await listed(here, state=state, destination=number) == [wamid]
            assert await listed(here, state=state, destination=number + 1) == []
        assert await listed(here, destination=number) == ["wamid.3", "wamid.2", "wamid.1"]
        [attempt] = await journal(here).attempts(found["wamid.2"].seq)
        assert (attempt.destination, attempt.outcome, attempt.detail) == ("orders", "rejected", "HTTP 400: no")
        await there.destinations.pause("orders")
        await there.destinations.remove("none")
        [event] = (await journal(here).page(Selection(state="pending"), 50)).events
        assert event.deliveries[0].state == "paused"


async def test_an_event_names_its_files(here: Installation) -> None:
    await here.add_archive()
    await here.inbox.put(post(image("wamid.1", "77")))
    await here.rows("UPDATE files SET state = 'stored', sha256 = $1, size = 5", b"\x01" * 32)
    [event] = (await journal(here).page(Selection(), 50)).events
    [file] = event.files
    assert (file.media_id, file.state, file.bucket, file.key) == ("77", "stored", "bucket", "77")
    assert (file.sha256, file.size, file.last_error) == (b"\x01" * 32, 5, None)


@ON_SQLITE
async def test_the_newest_event_of_an_id_is_found(here: Installation) -> None:
    await put(here, 1)
    [message_id] = [row[0] for row in await here.rows("SELECT message_id FROM events")]
    await here.rows("DELETE FROM event_keys")
    await put(here, 1)  # after its key was forgotten
    found = await journal(here).find(message_id)
    assert found is not None
    assert found.seq == await here.value("SELECT max(seq) FROM events")
    assert await journal(here).find("none") is None


@ON_SQLITE
async def test_content_is_read_only_when_it_is_asked_for(here: Installation) -> None:
    sent = post(text("wamid.1", body="private"))
    await here.inbox.put(sent)
    [event] = (await journal(here).page(Selection(), 50)).events
    assert "private" not in repr(event)
    assert (await journal(here).event(event.seq)).entry == sent.items[0].entry


@ON_SQLITE
async def test_an_error_of_a_lost_key_does_not_hide_the_rest(url: str) -> None:
    async with delivering(url, {"orders": ScriptedTarget(lambda _: TOO_LARGE)}) as there:
        await there.here.link()
        await there.here.add_destination()
        await put(there.here, 1)
        await there.until("SELECT count(*) FROM deliveries WHERE state = 'dead'", 1)
        lost = Cipher(SecretStr(Fernet.generate_key().decode()))
        other = Journal(there.here.store, lost, OWNER)
        [event] = (await other.page(Selection(), 50)).events
        assert event.deliveries[0].last_error == UNREADABLE
        await there.here.rows("UPDATE deliveries SET state = 'pending'")
        orders = (await destination(there)).number
        found = await waiting_for(there.here.store, lost, OWNER, orders)
        assert (found.pending, found.last_error) == (1, UNREADABLE)


# Replays


def replays(there: Delivering) -> Replays:
    return Replays(there.here.store, there.here.cipher, OWNER, there.outbox.wake)


async def start(there: Delivering, name: str = "orders", **chosen: Any) -> str:
    to, selection = await destination(there, name), Selection(**chosen)
    return await replays(there).start(selection, to, await replays(there).match(selection, to))


async def test_a_replay_sends_events_in_their_order_and_says_so(url: str) -> None:
    target = ScriptedTarget()
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await put(there.here, *range(5))
        await there.here.add_destination(concurrency=1)
        matched = await replays(there).match(Selection(), await destination(there))
        assert (matched.events, matched.new) == (5, 5)
        job = await start(there)
        await replays(there).run()
        await there.settled()
        assert target.wamids == [f"wamid.{number}" for number in range(5)]
        assert all(event.replay for event in target.sent)
        [found] = await replays(there).all()
        assert (found.id, found.state, found.matched, found.queued) == (job, "done", 5, 5)


async def test_a_replay_is_a_trace_of_its_own_that_names_the_first(url: str) -> None:
    target, memory = ScriptedTarget(), Memory()
    async with delivering(url, {"orders": target}, tracing=Tracing(memory)) as there:
        await there.here.link()
        trace = f"00-{TRACE_ID}-b7ad6b7169203331-01"
        await there.here.inbox.put(replace(post(text("wamid.A")), trace=trace))
        await there.here.add_destination()
        await start(there)
        await replays(there).run()
        await there.settled()
    [span] = memory.spans
    assert (span.parent, [format_trace_id(link.context.trace_id) for link in span.links]) == (None, [TRACE_ID])
    assert target.sent[0].trace == named(span) != trace


async def test_what_waits_already_is_not_queued_again(url: str) -> None:
    async with delivering(url, {"orders": ScriptedTarget()}) as there:
        await there.here.link()
        await put(there.here, 1)
        await there.here.add_destination(state="paused")
        await put(there.here, 2)
        matched = await replays(there).match(Selection(), await destination(there))
        assert (matched.events, matched.new) == (2, 1)
        await start(there)
        await replays(there).run()
        rows = await there.here.rows("SELECT seq, replay FROM deliveries ORDER BY seq")
        assert [(row[0], bool(row[1])) for row in rows] == [(1, True), (2, False)]


async def test_a_dead_letter_that_is_replayed_is_dead_no_more(url: str) -> None:
    answers = [TOO_LARGE]
    target = ScriptedTarget(lambda _: answers.pop() if answers else Accepted())
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination()
        await put(there.here, 1)
        await there.until("SELECT count(*) FROM deliveries WHERE state = 'dead'", 1)
        await start(there)
        await replays(there).run()
        await there.until("SELECT count(*) FROM deliveries", 0)
        assert target.wamids == ["wamid.1", "wamid.1"]


@ON_SQLITE
@pytest.mark.parametrize(
    "chosen",
    [Filter(kinds=frozenset({"status"})), Filter(fields=frozenset({"calls"})), Filter(types=frozenset({"audio"}))],
)
async def test_a_destination_gets_only_what_it_wants(url: str, chosen: Filter) -> None:
    async with delivering(url, {"orders": ScriptedTarget()}) as there:
        await there.here.link()
        await put(there.here, 1)
        await there.here.add_destination(filter=write_filter(chosen))
        assert (await replays(there).match(Selection(), await destination(there))).events == 0


async def test_events_of_other_accounts_do_not_match(url: str) -> None:
    async with delivering(url, {"orders": ScriptedTarget()}) as there:
        other = await there.here.link("999", ["888"])
        await there.here.link()
        await put(there.here, 1)
        await there.here.inbox.put(post(text("wamid.2"), waba="999", number="888"))
        await there.here.inbox.put(post(text("wamid.3"), waba="nobody", number="1"))
        await there.here.inbox.put(webhook(b"no json"))
        await there.here.add_destination(account_id=other)
        assert (await replays(there).match(Selection(), await destination(there))).events == 1
        numbers = tuple(row[0] for row in await there.here.rows("SELECT seq FROM events"))
        await start(there, seqs=numbers)
        await replays(there).run()
        await there.settled()
        [attempt] = await there.here.rows("SELECT wamid FROM attempts JOIN events ON events.seq = attempts.seq")
        assert attempt == ("wamid.2",)


async def test_only_a_little_of_a_replay_waits_at_a_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays_module, "PAGE", 2)
    monkeypatch.setattr(replays_module, "MAX_WAITING", 3)
    async with delivering(url, {"orders": ScriptedTarget()}) as there:
        await there.here.link()
        await put(there.here, *range(9))
        await there.here.add_destination(state="paused")
        job = await start(there)
        await replays(there).run()
        assert await there.here.value("SELECT count(*) FROM deliveries") == 3
        await there.destinations.resume("orders")
        await there.here.routing.refresh()
        await there.settled()
        assert [each.state for each in await replays(there).all()] == ["running"]
        while (await replays(there).all())[0].state == "running":
            await replays(there).run()
            await there.settled()
        assert (await replays(there).all())[0].queued == 9
        assert not await replays(there).cancel(job)
        assert await there.here.value("SELECT count(DISTINCT seq) FROM attempts") == 9


async def test_a_replay_that_is_cancelled_queues_no_more(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays_module, "PAGE", 2)
    async with delivering(url, {"orders": ScriptedTarget()}) as there:
        await there.here.link()
        await put(there.here, *range(9))
        await there.here.add_destination(state="paused")
        job = await start(there)
        assert await replays(there).step(job) == "queued"
        assert await replays(there).cancel(job)
        await replays(there).run()
        assert await there.here.value("SELECT count(*) FROM deliveries") == 2
        assert [each.state for each in await replays(there).all()] == ["cancelled"]


async def test_processes_that_work_on_one_replay_queue_each_event_once(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays_module, "PAGE", 3)
    target = ScriptedTarget()
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await put(there.here, *range(30))
        await there.here.add_destination()
        await start(there)
        await asyncio.gather(*(replays(there).run() for _ in range(4)))
        await there.settled()
        assert sorted(target.wamids, key=str) == sorted((f"wamid.{number}" for number in range(30)), key=str)
        assert (await replays(there).all())[0].queued == 30


@ON_SQLITE
async def test_what_comes_after_a_replay_began_is_not_part_of_it(url: str) -> None:
    async with delivering(url, {"orders": ScriptedTarget()}) as there:
        await there.here.link()
        await put(there.here, 1)
        await there.here.add_destination(state="paused")
        await start(there)
        await there.here.rows("DELETE FROM destination_accounts")
        await there.here.routing.refresh()
        await put(there.here, 2)
        await there.here.rows("INSERT INTO destination_accounts VALUES (1, $1, false)", ACCOUNT_ID)
        await replays(there).run()
        assert await there.here.rows("SELECT seq FROM deliveries") == [(1,)]


@ON_SQLITE
async def test_a_replay_to_a_removed_destination_ends(url: str) -> None:
    async with delivering(url, {"orders": ScriptedTarget()}) as there:
        await there.here.link()
        await put(there.here, 1)
        await there.here.add_destination()
        await start(there)
        await there.destinations.remove("orders")
        await replays(there).run()
        assert [each.state for each in await replays(there).all()] == ["cancelled"]


async def test_a_replay_keeps_the_order_of_conversations(url: str) -> None:
    target = ScriptedTarget()
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        for number in range(12):
            await there.here.inbox.put(post(text(f"wamid.{number}", sender=str(number % 2))))
        await there.here.add_destination(ordered=True)
        await start(there)
        while (await replays(there).all())[0].state == "running":
            await replays(there).run(PATIENCE)
        await there.settled()
        for talk in (0, 1):
            sent = [int(str(wamid)[6:]) for wamid in target.wamids if int(str(wamid)[6:]) % 2 == talk]
            assert sent == list(range(talk, 12, 2))
        assert await there.here.value("SELECT count(*) FROM conversation_turns") == 0


@ON_SQLITE
async def test_replays_have_their_share_of_an_ordered_destination(url: str) -> None:
    async with delivering(url, {"orders": ScriptedTarget()}) as there:
        await there.here.link()
        for number in range(30):
            await there.here.inbox.put(post(text(f"wamid.{number}", sender=str(number))))
        await there.here.add_destination(ordered=True, concurrency=8, state="paused")
        await start(there)
        await replays(there).run()
        assert await there.here.value("SELECT count(*) FROM deliveries") == 2


# Dead letters


@pytest.fixture
async def dying(url: str) -> AsyncIterator[tuple[Delivering, list[bool]]]:
    """Events of which none is taken, until that is said."""
    takes = [False]
    target = ScriptedTarget(lambda _: Accepted() if takes[0] else TOO_LARGE)
    async with delivering(url, {"orders": target, "other": target}) as there:
        await there.here.link()
        await there.here.add_destination()
        await there.here.add_destination("other")
        await put(there.here, 1, 2, 3)
        await there.until("SELECT count(*) FROM deliveries WHERE state = 'dead'", 6)
        yield there, takes


def dead(there: Delivering) -> DeadLetters:
    return DeadLetters(there.here.store, there.here.cipher, OWNER)


async def test_dead_letters_are_listed_the_newest_first(dying: tuple[Delivering, list[bool]]) -> None:
    there, _ = dying
    all_ = await there.destinations.all()
    found, place = [], None
    while True:
        page, place = await dead(there).page(all_, 2, place)
        found += page
        if place is None:
            break
    assert len({(letter.message_id, letter.destination) for letter in found}) == len(found) == 6
    assert [letter.died_at for letter in found] == sorted((letter.died_at for letter in found), reverse=True)
    assert {(letter.destination, letter.attempts, letter.last_error) for letter in found} == {
        ("orders", 1, "too large"),
        ("other", 1, "too large"),
    }
    one, place = await dead(there).page([await destination(there)], 50)
    assert ({letter.destination for letter in one}, len(one), place) == ({"orders"}, 3, None)


async def test_dead_letters_are_tried_again(dying: tuple[Delivering, list[bool]]) -> None:
    there, takes = dying
    takes[0] = True
    orders = await destination(there)
    assert await dead(there).count(orders, []) == 3
    assert await dead(there).retry(orders, []) == 3
    there.outbox.wake(orders.number)
    await there.settled()
    assert await dead(there).count(orders, []) == 0
    delivered = "SELECT count(*) FROM attempts WHERE outcome = 'delivered' AND destination = $1"
    assert await there.here.value(delivered, orders.number) == 3
    assert await dead(there).count(await destination(there, "other"), []) == 3
    assert await dead(there).retry(orders, []) == 0


async def test_those_of_some_events_are_tried_again_or_dropped(dying: tuple[Delivering, list[bool]]) -> None:
    there, _ = dying
    orders = await destination(there)
    await there.destinations.pause("orders")
    await there.here.routing.refresh()
    ids = [row[0] for row in await there.here.rows("SELECT message_id FROM events ORDER BY seq")]
    assert await dead(there).count(orders, ids[:2]) == 2
    assert await dead(there).drop(orders, ids[:1]) == 1
    assert await dead(there).retry(orders, ids[:2]) == 1
    rows = await there.here.rows("SELECT seq, state FROM deliveries WHERE destination = $1 ORDER BY seq", orders.number)
    assert rows == [(2, "pending"), (3, "dead")]
    assert await there.here.value("SELECT count(*) FROM deliveries WHERE destination < 0") == 0


async def test_those_of_a_cause_are_grouped_and_tried_again(dying: tuple[Delivering, list[bool]]) -> None:
    there, _ = dying
    orders = await destination(there)
    other = there.here.cipher.seal(b"HTTP 500: no room for 4711")
    await there.here.rows("UPDATE deliveries SET last_error = $1 WHERE seq = 2", other)
    await there.destinations.pause("orders")
    await there.here.routing.refresh()
    found = await dead(there).causes(orders)
    assert [(each.text, each.count, each.example) for each in found] == [
        ("too large", 2, "too large"),
        ("HTTP 500", 1, "HTTP 500: no room for 4711"),
    ]
    one, place = await dead(there).page([orders], 1, None, "too large")
    assert place is not None
    rest, end = await dead(there).page([orders], 1, place, "too large")
    assert ({letter.cause for letter in one + rest}, len({letter.id for letter in one + rest})) == ({"too large"}, 2)
    assert end is None
    assert await dead(there).count(orders, cause="HTTP 500") == 1
    assert await dead(there).retry(orders, cause="HTTP 500") == 1
    assert await dead(there).drop(orders, cause="HTTP 500") == 0
    assert await dead(there).drop(orders, cause="too large") == 2
    assert await there.here.rows("SELECT seq FROM deliveries WHERE destination = $1", orders.number) == [(2,)]


async def test_attempts_are_counted_and_say_what_comes_next(dying: tuple[Delivering, list[bool]]) -> None:
    there, takes = dying
    orders, history = await destination(there), History(there.here.store, there.here.cipher, OWNER)
    assert (await history.paces())[orders.number][:2] == (0, 3)
    first, place = await history.attempts(orders, 2)
    rest, end = await history.attempts(orders, 2, place)
    assert [(each.outcome, each.detail, each.state, each.next_at) for each in first + rest] == [
        ("impossible", "too large", "dead", None)
    ] * 3
    assert end is None
    assert await history.attempts(orders, 2, outcome="delivered") == ([], None)
    assert len((await history.attempts(orders, 5, outcome="failed"))[0]) == 3
    await there.destinations.pause("orders")
    await there.here.routing.refresh()
    await dead(there).retry(orders, [])
    waiting = await history.waiting(orders, 2)
    assert [(each.attempts, each.is_replay, each.next_at is not None) for each in waiting] == [(0, True, True)] * 2
    takes[0] = True
    await there.destinations.resume("orders")
    await there.here.routing.refresh()
    there.outbox.wake(orders.number)
    await there.settled()
    [newest, *_], _ = await history.attempts(orders, 1, outcome="delivered")
    assert (newest.outcome, newest.state) == ("delivered", None)


async def test_a_conversation_waits_for_its_turn(url: str) -> None:
    away = Failed("down", "HTTP 503", retry_after=3600.0)
    async with delivering(url, {"orders": ScriptedTarget(lambda _: away)}) as there:
        await there.here.link()
        await there.here.add_destination(ordered=True)
        await put(there.here, 1, 2)
        attempted = "SELECT count(*) FROM attempts WHERE (SELECT lease_owner FROM conversation_turns) IS NULL"
        await there.until(attempted, 1)
        history, orders = History(there.here.store, there.here.cipher, OWNER), await destination(there)
        [turn] = await there.here.rows("SELECT due_at FROM conversation_turns")
        [attempt], _ = await history.attempts(orders, 5)
        assert attempt.state == "pending"
        assert attempt.next_at is not None
        assert microseconds(attempt.next_at) == turn[0]
        assert {each.next_at for each in await history.waiting(orders, 5)} == {attempt.next_at}


async def test_one_that_is_tried_again_stands_at_the_end(dying: tuple[Delivering, list[bool]]) -> None:
    there, _ = dying
    orders = await destination(there)
    before = await there.here.value("SELECT max(id) FROM deliveries")
    await there.destinations.pause("orders")
    await there.here.routing.refresh()
    await dead(there).retry(orders, [])
    rows = await there.here.rows("SELECT id, replay, attempts FROM deliveries WHERE state = 'pending' ORDER BY seq")
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert all(row[0] > before and row[1] and row[2] == 0 for row in rows)


async def test_all_are_tried_again_once_however_many_ask(dying: tuple[Delivering, list[bool]]) -> None:
    there, takes = dying
    takes[0] = True
    orders = await destination(there)
    assert sum(await asyncio.gather(*(dead(there).retry(orders, []) for _ in range(4)))) == 3


# One person


PERSON = "15550100199"


def purge(here: Installation, person: str = PERSON) -> Purge:
    return Purge(here.store, here.cipher, here.drafting.hashes, OWNER, person)


async def test_all_that_is_kept_of_a_person_is_removed(url: str) -> None:
    async with delivering(url, {"orders": ScriptedTarget(lambda _: TOO_LARGE)}) as there:
        here = there.here
        await here.link()
        await here.add_destination()
        await here.add_archive()
        await here.inbox.put(post(text("wamid.1", sender=PERSON), text("wamid.other")))
        await here.inbox.put(post(image("wamid.2", "77") | {"from": PERSON}))
        await here.inbox.put(post(text("wamid.3")))
        await there.until("SELECT count(*) FROM deliveries WHERE state = 'dead'", 4)
        found = await purge(here).find()
        assert [file.media_id for file in found.files] == ["77"]
        assert (len(found.events), len(found.bodies), found.unreadable) == (2, 2, 0)
        assert await purge(here).remove(found, None) == 2
        assert await listed(here) == ["wamid.3", "wamid.other"]
        for table, rest in {"deliveries": 2, "attempts": 2, "files": 0, "event_files": 0, "webhook_bodies": 1}.items():
            assert await here.value(f"SELECT count(*) FROM {table}") == rest, table  # noqa: S608
        assert await purge(here).find() == Found()


@ON_SQLITE
@pytest.mark.parametrize("person", ["+1 (555) 010-0199", "+15550100199", PERSON])
async def test_a_number_may_be_written_as_people_do(here: Installation, person: str) -> None:
    await here.inbox.put(post(text("wamid.1", sender=PERSON)))
    assert len((await purge(here, person).find()).events) == 1


@ON_SQLITE
async def test_another_person_is_left_alone(here: Installation) -> None:
    await here.inbox.put(post(text("wamid.1", sender="US.13491208655302741918")))
    await here.inbox.put(post(text("wamid.2", sender=f"{PERSON}0", body=f"0{PERSON}")))
    assert await purge(here).find() == Found()
    assert len((await purge(here, "US.13491208655302741918").find()).events) == 1


@ON_SQLITE
async def test_a_body_with_a_person_who_was_known_already_is_removed(here: Installation) -> None:
    first = post(text("wamid.1", sender=PERSON))
    await here.inbox.put(first)
    await here.inbox.put(post(text("wamid.1", sender=PERSON), text("wamid.2")))
    found = await purge(here).find()
    assert (len(found.events), len(found.bodies)) == (1, 2)


@ON_SQLITE
async def test_what_could_not_be_parsed_is_read_for_a_person(here: Installation) -> None:
    escaped = PERSON.replace("9", "\\u0039")
    await here.inbox.put(webhook(b'{"from": "%s"' % escaped.encode()))
    await here.inbox.put(webhook(b'{"from": "x"'))
    found = await purge(here).find()
    assert (len(found.events), len(found.bodies)) == (1, 1)
    other = Cipher(SecretStr(Fernet.generate_key().decode()))
    hidden = await Purge(here.store, other, here.drafting.hashes, OWNER, PERSON).find()
    assert hidden.unreadable == 4


async def test_a_file_that_others_sent_too_is_kept(here: Installation) -> None:
    await here.add_archive()
    await here.inbox.put(post(image("wamid.1", "77") | {"from": PERSON}))
    await here.inbox.put(post(image("wamid.2", "77")))
    found = await purge(here).find()
    assert found.files == []
    await purge(here).remove(found, None)
    assert await here.value("SELECT count(*) FROM files") == 1


async def test_events_are_chosen_by_person_file_and_accounts_and_a_file_is_fetched_again(here: Installation) -> None:
    await here.add_archive()
    await here.inbox.put(post(text("wamid.1", "15550100222")))
    await here.inbox.put(post(image("wamid.2", "7711")))
    hashes = Hashes(here.store, here.cipher, OWNER)
    await hashes.load()
    assert await listed(here, party=hashes.named("+1 555 0100222")) == ["wamid.1"]
    assert await listed(here, media_id="7711") == ["wamid.2"]
    assert await listed(here, account_ids=("waba-other", ACCOUNT_ID)) == ["wamid.2", "wamid.1"]
    assert await listed(here, account_ids=()) == []

    newest, oldest = (await journal(here).page(Selection(), 50)).events
    contents = await journal(here).contents([newest.seq, oldest.seq, 7_000])
    assert {seq: event.wamid for seq, event in contents.items()} == {newest.seq: "wamid.2", oldest.seq: "wamid.1"}
    assert (newest.sent_at, oldest.files) == (NOON, [])
    [file] = newest.files
    assert await find_file(here.store, here.cipher, OWNER, file.id) == file
    assert await find_file(here.store, here.cipher, "999999999999", file.id) is None

    assert not await fetch_again(here.store, OWNER, file.id)  # Meta does not have it any more
    await here.rows("UPDATE files SET state = 'failed', attempts = 5, expires_at = 9000000000000000")
    assert not await fetch_again(here.store, "999999999999", file.id)
    assert await fetch_again(here.store, OWNER, file.id)
    assert await here.rows("SELECT state, attempts, run FROM files") == [("pending", 0, 1)]
    await here.rows("UPDATE files SET state = 'stored'")
    assert not await fetch_again(here.store, OWNER, file.id)


@ON_SQLITE
async def test_stored_objects_go_before_what_names_them(here: Installation) -> None:
    await here.add_archive()
    await here.inbox.put(post(image("wamid.1", "77") | {"from": PERSON}))
    await here.rows("UPDATE files SET state = 'stored'")
    found = await purge(here).find()
    removed = []

    async def fail(file: FileRecord) -> None:
        removed.append(file.key)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await purge(here).remove(found, fail)
    assert removed == ["77"]
    assert await purge(here).find() == found


# What could not be parsed


def reparse(here: Installation, operators: tuple[str, ...] = ()) -> Reparse:
    return Reparse(
        store=here.store,
        cipher=here.cipher,
        owner=OWNER,
        operators=operators,
        extensions={},
        max_events=1000,
        max_bytes=10**9,
    )


async def keep_unparsed(here: Installation, content: bytes, app: str | None = "900") -> None:
    """Keep what this version could parse, as one before it that could not."""
    await here.inbox.put(Post(content, [items.unparsed(content)], AnySpeaker(app), NOON))


async def test_what_is_understood_now_goes_its_way(here: Installation) -> None:
    await here.add_destination(state="paused")
    whole, other = post(text("wamid.1"), text("wamid.2")).body, post(text("wamid.3")).body
    await keep_unparsed(here, whole)
    await keep_unparsed(here, json.dumps(json.loads(other)["entry"][0]).encode())
    await keep_unparsed(here, b"no json")
    assert await reparse(here, operators=("900",)).run() == Reparsed(matched=3, routed=3)
    assert sorted(map(str, await listed(here))) == ["None", "wamid.1", "wamid.2", "wamid.3"]
    assert await listed(here, state="unparsed") == [None]
    assert await here.value("SELECT count(*) FROM deliveries WHERE lease_owner IS NULL") == 3
    assert await reparse(here, operators=("900",)).run() == Reparsed(matched=1, routed=0)


@ON_SQLITE
async def test_a_second_copy_of_what_is_understood_now_is_dropped(here: Installation) -> None:
    await put(here, 1)
    await keep_unparsed(here, post(text("wamid.1")).body)
    assert await reparse(here, operators=("900",)).run() == Reparsed(matched=1, routed=0)
    assert await listed(here) == ["wamid.1"]


@ON_SQLITE
async def test_only_what_came_since_then_is_looked_at(here: Installation) -> None:
    await keep_unparsed(here, post(text("wamid.1")).body)
    later = microseconds(NOON + timedelta(seconds=1))
    assert await reparse(here, operators=("900",)).run(later) == Reparsed(matched=0, routed=0)


@ON_SQLITE
@pytest.mark.parametrize("app", [None, "901"])
async def test_who_may_not_speak_for_an_account_still_may_not(here: Installation, app: str | None) -> None:
    await keep_unparsed(here, post(text("wamid.1")).body, app)
    assert await reparse(here).run() == Reparsed(matched=1, routed=0)
    assert await listed(here, state="unparsed") == [None]


# Files


async def test_files_are_listed_the_newest_first(here: Installation) -> None:
    await here.add_archive()
    for number in (1, 2, 3):
        await here.inbox.put(post(image(f"wamid.{number}", f"7{number}")))
    first = await list_files(here.store, here.cipher, OWNER, [ACCOUNT_ID], 2)
    assert ([each.file.media_id for each in first.files], first.next is None) == (["73", "72"], False)
    rest = await list_files(here.store, here.cipher, OWNER, [ACCOUNT_ID], 2, before=first.next, state="pending")
    assert ([each.file.media_id for each in rest.files], rest.next) == (["71"], None)
    assert (await list_files(here.store, here.cipher, OWNER, [], 2)).files == []
    assert len((await list_files(here.store, here.cipher, OWNER, None, 3)).files) == 3
    [one] = (await list_files(here.store, here.cipher, OWNER, [ACCOUNT_ID], 2, media_id="72")).files
    assert one.file.media_id == "72"


async def test_archives_of_linked_accounts_are_listed_some_at_a_time(here: Installation) -> None:
    other = await here.link("777", [])
    for account_id in (ACCOUNT_ID, other, "waba-gone"):
        await here.add_archive(account_id)
    await here.inbox.put(post(image("wamid.1", "71")))
    archives = Archives(here.store, here.cipher, OWNER)
    first, second = sorted([ACCOUNT_ID, other])
    page, after = await archives.page(1)
    assert ([each.archive.account_id for each in page], after) == ([first], first)
    page, after = await archives.page(1, first)
    assert ([each.archive.account_id for each in page], after) == ([second], None)
    assert await archives.page(5, "", []) == ([], None)
    [status], _ = await archives.page(5, "", [ACCOUNT_ID, "waba-gone"])
    assert status.counts == {"pending": 1, "stored": 0, "failed": 0, "parked": 0}
    assert status.oldest_at == moment(await here.value("SELECT created_at FROM files"))
    assert [status] == await archives.all(ACCOUNT_ID)
    assert len(await archives.all()) == 3


async def test_what_is_under_way_and_what_is_stopped_is_told(url: str) -> None:
    async with installation(url) as here:
        await here.link()
        await here.add_archive()
        await here.inbox.put(post(image("wamid.1", "1"), image("wamid.2", "2")))
        lease = "UPDATE files SET lease_owner = $1, due_at = {} WHERE media_id = $2"
        await here.rows(lease.format(here.store.lease_end), "p1", "1")
        [file] = await files_under_way(here.store, OWNER)
        assert (file.media_id, file.account_id, file.waba_id) == ("1", ACCOUNT_ID, WABA)
        assert await files_under_way(here.store, "another") == []
        await here.rows(lease.format(f"{here.store.now} - 1"), "p1", "1")
        assert await files_under_way(here.store, OWNER) == [], "its lease has ended"
        sealed = here.cipher.encrypt(SecretStr("refused"))
        await here.add_destination("open", state="open", stopped_at=0, probe_at=1_000_000, last_error=sealed)
        await here.add_destination("paused", state="paused", stopped_at=0, probe_at=1_000_000)
        await here.add_destination("active")
        stopped, paused = await stopped_destinations(here.store, here.cipher, OWNER)
        assert (stopped.name, stopped.reason, stopped.probe_at) == ("open", "refused", moment(1_000_000))
        assert (paused.name, paused.reason, paused.probe_at) == ("paused", None, None)
