"""Transfers at once, calls that wait for one, and calls per second."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from whaul.errors import ThrottledRequestException
from whaul.server import limits
from whaul.server.limits import RateLimit, TransferSlots
from whaul.telemetry.call import Call
from whaul.telemetry.metrics import Metrics
from whaul.testing import Clock

pytestmark = pytest.mark.anyio
FOR_EVER = float("inf")


class Desk:
    """Slots, and a way to be in one, or in the queue, for as long as a test wants."""

    def __init__(self, most: int, queue: int) -> None:
        self.metrics = Metrics()
        self.slots = TransferSlots(most, queue, self.metrics)
        self.inside = asyncio.Semaphore(0)
        self.leave = asyncio.Event()

    async def work(self, deadline: float = FOR_EVER, host: str | None = None) -> None:
        async with self.slots.slot(deadline, Call("id"), host):
            self.inside.release()
            await self.leave.wait()

    def figures(self) -> tuple[float, float]:
        return self.metrics.transfers._value.get(), self.metrics.waiting._value.get()


async def settle() -> None:
    """Let every task run until it waits for something."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_host_that_callers_chose_leaves_a_quarter_of_the_slots_to_others() -> None:
    desk = Desk(most=4, queue=4)
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(desk.work(host="stuck:443"))
        await settle()
        assert desk.figures() == (3, 1)
        async with desk.slots.slot(FOR_EVER, Call("id"), "other:443"):
            assert desk.figures() == (4, 1)
        async with desk.slots.slot(FOR_EVER, Call("id")):
            assert desk.figures() == (4, 1)
        desk.leave.set()
    assert desk.figures() == (0, 0)
    assert desk.slots._hosts == {}


async def test_a_host_that_callers_chose_leaves_a_quarter_of_the_queue_to_others() -> None:
    desk = Desk(most=4, queue=4)
    async with asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(desk.work(host="stuck:443"))
        await settle()
        with pytest.raises(ThrottledRequestException, match="WHAUL_MAX_QUEUE"):
            await desk.work(host="stuck:443")
        async with desk.slots.slot(FOR_EVER, Call("id"), "other:443"):
            assert desk.figures() == (4, 3)
        desk.leave.set()


async def test_a_free_slot_is_taken_at_once_even_without_a_queue() -> None:
    desk = Desk(most=1, queue=0)
    async with desk.slots.slot(FOR_EVER, Call("id")):
        assert desk.figures() == (1, 0)
    assert desk.figures() == (0, 0)


async def test_beyond_the_slots_calls_wait_and_beyond_the_queue_they_are_throttled() -> None:
    desk = Desk(most=2, queue=1)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(desk.work()) for _ in range(3)]
        await settle()
        assert desk.figures() == (2, 1)
        with pytest.raises(ThrottledRequestException, match="WHAUL_MAX_QUEUE") as caught:
            await desk.work()
        assert caught.value.retry_after == 1
        assert desk.figures() == (2, 1)
        desk.leave.set()
    assert all(task.done() for task in tasks)
    assert desk.figures() == (0, 0)


async def test_a_call_that_waited_gets_the_next_free_slot_and_its_wait_is_measured() -> None:
    desk, call = Desk(most=1, queue=1), Call("id")
    async with asyncio.TaskGroup() as group:
        group.create_task(desk.work())
        await desk.inside.acquire()

        async def second() -> None:
            async with desk.slots.slot(FOR_EVER, call):
                assert desk.figures() == (1, 0)

        waiting = group.create_task(second())
        await settle()
        assert not waiting.done()
        desk.leave.set()
    assert call.seconds["wait"] > 0


async def test_a_call_waits_no_longer_than_its_deadline() -> None:
    desk = Desk(most=1, queue=1)
    async with asyncio.TaskGroup() as group:
        group.create_task(desk.work())
        await desk.inside.acquire()
        call = Call("id")
        with pytest.raises(ThrottledRequestException, match="WHAUL_MAX_TRANSFERS") as caught:
            async with desk.slots.slot(asyncio.get_running_loop().time(), call):
                pytest.fail("there was a slot")
        assert caught.value.retry_after == 1
        assert "wait" in call.seconds  # its log line says for how long it waited in vain
        assert desk.figures() == (1, 0)
        desk.leave.set()


async def test_a_caller_that_gives_up_leaves_the_queue() -> None:
    desk = Desk(most=1, queue=1)
    async with asyncio.TaskGroup() as group:
        group.create_task(desk.work())
        await desk.inside.acquire()
        waiting = asyncio.create_task(desk.work())
        await settle()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert desk.figures() == (1, 0)
        group.create_task(desk.work())  # there is room in the queue again
        await settle()
        assert desk.figures() == (1, 1)
        desk.leave.set()


async def test_a_transfer_that_fails_gives_its_slot_back() -> None:
    desk = Desk(most=1, queue=0)
    with pytest.raises(ZeroDivisionError):
        async with desk.slots.slot(FOR_EVER, Call("id")):
            raise ZeroDivisionError
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(desk.slots.slot(FOR_EVER, Call("id")))
        assert desk.figures() == (1, 0)


def allowed(limit: RateLimit, caller: str = "a", own: float | None = None, burst: int | None = None) -> bool:
    try:
        limit.take(caller, own, burst)
    except ThrottledRequestException:
        return False
    return True


