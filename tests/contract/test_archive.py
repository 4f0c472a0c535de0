"""What becomes of files, with a simulated Meta and a store that keeps every version."""

import asyncio
import base64
import hashlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.archive import (
    MAX_FILE_SIZE,
    archiver,
    images,
    link,
    outbox_of,
    picture,
    pictures,
    revocation,
    set_archive,
)
from harness.bucket import Bucket, Version, bucket
from harness.collector import TRACE_ID, Memory
from harness.inbox import ACCOUNT_ID, KEY, NOON, NUMBER, OWNER, REGION, WABA, image, installation, post
from harness.killed import LIMITS
from harness.killed_archive import surroundings
from harness.outbox import ScriptedTarget
from harness.waiting import PATIENCE
from harness.world import ZYGOTE
from whaul.events.archive import archiving, backfill
from whaul.events.archive.outcomes import LEFT_AFTER
from whaul.events.filters import Filter
from whaul.events.model import Accepted, Failed
from whaul.events.routing import Archive, write_filter
from whaul.events.running import events_running
from whaul.outbound.http import HttpClient
from whaul.registry.registry import open_registry
from whaul.secrets import Cipher
from whaul.simulator import Simulator, simulator_in_thread
from whaul.telemetry.call import Call
from whaul.telemetry.metrics import Metrics
from whaul.telemetry.spans import Tracing
from whaul.transfer.slots import TransferSlots

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def running_simulator() -> Iterator[Simulator]:
    with simulator_in_thread() as simulator:
        yield simulator


@pytest.fixture
def simulator(running_simulator: Simulator) -> Simulator:
    running_simulator.reset()
    return running_simulator


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with bucket() as found:
        yield found


async def test_events_that_were_routed_late_hide_no_files_that_came_since(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "PAGE", 1)
    async with installation(sqlite_url) as here:
        await here.link()
        await here.inbox.put(post(image("wamid.new", "1")))
        await here.inbox.put(post(image("wamid.old", "2")))
        await here.rows("UPDATE events SET received_at = 0 WHERE wamid = 'wamid.old'")
        archive = Archive(ACCOUNT_ID, "bucket", "", "{media}{ext}", frozenset())
        work = backfill.Backfill(here.store, here.cipher, OWNER, archive, {}, displayed={})
        assert (await work.run(NOON - timedelta(days=1), 10, dry_run=True)).matched == 1


@pytest.mark.parametrize("conditional", [True, False])
async def test_files_are_archived_once_and_told(url: str, simulator: Simulator, s3: Bucket, conditional: bool) -> None:
    s3.honours_conditions = conditional
    async with archiver(url, simulator, s3) as there:
        await link(there.here, simulator.token)
        await set_archive(there.here, conditional=conditional)
        ids = images(simulator, 30)
        await there.here.inbox.put(pictures(ids))
        await there.states(stored=30)
        assert s3.count() == {f"/bucket/{id_}": 1 for id_ in ids}
        assert await there.here.value("SELECT count(*) FROM events WHERE field = 'whaul_media'") == 30
        assert there.observer.outcomes["stored"] == 30


async def test_another_process_archives_and_tells_in_the_trace_of_the_webhook(
    url: str, simulator: Simulator, s3: Bucket
) -> None:
    [media_id] = images(simulator, 1)
    trace, memory = f"00-{TRACE_ID}-b7ad6b7169203331-01", Memory()
    async with installation(url) as here:
        await link(here, simulator.token)
        await set_archive(here)
        await here.inbox.put(replace(pictures([media_id]), trace=trace))
    async with archiver(url, simulator, s3, process="p2", tracing=Tracing(memory)) as there:
        await there.states(stored=1)
        assert await there.here.rows("SELECT field, trace FROM events ORDER BY seq") == [
            ("messages", trace),
            ("whaul_media", trace),
        ]
    spans = {span.name: span for span in memory.spans}
    archive = spans.pop("archive")
    assert (archive.parent and archive.parent.span_id, archive.attributes) == (
        0xB7AD6B7169203331,
        {"whaul.media_id": media_id, "whaul.attempt": 1},
    )
    assert spans.keys() == {"describe", "get", "put"}
    for span in spans.values():
        assert span.parent == archive.context


