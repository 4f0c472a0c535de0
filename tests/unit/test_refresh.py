"""Refreshing what is known of linked accounts, over a real registry and the simulated Graph API."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from structlog.testing import capture_logs

from harness.waiting import PATIENCE
from whaul.graph.client import GraphClient
from whaul.model import GraphToken, LinkedAccount, MetaAccount, MetaPhoneNumber
from whaul.operations.refresh import MAX_RUNNING, MAX_TASKS, TTL, Refreshes
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import MediaHosts
from whaul.registry.registry import Registry, open_registry
from whaul.secrets import Cipher
from whaul.simulator import Simulator
from whaul.telemetry.call import Call

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class World:
    registry: Registry
    simulator: Simulator
    graph: GraphClient
    now: datetime = datetime(2026, 3, 1, tzinfo=UTC)
    ends: "asyncio.Queue[str]" = field(default_factory=asyncio.Queue)
    refreshes: Refreshes = field(init=False)

    def __post_init__(self) -> None:
        async def no_pause(_seconds: float) -> None:
            await asyncio.sleep(0)

        self.refreshes = Refreshes(
            self.registry.accounts, self.graph, now=lambda: self.now, sleep=no_pause, on_end=self.ends.put_nowait
        )

    async def link(self, *, verified: bool = True) -> LinkedAccount:
        number = MetaPhoneNumber(self.simulator.phone_numbers[0].id, "+1 555", "Old name", "YELLOW", "PENDING")
        account = MetaAccount(self.simulator.waba_id, "Old", (number,))
        return await self.registry.accounts.link(
            account, GraphToken(SecretStr(self.simulator.token)), verified=verified
        )

    async def serve(self) -> Call:
        """Serve all accounts as a call does."""
        call = Call("id")
        self.refreshes.served(await self.registry.accounts.all(), call)
        return call

    async def end(self) -> str:
        """How the next refresh ends, once all are over."""
        async with asyncio.timeout(PATIENCE):
            outcome = await self.ends.get()
            await asyncio.gather(*self.refreshes._tasks.values())
        return outcome


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    worlds: list[World] = []
    cipher = Cipher(SecretStr(Fernet.generate_key().decode()))

    def clock() -> datetime:
        return worlds[0].now if worlds else moment

    url = f"sqlite:///{tmp_path / 'whaul.db'}"
    opened = open_registry(url, cipher, account_id="111122223333", region="eu-west-1", create=True, clock=clock)
    async with opened as registry, Simulator() as simulator, HttpClient() as http:
        graph = GraphClient(
            http, url=simulator.url, version="v25.0", user_agent="whaul/test", media_hosts=MediaHosts(("127.0.0.1",))
        )
        worlds.append(World(registry, simulator, graph, moment))
        yield worlds[0]
        await worlds[0].refreshes.aclose()


async def test_what_is_fresh_is_not_asked_for(world: World) -> None:
    await world.link()
    world.now += TTL - timedelta(seconds=1)
    call = await world.serve()
    assert not call.stale
    assert world.refreshes._tasks == {}
    assert world.simulator.requests == []


async def test_what_is_old_is_served_at_once_and_then_refreshed(world: World) -> None:
    account = await world.link()
    world.now += TTL
    assert not (await world.serve()).stale
    assert await world.registry.accounts.find(account.id) == account, "the answer did not wait"
    assert await world.end() == "ok"
    (refreshed,) = await world.registry.accounts.all()
    assert (refreshed.name, refreshed.refreshed_at) == ("Whaul Harbour (simulated)", world.now)
    (number,) = refreshed.phone_numbers
    assert (number.verified_name, number.quality_rating, number.status) == (
        "Whaul Harbour Office",
        "GREEN",
        "CONNECTED",
    )


async def test_what_was_linked_unverified_is_refreshed_soon(world: World) -> None:
    await world.link(verified=False)
    await world.serve()
    assert await world.end() == "ok"


async def test_the_end_of_a_token_is_asked_for_and_kept_while_meta_does_not_tell(world: World) -> None:
    account = await world.link()
    for ends, fault in ((1_800_000_000, False), (0, True), (0, False)):
        world.now += TTL
        world.simulator.configure(token_expires_at=ends)
        if fault:
            world.simulator.fault("debug_token", kind="error", code=100, times=1)
        await world.serve()
        assert await world.end() == "ok"
        known = datetime.fromtimestamp(1_800_000_000, UTC) if ends or fault else None
        refreshed = await world.registry.accounts.find(account.id)
        assert refreshed is not None
        assert refreshed.token_expires_at == known
        assert await world.registry.accounts.token_expiries() == ({account.id: known} if known else {})


async def test_calls_at_once_share_one_refresh(world: World) -> None:
    await world.link()
    world.now += TTL
    for _ in range(5):
        await world.serve()
    assert await world.end() == "ok"
    assert world.simulator.count(world.simulator.waba_id)["metadata"] == 2


async def test_what_was_read_before_a_refresh_and_served_after_it_is_not_asked_for_again(world: World) -> None:
    await world.link()
    world.now += TTL
    old = await world.registry.accounts.all()
    await world.serve()
    assert await world.end() == "ok"
    world.refreshes.served(old, Call("id"))
    assert await world.end() == "ok"
    assert world.simulator.count(world.simulator.waba_id)["metadata"] == 2


async def test_while_meta_is_down_what_is_old_is_served_and_marked_and_asked_for_once_a_minute(
    world: World,
) -> None:
    account = await world.link()
    world.simulator.fault(kind="error", code=190)
    world.now += TTL
    with capture_logs() as lines:
        assert not (await world.serve()).stale, "nobody knows yet"
        assert await world.end() == "AccessDeniedByMetaException"
    assert [(line["event"], line["account"], line["log_level"]) for line in lines] == [("stale", account.id, "warning")]
    assert world.simulator.token not in repr(lines)
    for _ in range(3):
        world.now += TTL - timedelta(seconds=1)
        assert (await world.serve()).stale
        assert world.refreshes._tasks == {}, "too early"
        world.now += timedelta(seconds=1)
        assert (await world.serve()).stale
        assert await world.end() == "AccessDeniedByMetaException"
    world.simulator.clear_faults()
    world.now += TTL
    await world.serve()
    assert await world.end() == "ok"
    world.now += TTL
    assert not (await world.serve()).stale


async def test_an_account_that_was_linked_again_or_refreshed_elsewhere_fails_no_longer(world: World) -> None:
    await world.link()
    world.simulator.fault(kind="error", code=190)
    for _ in range(4):
        world.now += TTL
        await world.serve()
        assert await world.end() == "AccessDeniedByMetaException"
    world.simulator.clear_faults()

    async def refresh_elsewhere() -> None:
        (stored,) = await world.registry.accounts.all()
        await world.registry.accounts.refresh(stored, MetaAccount(stored.meta_waba_id, "Told elsewhere", ()))

    for told_elsewhere in (world.link, refresh_elsewhere):
        await told_elsewhere()
        world.now += TTL
        assert not (await world.serve()).stale
        assert await world.end() == "ok"
        world.simulator.fault(kind="error", code=190)
        world.now += TTL
        await world.serve()
        assert await world.end() == "AccessDeniedByMetaException"
        world.simulator.clear_faults()


async def test_an_account_that_is_gone_meanwhile_is_no_failure(world: World) -> None:
    account = await world.link()
    world.now += TTL
    await world.registry.accounts.unlink(account.id)
    world.refreshes.served([account], Call("id"))
    assert await world.end() == "ok"
    assert await world.registry.accounts.all() == ()


async def test_a_long_list_is_refreshed_few_at_a_time_and_not_all_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await world.link()
    world.now += TTL
    many = [replace(account, id=f"waba-{i:032x}") for i in range(1000)]
    running: set[str] = set()
    most = 0

    async def counted(id_: str) -> None:
        nonlocal most
        running.add(id_)
        most = max(most, len(running))
        await asyncio.sleep(0)
        running.remove(id_)

    monkeypatch.setattr(world.registry.accounts, "find", counted)
    world.refreshes.served(many, Call("id"))
    ends = [await world.end() for _ in range(MAX_TASKS)]
    assert ends == ["ok"] * MAX_TASKS
    assert world.ends.empty()
    assert most == MAX_RUNNING


async def test_closing_breaks_off_what_is_under_way(world: World) -> None:
    await world.link()
    world.simulator.fault(kind="stall", hop="metadata")
    world.now += TTL
    await world.serve()
    async with asyncio.timeout(PATIENCE):
        await world.refreshes.aclose()
    assert world.refreshes._tasks == {}
    assert world.ends.empty()
