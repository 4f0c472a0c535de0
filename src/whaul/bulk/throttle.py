"""How a run waits while Meta throttles an account: all of it together, so that nobody knocks at a closed door.

The first answer that throttles closes the account for everyone: for as long as Meta asks, or, if it does not say, for
a time that doubles with each answer of that kind. Then one call goes first, alone. Only when it gets through, the
others follow. Calls that were under way when the door closed, and are throttled too, change nothing, except that Meta
may ask for more time.
"""

import asyncio
import math
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from whaul.errors import Retry, ThrottledRequestException

FIRST_PAUSE = 1.0
"""Seconds of the first pause if Meta does not say how long; doubled with every further one."""
MAX_PAUSE = 60.0
"""Seconds that such a pause lasts at most."""


class StoppedError(Exception):
    """The run was stopped while it waited."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Why the run waits."""

    seconds: float
    is_stated: bool
    """Whether Meta said how long."""


class Door:
    """The way to one account."""

    def __init__(self, stopping: asyncio.Event, on_pause: Callable[[Pause], None]) -> None:
        """`stopping` ends all waits; `on_pause` is told when one begins, or becomes longer."""
        self._stopping = stopping
        self._on_pause = on_pause
        self._until = -math.inf
        self._closed_at = -math.inf
        self._throttles = 0
        """In a row."""
        self._error: ThrottledRequestException | None = None
        self._first = asyncio.Lock()
        self.waiting = 0
        """How many wait for it to open."""

    @property
    def seconds_left(self) -> float:
        """Seconds until the account may be asked again."""
        return max(self._until - _now(), 0.0)

    @asynccontextmanager
    async def entered(self, deadline: float) -> AsyncGenerator[None]:
        """Wait until the account may be asked; while Meta's mind is not known, let one call at a time in.

        Raises what Meta said last if it may not be asked before `deadline` (the loop's time), and `StoppedError`.
        """
        while True:
            await self._opened(deadline)
            if not self._throttles:
                break
            async with self._alone(deadline):
                if self._throttles and not self.seconds_left:
                    yield
                    return
        yield

    @asynccontextmanager
    async def watched(self) -> AsyncGenerator[None]:
        """Learn from the call inside: a throttle closes the door, anything else opens it."""
        began, is_throttled = _now(), False
        try:
            yield
        except ThrottledRequestException as error:
            is_throttled = True
            self._close(error, began)
            error.retry = Retry.NO  # not by this call alone
            raise
        finally:
            if not is_throttled and began >= self._closed_at:
                self._throttles = 0

    def _close(self, error: ThrottledRequestException, began: float) -> None:
        self._error = error
        now, is_first = _now(), began >= self._closed_at
        pause = error.retry_after
        if pause is None and is_first:
            longest = min(MAX_PAUSE, FIRST_PAUSE * 2 ** min(self._throttles, 10))
            pause = random.uniform(longest / 2, longest)  # noqa: S311 - a pause, no secret
        if is_first:
            self._closed_at = now
            self._throttles += 1
        if pause is not None and (is_first or now + pause > self._until + 1):  # a second more is the same pause
            self._until = max(self._until, now + pause)
            self._on_pause(Pause(pause, error.retry_after is not None))

    async def _opened(self, deadline: float) -> None:
        while seconds := self.seconds_left:
            if self._stopping.is_set():
                raise StoppedError
            if self._until >= deadline:
                raise self._refusal()
            self.waiting += 1
            try:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), seconds)
            finally:
                self.waiting -= 1

    def _refusal(self) -> ThrottledRequestException:
        return ThrottledRequestException(self._error.message if self._error else None, retry=Retry.NO)

    @asynccontextmanager
    async def _alone(self, deadline: float) -> AsyncGenerator[None]:
        try:
            async with asyncio.timeout_at(deadline if math.isfinite(deadline) else None):
                await self._first.acquire()
        except TimeoutError:
            raise self._refusal() from None
        try:
            yield
        finally:
            self._first.release()


def _now() -> float:
    return asyncio.get_running_loop().time()