async def test_an_outcome_is_an_event_for_those_who_name_its_field(
    sqlite_url: str, simulator: Simulator, s3: Bucket
) -> None:
    async with archiver(sqlite_url, simulator, s3) as there:
        await link(there.here, simulator.token)
        await set_archive(there.here)
        wanted = write_filter(Filter(fields=frozenset({"whaul_media"})))
        await there.here.add_destination("files", filter=wanted)
        await there.here.add_destination("messages")
        [media_id] = images(simulator, 1)
        await there.here.inbox.put(pictures([media_id]))
        await there.states(stored=1)
        rows = await there.here.rows(
            "SELECT name, field, kind, type, entry FROM deliveries JOIN events USING (seq) "
            "JOIN destinations ON number = destination ORDER BY name"
        )
        assert [row[:4] for row in rows] == [
            ("files", "whaul_media", "media", "stored"),
            ("messages", "messages", "message", "image"),
        ]
        entry = json.loads(there.here.cipher.unseal(rows[0][4]))
        data = simulator.media[media_id].read()
        assert entry == {
            "id": WABA,
            "changes": [
                {
                    "value": {
                        "messaging_product": "whatsapp",
                        "metadata": {"display_phone_number": "15550100100", "phone_number_id": NUMBER},
                        "media": [
                            {
                                "id": media_id,
                                "message_id": f"wamid.{media_id}",
                                "type": "image",
                                "status": "stored",
                                "bucket": "bucket",
                                "key": media_id,
                                "etag": s3.versions[f"/bucket/{media_id}"][0].etag,
                                "sha256": base64.b64encode(hashlib.sha256(data).digest()).decode(),
                                "file_size": len(data),
                                "mime_type": "image/jpeg",
                            }
                        ],
                    },
                    "field": "whaul_media",
                }
            ],
        }
        same = "SELECT count(DISTINCT conversation) FROM events"
        assert await there.here.value(same) == 1, "in the conversation of its message"


@pytest.mark.parametrize("order", [False, True])
async def test_a_message_that_waits_goes_as_soon_as_its_last_file_is_there(
    url: str, simulator: Simulator, s3: Bucket, order: bool
) -> None:
    gate = threading.Event()
    first, second = images(simulator, 2)
    s3.on_put = lambda path: gate.wait(PATIENCE) if second in path else None
    target = ScriptedTarget()
    async with archiver(url, simulator, s3) as there, outbox_of(there, {"orders": target}):
        await link(there.here, simulator.token)
        await set_archive(there.here)
        await there.here.add_destination(media_wait=600, ordered=order)
        await there.here.inbox.put(pictures([first, second]))
        assert await target.got(1) == [f"wamid.{first}"]
        outcome = json.loads(target.sent[0].outcome or b"")
        assert [(media["id"], media["status"]) for media in outcome["media"]] == [(first, "stored")]
        gate.set()
        await target.got(2)


async def test_a_message_that_has_waited_long_enough_says_that_its_file_is_pending(
    sqlite_url: str, simulator: Simulator, s3: Bucket
) -> None:
    gate = threading.Event()
    s3.on_put = lambda _path: gate.wait(PATIENCE)
    answers = iter([Failed("down", "no"), Accepted()])
    target = ScriptedTarget(lambda _event: next(answers))
    async with archiver(sqlite_url, simulator, s3) as there, outbox_of(there, {"orders": target}):
        await link(there.here, simulator.token)
        await set_archive(there.here)
        await there.here.add_destination(media_wait=600)
        await there.here.inbox.put(pictures(images(simulator, 1)))
        await there.here.store.run(("UPDATE deliveries SET due_at = 0", ()))
        await target.got(1)
        assert json.loads(target.sent[0].outcome or b"")["media"][0]["status"] == "pending"
        gate.set()
        await there.states(stored=1)
        await there.here.store.run(("UPDATE deliveries SET due_at = 0 WHERE lease_owner IS NULL", ()))
        await target.got(2)
        assert json.loads(target.sent[1].outcome or b"")["media"][0]["status"] == "stored", "a retry says it, too"


