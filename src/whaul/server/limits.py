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
    """A bounded number of transfers at once, and a bounded queue before them.

    A host that callers chose gets three quarters of both at the most, so that one that hardly answers leaves room
    for the others.
    """

    def __init__(self, most: int, queue: int, metrics: Metrics) -> None:
        self._most = most
        self._queue = queue
        self._all = _Gate(most, queue)
        self._hosts: dict[str, _Gate] = {}
        self._metrics = metrics

    @asynccontextmanager
    async def slot(self, deadline: float, call: Call, host: str | None = None) -> AsyncGenerator[None]:
        """Hold a slot, waiting for one until `deadline` (the event loop's time) if need be.

        `host` is the destination's, when a caller chose it. Raises `ThrottledRequestException` at once when the
        queue is full.
        """
        gates = [self._all] if host is None else [self._share(host), self._all]
        held: list[_Gate] = []
        try:
            with call.timed("wait"):
                for gate in gates:
                    if gate.is_free:
                        await gate.enter()  # at once
                    else:
                        await self._wait(gate, deadline)
                    held.append(gate)
            self._metrics.transfers.inc()
            try:
                yield
            finally:
                self._metrics.transfers.dec()
        finally:
            for gate in held:
                gate.leave()
            if host is not None and gates[0].is_idle:
                self._hosts.pop(host, None)

    async def _wait(self, gate: "_Gate", deadline: float) -> None:
        self._metrics.waiting.inc()
        try:
            async with asyncio.timeout_at(deadline):
                await gate.enter()
        except TimeoutError:
            raise ThrottledRequestException(
                "No transfer slot came free before the call's deadline (WHAUL_MAX_TRANSFERS). Try again later.",
                retry_after=1,
            ) from None
        finally:
            self._metrics.waiting.dec()

    def _share(self, host: str) -> "_Gate":
        return self._hosts.setdefault(host, _Gate(max(1, self._most * 3 // 4), self._queue * 3 // 4))


class _Gate:
    """So many inside, so many before it."""

    def __init__(self, most: int, queue: int) -> None:
        self._semaphore = asyncio.Semaphore(most)
        self._queue = queue
        self._waiting = 0
        self._inside = 0

    @property
    def is_free(self) -> bool:
        return not self._semaphore.locked()

    @property
    def is_idle(self) -> bool:
        return not self._waiting and not self._inside

    async def enter(self) -> None:
        if self._semaphore.locked() and self._waiting >= self._queue:
            raise ThrottledRequestException(
                "The server's queue of transfers is full (WHAUL_MAX_QUEUE). Try again later.", retry_after=1
            )
        self._waiting += 1
        try:
            await self._semaphore.acquire()
        finally:
            self._waiting -= 1
        self._inside += 1

    def leave(self) -> None:
        self._inside -= 1
        self._semaphore.release()


class RateLimit:
    """A token bucket for each caller: so many calls per second, and so many at once after a pause."""

    def __init__(self, per_second: float, clock: Callable[[], float], burst: int | None = None) -> None:
        """`clock` is monotonic, in seconds; a `per_second` of 0 allows everything.

        `burst` is how many calls a rested caller may make at once: one second's worth when it is None, at least 1.
        """
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, caller: str, per_second: float | None = None, burst: int | None = None) -> None:
        """Count a call; raises `ThrottledRequestException` when the caller has used its share.

        A caller may have a limit and a burst of its own; with a limit of its own, the burst of the others is not its.
        """
        if per_second is None:
            per_second, burst = self._per_second, self._burst if burst is None else burst
        if not per_second:
            return
        most = float(burst or max(1.0, per_second))
        now = self._clock()
        tokens, since = self._buckets.pop(caller, (most, now))
        tokens = min(most, tokens + (now - since) * per_second)
        allowed = tokens >= 1
        self._buckets[caller] = (tokens - allowed, now)
        if len(self._buckets) > IDLE_CALLERS:
            del self._buckets[next(iter(self._buckets))]
        if not allowed:
            raise ThrottledRequestException(
                f"The access key has used its {per_second:g} calls per second (WHAUL_RATE_LIMIT, or the key's own "
                "limit). Try again later.",
                retry_after=(1 - tokens) / per_second,
            )
