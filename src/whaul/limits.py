"""How much at once: transfers, calls that wait for one, and calls per second of an access key."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from whaul.errors import ThrottledRequestException
from whaul.telemetry.call import Call
from whaul.telemetry.metrics import Metrics

IDLE_CALLERS = 10_000
"""Callers that a rate limit remembers; beyond, those idle longest are forgotten (their allowance is full again)."""


class TransferSlots:
    """A bounded number of transfers at once, and a bounded queue before them."""

    def __init__(self, most: int, queue: int, metrics: Metrics) -> None:
        self._semaphore = asyncio.Semaphore(most)
        self._queue = queue
        self._waiting = 0
        self._metrics = metrics

    @asynccontextmanager
    async def slot(self, deadline: float, call: Call) -> AsyncGenerator[None]:
        """Hold a slot, waiting for one until `deadline` (the event loop's time) if need be.

        Raises `ThrottledRequestException` at once when the queue is full.
        """
        if self._semaphore.locked() and self._waiting >= self._queue:
            raise ThrottledRequestException(
                "The server's queue of transfers is full (WHAUL_MAX_QUEUE). Try again later.", retry_after=1
            )
        self._waiting += 1
        self._metrics.waiting.inc()
        try:
            async with asyncio.timeout_at(deadline):
                with call.timed("wait"):
                    await self._semaphore.acquire()
        except TimeoutError:
            raise ThrottledRequestException(
                "No transfer slot came free before the call's deadline (WHAUL_MAX_TRANSFERS). Try again later.",
                retry_after=1,
            ) from None
        finally:
            self._waiting -= 1
            self._metrics.waiting.dec()
        self._metrics.transfers.inc()
        try:
            yield
        finally:
            self._metrics.transfers.dec()
            self._semaphore.release()


class RateLimit:
    """A token bucket for each caller: `per_second` calls, bursts of one second's worth."""

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds; a `per_second` of 0 allows everything."""
        self._per_second = per_second
        self._burst = max(1.0, per_second)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, caller: str) -> None:
        """Count a call; raises `ThrottledRequestException` when the caller has used its share."""
        if not self._per_second:
            return
        now = self._clock()
        tokens, since = self._buckets.pop(caller, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._per_second)
        allowed = tokens >= 1
        self._buckets[caller] = (tokens - allowed, now)
        if len(self._buckets) > IDLE_CALLERS:
            del self._buckets[next(iter(self._buckets))]
        if not allowed:
            raise ThrottledRequestException(
                "The access key has used its calls per second (WHAUL_RATE_LIMIT). Try again later.",
                retry_after=(1 - tokens) / self._per_second,
            )