async def test_the_files_of_a_refused_token_park_and_go_on_with_another_one(
    url: str, simulator: Simulator, s3: Bucket
) -> None:
    async with (
        archiver(url, simulator, s3, concurrency=2) as there,
        archiver(url, simulator, s3, process="p2", concurrency=2) as other,
    ):
        account_id = await link(there.here, "expired")
        await set_archive(there.here)
        ids = images(simulator, 20)
        await there.here.inbox.put(pictures(ids[:10]))
        await there.states(parked=10)
        reason = await there.here.value("SELECT max(last_error) FROM files")
        assert "code 190" in there.here.cipher.unseal(reason).decode()
        assert await there.here.value("SELECT sum(attempts) FROM files") == 0
        asked = len(simulator.requests)
        await other.here.inbox.put(pictures(ids[10:]))
        await there.states(parked=20)
        assert len(simulator.requests) - asked <= 2, "Meta is left alone"
        assert await link(there.here, simulator.token) == account_id
        await there.states(stored=20)
        assert set(s3.count().values()) == {1}
        assert await there.here.value("SELECT count(*) FROM parked_accounts") == 0


async def test_a_file_is_tried_now_and_then_while_its_account_is_parked(
    sqlite_url: str, simulator: Simulator, s3: Bucket
) -> None:
    async with archiver(sqlite_url, simulator, s3) as there:
        await link(there.here, simulator.token)
        await set_archive(there.here)
        ids = images(simulator, 3)
        for media_id in ids:
            simulator.fault(media_id, kind="error", status=403, code=10, hop="metadata", times=1)
        await there.here.inbox.put(pictures(ids))
        await there.states(parked=3)
        await there.here.store.run(("UPDATE parked_accounts SET probe_at = 0", ()))
        await there.states(stored=3)


async def test_after_an_unlink_files_park_until_the_account_is_linked_again(
    sqlite_url: str, simulator: Simulator, s3: Bucket
) -> None:
    gate = threading.Event()
    s3.on_put = lambda _path: gate.wait(PATIENCE)
    async with archiver(sqlite_url, simulator, s3, concurrency=1) as there:
        account_id = await link(there.here, simulator.token)
        await set_archive(there.here)
        await there.here.inbox.put(pictures(images(simulator, 3)))
        await there.until("SELECT count(*) FROM files WHERE lease_owner IS NOT NULL", 2)
        async with open_registry(sqlite_url, there.here.cipher, account_id=OWNER, region=REGION) as registry:
            assert await registry.accounts.unlink(account_id)
        gate.set()
        await there.states(stored=1, parked=2)
        await link(there.here, simulator.token)
        await there.states(stored=3)


async def test_a_file_of_a_parked_account_fails_when_meta_forgets_it(
    sqlite_url: str, simulator: Simulator, s3: Bucket
) -> None:
    async with archiver(sqlite_url, simulator, s3) as there:
        await link(there.here, "expired")
        await set_archive(there.here)
        await there.here.inbox.put(pictures(images(simulator, 1)))
        await there.states(parked=1)
        await there.end_soon()
        await there.here.store.run(("UPDATE duties SET begun_at = 0", ()))
        await there.archiving.clean_up()
        await there.states(failed=1)
        assert "ended while its account was parked" in await there.error()


async def test_meta_must_say_twice_that_there_is_no_such_id(sqlite_url: str, simulator: Simulator, s3: Bucket) -> None:
    async with archiver(sqlite_url, simulator, s3) as there:
        await link(there.here, simulator.token)
        await set_archive(there.here)
        [media_id, other] = images(simulator, 2)
        simulator.remove_media(media_id)
        simulator.fault(other, kind="error", status=400, code=100, hop="metadata", times=1)
        await there.here.inbox.put(pictures([media_id, other]))
        await there.until("SELECT count(*) FROM files WHERE missing AND lease_owner IS NULL", 2)
        await there.hurry()
        await there.states(failed=1, stored=1)
        error = "SELECT last_error FROM files WHERE state = 'failed'"
        assert "does not exist" in there.here.cipher.unseal(await there.here.value(error)).decode()


async def test_a_file_that_is_too_large_fails_with_the_reason(
    sqlite_url: str, simulator: Simulator, s3: Bucket
) -> None:
    async with archiver(sqlite_url, simulator, s3) as there:
        await link(there.here, simulator.token)
        await set_archive(there.here)
        await there.here.inbox.put(pictures([simulator.add_generated(MAX_FILE_SIZE + 1, "image/jpeg")]))
        await there.states(failed=1)
        assert "WHAUL_MAX_FILE_SIZE" in await there.error()
        assert s3.requests == []


