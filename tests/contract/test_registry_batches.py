"""Ids that strangers make up cost few queries; ids that are real are found at once."""

import asyncio
from collections.abc import AsyncIterator, Collection

import pytest
from pydantic import SecretStr

from whaul.model import AccessKey
from whaul.registry.batches import MAX_BATCH, BatchedKeys
from whaul.registry.errors import RegistryUnavailableError

pytestmark = pytest.mark.anyio


class Counted:
    """A registry that notes what it is asked, and answers when `gate` is open."""

    def __init__(self) -> None:
        self.known = {"real"}
        self.batches: list[set[str]] = []
        self.asked: list[str] = []
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.reached = asyncio.Event()

    async def find(self, access_key_id: str) -> AccessKey | None:
        self.asked.append(access_key_id)
        return AccessKey(access_key_id, "name", SecretStr("s"), "{}") if access_key_id in self.known else None

    async def usable(self, access_key_ids: Collection[str]) -> set[str]:
        self.batches.append(set(access_key_ids))
        self.reached.set()
        await self.gate.wait()
        if self.failure:
            raise self.failure
        return self.known & set(access_key_ids)


@pytest.fixture
def registry() -> Counted:
    return Counted()


@pytest.fixture
async def lookup(registry: Counted) -> AsyncIterator[BatchedKeys]:
    opened = BatchedKeys(registry, pause=0)
    yield opened
    await opened.aclose()


async def test_a_real_id_is_in_one_batch_only(lookup: BatchedKeys, registry: Counted) -> None:
    for _ in range(3):
        assert await lookup.find("real") is not None
    assert registry.batches == [{"real"}]
    assert registry.asked == ["real"] * 3


async def test_made_up_ids_share_queries(lookup: BatchedKeys, registry: Counted) -> None:
    made_up = [f"id{number}" for number in range(3 * MAX_BATCH)]
    found = await asyncio.gather(*(lookup.find(id_) for id_ in [*made_up, "real", *made_up]))
    assert [key.access_key_id for key in found if key] == ["real"]
    assert len(registry.batches) == 4
    assert registry.asked == ["real"]


async def test_one_query_runs_at_a_time(lookup: BatchedKeys, registry: Counted) -> None:
    registry.gate.clear()
    first = asyncio.create_task(lookup.find("first"))
    await registry.reached.wait()
    others = [asyncio.create_task(lookup.find(f"id{number}")) for number in range(50)]
    await asyncio.sleep(0)
    assert registry.batches == [{"first"}]
    registry.gate.set()
    assert await asyncio.gather(first, *others) == [None] * 51
    assert len(registry.batches) == 2


async def test_a_key_works_as_soon_as_it_is_made(lookup: BatchedKeys, registry: Counted) -> None:
    assert await lookup.find("new") is None
    registry.known.add("new")
    assert await lookup.find("new") is not None


async def test_a_key_that_is_gone_is_a_strangers_again(lookup: BatchedKeys, registry: Counted) -> None:
    assert await lookup.find("real") is not None
    registry.known.clear()
    assert await lookup.find("real") is None
    assert await lookup.find("real") is None
    assert registry.asked == ["real"] * 2
    assert len(registry.batches) == 2


async def test_a_failure_is_told_to_all_who_wait_and_not_kept(lookup: BatchedKeys, registry: Counted) -> None:
    registry.failure = RegistryUnavailableError()
    failed = await asyncio.gather(*(lookup.find(id_) for id_ in ("made_up", "real")), return_exceptions=True)
    assert [type(error) for error in failed] == [RegistryUnavailableError] * 2
    registry.failure = None
    assert await lookup.find("real") is not None


async def test_who_gives_up_ends_nothing_for_others(lookup: BatchedKeys, registry: Counted) -> None:
    registry.gate.clear()
    impatient = asyncio.create_task(lookup.find("real"))
    patient = asyncio.create_task(lookup.find("real"))
    await registry.reached.wait()
    impatient.cancel()
    registry.gate.set()
    assert await patient is not None


async def test_closing_ends_the_query_under_way(lookup: BatchedKeys, registry: Counted) -> None:
    registry.gate.clear()
    waiting = asyncio.create_task(lookup.find("real"))
    await registry.reached.wait()
    await lookup.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize("id_", ["", "a\0b", "AKIA/1", "AKIA 1", "é" * 10, "A" * 129, "AKIA1\n"])
async def test_what_cannot_be_an_id_is_not_asked_for(lookup: BatchedKeys, registry: Counted, id_: str) -> None:
    assert await lookup.find(id_) is None
    assert registry.batches == []
