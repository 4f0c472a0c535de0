"""What happens to events when the database or a process fails."""

import asyncio
import sqlite3

import pytest

from harness.database_proxy import database_proxy
from harness.inbox import installation, post, text
from harness.outbox import ScriptedTarget, delivering
from tools.postgresql import PostgresqlServer
from whaul.events.database.leases import MAX_TAKEOVERS
from whaul.events.model import Accepted, Failed
from whaul.events.processes import Processes
from whaul.events.receiving.inbox import InboxUnavailableError, PutResult

pytestmark = pytest.mark.anyio


async def test_a_webhook_outlives_the_sessions_of_the_database(
    postgresql: PostgresqlServer, postgresql_url: str
) -> None:
    async with installation(postgresql_url) as here:
        assert await here.inbox.put(post(text("wamid.A"))) == PutResult(events=1)
        postgresql.end_sessions(postgresql_url.rpartition("/")[2])
        assert await here.inbox.put(post(text("wamid.B"))) == PutResult(events=1)


async def test_a_database_that_is_silent_or_away_is_told_soon(
    postgresql: PostgresqlServer, postgresql_url: str
) -> None:
    with database_proxy(postgresql.port) as proxy:
        url = postgresql.url(postgresql_url.rpartition("/")[2], proxy.port)
        async with installation(url) as here:
            await here.inbox.put(post(text("wamid.A")))
            brief = here.inbox_within(0.2)
            for fail in (proxy.stall, proxy.cut):
                fail()
                with pytest.raises(InboxUnavailableError):
                    await brief.put(post(text("wamid.B")))
            proxy.restore()
            again = await here.inbox.put(post(text("wamid.B")))
            assert again.events + again.duplicates == 1  # the first one may have come through when nobody waited


async def test_a_writer_that_holds_sqlite_up_is_told_and_costs_nothing(sqlite_url: str) -> None:
    async with installation(sqlite_url) as here, installation(sqlite_url, process="p2") as other:
        await here.inbox.put(post(text("wamid.A")))
        held, released = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def hold(_connection: object) -> None:
            loop.call_soon_threadsafe(held.set)
            asyncio.run_coroutine_threadsafe(released.wait(), loop).result()

        holding = asyncio.create_task(other.store._writer.run(hold))
        await held.wait()
        with pytest.raises(InboxUnavailableError):
            await here.inbox_within(0.2).put(post(text("wamid.B")))
        released.set()
        await holding
        again = await here.inbox.put(post(text("wamid.B")))
        assert again.events + again.duplicates == 1  # the first one may have been put when nobody waited any more
        assert await here.value("SELECT count(*) FROM events") == 2


async def test_who_lost_a_lease_changes_nothing(url: str) -> None:
    slow, other = ScriptedTarget(gate=asyncio.Event()), ScriptedTarget(lambda _: Failed("rejected", "later"))
    async with delivering(url, {"orders": slow}, sweep=3600) as one:  # else it may take its own delivery over
        await one.here.link()
        await one.here.add_destination()
        await one.here.inbox.put(post(text("wamid.A")))
        await slow.got(1)
        await one.here.store.run(("UPDATE deliveries SET due_at = 0", ()))  # as after a minute
        async with delivering(url, {"orders": other}, process="p2") as two:
            await other.got(1)
            await two.until("SELECT attempts, lease_owner FROM deliveries", 2, None)
            assert two.observer.taken == 1
            slow.gate.set()
            while not one.observer.late:  # noqa: ASYNC110 - an observer tells nobody
                await asyncio.sleep(0)
            [(state, attempts)] = await one.here.rows("SELECT state, attempts FROM deliveries")
            assert (state, attempts) == ("pending", 2)


async def test_a_delivery_that_ends_processes_is_given_up(url: str) -> None:
    target = ScriptedTarget()
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination()
        await there.destinations.pause("orders")
        await there.here.inbox.put(post(text("wamid.A")))
        last = f"UPDATE deliveries SET takeovers = {MAX_TAKEOVERS - 1}, lease_owner = 'dead', fence = 4"  # noqa: S608
        await there.here.store.run((last, ()))
        await there.destinations.resume("orders")
        await there.until("SELECT state FROM deliveries", "dead")
        assert target.sent == []
        error = await there.here.value("SELECT last_error FROM deliveries")
        assert b"given up" in there.here.cipher.unseal(error)
        assert there.observer.outcomes["dead"] == 1


async def test_outcomes_are_written_when_the_database_is_back(
    postgresql: PostgresqlServer, postgresql_url: str
) -> None:
    target = ScriptedTarget(gate=asyncio.Event())
    with database_proxy(postgresql.port) as proxy:
        url = postgresql.url(postgresql_url.rpartition("/")[2], proxy.port)
        async with delivering(url, {"orders": target}) as there:
            await there.here.link()
            await there.here.add_destination()
            await there.here.inbox.put(post(*(text(f"wamid.{number}") for number in range(5))))
            await target.got(5)
            proxy.cut()
            target.gate.set()
            await asyncio.sleep(0)
            proxy.restore()
            await there.settled()
            assert len(target.sent) == 5


