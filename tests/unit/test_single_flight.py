"""Work in flight: identical calls share it, and it goes on when they are gone."""

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from whaul.errors import DependencyException
from whaul.transfer.single_flight import SingleFlight

pytestmark = pytest.mark.anyio


class Work:
    """Work that ends when told, and is counted."""

    def __init__(self, error: Exception | None = None) -> None:
        self.begun = 0
        self.ended = 0
        self.gate = asyncio.Event()
        self.error = error

    async def __call__(self) -> str:
        self.begun += 1
        number = self.begun
        await self.gate.wait()
        self.ended += 1
        if self.error:
            raise self.error
        return f"result {number}"


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_identical_calls_share_the_work_and_its_result() -> None:
    flights: SingleFlight[str] = SingleFlight()
    work = Work()
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(flights.run("key", work)) for _ in range(5)]
        await settle()
        assert (work.begun, len(flights)) == (1, 1)
        work.gate.set()
    assert [call.result() for call in calls] == ["result 1"] * 5
    assert len(flights) == 0


async def test_calls_that_differ_do_not_share() -> None:
    flights: SingleFlight[str] = SingleFlight()
    work = Work()
    work.gate.set()
    results = await asyncio.gather(flights.run("a", work), flights.run("b", work), flights.run(("a", None), work))
    assert sorted(results) == ["result 1", "result 2", "result 3"]


async def test_what_has_landed_is_not_kept_for_the_next_call() -> None:
    flights: SingleFlight[str] = SingleFlight()
    work = Work()
    work.gate.set()
    assert await flights.run("key", work) == "result 1"
    assert await flights.run("key", work) == "result 2"


async def test_all_that_wait_get_the_error_and_the_next_call_begins_anew() -> None:
    flights: SingleFlight[str] = SingleFlight()
    work = Work(DependencyException("store"))
    calls = [asyncio.create_task(flights.run("key", work)) for _ in range(3)]
    await settle()
    work.gate.set()
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert errors == [work.error] * 3
    work.error = None
    assert await flights.run("key", work) == "result 2"


async def test_a_caller_that_gives_up_leaves_the_work_to_the_others() -> None:
    flights: SingleFlight[str] = SingleFlight()
    work = Work()
    first, second = (asyncio.create_task(flights.run("key", work)) for _ in range(2))
    await settle()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    work.gate.set()
    assert await second == "result 1"
    assert work.begun == 1


@pytest.mark.parametrize("error", [None, DependencyException("store")])
async def test_work_goes_on_when_all_that_waited_are_gone_and_its_error_disturbs_nobody(
    error: Exception | None,
) -> None:
    flights: SingleFlight[str] = SingleFlight()
    work = Work(error)
    troubles: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: troubles.append(context))
    call = asyncio.create_task(flights.run("key", work))
    await settle()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert (work.ended, len(flights)) == (0, 1)
    work.gate.set()
    await flights.drain()
    assert (work.ended, len(flights)) == (1, 0)
    assert troubles == []


async def test_a_later_call_joins_work_whose_first_caller_is_gone() -> None:
    flights: SingleFlight[str] = SingleFlight()
    work = Work()
    first = asyncio.create_task(flights.run("key", work))
    await settle()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    second = asyncio.create_task(flights.run("key", work))
    await settle()
    work.gate.set()
    assert await second == "result 1"


async def test_landing_waits_for_all_that_is_in_flight_and_for_what_takes_off_meanwhile() -> None:
    flights: SingleFlight[str] = SingleFlight()
    late = Work()

    def then(work: Work) -> Callable[[], Coroutine[None, None, str]]:
        async def begin_another() -> str:
            result = await work()
            asyncio.get_running_loop().create_task(flights.run("late", late)).add_done_callback(lambda _done: None)
            await asyncio.sleep(0)
            return result

        return begin_another

    work = Work()
    asyncio.create_task(flights.run("early", then(work))).add_done_callback(lambda _done: None)
    await settle()
    landing = asyncio.create_task(flights.drain())
    await settle()
    assert not landing.done()
    work.gate.set()
    await settle()
    assert not landing.done()
    late.gate.set()
    await landing
    assert (work.ended, late.ended, len(flights)) == (1, 1, 0)


async def test_landing_ends_at_once_when_nothing_is_in_flight() -> None:
    await SingleFlight[str]().drain()


async def test_landing_does_not_fail_with_what_lands() -> None:
    flights: SingleFlight[str] = SingleFlight()
    work = Work(DependencyException("store"))
    call = asyncio.create_task(flights.run("key", work))
    await settle()
    work.gate.set()
    await flights.drain()
    with pytest.raises(DependencyException):
        await call


async def test_work_that_is_cancelled_is_gone_and_nobody_hangs() -> None:
    flights: SingleFlight[str] = SingleFlight()
    call = asyncio.create_task(flights.run("key", Work()))
    await settle()
    flights._tasks["key"].cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert len(flights) == 0
