"""Attempts: when another one is made, after which wait, and when none is."""

import asyncio
import math
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whaul.errors import (
    AccessDeniedByMetaException,
    ApiError,
    DependencyException,
    InvalidParametersException,
    ResourceNotFoundException,
    Retry,
    ThrottledRequestException,
)
from whaul.outbound.errors import HttpTimeoutError
from whaul.transfer.attempts import CEILING, FIRST_CEILING, Attempts

pytestmark = pytest.mark.anyio


class Steps:
    """A step that fails as told and then succeeds, and the waits in between."""

    def __init__(self, *failures: ApiError) -> None:
        self.failures = list(failures)
        self.calls = 0
        self.waits: list[float] = []
        self.ranges: list[tuple[float, float]] = []

    async def __call__(self) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    def attempts(self, *, left: float = 1e9, share: float = 1.0) -> Attempts:
        """Attempts whose jitter takes this `share` of the range that it is given."""

        def uniform(low: float, high: float) -> float:
            self.ranges.append((low, high))
            return low + share * (high - low)

        return Attempts(asyncio.get_running_loop().time() + left, sleep=self.sleep, uniform=uniform)


def passing() -> DependencyException:
    return DependencyException("again")


async def refused(attempts: Attempts, steps: Callable[[], Awaitable[str]]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await attempts.run(steps)
    return caught.value


async def test_a_step_that_succeeds_is_run_once() -> None:
    steps = Steps()
    assert await steps.attempts().run(steps) == "done"
    assert (steps.calls, steps.waits) == (1, [])


async def test_the_jitter_is_full_and_its_ceiling_doubles_up_to_a_limit() -> None:
    steps = Steps(*(passing() for _ in range(8)))
    assert await steps.attempts().run(steps) == "done"
    assert steps.ranges == [(0.0, ceiling) for ceiling in (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0)]
    assert steps.waits == [high for _, high in steps.ranges]
    assert (FIRST_CEILING, CEILING) == (0.25, 10.0)


async def test_the_least_jitter_is_no_wait_at_all() -> None:
    steps = Steps(passing(), passing())
    await steps.attempts(share=0.0).run(steps)
    assert steps.waits == [0.0, 0.0]


@pytest.mark.parametrize(("asked", "share", "wait"), [(3.0, 0.0, 3.0), (0.1, 1.0, 0.25), (60.0, 1.0, 60.0)])
async def test_what_the_far_side_asked_for_is_the_least_wait(asked: float, share: float, wait: float) -> None:
    steps = Steps(ThrottledRequestException(retry_after=asked))
    await steps.attempts(share=share).run(steps)
    assert steps.waits == [wait]


@pytest.mark.parametrize(
    "error",
    [AccessDeniedByMetaException(), InvalidParametersException(), DependencyException(retry=Retry.NO), ApiError()],
)
async def test_an_error_for_good_ends_it_at_once(error: ApiError) -> None:
    steps = Steps(error)
    assert await refused(steps.attempts(), steps) is error
    assert (steps.calls, steps.waits) == (1, [])


async def test_a_second_chance_is_immediate_and_given_once() -> None:
    first, second = (ResourceNotFoundException(retry=Retry.ONCE) for _ in range(2))
    steps = Steps(first, second)
    assert await refused(steps.attempts(), steps) is second
    assert (steps.calls, steps.waits, steps.ranges) == (2, [0.0], [])


async def test_each_kind_of_error_has_its_own_second_chance() -> None:
    steps = Steps(ResourceNotFoundException(retry=Retry.ONCE), AccessDeniedByMetaException(retry=Retry.ONCE))
    assert await steps.attempts().run(steps) == "done"
    assert steps.calls == 3


async def test_steps_of_one_call_share_second_chances_and_back_off() -> None:
    describe = Steps(passing(), ResourceNotFoundException(retry=Retry.ONCE))
    attempts = describe.attempts()
    await attempts.run(describe)
    error = ResourceNotFoundException(retry=Retry.ONCE)
    assert await refused(attempts, Steps(error)) is error
    await attempts.run(Steps(passing()))
    assert describe.ranges == [(0.0, 0.25), (0.0, 0.5)]


@pytest.mark.parametrize("left", [-1.0, 0.0, 0.2])
async def test_a_wait_that_would_pass_the_deadline_is_not_begun(left: float) -> None:
    error = passing()
    steps = Steps(error)
    assert await refused(steps.attempts(left=left), steps) is error
    assert (steps.calls, steps.waits) == (1, [])


async def test_a_wait_longer_than_what_is_left_is_not_begun_though_the_jitter_is_short() -> None:
    error = ThrottledRequestException(retry_after=60)
    steps = Steps(error)
    assert await refused(steps.attempts(left=55, share=0.0), steps) is error
    assert error.retry_after == 60


async def test_a_foreign_exception_is_not_tried_again() -> None:
    async def step() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Steps().attempts().run(step)


async def test_what_runs_at_the_deadline_is_broken_off() -> None:
    attempts = Steps().attempts(left=0.0)
    with pytest.raises(DependencyException, match="WHAUL_DEADLINE") as caught:
        async with attempts.bounded():
            await asyncio.Event().wait()
    assert caught.value.retry is Retry.NO


async def test_what_is_broken_off_after_a_failure_tells_of_that_failure() -> None:
    error = ThrottledRequestException("busy", retry_after=0.01)

    async def for_ever(_seconds: float) -> None:
        await asyncio.Event().wait()

    attempts = Attempts(asyncio.get_running_loop().time() + 0.05, sleep=for_ever, uniform=lambda low, _high: low)
    with pytest.raises(ThrottledRequestException, match="busy") as caught:
        async with attempts.bounded():
            await attempts.run(Steps(error))
    assert caught.value is error


async def test_a_failure_that_is_not_a_timeout_comes_out_of_the_bounds_as_it_is() -> None:
    error = InvalidParametersException()
    with pytest.raises(InvalidParametersException) as caught:
        async with Steps().attempts().bounded():
            raise error
    assert caught.value is error


@given(st.lists(st.floats(0, 1), max_size=12), st.floats(0, 20))
def test_no_wait_is_longer_than_its_ceiling_or_shorter_than_asked(shares: list[float], asked: float) -> None:
    attempts = Attempts(0.0, uniform=lambda low, high: low + drawn.pop(0) * (high - low))
    for number, share in enumerate(shares):
        drawn = [share]
        delay = attempts._delay(ThrottledRequestException(retry_after=asked))
        assert delay is not None
        assert asked <= delay <= max(asked, min(CEILING, FIRST_CEILING * 2**number))


async def test_silence_that_is_seen_after_the_deadline_is_the_deadlines() -> None:
    """A busy event loop may see the client's own timeout first."""
    silence = DependencyException("again")
    silence.__cause__ = HttpTimeoutError("timed out")
    attempts = Steps().attempts(left=0.0)
    error = await refused(attempts, Steps(silence))
    assert "WHAUL_DEADLINE" in error.message
    assert error.retry is Retry.NO


async def test_what_keeps_failing_is_given_up_after_the_patience_and_not_before() -> None:
    steps = Steps(*(passing() for _ in range(3)))
    assert await Attempts(math.inf, patience=1e9, sleep=steps.sleep).run(steps) == "done"
    attempts = Attempts(math.inf, patience=0.0, sleep=steps.sleep)
    steps.failures = [passing()]
    assert isinstance(await refused(attempts, steps), DependencyException)
    steps.failures = [ThrottledRequestException(retry_after=100)]
    assert isinstance(
        await refused(Attempts(math.inf, patience=50, sleep=steps.sleep), steps), ThrottledRequestException
    )


async def test_without_a_deadline_nothing_is_cut_off() -> None:
    async with Attempts(math.inf).bounded():
        await asyncio.sleep(0)
