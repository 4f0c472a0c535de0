"""The memory that large bodies share."""

import asyncio

import pytest

from whaul.errors import RequestEntityTooLargeException, ThrottledRequestException
from whaul.server.asgi import Message
from whaul.server.bodies import ARRIVAL_TIME, BodyBudget, BodySize, body_size
from whaul.testing import Clock

pytestmark = pytest.mark.anyio


class Arrival:
    """A body that arrives when the test says so."""

    def __init__(self, budget: BodyBudget, size: int) -> None:
        self._here: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._done = asyncio.Event()
        self.task = asyncio.create_task(self._call(budget, size))

    async def _call(self, budget: BodyBudget, size: int) -> bytes:
        room = budget.take(size)
        try:
            body = await room.fill(self._read())
            await self._done.wait()
            return body
        finally:
            room.release()

    async def _read(self) -> bytes:
        return await self._here

    async def arrive(self) -> None:
        self._here.set_result(b"body")
        await asyncio.sleep(0)

    async def end(self) -> bytes:
        self._done.set()
        return await self.task


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bodies(clock: Clock) -> BodyBudget:
    return BodyBudget(100, clock)


async def started(bodies: BodyBudget, *sizes: int) -> list[Arrival]:
    arrivals = [Arrival(bodies, size) for size in sizes]
    await asyncio.sleep(0)
    return arrivals


async def test_bodies_share_the_budget_and_give_their_room_back(bodies: BodyBudget) -> None:
    first, second = await started(bodies, 60, 40)
    (third,) = await started(bodies, 1)
    with pytest.raises(ThrottledRequestException) as refused:
        await third.task
    assert refused.value.retry_after == 1
    await first.arrive()
    assert await first.end() == b"body"
    (fourth,) = await started(bodies, 60)
    for arrival in (second, fourth):
        await arrival.arrive()
        assert await arrival.end() == b"body"


async def test_one_that_has_been_arriving_for_long_gives_way_the_oldest_first(bodies: BodyBudget, clock: Clock) -> None:
    oldest, older = await started(bodies, 30, 30)
    clock.advance(ARRIVAL_TIME / 2)
    (young,) = await started(bodies, 40)
    clock.advance(ARRIVAL_TIME / 2)
    (newcomer,) = await started(bodies, 30)
    with pytest.raises(ThrottledRequestException):
        await oldest.task
    for arrival in (older, young, newcomer):
        await arrival.arrive()
        assert await arrival.end() == b"body"


async def test_one_that_is_here_keeps_its_room(bodies: BodyBudget, clock: Clock) -> None:
    (here,) = await started(bodies, 100)
    await here.arrive()
    clock.advance(10 * ARRIVAL_TIME)
    (newcomer,) = await started(bodies, 1)
    with pytest.raises(ThrottledRequestException):
        await newcomer.task
    assert await here.end() == b"body"


async def test_no_room_is_lost(bodies: BodyBudget, clock: Clock) -> None:
    for _ in range(50):
        clock.advance(ARRIVAL_TIME)
        arrivals = await started(bodies, 70, 70)
        arrivals[0].task.cancel()
        await asyncio.gather(*(arrival.task for arrival in arrivals), return_exceptions=True)
    (whole,) = await started(bodies, 100)
    await whole.arrive()
    assert await whole.end() == b"body"


async def test_a_request_that_states_no_body_has_none(bodies: BodyBudget) -> None:
    async def receive() -> Message:
        raise AssertionError("there is nothing to ask for")

    for headers in ([], [(b"content-length", b"0")]):
        assert await bodies.read(receive, body_size({"headers": headers}, 100)) == b""
    chunked = body_size({"headers": [(b"transfer-encoding", b"chunked")]}, 100)
    assert chunked == BodySize(100, is_stated=False)


async def test_a_body_ends_at_its_stated_length(bodies: BodyBudget) -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": parts.pop(0), "more_body": True}

    parts = [b"bo", b"dy"]
    assert await bodies.read(receive, BodySize(4, is_stated=True)) == b"body"
    assert not parts  # more would be asked for in vain
    parts = [b"bo", b"dy", b"!"]
    with pytest.raises(RequestEntityTooLargeException):
        await bodies.read(receive, BodySize(4, is_stated=False))
