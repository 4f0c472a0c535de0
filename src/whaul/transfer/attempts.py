"""Retries inside one call: exponential back-off with full jitter, bounded by the call's deadline.

Own code, because no library for it takes both a delay that the server asked for and a deadline that rules out a wait
which would end after it.
"""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from whaul.errors import ApiError, DependencyException, Retry
from whaul.outbound.errors import HttpTimeoutError
from whaul.telemetry.call import Hops
from whaul.timeouts import Timeouts

FIRST_CEILING = 0.25
"""Seconds that the first wait lasts at most; doubled with every failure."""
CEILING = 10.0
"""Seconds that any wait lasts at most, unless the server asked for more."""

MAX_RETRIES: Mapping[Retry, int] = {Retry.ONCE: 1, Retry.FEW: 3}
"""Retries per class of error in a call, where they are limited."""

T = TypeVar("T")


class Attempts:
    """The attempts of one call, which share the back-off, the limited retries and the deadline."""

    def __init__(
        self,
        deadline: float,
        *,
        patience: float = math.inf,
        hops: Hops | None = None,
        timeouts: Timeouts | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """`deadline` is in the event loop's time, seconds.

        `patience` is in seconds from the first failure: later than that, nothing is tried again. It bounds what keeps
        failing, and not what is only slow. `hops` receives the waits between attempts. With `timeouts` the
        deadlines of many share a timer.
        """
        self.deadline = deadline
        self._patience = patience
        self._hops = hops
        self._timeouts = timeouts or Timeouts()
        self._gives_up_at = math.inf
        self._sleep = sleep
        self._uniform = uniform
        self._failures = 0
        self._retries: Counter[tuple[Retry, type[ApiError]]] = Counter()
        self._last_error: ApiError | None = None

    def bounded(self) -> AbstractAsyncContextManager[None]:
        """Cancel what runs inside at the deadline; raise the last error, if there was one."""
        return self._timeouts.at(self.deadline, self._overdue)

    async def run(self, step: Callable[[], Awaitable[T]]) -> T:
        """Run `step` until it succeeds, fails in a way that no retry can change, or another wait would end too late."""
        while True:
            try:
                return await step()
            except ApiError as error:
                now = asyncio.get_running_loop().time()
                if now >= self.deadline and isinstance(error.__cause__, HttpTimeoutError):
                    raise self._overdue() from error  # a busy event loop may see the silence before the deadline
                self._last_error = error
                delay = self._delay(error)
                self._gives_up_at = min(self._gives_up_at, now + self._patience)
                if delay is None or now + delay >= min(self.deadline, self._gives_up_at):
                    raise
                if self._hops is not None:
                    self._hops.retried(error, delay)
                await self._sleep(delay)

    def _overdue(self) -> ApiError:
        return self._last_error or DependencyException(
            "Meta and the destination did not finish before the deadline (WHAUL_DEADLINE, --deadline).",
            retry=Retry.NO,
        )

    def _delay(self, error: ApiError) -> float | None:
        """Seconds to wait before the next attempt; None if there should be none."""
        kind = (error.retry, type(error))
        if error.retry is Retry.NO or self._retries[kind] >= MAX_RETRIES.get(error.retry, math.inf):
            return None
        self._retries[kind] += 1
        if error.retry is Retry.ONCE:
            return 0.0
        ceiling = min(CEILING, FIRST_CEILING * 2**self._failures)
        self._failures += 1
        return max(self._uniform(0.0, ceiling), error.retry_after or 0.0)
