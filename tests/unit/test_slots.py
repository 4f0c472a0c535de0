"""Transfers at once, and calls that wait for one."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from whaul.errors import ThrottledRequestException
from whaul.telemetry.call import Call
from whaul.telemetry.metrics import Metrics
from whaul.transfer.slots import TransferSlots

pytestmark = pytest.mark.anyio
FOR_EVER = float("inf")


class Desk:
    """Slots, and a way to be in one, or in the queue, for as long as a test wants."""

    def __init__(self, max_running: int, queue: int) -> None:
        self.metrics = Metrics()
        self.slots = TransferSlots(max_running, queue, self.metrics)
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
    desk = Desk(max_running=4, queue=4)
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
    desk = Desk(max_running=4, queue=4)
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
    desk = Desk(max_running=1, queue=0)
    async with desk.slots.slot(FOR_EVER, Call("id")):
        assert desk.figures() == (1, 0)
    assert desk.figures() == (0, 0)


async def test_beyond_the_slots_calls_wait_and_beyond_the_queue_they_are_throttled() -> None:
    desk = Desk(max_running=2, queue=1)
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
    desk, call = Desk(max_running=1, queue=1), Call("id")
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
    assert call.hops.seconds()["wait"] > 0


async def test_a_call_waits_no_longer_than_its_deadline() -> None:
    desk = Desk(max_running=1, queue=1)
    async with asyncio.TaskGroup() as group:
        group.create_task(desk.work())
        await desk.inside.acquire()
        call = Call("id")
        with pytest.raises(ThrottledRequestException, match="WHAUL_MAX_TRANSFERS") as caught:
            async with desk.slots.slot(asyncio.get_running_loop().time(), call):
                pytest.fail("there was a slot")
        assert caught.value.retry_after == 1
        assert "wait" in call.hops.seconds()  # its log line says for how long it waited in vain
        assert desk.figures() == (1, 0)
        desk.leave.set()


async def test_a_caller_that_gives_up_leaves_the_queue() -> None:
    desk = Desk(max_running=1, queue=1)
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
    desk = Desk(max_running=1, queue=0)
    with pytest.raises(ZeroDivisionError):
        async with desk.slots.slot(FOR_EVER, Call("id")):
            raise ZeroDivisionError
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(desk.slots.slot(FOR_EVER, Call("id")))
        assert desk.figures() == (1, 0)
