"""Attempts of one call of an SDK: the work is done once, and how it ended is remembered for a while."""

import asyncio
import gc
import weakref

import pytest

from whaul.errors import DependencyException, Retry, ThrottledRequestException
from whaul.transfer import idempotency
from whaul.transfer.idempotency import KEPT_SECONDS, Idempotency

pytestmark = pytest.mark.anyio


def unknown() -> DependencyException:
    return DependencyException("Whether it was sent is not known.", retry=Retry.NO)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Work:
    """Work that counts how often it was begun, and may fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self.begun = 0
        self.error = error

    async def __call__(self) -> str:
        self.begun += 1
        result = f"result {self.begun}"
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return result


async def test_a_result_is_answered_again_for_a_while() -> None:
    clock, work = Clock(), Work()
    known: Idempotency[str] = Idempotency(clock)
    assert [await known.run(b"1", work) for _ in range(3)] == ["result 1"] * 3
    clock.now += KEPT_SECONDS - 1
    assert await known.run(b"1", work) == "result 1"
    clock.now += 1
    assert await known.run(b"1", work) == "result 2"


async def test_an_attempt_waits_for_the_one_under_way() -> None:
    known: Idempotency[str] = Idempotency()
    work = Work()
    assert await asyncio.gather(*(known.run(b"1", work) for _ in range(3))) == ["result 1"] * 3
    assert await asyncio.gather(known.run(b"2", work), known.run(b"3", work)) == ["result 2", "result 3"]


async def test_an_error_that_outcomes_the_matter_is_answered_again() -> None:
    known: Idempotency[str] = Idempotency()
    work = Work(unknown())
    for _ in range(3):
        with pytest.raises(DependencyException) as caught:
            await known.run(b"1", work)
        assert (caught.value.message, caught.value.retry, caught.value.status) == (unknown().message, Retry.NO, 502)
    assert work.begun == 1


@pytest.mark.parametrize(
    "error", [ThrottledRequestException(), DependencyException(), RuntimeError("unforeseen")], ids=repr
)
async def test_after_any_other_error_the_work_is_done_again(error: Exception) -> None:
    known: Idempotency[str] = Idempotency()
    work = Work(error)
    for _ in range(2):
        with pytest.raises(type(error)):
            await known.run(b"1", work)
    work.error = None
    assert await known.run(b"1", work) == "result 3"


async def test_the_work_goes_on_when_its_call_is_gone_and_can_be_waited_for() -> None:
    known: Idempotency[str] = Idempotency()
    work = Work()
    call = asyncio.create_task(known.run(b"1", work))
    await asyncio.sleep(0)
    call.cancel()
    await known.drain()
    assert await known.run(b"1", work) == "result 1"


async def test_only_so_many_outcomes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "MAX_KEPT", 2)
    known: Idempotency[str] = Idempotency()
    work = Work()
    for key in (b"1", b"2", b"3"):
        await known.run(key, work)
    assert await known.run(b"3", work) == "result 3"
    assert await known.run(b"1", work) == "result 4"


class Body:
    """Something large that a call holds."""


async def test_an_error_that_is_kept_holds_on_to_no_call() -> None:
    known: Idempotency[str] = Idempotency()

    async def call() -> weakref.ref[Body]:
        body = Body()
        with pytest.raises(DependencyException):
            await known.run(b"1", Work(unknown()))
        return weakref.ref(body)

    bodies = [await call(), await call()]
    await known.run(b"2", Work())  # asyncio holds on to the last future until there is another
    gc.collect()
    assert [body() for body in bodies] == [None, None]
    assert len(known._outcomes) == 2


async def test_what_is_old_is_forgotten_with_the_next_end() -> None:
    clock = Clock()
    known: Idempotency[str] = Idempotency(clock)
    for number in range(10):
        await known.run(b"%d" % number, Work())
    clock.now += KEPT_SECONDS
    await known.run(b"new", Work())
    assert len(known._outcomes) == 1
