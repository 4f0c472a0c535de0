"""What webhooks become in the database, on both databases."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from harness.inbox import (
    ACCOUNT_ID,
    NOON,
    WABA,
    AnySpeaker,
    Installation,
    image,
    installation,
    post,
    text,
    webhook,
)
from harness.outbox import Counted
from harness.waiting import PATIENCE
from whaul.arns import Arns
from whaul.events.receiving.inbox import Inbox, InboxUnavailableError, PutResult

pytestmark = pytest.mark.anyio


@pytest.fixture
async def here(url: str) -> AsyncIterator[Installation]:
    async with installation(url, places=100) as opened:
        yield opened


async def test_a_message_becomes_an_event(here: Installation) -> None:
    await here.link()
    assert await here.inbox.put(post(text("wamid.A"))) == PutResult(events=1)
    [row] = await here.rows("SELECT kind, type, field, waba_id, account_id, wamid, state FROM events")
    assert row == ("message", "text", "messages", WABA, ACCOUNT_ID, "wamid.A", "routed")


async def test_what_people_wrote_is_kept_encrypted(here: Installation) -> None:
    sent = post(text("wamid.A", body="secret"))
    await here.inbox.put(sent)
    [(entry, body)] = await here.rows("SELECT entry, body FROM events JOIN webhook_bodies ON id = body_id")
    assert here.cipher.unseal(entry) == sent.items[0].entry
    assert here.cipher.unseal(body) == sent.body


async def test_a_second_copy_is_dropped(here: Installation) -> None:
    await here.link()
    await here.inbox.put(post(text("wamid.A")))
    assert await here.inbox.put(post(text("wamid.A", body="other bytes"))) == PutResult(duplicates=1)
    assert await here.value("SELECT count(*) FROM events") == 1
    assert await here.value("SELECT count(*) FROM webhook_bodies") == 1


async def test_copies_that_arrive_at_once_are_one_event(url: str) -> None:
    async with installation(url) as first, installation(url, process="p2") as second:
        await first.link()
        messages = [[text(f"wamid.{number}") for number in range(30)] for _ in range(2)]
        messages[1].reverse()
        puts = [here.inbox.put(post(*some)) for here in (first, second) for some in messages for _ in range(5)]
        results = await asyncio.gather(*puts)
        assert sum(result.events for result in results) == 30
        assert sum(result.duplicates for result in results) == 30 * 19
        assert await first.value("SELECT count(*) FROM events") == 30


@pytest.mark.parametrize("state", ["40P01", "40001"])
async def test_a_transaction_that_was_undone_for_another_is_tried_again(postgresql_url: str, state: str) -> None:
    """PostgreSQL undoes one of two transactions that wait for each other; here it says so the first time."""
    async with installation(postgresql_url) as here:
        await here.link()
        undone = f"""
            CREATE FUNCTION undone() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
              IF nextval('tries') <= 1 THEN RAISE EXCEPTION USING ERRCODE = '{state}'; END IF;
              RETURN new;
            END $$"""
        trigger = "CREATE TRIGGER undone BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION undone()"
        await here.store.run(("CREATE SEQUENCE tries", ()), (undone, ()), (trigger, ()))
        assert await here.inbox.put(post(text("wamid.A"))) == PutResult(events=1)
        assert await here.rows("SELECT wamid FROM events") == [("wamid.A",)]
        assert await here.value("SELECT count(*) FROM webhook_bodies") == 1
        await here.store.run(("ALTER SEQUENCE tries RESTART MINVALUE -9 START -9", ()))
        with pytest.raises(InboxUnavailableError):
            await here.inbox.put(post(text("wamid.B")))
        assert await here.value("SELECT count(*) FROM events") == 1
        assert await here.value("SELECT last_value FROM tries") == -8, "it was tried twice"


async def test_an_item_of_nobody_is_unrouted(here: Installation) -> None:
    await here.inbox.put(post(text("wamid.A")))
    assert await here.rows("SELECT state, account_id, app FROM events") == [("unrouted", None, "900")]


async def test_one_app_s_unrouted_items_do_not_hide_another_s(here: Installation) -> None:
    await here.inbox.put(post(text("wamid.A"), speaker=AnySpeaker("900")))
    assert (await here.inbox.put(post(text("wamid.A"), speaker=AnySpeaker("901")))).events == 1


async def test_whose_secret_it_is_may_not_tell_of_others(here: Installation) -> None:
    await here.link()
    nobody = AnySpeaker(account_ids=frozenset())
    assert await here.inbox.put(post(text("wamid.A"), speaker=nobody)) == PutResult(foreign=1)
    assert await here.value("SELECT count(*) FROM events") == 0
    assert await here.inbox.put(post(text("wamid.A"))) == PutResult(events=1)


async def test_a_number_of_another_account_is_foreign(here: Installation) -> None:
    await here.link()
    await here.link("202290129340398", ["206540352242922"])
    assert await here.inbox.put(post(text("wamid.A"), number="206540352242922")) == PutResult(foreign=1)


async def test_foreign_is_only_what_is_foreign_now(here: Installation) -> None:
    await here.link()
    own = AnySpeaker(account_ids=frozenset({ACCOUNT_ID}))
    other = Arns("111122223333", "eu-west-1").waba_id("202290129340398")
    assert (await here.inbox.put(post(text("wamid.A"), speaker=own))).events == 1
    theirs = post(text("wamid.B"), waba="202290129340398", number="206540352242922", speaker=own)
    assert await here.inbox.put(theirs) == PutResult(events=1)  # nobody's
    await here.link("202290129340398", ["206540352242922"])
    theirs = post(text("wamid.C"), waba="202290129340398", number="206540352242922", speaker=own)
    assert await here.inbox.put(theirs) == PutResult(foreign=1)
    await here.store.run(("DELETE FROM phone_numbers", ()), ("DELETE FROM accounts WHERE id = $1", (other,)))
    assert await here.inbox.put(replace(theirs, speaker=AnySpeaker())) == PutResult(events=1)


async def test_a_delivery_is_born_leased_and_handed_over(here: Installation) -> None:
    await here.link()
    number = await here.add_destination()
    await here.inbox.put(post(text("wamid.A")))
    [job] = here.deliveries.jobs
    assert (job.destination, job.event.wamid, job.event.account_id) == (number, "wamid.A", ACCOUNT_ID)
    [row] = await here.rows("SELECT id, seq, destination, state, lease_owner, fence FROM deliveries")
    assert row == (job.id, job.event.seq, number, "pending", "p1", 1)


async def test_what_there_is_no_room_for_is_born_unleased(here: Installation) -> None:
    await here.link()
    here.deliveries.places = 2
    number = await here.add_destination()
    await here.inbox.put(post(*(text(f"wamid.{number}") for number in range(5))))
    assert len(here.deliveries.jobs) == here.deliveries.reserved == 2
    assert await here.value("SELECT count(*) FROM deliveries WHERE lease_owner IS NULL") == 3
    assert here.deliveries.woken == {number}


async def test_duplicates_give_their_places_back(here: Installation) -> None:
    await here.link()
    await here.add_destination()
    await asyncio.gather(*(here.inbox.put(post(text("wamid.A"))) for _ in range(7)))
    await here.inbox.put(post(text("wamid.A")))
    assert len(here.deliveries.jobs) == here.deliveries.reserved == 1


async def test_what_waits_beyond_a_quarter_of_the_backlog_is_dead(url: str) -> None:
    async with installation(url, max_events=12) as here:
        await here.link()
        number = await here.add_destination()
        await here.add_destination("other", filter='{"kinds": ["status"]}')
        counted = Counted()
        inbox = Inbox(here.store, here.routing, here.drafting, process=here.process, observer=counted, timeout=PATIENCE)
        for wamid in range(5):
            await inbox.put(post(text(f"wamid.{wamid}")))
        await inbox.aclose()
        assert counted.outcomes == {"dead": 2}
        found = await here.rows("SELECT state, count(*), max(last_error) FROM deliveries GROUP BY state ORDER BY state")
        assert [row[:2] for row in found] == [("dead", 2), ("pending", 3)]
        assert here.cipher.unseal(found[0][2]) == b"backlog"
        assert here.backlog.has_its_share(f"destination:{number}")


async def test_a_full_backlog_refuses_webhooks(url: str) -> None:
    async with installation(url, max_events=4) as here:
        await here.link()
        for name in "abcd":
            await here.add_destination(name, filter=json.dumps({"fields": ["messages"]}))
        for wamid in range(4):
            await here.inbox.put(post(text(f"wamid.{wamid}")))
        with pytest.raises(InboxUnavailableError, match="full") as caught:
            await here.inbox.put(post(text("wamid.9")))
        assert caught.value.retry_after > 0


async def test_a_destination_counts_from_the_next_webhook_on(here: Installation) -> None:
    await here.link()
    await here.inbox.put(post(text("wamid.A")))
    await here.add_destination()
    await here.inbox.put(post(text("wamid.B")))
    assert [job.event.wamid for job in here.deliveries.jobs] == ["wamid.B"]


async def test_a_file_is_one_job_whoever_names_it(here: Installation) -> None:
    await here.link()
    await here.add_archive()
    await here.inbox.put(post(image("wamid.A", "1"), image("wamid.B", "1"), image("wamid.C", "2")))
    await here.inbox.put(post(image("wamid.D", "1")))
    assert sorted(job.row.media_id for job in here.files.jobs) == ["1", "2"]
    assert here.files.reserved == 2
    named = (
        "SELECT wamid, media_id FROM event_files JOIN events USING (seq) JOIN files ON files.id = file ORDER BY wamid"
    )
    assert await here.rows(named) == [("wamid.A", "1"), ("wamid.B", "1"), ("wamid.C", "2"), ("wamid.D", "1")]


async def test_a_message_that_waits_for_its_file_is_due_later(here: Installation) -> None:
    await here.link()
    await here.add_archive()
    await here.add_destination(media_wait=30)
    await here.inbox.put(post(image("wamid.A", "1"), text("wamid.B")))
    assert [job.event.wamid for job in here.deliveries.jobs] == ["wamid.B"]
    assert await here.value(f"SELECT due_at - {here.store.now} FROM deliveries WHERE waits") > 20_000_000  # noqa: S608


async def test_an_ordered_delivery_waits_for_its_conversation_s_turn(here: Installation) -> None:
    await here.link()
    number = await here.add_destination(ordered=True)
    await here.inbox.put(post(text("wamid.A"), text("wamid.B"), text("wamid.C", sender="15550100102")))
    await here.inbox.put(post(text("wamid.D")))
    assert (here.deliveries.jobs, here.deliveries.woken) == ([], {number})
    assert await here.value("SELECT count(*) FROM conversation_turns") == 2


@pytest.mark.parametrize("content", ["\0", "\ud800"])
async def test_a_webhook_that_the_database_refuses_spoils_no_other(here: Installation, content: str) -> None:
    await here.link()
    await here.inbox.put(post(text("wamid.first")))
    [item] = post(text("wamid.bad")).items
    bad = replace(post(text("wamid.bad")), items=[replace(item, type=content)])
    results = await asyncio.gather(
        *(here.inbox.put(sent) for sent in (post(text("wamid.A")), bad, post(text("wamid.B"))))
    )
    assert [result.events for result in results] == [1, 1, 1]
    kinds = dict(await here.rows("SELECT coalesce(wamid, 'none'), state FROM events"))
    if here.url.startswith("postgresql") or content != "\0":  # SQLite keeps NUL
        assert kinds.pop("none") == "unparsed"
    else:
        assert kinds.pop("wamid.bad") == "routed"
    assert kinds == dict.fromkeys(("wamid.A", "wamid.B", "wamid.first"), "routed")


async def test_a_body_that_nobody_can_read_is_kept(here: Installation) -> None:
    assert await here.inbox.put(webhook(b"not JSON")) == PutResult(events=1, unparsed=1)
    assert await here.inbox.put(webhook(b"not JSON")) == PutResult(duplicates=1)
    [(kind, state, entry)] = await here.rows("SELECT kind, state, entry FROM events")
    assert (kind, state, here.cipher.unseal(entry)) == ("unparsed", "unparsed", b"not JSON")


@pytest.mark.parametrize("age", [timedelta(), timedelta(days=7.9), timedelta(days=200), timedelta(days=-300)])
async def test_an_item_of_any_age_is_known_again_a_week_later(here: Installation, age: timedelta) -> None:
    sent = post(text("wamid.A", at=NOON - age))
    await here.inbox.put(sent)
    for later in (timedelta(hours=13), timedelta(days=7)):
        assert await here.inbox.put(replace(sent, received_at=NOON + later)) == PutResult(duplicates=1)


async def test_a_thousand_items_are_one_webhook(here: Installation) -> None:
    await here.link()
    await here.add_destination()
    sent = post(*(text(f"wamid.{number}", sender=str(number)) for number in range(1000)))
    assert await here.inbox.put(sent) == PutResult(events=1000)
    order = await here.rows("SELECT wamid FROM events ORDER BY seq")
    assert order == [(f"wamid.{number}",) for number in range(1000)]


async def test_people_are_known_by_a_hash_only(here: Installation) -> None:
    await here.inbox.put(post(text("wamid.A")))
    [(party,)] = await here.rows("SELECT party FROM event_parties")
    assert len(party) == 16
    assert b"15550100101" not in party


async def test_a_prepared_statement_may_vanish(postgresql_url: str) -> None:
    """As when a pooler that hands on the server's process ids stands in between."""
    async with installation(postgresql_url, places=100) as here:
        await here.inbox.put(post(text("wamid.A")))
        assert await here.value("SELECT count(*) FROM pg_prepared_statements") == 1
        await here.rows("DEALLOCATE ALL")
        assert await here.inbox.put(post(text("wamid.B"))) == PutResult(events=1)


async def test_webhooks_that_come_while_one_is_put_share_a_transaction(here: Installation) -> None:
    sent = [post(text(f"wamid.{number}")) for number in range(5)]
    assert await asyncio.gather(*map(here.inbox.put, sent)) == [PutResult(events=1)] * 5
    if here.url.startswith("postgresql"):
        assert await here.value("SELECT count(DISTINCT xmin::text) FROM events") == 1