def test_without_a_limit_everything_is_allowed() -> None:
    limit = RateLimit(0, Clock())
    assert all(allowed(limit) for _ in range(1000))


def test_a_burst_of_one_seconds_worth_is_allowed_and_then_as_much_as_time_passes() -> None:
    clock = Clock()
    limit = RateLimit(4, clock)
    assert [allowed(limit) for _ in range(5)] == [True] * 4 + [False]
    clock.advance(0.25)
    assert [allowed(limit) for _ in range(2)] == [True, False]
    clock.advance(1000)
    assert [allowed(limit) for _ in range(5)] == [True] * 4 + [False]


def test_a_refused_call_costs_nothing() -> None:
    clock = Clock()
    limit = RateLimit(1, clock)
    assert [allowed(limit) for _ in range(50)] == [True] + [False] * 49
    clock.advance(1)
    assert allowed(limit)


def test_less_than_one_call_a_second_is_a_limit_too() -> None:
    clock = Clock()
    limit = RateLimit(0.5, clock)
    assert allowed(limit)
    clock.advance(1.5)
    assert not allowed(limit)
    clock.advance(0.5)
    assert allowed(limit)


@pytest.mark.parametrize(("burst", "at_once"), [(1, 1), (3, 3), (10, 10), (None, 4)])
def test_a_burst_is_as_large_as_it_is_set_and_no_larger_after_any_pause(burst: int | None, at_once: int) -> None:
    clock = Clock()
    limit = RateLimit(4, clock, burst)
    for _ in range(2):
        assert [allowed(limit) for _ in range(at_once + 1)] == [True] * at_once + [False]
        clock.advance(1000)


def test_after_a_burst_the_rate_holds() -> None:
    clock = Clock()
    limit = RateLimit(2, clock, 10)
    assert sum(allowed(limit) for _ in range(100)) == 10
    taken = 0
    for _ in range(1000):
        clock.advance(0.125)
        taken += allowed(limit)
    assert taken == 250


def test_a_limit_of_ones_own_stands_in_place_of_the_servers() -> None:
    limit = RateLimit(1, Clock())
    assert [allowed(limit, "own", 3) for _ in range(4)] == [True] * 3 + [False]
    assert [allowed(limit, "other") for _ in range(2)] == [True, False]


def test_a_limit_of_ones_own_holds_where_the_server_has_none() -> None:
    limit = RateLimit(0, Clock())
    assert [allowed(limit, "own", 1) for _ in range(2)] == [True, False]
    assert all(allowed(limit, "other") for _ in range(100))


def test_a_limit_of_ones_own_may_be_none_at_all() -> None:
    limit = RateLimit(1, Clock(), 1)
    assert all(allowed(limit, "own", 0) for _ in range(100))


@pytest.mark.parametrize(
    ("own", "burst", "at_once"),
    [
        (None, None, 7),  # the server's
        (None, 2, 2),
        (3, None, 3),  # one second's worth of its own
        (3, 5, 5),
        (0.5, None, 1),
        (10, 1, 1),
    ],
)
def test_a_burst_of_ones_own_stands_in_place_of_the_servers(own: float | None, burst: int | None, at_once: int) -> None:
    limit = RateLimit(1, Clock(), 7)
    assert sum(allowed(limit, "own", own, burst) for _ in range(100)) == at_once


def test_a_limit_that_is_changed_holds_from_the_next_call_on() -> None:
    clock = Clock()
    limit = RateLimit(0, clock)
    assert sum(allowed(limit, "a", 100) for _ in range(50)) == 50
    assert sum(allowed(limit, "a", 1) for _ in range(50)) == 1, "no more than the new burst is left"
    clock.advance(1)
    assert sum(allowed(limit, "a", 100) for _ in range(500)) == 100


def test_callers_do_not_use_up_each_others_share() -> None:
    limit = RateLimit(1, Clock())
    assert [allowed(limit, caller) for caller in ("a", "b", "a", "b")] == [True, True, False, False]


@pytest.mark.parametrize(
    ("per_second", "passed", "wait"), [(1, 0.0, 1.0), (1, 0.25, 0.75), (4, 0.0, 0.25), (0.5, 0, 2.0)]
)
def test_a_refusal_says_when_the_next_call_is_allowed(per_second: float, passed: float, wait: float) -> None:
    clock = Clock()
    limit = RateLimit(per_second, clock)
    while allowed(limit):
        pass
    clock.advance(passed)
    with pytest.raises(ThrottledRequestException, match="WHAUL_RATE_LIMIT") as caught:
        limit.take("a")
    assert caught.value.retry_after == pytest.approx(wait)
    clock.advance(wait)
    assert allowed(limit)


def test_callers_that_were_idle_longest_are_forgotten_first() -> None:
    limit = RateLimit(1, Clock())
    assert allowed(limit, "first")
    assert allowed(limit, "second")
    assert not allowed(limit, "first")  # seen again, so now `second` is idle longest
    for number in range(limits.IDLE_CALLERS - 1):
        allowed(limit, str(number))
    assert len(limit._buckets) == limits.IDLE_CALLERS
    assert not allowed(limit, "first")
    assert allowed(limit, "second")