async def test_a_file_that_meta_could_not_take_fails_at_once(sqlite_url: str, simulator: Simulator, s3: Bucket) -> None:
    async with archiver(sqlite_url, simulator, s3) as there:
        await link(there.here, simulator.token)
        await set_archive(there.here)
        [media_id] = images(simulator, 1)
        simulator.fault(media_id, kind="error", status=400, code=131052, hop="metadata")
        await there.here.inbox.put(pictures([media_id]))
        await there.states(failed=1)
        assert "131052" in await there.error()


@pytest.mark.parametrize("conditional", [True, False])
async def test_a_key_that_is_taken_is_never_overwritten(
    sqlite_url: str, simulator: Simulator, s3: Bucket, conditional: bool
) -> None:
    [media_id] = images(simulator, 1)
    s3.honours_conditions = conditional
    s3.versions[f"/bucket/{media_id}"] = [Version(b"another", {})]
    async with archiver(sqlite_url, simulator, s3) as there:
        await link(there.here, simulator.token)
        await set_archive(there.here, conditional=conditional)
        await there.here.inbox.put(pictures([media_id]))
        await there.states(failed=1)
        assert await there.error() == "key taken"
    assert s3.count()[f"/bucket/{media_id}"] == 1


@pytest.mark.parametrize("conditional", [True, False])
async def test_the_same_file_under_the_key_is_the_file(
    sqlite_url: str, simulator: Simulator, s3: Bucket, conditional: bool
) -> None:
    """As GetWhatsAppMessageMedia has left it, without our metadata."""
    [media_id] = images(simulator, 1)
    s3.versions[f"/bucket/{media_id}"] = [Version(simulator.media[media_id].read(), {})]
    async with archiver(sqlite_url, simulator, s3) as there:
        await link(there.here, simulator.token)
        await set_archive(there.here, conditional=conditional)
        await there.here.inbox.put(pictures([media_id]))
        await there.states(stored=1)
    assert s3.count() == {f"/bucket/{media_id}": 1}


async def test_a_bucket_that_is_away_is_asked_by_one_file_at_a_time(
    sqlite_url: str, simulator: Simulator, s3: Bucket
) -> None:
    s3.error = (503, "SlowDown")
    async with archiver(sqlite_url, simulator, s3, concurrency=10) as there:
        await link(there.here, simulator.token)
        await set_archive(there.here)
        ids = images(simulator, 40)
        await there.here.inbox.put(pictures(ids))
        await there.until("SELECT count(*) > 0 FROM files WHERE attempts > 0 AND last_error IS NOT NULL", True)
        await there.until("SELECT count(*) <= 1 FROM files WHERE lease_owner IS NOT NULL", True)
        tried = await there.here.value("SELECT count(*) FROM files WHERE attempts > 0")
        assert tried < 40
        s3.error = None
        await there.states(stored=40)  # at once, although those that failed were to be tried again later
        assert s3.count() == {f"/bucket/{id_}": 1 for id_ in ids}


async def test_a_file_is_tried_until_its_id_ends(sqlite_url: str, simulator: Simulator, s3: Bucket) -> None:
    s3.error = (403, "AccessDenied")
    async with archiver(sqlite_url, simulator, s3) as there:
        await link(there.here, simulator.token)
        await set_archive(there.here)
        await there.here.inbox.put(pictures(images(simulator, 1)))
        await there.until("SELECT state, attempts FROM files WHERE lease_owner IS NULL", "pending", 1)
        await there.end_soon()
        await there.hurry()
        await there.states(failed=1)
        assert "ended before it could be archived" in await there.error()


async def test_a_revoked_message_s_file_is_fetched_no_more(url: str, simulator: Simulator, s3: Bucket) -> None:
    s3.error = (503, "SlowDown")
    async with archiver(url, simulator, s3) as there:
        await link(there.here, simulator.token)
        await set_archive(there.here)
        [media_id] = images(simulator, 1)
        await there.here.inbox.put(pictures([media_id]))
        await there.until("SELECT attempts FROM files WHERE lease_owner IS NULL", 1)
        await there.here.inbox.put(revocation(f"wamid.{media_id}"))
        await there.states(failed=1)
        assert "revoked" in await there.error()
        assert await there.here.value("SELECT count(*) FROM events WHERE type = 'failed'") == 1


