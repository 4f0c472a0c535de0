"""What one process does for all: counting, routing what waited for its account, removing what is old."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from harness.inbox import (
    ACCOUNT_ID,
    KEY,
    NOON,
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
from harness.waiting import PATIENCE
from whaul.events.backlog import ALL, Count, Counting
from whaul.events.database.columns import microseconds
from whaul.events.database.duties import Duty
from whaul.events.delivery import queueing
from whaul.events.delivery.destinations import DestinationExistsError, Destinations, NewDestination
from whaul.events.delivery.queueing import If
from whaul.events.filters import Filter
from whaul.events.receiving.unrouted import Unrouted
from whaul.events.retention import KEPT_DAYS, Retention
from whaul.events.risks import key_ids
from whaul.events.rotation import Rotation
from whaul.secrets import Cipher, SecretKeyError

pytestmark = pytest.mark.anyio

DAY = 86_400
NOW = datetime.now(UTC)


def _unrouted(here: Installation, operators: tuple[str, ...] = ()) -> Unrouted:
    return Unrouted(here.store, here.cipher, here.routing, here.inbox, OWNER, operators=operators)


def _retention(here: Installation, *, webhooks: float = DAY, events: float = DAY) -> Retention:
    return Retention(here.store, OWNER, webhooks=webhooks, events=events)


async def _age(here: Installation, **by: float) -> None:
    """Make everything that is there older."""
    gone = timedelta(**by) // timedelta(microseconds=1)
    await here.store.run((f"UPDATE events SET received_at = received_at - {gone}", ()))  # noqa: S608


async def test_of_many_one_does_it(url: str) -> None:
    async with installation(url) as here:
        duties = [Duty(here.store, OWNER, "count", 3600) for _ in range(5)]
        assert sum(await asyncio.gather(*(duty.is_ours() for duty in duties))) == 1
        assert await Duty(here.store, OWNER, "other", 3600).is_ours()
        assert await Duty(here.store, OWNER, "count", 0).is_ours()


async def test_a_duty_is_not_left_undone_since_the_clock_was_ahead(url: str) -> None:
    async with installation(url) as here:
        duty = Duty(here.store, OWNER, "count", 10)
        assert await duty.is_ours()
        await here.store.run(("UPDATE duties SET begun_at = begun_at + 86400000000", ()))
        assert await duty.is_ours()


async def test_an_event_counts_once_however_much_of_it_waits(url: str) -> None:
    async with installation(url) as here:
        await here.link()
        await here.add_archive()
        first, second = await here.add_destination("a"), await here.add_destination("b")
        await here.inbox.put(post(text("wamid.A"), image("wamid.B", "1")))
        await here.store.run(("UPDATE deliveries SET state = 'dead', died_at = 0 WHERE destination = $1", (second,)))
        counting = Counting(here.store, OWNER, here.backlog, max_events=1000)
        await counting.run()
        size = await here.value("SELECT sum(size) FROM events")
        counts = here.backlog.counts
        assert (counts[ALL].waiting, counts[ALL].bytes) == (2, size)
        assert (counts[f"destination:{first}"].waiting, counts[f"destination:{second}"].dead) == (2, 2)
        assert counts[f"files:{ACCOUNT_ID}"].waiting == 1
        assert counts[f"destination:{second}"] == Count(0, 0, 2, None)


@pytest.mark.parametrize("ordered", [False, True], ids=["", "ordered"])
async def test_the_moment_from_which_a_destination_is_overdue_is_found(url: str, ordered: bool) -> None:
    async with installation(url) as here:
        await here.link()
        late, early = await here.add_destination("late", ordered=ordered), await here.add_destination("early")
        await here.inbox.put(post(text("wamid.A"), text("wamid.B", sender="15550100102")))
        await here.store.run(
            ("UPDATE conversation_turns SET due_at = 7 WHERE destination = $1", (late,)),
            ("UPDATE deliveries SET due_at = 7 WHERE destination = $1", (late,)),
            ("UPDATE deliveries SET due_at = due_at + 60000000 WHERE destination = $1", (early,)),
        )
        await Counting(here.store, OWNER, here.backlog, max_events=1000).run()
        counts = here.backlog.counts
        assert counts[f"overdue:{late}"] == Count(oldest_at=7)
        assert counts[f"overdue:{early}"] == Count(), "it waits for its next try"
        assert counts[ALL].waiting == 2


async def test_counts_take_the_place_of_what_a_process_added(url: str) -> None:
    async with installation(url, max_events=4) as here:
        await here.link()
        await here.add_destination()
        await here.inbox.put(post(text("wamid.A")))
        assert here.backlog.has_its_share("destination:1")
        await here.store.run(("DELETE FROM deliveries", ()))
        await Counting(here.store, OWNER, here.backlog, max_events=4).run()
        assert not here.backlog.has_its_share("destination:1")


async def test_linking_routes_what_waited_for_it(url: str) -> None:
    async with installation(url) as here:
        await here.inbox.put(post(text("wamid.A"), image("wamid.B", "1"), speaker=AnySpeaker("900")))
        await here.link()
        await here.store.run(("UPDATE accounts SET app_id = '900'", ()))
        await here.add_archive()
        await here.add_destination()
        before = await here.rows("SELECT wamid, received_at FROM events ORDER BY seq")
        await _unrouted(here).run()
        assert await here.rows("SELECT wamid, received_at FROM events ORDER BY seq") == before
        assert await here.rows("SELECT DISTINCT state, account_id FROM events") == [("routed", ACCOUNT_ID)]
        assert await here.value("SELECT count(*) FROM deliveries") == 2
        assert await here.value("SELECT count(*) FROM files") == 1
        assert await here.value("SELECT count(*) FROM events JOIN webhook_bodies ON id = body_id") == 2


async def test_what_is_known_by_then_is_a_duplicate(url: str) -> None:
    async with installation(url) as here:
        await here.inbox.put(post(text("wamid.A"), speaker=AnySpeaker("900")))
        await here.inbox.put(post(text("wamid.A"), speaker=AnySpeaker("901")))
        await here.link()
        await _unrouted(here, ("900", "901")).run()
        assert await here.rows("SELECT wamid, state FROM events") == [("wamid.A", "routed")]


async def test_another_app_s_events_stay_unrouted(url: str) -> None:
    async with installation(url) as here:
        await here.inbox.put(post(text("wamid.A"), speaker=AnySpeaker("901")))
        await here.link()
        await here.store.run(("UPDATE accounts SET app_id = '900'", ()))
        await _unrouted(here).run()
        assert await here.rows("SELECT state FROM events") == [("unrouted",)]


async def test_old_events_go_with_all_that_belongs_to_them(url: str) -> None:
    async with installation(url) as here:
        await here.link()
        await here.add_archive()
        await here.inbox.put(post(text("wamid.A"), image("wamid.B", "1")))
        await here.store.run(("UPDATE files SET state = 'stored'", ()))
        await _age(here, days=2)
        await here.inbox.put(post(image("wamid.C", "2")))
        await here.store.run(("UPDATE events SET received_at = $1 WHERE wamid = 'wamid.C'", (microseconds(NOW),)))
        await _retention(here).run()
        assert await here.rows("SELECT wamid FROM events") == [("wamid.C",)]
        assert await here.rows("SELECT media_id FROM files") == [("2",)]
        assert await here.value("SELECT count(*) FROM event_parties") == 1


async def test_what_something_waits_for_is_kept(url: str) -> None:
    async with installation(url) as here:
        await here.link()
        await here.add_archive()
        await here.add_destination(filter='{"types": ["text"]}')
        await here.inbox.put(post(text("wamid.A"), image("wamid.B", "1"), text("wamid.C")))
        await here.store.run(("UPDATE deliveries SET state = 'dead' WHERE seq = 1", ()))
        await here.store.run(("UPDATE files SET state = 'parked'", ()))
        await _age(here, days=2)
        await _retention(here).run()
        assert await here.value("SELECT count(*) FROM events") == 3


async def test_bodies_go_before_their_events(url: str) -> None:
    async with installation(url) as here:
        await here.inbox.put(replace(post(text("wamid.A")), received_at=NOW - timedelta(days=2)))
        await here.inbox.put(replace(post(text("wamid.B")), received_at=NOW))
        await _retention(here, webhooks=DAY, events=7 * DAY).run()
        assert await here.value("SELECT count(*) FROM webhook_bodies") == 1
        assert await here.value("SELECT count(*) FROM events") == 2


async def test_keys_go_by_the_day(url: str) -> None:
    async with installation(url) as here:
        retention = _retention(here)
        await retention.prepare()
        await here.inbox.put(replace(post(text("wamid.A", at=NOW)), received_at=NOW))
        await here.inbox.put(replace(post(text("wamid.old", at=NOW - timedelta(days=99))), received_at=NOW))
        old = int(NOW.timestamp()) // DAY - KEPT_DAYS - 1
        key = "INSERT INTO event_keys (day, key, arrived) VALUES ($1, $2, $1), (0, $2, $1)"
        if here.store.partitions:
            made = f"CREATE TABLE event_keys_{old} PARTITION OF event_keys FOR VALUES FROM ({old}) TO ({old + 1})"
            await here.store.run((made, ()))
        await here.store.run((key, (old, b"k" * 16)))
        await here.store.run((key, (old - 1, b"l" * 16)))
        await retention.run()
        assert await here.value("SELECT count(*) FROM event_keys") == 2
        assert (await here.inbox.put(replace(post(text("wamid.A", at=NOW)), received_at=NOW))).duplicates == 1


async def test_partitions_are_made_ahead_once(postgresql_url: str) -> None:
    async with installation(postgresql_url) as here:
        retention = _retention(here)
        await asyncio.gather(retention.prepare(), _retention(here).prepare())
        today = int(NOW.timestamp()) // DAY
        assert {today - 8, today, today + 3} <= await retention._days()
        await here.inbox.put(replace(post(text("wamid.A", at=NOW)), received_at=NOW))
        assert await here.value("SELECT count(*) FROM event_keys_default") == 0


async def test_what_strangers_send_has_a_limit(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whaul.events.retention.MAX_LOOSE_EVENTS", 3)
    monkeypatch.setattr("whaul.events.retention.PAGE", 1)
    async with installation(url) as here:
        for number in range(5):
            sent = post(text(f"wamid.{number}"), waba="404", speaker=AnySpeaker("900"))
            await here.inbox.put(replace(sent, received_at=NOW))
            await here.inbox.put(replace(webhook(b"%d" % number, AnySpeaker("901")), received_at=NOW))
        await here.inbox.put(replace(webhook(b"x", AnySpeaker("902")), received_at=NOW))
        await _retention(here).run()
        assert await here.rows("SELECT app, count(*) FROM events GROUP BY app ORDER BY app") == [
            ("900", 3),
            ("901", 3),
            ("902", 1),
        ]
        assert await here.value("SELECT max(wamid) FROM events") == "wamid.4"


async def test_a_destination_is_added_changed_and_removed(url: str) -> None:
    async with installation(url) as here:
        await here.link()
        destinations = Destinations(here.store, here.cipher, OWNER)
        wanted = Filter(fields=frozenset({"messages"}), types=frozenset({"text", "audio"}))
        new = NewDestination(name="orders", target="https://example.com/", account_ids=[ACCOUNT_ID], filter=wanted)
        added = await destinations.add(new)
        assert (added.name, added.account_ids, added.filter, added.state) == ("orders", (ACCOUNT_ID,), wanted, "active")
        with pytest.raises(DestinationExistsError, match="orders"):
            await destinations.add(replace(new, account_ids=["waba-other"]))
        assert (await destinations.all())[0].account_ids == (ACCOUNT_ID,)
        assert await destinations.pause("orders")
        paused = await destinations.find("orders")
        assert paused is not None
        assert paused.running(10**18) == paused.stopped_at
        assert await destinations.resume("orders")
        resumed = await destinations.find("orders")
        assert resumed is not None
        assert (resumed.state, resumed.stopped_at) == ("active", None)
        assert resumed.stopped_for >= 0
        assert await destinations.remove("orders")
        assert await destinations.find("orders") is None
        assert (await destinations.add(new)).number > added.number
        assert not await destinations.pause("unknown")


async def test_an_account_is_attached_and_detached_by_whom_it_was_attached(url: str) -> None:
    async with installation(url) as here:
        destinations = Destinations(here.store, here.cipher, OWNER)
        await destinations.add(NewDestination(name="orders", target="https://example.com/", account_ids=[]))
        await destinations.attach("orders", ACCOUNT_ID, by_api=True)
        await destinations.attach("orders", ACCOUNT_ID, by_api=False)
        assert (await destinations.all())[0].account_ids == (ACCOUNT_ID,)
        assert await destinations.detach("orders", ACCOUNT_ID, by_api=True)
        assert not await destinations.detach("orders", ACCOUNT_ID, by_api=True)
        assert (await destinations.all())[0].account_ids == (ACCOUNT_ID,)
        assert await destinations.detach("orders", ACCOUNT_ID, by_api=False)
        assert (await destinations.all())[0].account_ids == ()
        assert WABA


async def test_a_new_key_takes_over_what_waits_and_nothing_else(url: str) -> None:
    fresh = SecretStr(Fernet.generate_key().decode())
    async with installation(url) as here:
        await here.inbox.put(post(text("wamid.loose"), waba="404"))
        await here.link()
        await here.add_archive()
        await here.inbox.put(post(text("wamid.done")))
        first, second = await here.add_destination("a"), await here.add_destination("b")
        await here.inbox.put(post(text("wamid.waits"), image("wamid.file", "1")))
        error = here.cipher.seal(b"no")
        dead = "UPDATE deliveries SET state = 'dead', last_error = $1 WHERE destination = $2"
        await here.store.run((dead, (error, second)))
        new = Cipher(SecretStr(f"{fresh.get_secret_value()},{KEY.get_secret_value()}"))
        only = Cipher(fresh)
        assert set(await key_ids(here.store, OWNER)) == set(here.cipher.key_ids)
        rotation = Rotation(here.store, new, OWNER)
        assert await rotation.renew() == 4 + 1 + 1
        assert await rotation.renew() == 0
        assert set(await key_ids(here.store, OWNER)) == set(only.key_ids)
        entries = dict(await here.rows("SELECT wamid, entry FROM events"))
        for wamid in ("wamid.loose", "wamid.waits", "wamid.file"):
            assert only.unseal(entries[wamid]).startswith(b"{")
        with pytest.raises(SecretKeyError):
            only.unseal(entries["wamid.done"])
        errors = await here.rows("SELECT DISTINCT last_error IS NULL FROM deliveries WHERE destination = $1", first)
        assert errors == [(True,)]
        [(last,)] = await here.rows("SELECT max(last_error) FROM deliveries WHERE destination = $1", second)
        assert only.unseal(last) == b"no"
        assert await rotation.old_key_needed_until(DAY) == NOON + timedelta(days=1)
        assert await Rotation(here.store, here.cipher, OWNER).old_key_needed_until(DAY) is not None


async def test_what_is_replayed_while_it_is_removed_stays(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with installation(url) as here:
        await here.link()
        await here.inbox.put(post(text("wamid.A"), text("wamid.B")))
        await here.add_destination()
        [orders] = await Destinations(here.store, here.cipher, OWNER).all()
        retention = _retention(here)
        remove = retention._remove

        async def replayed(seqs: Iterable[int]) -> None:
            await here.store.run(*queueing.replay(here.store, orders, [1], If()))
            await remove(seqs)

        monkeypatch.setattr(retention, "_remove", replayed)
        await _age(here, days=2)
        await retention.run()
        assert await here.rows("SELECT wamid FROM events") == [("wamid.A",)]
        assert await here.rows("SELECT DISTINCT seq FROM event_parties") == [(1,)]


async def test_an_event_is_not_removed_while_it_is_replayed(postgresql_url: str) -> None:
    async with installation(postgresql_url) as here:
        await here.link()
        await here.inbox.put(post(text("wamid.A")))
        await here.add_destination()
        [orders] = await Destinations(here.store, here.cipher, OWNER).all()
        await _age(here, days=2)
        connection = await asyncpg.connect(postgresql_url)
        transaction = connection.transaction()
        await transaction.start()
        for statement, parameters in queueing.replay(here.store, orders, [1], If()):
            await connection.fetch(statement, *parameters)
        removing = asyncio.create_task(_retention(here).run())
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%FOR UPDATE%'"
        async with asyncio.timeout(PATIENCE):
            while True:
                if await here.value(waits):
                    break
                await asyncio.sleep(0.01)
        await transaction.commit()
        await connection.close()
        await removing
        assert await here.value("SELECT count(*) FROM events") == 1
