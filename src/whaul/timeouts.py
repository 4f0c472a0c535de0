"""Time limits by the hundred: one timer of the event loop for all of them.

`asyncio.timeout` sets a timer of its own each time, and nearly all are cancelled soon after. Two of them took a tenth
of the CPU time of a small call.
"""

import asyncio
import math
from collections.abc import Callable
from types import TracebackType
from typing import Any


class Timeouts:
    """Time limits that share a timer; it waits for the one that ends first, and most are over by then."""

    def __init__(self) -> None:
        self._running: set[Timeout] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._next_look = math.inf

    def at(self, deadline: float, error: Callable[[], Exception] = TimeoutError) -> "Timeout":
        """Limit a block as `asyncio.timeout_at` does, in the event loop's time; `math.inf` is no limit.

        `error` makes what is raised when the time is over.
        """
        return Timeout(self, deadline, error)

    def after(self, seconds: float, error: Callable[[], Exception] = TimeoutError) -> "Timeout":
        """Limit a block as `asyncio.timeout` does."""
        return self.at(asyncio.get_running_loop().time() + seconds, error)

    def add(self, timeout: "Timeout") -> None:
        """Watch over a block that begins."""
        self._running.add(timeout)
        if timeout.deadline < self._next_look:
            if self._timer is not None:
                self._timer.cancel()
            self._look_at(timeout.deadline)

    def remove(self, timeout: "Timeout") -> None:
        """Stop watching over it."""
        self._running.discard(timeout)

    def _look_at(self, moment: float) -> None:
        self._next_look = moment
        self._timer = asyncio.get_running_loop().call_at(moment, self._look)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        for timeout in [each for each in self._running if each.deadline <= now]:
            self._running.remove(timeout)
            timeout.end()
        self._timer, self._next_look = None, math.inf
        first = min((each.deadline for each in self._running), default=math.inf)
        if first < math.inf:
            self._look_at(first)


class Timeout:
    """One limit; use it with `async with`, once."""

    __slots__ = ("_cancellations", "_error", "_is_over", "_task", "_timeouts", "deadline")

    def __init__(self, timeouts: Timeouts, deadline: float, error: Callable[[], Exception]) -> None:
        self.deadline = deadline
        self._timeouts = timeouts
        self._error = error
        self._is_over = False

    async def __aenter__(self) -> None:
        task: asyncio.Task[Any] | None = asyncio.current_task()
        if task is None:
            raise RuntimeError("a time limit needs a task")
        self._task = task
        self._cancellations = task.cancelling()
        self._timeouts.add(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._timeouts.remove(self)
        # A cancellation by somebody else stays one.
        if self._is_over and self._task.uncancel() <= self._cancellations and kind is asyncio.CancelledError:
            raise self._error() from None

    def end(self) -> None:
        """End the block."""
        self._is_over = True
        self._task.cancel()