async def test_what_was_stored_before_a_revocation_is_kept(sqlite_url: str, simulator: Simulator, s3: Bucket) -> None:
    async with archiver(sqlite_url, simulator, s3) as there:
        await link(there.here, simulator.token)
        await set_archive(there.here)
        [media_id] = images(simulator, 1)
        await there.here.inbox.put(pictures([media_id]))
        await there.states(stored=1)
        await there.here.inbox.put(revocation(f"wamid.{media_id}"))
        await there.archiving.sweep()
        await there.states(stored=1)
    assert s3.count() == {f"/bucket/{media_id}": 1}


async def test_an_archive_holds_no_more_slots_than_its_share(sqlite_url: str, simulator: Simulator, s3: Bucket) -> None:
    gate, arrived = threading.Event(), threading.Semaphore(0)

    def wait(_path: str) -> None:
        arrived.release()
        gate.wait(PATIENCE)

    s3.on_put = wait
    slots = TransferSlots(3, 3, Metrics())
    async with archiver(sqlite_url, simulator, s3, concurrency=2, slots=slots) as there:
        await link(there.here, simulator.token)
        await set_archive(there.here)
        await there.here.inbox.put(pictures(images(simulator, 10)))
        for _ in range(2):
            await asyncio.to_thread(arrived.acquire)
        async with slots.slot(0.0, Call("r")):  # at once: there is a place
            pass
        gate.set()
        await there.states(stored=10)


async def test_a_file_of_two_messages_is_one_job(sqlite_url: str, simulator: Simulator, s3: Bucket) -> None:
    async with archiver(sqlite_url, simulator, s3) as there:
        await link(there.here, simulator.token)
        await set_archive(there.here)
        [media_id] = images(simulator, 1)
        forwarded = picture(media_id) | {"id": "wamid.other"}
        both = post(picture(media_id), forwarded)
        await there.here.inbox.put(replace(both, received_at=datetime.now(UTC)))
        await there.states(stored=1)
        assert await there.here.value("SELECT count(*) FROM event_files") == 2
    assert s3.methods(f"/bucket/{media_id}") == ["PUT"]


async def test_a_message_that_names_a_file_that_is_there_waits_no_longer_than_others(
    url: str, simulator: Simulator, s3: Bucket
) -> None:
    target = ScriptedTarget()
    async with archiver(url, simulator, s3) as there, outbox_of(there, {"orders": target}):
        await link(there.here, simulator.token)
        await set_archive(there.here)
        await there.here.add_destination(media_wait=600)
        [media_id] = images(simulator, 1)
        await there.here.inbox.put(pictures([media_id]))
        await target.got(1)
        await there.states(stored=1)
        again = post(picture(media_id) | {"id": "wamid.other"})
        await there.here.inbox.put(replace(again, received_at=datetime.now(UTC)))
        ago = f"UPDATE files SET done_at = done_at - {2 * LEFT_AFTER}"  # noqa: S608
        await there.here.store.run((ago, ()))
        await there.archiving.clean_up()
        assert (await target.got(2))[1] == "wamid.other"


async def test_outcomes_that_nobody_told_are_told_later_and_once(
    sqlite_url: str, simulator: Simulator, s3: Bucket
) -> None:
    async with archiver(sqlite_url, simulator, s3) as there:
        await link(there.here, simulator.token)
        await set_archive(there.here)
        await there.here.inbox.put(pictures(images(simulator, 3)))
        await there.states(stored=3)
        ago = f"UPDATE files SET told = false, done_at = done_at - {2 * LEFT_AFTER}"  # noqa: S608
        await there.here.store.run((ago, ()), ("DELETE FROM events WHERE kind = 'media'", ()))
        await there.here.store.run(("DELETE FROM event_keys", ()))
        for _ in range(2):
            await there.here.store.run(("UPDATE files SET told = false", ()))
            await there.archiving._tell()
            await there.states(stored=3)
        assert await there.here.value("SELECT count(*) FROM events WHERE kind = 'media'") == 3


