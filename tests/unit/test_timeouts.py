"""Time limits that share a timer: whom they end, with what, and whom they leave alone."""

import asyncio
import math

import pytest

from whaul.errors import DependencyException
from whaul.timeouts import Timeouts

pytestmark = pytest.mark.anyio

SOON = 0.01


async def for_ever() -> None:
    await asyncio.get_running_loop().create_future()


async def test_a_limit_ends_what_takes_too_long_with_the_error_that_was_chosen() -> None:
    timeouts = Timeouts()
    with pytest.raises(TimeoutError):
        async with timeouts.after(SOON):
            await for_ever()
    with pytest.raises(DependencyException):
        async with timeouts.at(0.0, DependencyException):
            await for_ever()
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_each_of_many_ends_though_a_later_one_began_first() -> None:
    timeouts, ended = Timeouts(), []

    async def wait(name: str, seconds: float) -> None:
        try:
            async with timeouts.after(seconds):
                await for_ever()
        except TimeoutError:
            ended.append(name)

    async with asyncio.TaskGroup() as group:
        for name, seconds in (("last", 20 * SOON), ("first", SOON), ("second", 10 * SOON)):
            group.create_task(wait(name, seconds))
    assert ended == ["first", "second", "last"]


async def test_what_is_done_in_time_is_left_alone_and_the_next_limit_counts() -> None:
    timeouts = Timeouts()
    async with timeouts.after(SOON):
        pass
    async with timeouts.after(math.inf):
        with pytest.raises(TimeoutError):
            async with timeouts.after(2 * SOON):
                await for_ever()


async def test_errors_and_cancellations_of_others_come_out_as_they_are() -> None:
    timeouts = Timeouts()
    with pytest.raises(ValueError, match="mine"):
        async with timeouts.at(0.0):
            raise ValueError("mine")

    async def wait() -> None:
        async with timeouts.after(SOON):
            asyncio.current_task().cancel()  # type: ignore[union-attr]
            try:
                await for_ever()
            finally:
                await asyncio.wait([asyncio.create_task(for_ever())], timeout=3 * SOON)

    task = asyncio.create_task(wait())
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_limit_outside_ends_what_a_later_one_inside_holds() -> None:
    timeouts = Timeouts()
    with pytest.raises(TimeoutError):
        async with timeouts.after(SOON), timeouts.after(60, ValueError):
            await for_ever()
