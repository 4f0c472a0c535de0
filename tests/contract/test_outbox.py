"""What becomes of deliveries, on both databases."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from harness.collector import TRACE_ID, Memory, named
from harness.inbox import NUMBER, image, installation, post, text
from harness.outbox import ScriptedTarget, delivering
from whaul.events.database import store
from whaul.events.database.columns import microseconds
from whaul.events.delivery.deliveries import Deliveries
from whaul.events.delivery.lanes import HELD
from whaul.events.model import Accepted, Event, Failed
from whaul.registry.errors import RegistryUnavailableError
from whaul.telemetry.spans import Tracing

pytestmark = pytest.mark.anyio

DOWN = Failed("down", "no connection")
DEAD = "SELECT state, attempts FROM deliveries"


async def test_an_event_is_delivered_and_leaves_one_row(url: str) -> None:
    target = ScriptedTarget()
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination()
        await there.here.inbox.put(post(text("wamid.A")))
        await there.settled()
        assert target.wamids == ["wamid.A"]
        [row] = await there.here.rows("SELECT outcome, number, destination FROM attempts")
        assert row == ("delivered", 1, 1)
    assert target.closed


async def test_more_than_fit_in_memory_are_delivered_oldest_first(url: str) -> None:
    target = ScriptedTarget()
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination(concurrency=1)
        wamids = [f"wamid.{number}" for number in range(50)]
        await there.here.inbox.put(post(*(text(wamid) for wamid in wamids)))
        await there.settled()
        assert target.wamids == wamids


async def test_an_event_that_a_target_stumbles_over_holds_no_other(url: str) -> None:
    def answer(event: Event) -> Accepted:
        if event.wamid == "wamid.odd":
            raise ValueError(event)
        return Accepted()

    target = ScriptedTarget(answer, max_batch=10)
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination(concurrency=10)
        await there.here.inbox.put(post(text("wamid.A"), text("wamid.odd"), text("wamid.C")))
        await there.settled(1)
        await there.until("SELECT attempts FROM deliveries", 1)
        assert there.observer.outcomes == {"delivered": 2, "rejected": 1}


async def test_a_batch_is_sent_together(url: str) -> None:
    target = ScriptedTarget(max_batch=10)
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination(concurrency=20)
        await there.here.inbox.put(post(*(text(f"wamid.{number}") for number in range(30))))
        await there.settled()
        assert len(target.sent) == 30
        assert max(target.batches) == 10


async def test_a_slow_destination_holds_up_no_other(url: str) -> None:
    slow, fast = ScriptedTarget(gate=asyncio.Event()), ScriptedTarget()
    async with delivering(url, {"slow": slow, "fast": fast}) as there:
        await there.here.link()
        await there.here.add_destination("slow", concurrency=2)
        await there.here.add_destination("fast", concurrency=2)
        await there.here.inbox.put(post(*(text(f"wamid.{number}") for number in range(20))))
        await fast.got(20)
        assert len(slow.sent) == 2
        slow.gate.set()
        await there.settled()


async def test_what_fails_is_tried_again(url: str) -> None:
    answers = iter([DOWN, Failed("rejected", "bad text"), Accepted()])
    target = ScriptedTarget(lambda _: next(answers))
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination()
        await there.here.inbox.put(post(text("wamid.A")))
        for count in (1, 2):
            await target.got(count)
            await there.until("SELECT attempts FROM deliveries WHERE lease_owner IS NULL", count)
            await there.here.store.run(("UPDATE deliveries SET due_at = 0", ()))
        await there.settled()
        rows = await there.here.rows("SELECT number, outcome, detail FROM attempts ORDER BY number")
        assert [row[:2] for row in rows] == [(1, "down"), (2, "rejected"), (3, "delivered")]
        assert [there.here.cipher.unseal(row[2]) for row in rows[:2]] == [b"no connection", b"bad text"]


async def test_one_of_a_batch_fails_alone(url: str) -> None:
    def answer(event: Event) -> Accepted | Failed:
        return Failed("rejected", "") if event.wamid == "wamid.1" else Accepted()

    target = ScriptedTarget(answer, max_batch=10)
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination()
        await there.here.inbox.put(post(*(text(f"wamid.{number}") for number in range(3))))
        await there.settled(1)
        assert await there.here.rows("SELECT wamid FROM deliveries JOIN events USING (seq)") == [("wamid.1",)]


async def test_what_can_never_pass_is_dead_at_once(url: str) -> None:
    target = ScriptedTarget(lambda _: Failed("impossible", "too large"))
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination()
        await there.here.inbox.put(post(text("wamid.A")))
        await there.until(DEAD, "dead", 1)


async def test_the_last_attempt_is_at_the_end_of_the_period(url: str) -> None:
    target = ScriptedTarget(lambda _: Failed("rejected", "no"))
    async with delivering(url, {"orders": target}, period=0.2) as there:
        await there.here.link()
        await there.here.add_destination()
        await there.here.inbox.put(post(text("wamid.A")))
        await there.until(DEAD, "dead", 2)


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_destination_that_is_down_is_asked_one_at_a_time(url: str, ordered: bool) -> None:
    up = asyncio.Event()
    target = ScriptedTarget(lambda _: Accepted() if up.is_set() else DOWN)
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination(concurrency=10, ordered=ordered)
        await there.here.inbox.put(post(*(text(f"wamid.{number}", sender=str(number)) for number in range(30))))
        await there.until("SELECT count(*) FROM deliveries WHERE lease_owner IS NOT NULL", 1)
        assert 10 <= len(target.sent) <= 20
        up.set()
        await there.settled()  # at once, although those that failed were to be tried again later
        assert set(target.wamids) == {f"wamid.{number}" for number in range(30)}


async def test_a_destination_that_refuses_three_events_in_a_row_opens(url: str) -> None:
    target = ScriptedTarget(lambda _: Failed("refused", "HTTP 401"))
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination(concurrency=1)
        await there.here.inbox.put(post(*(text(f"wamid.{number}") for number in range(5))))
        await there.until("SELECT state FROM destinations", "open")
        assert len(target.sent) == 3
        await there.here.inbox.put(post(text("wamid.5")))
        await there.until("SELECT count(*) FROM deliveries WHERE lease_owner IS NULL AND state = 'pending'", 6)
        target.answer = lambda _: Accepted()
        await there.here.store.run(("UPDATE destinations SET probe_at = 0", ()))
        await there.settled()
        assert await there.here.value("SELECT state FROM destinations") == "active"
        assert await there.here.value("SELECT max(number) FROM attempts") <= 2


async def test_each_probe_is_another_event_and_uses_up_no_attempt(url: str) -> None:
    target = ScriptedTarget(lambda _: Failed("closed", "no such topic"))
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination(concurrency=1)
        await there.here.inbox.put(post(*(text(f"wamid.{number}") for number in range(4))))
        await there.until("SELECT state FROM destinations", "open")
        await there.until("SELECT count(*) FROM deliveries WHERE lease_owner IS NULL", 4)
        # What was being claimed when it opened came back behind what was refused: let it have its old place.
        await there.here.store.run(("UPDATE deliveries SET due_at = 0 WHERE seq > 1", ()))
        for count in (2, 3, 4):
            await there.until("SELECT count(*) FROM deliveries WHERE lease_owner IS NULL", 4)
            await there.here.store.run(("UPDATE destinations SET probe_at = 0", ()))
            await target.got(count)
        assert len(set(target.wamids)) == 4
        await there.until("SELECT count(*) FROM deliveries WHERE lease_owner IS NULL AND attempts = 0", 4)


async def test_what_is_gone_waits_until_it_is_resumed(url: str) -> None:
    target = ScriptedTarget(lambda _: Failed("gone", "HTTP 410"))
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination()
        await there.here.inbox.put(post(text("wamid.A")))
        await there.until("SELECT state FROM destinations", "disabled")
        target.answer = lambda _: Accepted()
        await there.here.store.run(("UPDATE destinations SET probe_at = 0", ()))
        assert await there.destinations.probes() == []
        assert await there.destinations.resume("orders")
        await there.settled()


async def test_a_paused_destination_gets_nothing_and_loses_nothing(url: str) -> None:
    target = ScriptedTarget()
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination()
        await there.destinations.pause("orders")
        await there.here.inbox.put(post(text("wamid.A")))
        await there.outbox.sweep()
        assert target.sent == []
        await there.destinations.resume("orders")
        assert await target.got(1) == ["wamid.A"]
        await there.settled()


@pytest.mark.parametrize("ordered", [False, True])
async def test_what_comes_for_a_destination_that_has_just_stopped_is_given_back(url: str, *, ordered: bool) -> None:
    """Claims and webhooks that had begun while it took events end when it takes none."""
    target = ScriptedTarget(gate=asyncio.Event())
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination(ordered=ordered, concurrency=1)
        wamids = [f"wamid.{number}" for number in range(HELD + 1)]  # one more than memory has places for
        await there.here.inbox.put(post(*map(text, wamids)))
        await target.got(1)
        [lane] = there.outbox._lanes.values()
        claimed = await there.outbox._claim(lane, 1)
        assert len(claimed) == (0 if ordered else 1)
        await there.destinations.pause("orders")
        await there.here.routing.refresh()
        for delivery in claimed:
            there.outbox._admit(lane, delivery)
        target.gate.set()  # an ordered destination claims the next of a conversation when this one is done
        await there.until("SELECT count(*), count(lease_owner) FROM deliveries", HELD, 0)
        assert target.wamids == wamids[:1]
        await there.destinations.resume("orders")
        await there.settled()
        assert target.wamids == wamids


async def test_what_waits_for_a_removed_destination_goes_with_it(url: str) -> None:
    target = ScriptedTarget()
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination()
        await there.destinations.pause("orders")
        await there.here.inbox.put(post(*(text(f"wamid.{number}") for number in range(3))))
        await there.destinations.remove("orders")
        await there.settled()
        assert target.sent == []
        assert await there.destinations.all() == []
        second = await there.here.add_destination()
        assert second == 2


async def test_a_conversation_is_delivered_in_order_whatever_fails(url: str) -> None:
    failures = {"wamid.0": 1, "wamid.3": 2}

    def answer(event: Event) -> Accepted | Failed:
        left = failures.get(str(event.wamid), 0)
        failures[str(event.wamid)] = left - 1
        return Failed("rejected", "later") if left > 0 else Accepted()

    target = ScriptedTarget(answer, max_batch=10)
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination(ordered=True)
        for number in range(6):
            await there.here.inbox.put(post(text(f"wamid.{number}"), text(f"other.{number}", sender="15550100102")))
        while await there.here.value("SELECT count(*) FROM deliveries"):
            await there.here.store.run(("UPDATE deliveries SET due_at = 0 WHERE lease_owner IS NULL", ()))
            await there.here.store.run(("UPDATE conversation_turns SET due_at = 0 WHERE lease_owner IS NULL", ()))
            await asyncio.sleep(0.01)
        ours = [wamid for wamid in target.wamids if str(wamid).startswith("wamid")]
        assert ours == [f"wamid.{number}" for number in (0, 0, 1, 2, 3, 3, 3, 4, 5)]
        assert [wamid for wamid in target.wamids if str(wamid).startswith("other")] == [f"other.{n}" for n in range(6)]
        await there.until("SELECT count(*) FROM conversation_turns", 0)


async def test_many_of_one_conversation_stay_in_order(url: str) -> None:
    target = ScriptedTarget()
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination(ordered=True)
        wamids = [f"wamid.{number}" for number in range(100)]
        for start in range(0, 100, 20):
            await there.here.inbox.put(post(*(text(wamid) for wamid in wamids[start : start + 20])))
        await there.settled()
        assert target.wamids == wamids


@pytest.mark.parametrize("ordered", [False, True])
async def test_what_was_claimed_before_the_database_went_away_is_delivered(
    url: str, ordered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, asked = Deliveries._events, 0

    async def every_other_time(deliveries: Deliveries, seqs: Iterable[int]) -> list[store.Row]:
        nonlocal asked
        asked += 1
        if asked % 2:
            raise RegistryUnavailableError
        return await read(deliveries, seqs)

    monkeypatch.setattr(Deliveries, "_events", every_other_time)
    monkeypatch.setattr(store, "AGAIN", 0.01)
    target = ScriptedTarget()
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination(ordered=ordered, concurrency=1)
        wamids = [f"wamid.{number}" for number in range(HELD + 1)]  # one more than memory has places for
        await there.here.inbox.put(post(*map(text, wamids)))
        await there.settled()
        assert target.wamids == wamids
        assert asked >= 2
        assert there.observer.late == 0


async def test_a_message_that_waits_for_its_file_is_delivered_when_it_is_due(url: str) -> None:
    target = ScriptedTarget()
    async with delivering(url, {"orders": target, "ordered": target}) as there:
        await there.here.link()
        await there.here.add_archive()
        await there.here.add_destination(media_wait=60)
        await there.here.inbox.put(post(image("wamid.A", "1"), number=NUMBER))
        await there.here.add_destination("ordered", media_wait=60, ordered=True)
        await there.here.inbox.put(post(image("wamid.B", "1"), number=NUMBER))
        await there.outbox.sweep()
        assert target.sent == []
        await there.here.store.run(*there.outbox._deliveries.ready([1, 2]))
        await there.outbox.sweep()
        await there.settled()
        assert sorted(map(str, target.wamids)) == ["wamid.A", "wamid.B", "wamid.B"]


async def test_a_process_that_stops_gives_its_leases_back(url: str) -> None:
    target = ScriptedTarget(gate=asyncio.Event())
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination(concurrency=1)
        await there.here.inbox.put(post(*(text(f"wamid.{number}") for number in range(5))))
        await target.got(1)
        target.gate.set()
    again = ScriptedTarget()
    async with delivering(url, {"orders": again}, process="p2") as there:
        await there.settled()
        assert sorted(target.wamids + again.wamids) == [f"wamid.{number}" for number in range(5)]
        assert there.observer.taken == 0


async def test_two_processes_deliver_everything_once(url: str) -> None:
    first, second = ScriptedTarget(), ScriptedTarget()
    async with delivering(url, {"orders": first}) as one, delivering(url, {"orders": second}, process="p2") as two:
        await one.here.link()
        await one.here.add_destination(concurrency=4)
        for start in range(0, 200, 20):
            messages = [text(f"wamid.{number}") for number in range(start, start + 20)]
            await asyncio.gather(*(there.here.inbox.put(post(*messages)) for there in (one, two)))
        await one.settled()
        assert sorted(first.wamids + second.wamids, key=str) == sorted(f"wamid.{number}" for number in range(200))


async def test_only_the_first_and_last_attempts_are_kept(url: str) -> None:
    target = ScriptedTarget(lambda _: Failed("rejected", "no"))
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination()
        await there.here.inbox.put(post(text("wamid.A")))
        for count in range(1, 26):
            await target.got(count)
            await there.until("SELECT attempts FROM deliveries WHERE lease_owner IS NULL", count)
            await there.here.store.run(("UPDATE deliveries SET due_at = 0", ()))
            await there.outbox.sweep()
        kept = [row[0] for row in await there.here.rows("SELECT number FROM attempts ORDER BY number")]
        assert kept[:10] == list(range(1, 11))
        assert kept[10] >= 16


async def test_a_conversation_stays_in_order_across_processes(url: str) -> None:
    sent: list[str] = []

    def answer(event: Event) -> Accepted | Failed:
        sent.append(str(event.wamid))
        return Accepted()

    targets = [ScriptedTarget(answer, max_batch=10), ScriptedTarget(answer)]
    async with (
        delivering(url, {"orders": targets[0]}) as one,
        delivering(url, {"orders": targets[1]}, process="p2") as two,
    ):
        await one.here.link()
        await one.here.add_destination(ordered=True, concurrency=4)
        people = [f"1555010010{number}" for number in range(4)]
        for number in range(30):
            there = (one, two)[number % 2]
            await there.here.inbox.put(post(*(text(f"{person}/{number:02}", sender=person) for person in people)))
        await one.settled()
        for person in people:
            assert [wamid for wamid in sent if wamid.startswith(person)] == [f"{person}/{n:02}" for n in range(30)]
        await one.until("SELECT count(*) FROM conversation_turns", 0)


async def test_a_target_is_made_anew_when_its_old_secret_no_longer_signs(url: str) -> None:
    target = ScriptedTarget()
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        end = datetime.now(UTC)
        await there.here.add_destination(old_secret_until=microseconds(end))
        while not await there.here.routing.is_current():
            await there.outbox.sweep()
        await there.outbox.sweep()
        assert there.outbox._lanes._retired == [], "it was made after that end"
        [lane] = there.outbox._lanes.values()
        lane.made_at = end - timedelta(seconds=1)
        await there.outbox.sweep()
        assert there.outbox._lanes._retired == [target]
        await there.outbox.sweep()
        assert there.outbox._lanes._retired == [target]


async def test_what_is_delivered_makes_room_at_once(url: str) -> None:
    target = ScriptedTarget()
    async with delivering(url, {"orders": target, "other": target}, max_events=8) as there:
        await there.here.link()
        await there.here.add_destination()
        await there.here.add_destination("other")
        for number in range(20):
            await there.here.inbox.put(post(text(f"wamid.{number}")))
            await there.settled()
        assert len(target.sent) == 40
        assert await there.here.value("SELECT count(*) FROM deliveries") == 0


async def test_a_destination_that_was_resumed_has_a_clean_record(url: str) -> None:
    target = ScriptedTarget(lambda _: Failed("refused", "HTTP 401"))
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination(concurrency=1)
        await there.here.inbox.put(post(*(text(f"wamid.{number}") for number in range(6))))
        await there.until("SELECT state FROM destinations", "open")
        sent = len(target.sent)
        await there.destinations.resume("orders")
        await target.got(sent + 3)
        await there.until("SELECT state FROM destinations", "open")


async def test_a_delivery_of_an_event_that_is_gone_is_removed(url: str) -> None:
    target = ScriptedTarget()
    async with delivering(url, {"orders": target, "ordered": target}) as there:
        await there.here.link()
        await there.here.add_destination()
        await there.here.add_destination("ordered", ordered=True)
        await there.destinations.pause("orders")
        await there.destinations.pause("ordered")
        await there.here.inbox.put(post(text("wamid.A"), text("wamid.B")))
        await there.here.store.run(("DELETE FROM events WHERE wamid = 'wamid.A'", ()))
        await there.destinations.resume("orders")
        await there.until("SELECT count(*) FROM deliveries WHERE destination = 1", 0)
        assert target.wamids == ["wamid.B"]
        await there.here.store.run(("DELETE FROM deliveries", ()))


async def test_a_clock_that_is_put_back_delays_nothing(url: str) -> None:
    target = ScriptedTarget()
    async with delivering(url, {"orders": target, "ordered": target}) as there:
        await there.here.link()
        await there.here.add_destination()
        await there.here.add_destination("ordered", ordered=True)
        for name in ("orders", "ordered"):
            await there.destinations.pause(name)
        await there.here.inbox.put(post(text("wamid.A")))
        ahead = there.here.store.now + " + 86400000000"
        for table in ("deliveries", "conversation_turns"):
            await there.here.store.run((f"UPDATE {table} SET due_at = {ahead}", ()))  # noqa: S608
        for name in ("orders", "ordered"):
            await there.destinations.resume(name)
        await there.outbox.sweep()
        assert target.sent == []
        there.outbox._clock += 86_400
        await there.settled()


async def test_another_process_delivers_in_the_trace_of_the_webhook(url: str) -> None:
    arrival = f"00-{TRACE_ID}-b7ad6b7169203331-01 vendor=opaque"
    async with installation(url) as here:
        await here.link()
        await here.add_destination()
        await here.inbox.put(replace(post(text("wamid.A")), trace=arrival))
        await here.inbox.put(replace(post(text("wamid.B")), trace=arrival.replace("-01", "-00")))
        await here.inbox.put(post(text("wamid.C")))
    memory = Memory()
    target = ScriptedTarget(lambda event: Accepted() if event.wamid != "wamid.A" else Failed("impossible", "its text"))
    async with delivering(url, {"orders": target}, process="p2", tracing=Tracing(memory)) as there:
        await there.settled()
    sent = {event.wamid: event.trace or "" for event in target.sent}
    of_a, of_c = sorted(memory.spans, key=lambda span: span.parent is None)
    assert (of_a.name, of_a.parent and of_a.parent.span_id) == ("send orders", 0xB7AD6B7169203331)
    assert sent["wamid.A"] == f"{named(of_a)} vendor=opaque"
    assert (of_a.status.is_ok, of_a.status.description) == (False, None)
    assert (of_a.attributes or {})["error.type"] == "impossible"
    assert sent["wamid.B"].startswith(f"00-{TRACE_ID}-")
    assert sent["wamid.B"].endswith("-00 vendor=opaque"), "it is not exported, and its receiver is told so"
    assert (of_c.parent, sent["wamid.C"]) == (None, named(of_c))


async def test_without_traces_nothing_of_one_is_sent(url: str) -> None:
    target = ScriptedTarget()
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination()
        await there.here.inbox.put(replace(post(text("wamid.A")), trace=f"00-{TRACE_ID}-b7ad6b7169203331-01"))
        await there.settled()
    assert target.sent[0].trace is None