async def test_what_another_key_encrypted_is_left_to_who_has_it(url: str) -> None:
    target = ScriptedTarget()
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination()
        await there.destinations.pause("orders")
        await there.here.inbox.put(post(text("wamid.A"), text("wamid.B")))
        await there.here.store.run(("UPDATE deliveries SET key_id = 'other' WHERE seq = 1", ()))
        await there.destinations.resume("orders")
        await there.settled(1)
        assert target.wamids == ["wamid.B"]


async def test_replays_take_a_quarter_of_the_places(url: str) -> None:
    target = ScriptedTarget(gate=asyncio.Event())
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination(concurrency=8)
        await there.destinations.pause("orders")
        await there.here.inbox.put(post(*(text(f"wamid.{number}") for number in range(20))))
        await there.here.store.run(("UPDATE deliveries SET replay = true", ()))
        await there.destinations.resume("orders")
        await target.got(2)
        await there.outbox.sweep()
        assert len(target.sent) == 2
        assert all(event.replay and event.delivery for event in target.sent)
        target.gate.set()
        await there.settled()
        assert len(target.sent) == 20


async def test_an_error_of_a_target_is_a_failure_of_that_attempt(url: str) -> None:
    def answer(_event: object) -> Accepted:
        raise ZeroDivisionError

    target = ScriptedTarget(answer)
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination()
        await there.here.inbox.put(post(text("wamid.A")))
        await there.until("SELECT outcome FROM attempts", "rejected")


async def test_a_lease_that_runs_out_is_extended_and_a_lost_one_let_go(url: str) -> None:
    target = ScriptedTarget(gate=asyncio.Event())
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination(concurrency=1)
        await there.here.inbox.put(post(text("wamid.A"), text("wamid.B")))
        await target.got(1)
        [lane] = there.outbox._lanes.values()
        [flying], [queued] = lane.in_flight, lane.queue
        before = flying.until
        flying.until = queued.until = asyncio.get_running_loop().time() + 1
        await there.here.store.run(("UPDATE deliveries SET fence = 9, lease_owner = 'p2' WHERE id = $1", (queued.id,)))
        await there.outbox._extend()
        assert flying.until >= before
        assert list(lane.queue) == []
        target.gate.set()
        await there.settled(1)
        assert target.wamids == ["wamid.A"]
        await there.here.store.run(("DELETE FROM deliveries", ()))


async def test_an_attempt_begins_only_with_enough_of_its_lease(url: str) -> None:
    target = ScriptedTarget()
    async with delivering(url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination()
        await there.destinations.pause("orders")
        await there.here.inbox.put(post(text("wamid.A")))
        await there.outbox.sweep()
        [lane] = there.outbox._lanes.values()
        now = asyncio.get_running_loop().time()
        [late] = await there.outbox._deliveries.claim(lane.number, 1, replay=False, now=now - 45)
        lane.in_flight.add(late)
        await there.outbox._attempt(lane, [late])
        assert (target.sent, lane.in_flight) == ([], set())


async def test_a_full_disk_is_told_and_nothing_half_is_kept(sqlite_url: str) -> None:
    async with installation(sqlite_url) as here:
        await here.inbox.put(post(text("wamid.A")))

        def limit(connection: sqlite3.Connection) -> None:
            [pages] = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages}")

        await here.store._writer.run(limit)
        large = post(text("wamid.B", body="x" * 100_000))
        with pytest.raises(InboxUnavailableError):
            await here.inbox.put(large)
        assert await here.rows("SELECT wamid FROM events") == [("wamid.A",)]
        await here.store._writer.run(
            lambda connection: connection.execute("PRAGMA max_page_count = 1000000").fetchall()
        )
        assert await here.inbox.put(large) == PutResult(events=1)


async def test_a_lease_of_which_its_process_knows_nothing_ends(sqlite_url: str) -> None:
    target = ScriptedTarget(gate=asyncio.Event())
    async with delivering(sqlite_url, {"orders": target}) as there:
        await there.here.link()
        await there.here.add_destination(concurrency=1)
        await there.here.inbox.put(post(text("wamid.A"), text("wamid.B")))
        await target.got(1)
        [lane] = there.outbox._lanes.values()
        lane.queue.clear()  # as an error would
        processes = Processes(sqlite_url, "p1")
        for _ in range(2):
            assert await there.here.value("SELECT count(*) FROM deliveries WHERE due_at = 1 << 62") == 2
            await processes.free_forgotten(there.here.store, there.outbox.held())
        assert await there.here.value("SELECT count(*) FROM deliveries WHERE due_at = 1 << 62") == 1
        target.gate.set()
        await there.settled()
