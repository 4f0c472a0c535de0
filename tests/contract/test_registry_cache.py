import asyncio
from collections import Counter

import pytest
from pydantic import SecretStr

from whaul.model import AccessKey, PhoneNumber
from whaul.registry import CachedRegistry, RegistryUnavailable
from whaul.registry.cache import TTL

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Counted:
    """A lookup that counts what it is asked and answers when `gate` is open."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.known: set[str] = {"a", "b", "c", "d"}
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.reached = asyncio.Event()

    async def _answer(self, id_: str) -> bool:
        self.asked[id_] += 1
        self.reached.set()
        await self.gate.wait()
        if self.failure:
            raise self.failure
        return id_ in self.known

    async def phone_number(self, phone_number_id: str) -> PhoneNumber | None:
        if not await self._answer(phone_number_id):
            return None
        return PhoneNumber(phone_number_id, "arn", "1", SecretStr("t"), None)

    async def access_key(self, access_key_id: str) -> AccessKey | None:
        if not await self._answer(access_key_id):
            return None
        return AccessKey(access_key_id, "name", SecretStr("s"), "{}")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def registry() -> Counted:
    return Counted()


@pytest.fixture
async def cached(registry: Counted, clock: Clock) -> CachedRegistry:
    return CachedRegistry(registry, clock=clock)


def test_answers_are_kept_for_less_than_the_five_seconds_that_a_disabled_key_may_live() -> None:
    assert 0 < TTL < 5


async def test_the_second_question_is_answered_without_the_registry(cached: CachedRegistry, registry: Counted) -> None:
    assert await cached.phone_number("a") is await cached.phone_number("a")
    assert await cached.access_key("b") is await cached.access_key("b")
    assert registry.asked == {"a": 1, "b": 1}


async def test_phone_numbers_and_access_keys_are_kept_apart(cached: CachedRegistry) -> None:
    assert isinstance(await cached.phone_number("a"), PhoneNumber)
    assert isinstance(await cached.access_key("a"), AccessKey)
    assert isinstance(await cached.phone_number("a"), PhoneNumber)


async def test_a_disabled_key_is_gone_when_the_time_to_live_is_over(
    cached: CachedRegistry, registry: Counted, clock: Clock
) -> None:
    await cached.access_key("a")
    registry.known.remove("a")
    clock.now += TTL - 0.001
    assert await cached.access_key("a") is not None
    clock.now += 0.001
    assert await cached.access_key("a") is None
    assert await cached.access_key("a") is None


async def test_reading_an_answer_does_not_prolong_it(cached: CachedRegistry, registry: Counted, clock: Clock) -> None:
    for _ in range(7):
        await cached.access_key("a")
        clock.now += TTL / 2
    assert registry.asked["a"] == 4


async def test_the_age_of_an_answer_counts_from_the_question(
    cached: CachedRegistry, registry: Counted, clock: Clock
) -> None:
    registry.gate.clear()
    task = asyncio.create_task(cached.access_key("a"))
    await registry.reached.wait()
    clock.now += TTL
    registry.gate.set()
    assert await task is not None
    await cached.access_key("a")
    assert registry.asked["a"] == 2


async def test_an_unknown_id_is_asked_for_each_time_so_that_a_new_key_works_at_once(
    cached: CachedRegistry, registry: Counted
) -> None:
    assert await cached.access_key("new") is None
    registry.known.add("new")
    assert await cached.access_key("new") is not None


async def test_concurrent_misses_of_one_id_share_one_question(cached: CachedRegistry, registry: Counted) -> None:
    registry.gate.clear()
    tasks = [asyncio.create_task(cached.phone_number(id_)) for id_ in "a" * 50 + "b" * 50]
    await registry.reached.wait()
    registry.gate.set()
    answers = await asyncio.gather(*tasks)
    assert registry.asked == {"a": 1, "b": 1}
    assert [answer.id for answer in answers if answer] == ["a"] * 50 + ["b"] * 50


async def test_a_caller_who_gives_up_does_not_fail_the_others(cached: CachedRegistry, registry: Counted) -> None:
    registry.gate.clear()
    first = asyncio.create_task(cached.phone_number("a"))
    second = asyncio.create_task(cached.phone_number("a"))
    await registry.reached.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    registry.gate.set()
    assert await second is not None
    assert registry.asked["a"] == 1


async def test_an_error_reaches_every_caller_and_is_not_kept(cached: CachedRegistry, registry: Counted) -> None:
    registry.failure = RegistryUnavailable()
    answers = await asyncio.gather(*(cached.phone_number("a") for _ in range(3)), return_exceptions=True)
    assert answers == [registry.failure] * 3
    registry.failure = None
    assert await cached.phone_number("a") is not None


async def test_an_error_that_nobody_waits_for_any_more_is_not_reported_as_lost(
    cached: CachedRegistry, registry: Counted
) -> None:
    reports: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    registry.gate.clear()
    registry.failure = RegistryUnavailable()
    task = asyncio.create_task(cached.phone_number("a"))
    await registry.reached.wait()
    task.cancel()
    (fetch,) = cached._phone_numbers._asking.values()
    registry.gate.set()
    await asyncio.wait([task, fetch])
    del task, fetch
    await asyncio.sleep(0)
    assert cached._phone_numbers._asking == {}
    assert reports == []


async def test_an_old_answer_is_not_given_when_the_registry_fails(
    cached: CachedRegistry, registry: Counted, clock: Clock
) -> None:
    await cached.access_key("a")
    clock.now += TTL
    registry.failure = RegistryUnavailable()
    with pytest.raises(RegistryUnavailable):
        await cached.access_key("a")


async def test_the_answer_longest_unused_makes_room(registry: Counted, clock: Clock) -> None:
    cached = CachedRegistry(registry, size=2, clock=clock)
    for id_ in ("a", "b", "a", "c", "a", "b"):
        await cached.phone_number(id_)
    assert registry.asked == {"a": 1, "b": 2, "c": 1}


async def test_unknown_ids_push_no_answer_out(registry: Counted, clock: Clock) -> None:
    cached = CachedRegistry(registry, size=1, clock=clock)
    await cached.access_key("a")
    for number in range(100):
        await cached.access_key(f"stranger-{number}")
    await cached.access_key("a")
    assert registry.asked["a"] == 1
    assert len(cached._access_keys._kept) == 1


async def test_closing_ends_the_questions_under_way(cached: CachedRegistry, registry: Counted) -> None:
    registry.gate.clear()
    task = asyncio.create_task(cached.phone_number("a"))
    await registry.reached.wait()
    await cached.aclose()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cached._phone_numbers._asking == {}
