import asyncio
from collections import Counter
from typing import Any

import pytest
from pydantic import SecretStr

from whaul.model import AccessKey, Account, GraphToken, PhoneNumber
from whaul.registry import cache
from whaul.registry.cache import GRACE, PATIENCE, PAUSE, TTL, CachedRegistry
from whaul.registry.errors import RegistryUnavailableError
from whaul.secrets import SecretKeyError

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
        return PhoneNumber(phone_number_id, "arn", "1", GraphToken(SecretStr("t")))

    async def linked_account(self, account_id: str) -> Account | None:
        if not await self._answer(account_id):
            return None
        return Account(account_id, "arn", "1", GraphToken(SecretStr("t")))

    async def access_key(self, access_key_id: str) -> AccessKey | None:
        if not await self._answer(access_key_id):
            return None
        return AccessKey(access_key_id, "name", SecretStr("s"), "{}")


def over(registry: Counted, **options: Any) -> CachedRegistry:
    return CachedRegistry(
        phone_number=registry.phone_number,
        linked_account=registry.linked_account,
        access_key=registry.access_key,
        **options,
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def registry() -> Counted:
    return Counted()


@pytest.fixture
async def cached(registry: Counted, clock: Clock) -> CachedRegistry:
    return over(registry, clock=clock)


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


async def test_an_error_reaches_every_caller_and_is_not_kept(
    cached: CachedRegistry, registry: Counted, clock: Clock
) -> None:
    registry.failure = RegistryUnavailableError()
    answers = await asyncio.gather(*(cached.phone_number("a") for _ in range(3)), return_exceptions=True)
    assert answers == [registry.failure] * 3
    registry.failure = None
    clock.now += PAUSE
    assert await cached.phone_number("a") is not None


async def test_an_error_that_nobody_waits_for_any_more_is_not_reported_as_lost(
    cached: CachedRegistry, registry: Counted
) -> None:
    reports: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    registry.gate.clear()
    registry.failure = RegistryUnavailableError()
    task = asyncio.create_task(cached.phone_number("a"))
    await registry.reached.wait()
    task.cancel()
    fetch = cached._phone_numbers._queries["a"].task
    registry.gate.set()
    await asyncio.wait([task, fetch])
    del task, fetch
    await asyncio.sleep(0)
    assert cached._phone_numbers._queries == {}
    assert reports == []


def test_a_slow_database_delays_news_by_less_than_the_five_seconds_either() -> None:
    assert TTL + PATIENCE < 5


async def test_the_last_answer_is_given_while_the_database_does_not_answer(
    cached: CachedRegistry, registry: Counted, clock: Clock
) -> None:
    known = await cached.access_key("a")
    registry.failure = RegistryUnavailableError()
    for _ in range(10):
        clock.now += TTL
        assert await cached.access_key("a") is known


async def test_the_last_answer_is_not_given_for_ever(cached: CachedRegistry, registry: Counted, clock: Clock) -> None:
    await cached.access_key("a")
    registry.failure = RegistryUnavailableError()
    clock.now += GRACE - 0.001
    assert await cached.access_key("a") is not None
    clock.now += 0.001
    with pytest.raises(RegistryUnavailableError):
        await cached.access_key("a")
    clock.now += PAUSE
    with pytest.raises(RegistryUnavailableError):
        await cached.access_key("a")


async def test_what_was_never_known_is_an_error_while_the_database_does_not_answer(
    cached: CachedRegistry, registry: Counted
) -> None:
    registry.failure = RegistryUnavailableError()
    for _ in range(2):
        with pytest.raises(RegistryUnavailableError):
            await cached.access_key("a")


async def test_no_other_failure_brings_up_the_last_answer(
    cached: CachedRegistry, registry: Counted, clock: Clock
) -> None:
    await cached.access_key("a")
    clock.now += TTL
    registry.failure = SecretKeyError()
    with pytest.raises(SecretKeyError):
        await cached.access_key("a")


async def test_a_database_that_did_not_answer_is_left_alone_for_a_while(
    cached: CachedRegistry, registry: Counted, clock: Clock
) -> None:
    for id_ in "abc":
        await cached.access_key(id_)
    registry.asked.clear()
    registry.failure = RegistryUnavailableError()
    clock.now += TTL
    for id_ in "abc" * 20:
        await cached.access_key(id_)
    with pytest.raises(RegistryUnavailableError):
        await cached.phone_number("d")
    assert registry.asked.total() == 1
    clock.now += PAUSE
    await cached.access_key("a")
    assert registry.asked.total() == 2


async def test_news_are_seen_as_soon_as_the_database_is_back(
    cached: CachedRegistry, registry: Counted, clock: Clock
) -> None:
    await cached.access_key("a")
    registry.failure = RegistryUnavailableError()
    clock.now += TTL
    assert await cached.access_key("a") is not None
    registry.failure = None
    registry.known.remove("a")
    clock.now += PAUSE
    registry.gate.clear()
    assert await cached.access_key("a") is not None  # does not wait for the answer
    task = cached._access_keys._queries["a"].task
    registry.gate.set()
    await task
    assert await cached.access_key("a") is None


async def test_a_key_that_was_disabled_does_not_come_back_in_an_outage(
    cached: CachedRegistry, registry: Counted, clock: Clock
) -> None:
    await cached.access_key("a")
    registry.known.remove("a")
    clock.now += TTL
    assert await cached.access_key("a") is None
    registry.failure = RegistryUnavailableError()
    with pytest.raises(RegistryUnavailableError):
        await cached.access_key("a")


async def test_a_database_that_takes_too_long_keeps_only_the_first_caller_waiting(
    registry: Counted, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "PATIENCE", 0.01)
    outages: list[bool] = []
    cached = over(registry, clock=clock, on_outage=outages.append)
    known = await cached.access_key("a")
    clock.now += TTL
    registry.gate.clear()
    assert await cached.access_key("a") is known
    assert outages == [True]
    monkeypatch.setattr(cache, "PATIENCE", 3600)
    assert await cached.access_key("a") is known
    clock.now += PAUSE
    assert await cached.access_key("a") is known
    assert registry.asked["a"] == 2
    (query,) = cached._access_keys._queries.values()
    registry.gate.set()
    await query.task
    assert outages == [True, False]


async def test_an_outage_is_told_once_at_its_start_and_once_at_its_end(registry: Counted, clock: Clock) -> None:
    outages: list[bool] = []
    cached = over(registry, clock=clock, on_outage=outages.append)
    await cached.access_key("a")
    registry.failure = RegistryUnavailableError()
    for _ in range(3):
        clock.now += PAUSE
        with pytest.raises(RegistryUnavailableError):
            await cached.phone_number("b")
    assert outages == [True]
    registry.failure = None
    clock.now += PAUSE
    await cached.phone_number("b")
    assert outages == [True, False]


async def test_the_answer_longest_unused_makes_room(registry: Counted, clock: Clock) -> None:
    cached = over(registry, max_entries=2, clock=clock)
    for id_ in ("a", "b", "a", "c", "a", "b"):
        await cached.phone_number(id_)
    assert registry.asked == {"a": 1, "b": 2, "c": 1}


async def test_unknown_ids_push_no_answer_out(registry: Counted, clock: Clock) -> None:
    cached = over(registry, max_entries=1, clock=clock)
    await cached.access_key("a")
    for number in range(100):
        await cached.access_key(f"stranger-{number}")
    await cached.access_key("a")
    assert registry.asked["a"] == 1
    assert len(cached._access_keys._entries) == 1


async def test_closing_ends_the_questions_under_way(cached: CachedRegistry, registry: Counted) -> None:
    registry.gate.clear()
    task = asyncio.create_task(cached.phone_number("a"))
    await registry.reached.wait()
    await cached.aclose()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cached._phone_numbers._queries == {}