async def test_who_lost_a_file_puts_nothing_and_records_nothing(url: str, simulator: Simulator, s3: Bucket) -> None:
    asked, gate = threading.Event(), threading.Event()

    def wait(_path: str) -> None:
        asked.set()
        gate.wait(PATIENCE)

    s3.on_look, s3.honours_conditions = wait, False
    async with archiver(url, simulator, s3) as there:
        await link(there.here, simulator.token)
        await set_archive(there.here, conditional=False)
        await there.here.inbox.put(pictures(images(simulator, 2, size=2_000_000)))
        assert await asyncio.to_thread(asked.wait, PATIENCE)
        await there.until("SELECT count(*) FROM files WHERE lease_owner IS NOT NULL", 2)
        await there.here.store.run(("UPDATE files SET lease_owner = 'another', fence = fence + 1", ()))
        gate.set()
        while there.observer.outcomes["lost"] < 2:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        await there.states(pending=2)
    assert s3.count() == {}


async def test_a_stop_gives_back_what_is_not_archived(
    sqlite_url: str, simulator: Simulator, s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "STOP", 0.1)
    begun, gate = threading.Semaphore(0), threading.Event()

    def hold(_path: str) -> None:
        begun.release()
        gate.wait(PATIENCE)

    s3.on_put = hold
    async with archiver(sqlite_url, simulator, s3, concurrency=2) as there:
        await link(there.here, simulator.token)
        await set_archive(there.here)
        await there.here.inbox.put(pictures(images(simulator, 4)))
        await there.until("SELECT count(*) FROM files WHERE lease_owner IS NOT NULL", 4)
        for _ in range(2):
            assert await asyncio.to_thread(begun.acquire, timeout=PATIENCE)
    gate.set()
    async with installation(sqlite_url) as here:
        left = f"SELECT count(*), sum(due_at > {here.store.now}) FROM files WHERE lease_owner IS NULL"  # noqa: S608
        assert await here.rows(left) == [(4, 2)], "those under way a little later: what was sent may still arrive"


@pytest.mark.long
@pytest.mark.parametrize(
    ("url", "conditional"), [("sqlite", True), ("sqlite", False), ("postgresql", True)], indirect=["url"]
)
async def test_every_file_is_archived_once_whatever_is_killed(
    *,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    conditional: bool,
    simulator: Simulator,
    s3: Bucket,
    tmp_path: Path,
) -> None:
    count = 200 if url.startswith("sqlite") and conditional else 60
    monkeypatch.setattr(archiving, "SETTLED_DOWN", 1.0)
    s3.honours_conditions = conditional
    ids = images(simulator, count)
    async with installation(url) as here:
        await link(here, simulator.token)
        await set_archive(here, conditional=conditional)
    puts = threading.Semaphore(0)
    s3.before_keeping = lambda _path: puts.release()
    arguments = [url, simulator.url, s3.url, *ids]
    process = ZYGOTE.call("harness.killed_archive:main", arguments, tmp_path / "log")
    for _ in range(count // 2):
        assert await asyncio.to_thread(puts.acquire, timeout=PATIENCE), (tmp_path / "log").read_text()
    os.kill(process.pid, signal.SIGKILL)
    await asyncio.to_thread(process.wait)
    stored = sum(s3.count().values())
    assert count // 3 < stored < count
    async with HttpClient() as http:
        around = surroundings(http, simulator.url, s3.url)
        async with events_running(url, Cipher(KEY), OWNER, LIMITS, around) as running:
            for start in range(0, count, 20):  # Meta sends again what was not answered
                await running.inbox.put(pictures(ids[start : start + 20]))
            if running.store.partitions:  # instead of a minute
                ended = "UPDATE files SET due_at = 0 WHERE lease_owner <> $1"
                await running.store.run((ended, (running.process,)))
            async with asyncio.timeout(PATIENCE):
                undone = "SELECT count(*) FROM files WHERE state <> 'stored' OR told = false"
                while (await running.store.run((undone, ())))[0][0][0]:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            [[(events,)]] = await running.store.run(("SELECT count(*) FROM events WHERE kind = 'media'", ()))
    assert s3.count() == {f"/bucket/{id_}.jpeg": 1 for id_ in ids}
    assert all(s3.versions[f"/bucket/{id_}.jpeg"][0].body == simulator.media[id_].read() for id_ in ids)
    assert events == count
