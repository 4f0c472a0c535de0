"""How many transfers run at once, and how many calls may wait for one."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from whaul.errors import ThrottledRequestException
from whaul.telemetry.call import Call
from whaul.telemetry.metrics import Metrics


class TransferSlots:
    """At most `max_transfers` at once, and at most `max_queue` calls that wait.

    A host that callers chose gets at most three quarters of both, so that one that hardly answers leaves room for
    the others.
    """

    def __init__(self, max_transfers: int, max_queue: int, metrics: Metrics) -> None:
        self._max_transfers = max_transfers
        self._max_queue = max_queue
        self._all = _Gate(max_transfers, max_queue)
        self._hosts: dict[str, _Gate] = {}
        self._metrics = metrics
        metrics.max_transfers.set(max_transfers)
        metrics.max_waiting.set(max_queue)

    def slot(self, deadline: float, call: Call, host: str | None = None) -> AbstractAsyncContextManager[None]:
        """Hold a slot, waiting for one until `deadline` (the event loop's time) if need be.

        `host` is that of the store, if a caller chose it. Raises `ThrottledRequestException` at once when the queue is
        full.
        """
        return _Slot(self, deadline, call, host)

    async def enter(self, deadline: float, host: str | None) -> list["_Gate"]:
        """Take the places that a call needs; they must be left."""
        gates = [self._all] if host is None else [self._share(host), self._all]
        held: list[_Gate] = []
        try:
            for gate in gates:
                if gate.is_free:
                    await gate.enter()  # at once
                else:
                    await self._wait(gate, deadline)
                held.append(gate)
        except BaseException:
            self._give_back(held, host)
            raise
        self._metrics.transfers.inc()
        return held

    def leave(self, held: list["_Gate"], host: str | None) -> None:
        """Leave them."""
        self._metrics.transfers.dec()
        self._give_back(held, host)

    def _give_back(self, held: list["_Gate"], host: str | None) -> None:
        for gate in held:
            gate.leave()
        if host is not None and self._hosts[host].is_idle:
            del self._hosts[host]

    @asynccontextmanager
    async def quiet_slot(self) -> AsyncGenerator[None]:
        """Hold a slot for work that no caller waits for; it takes no place in the queue, and is patient."""
        await self._all.enter_quietly()
        self._metrics.transfers.inc()
        try:
            yield
        finally:
            self._metrics.transfers.dec()
            self._all.leave()

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
        return self._hosts.setdefault(host, _Gate(max(1, self._max_transfers * 3 // 4), self._max_queue * 3 // 4))


class _Slot:
    """The slot of one call. A generator would take three times as long to enter and leave, 4 % of a small call."""

    def __init__(self, slots: TransferSlots, deadline: float, call: Call, host: str | None) -> None:
        self._slots = slots
        self._deadline = deadline
        self._call = call
        self._host = host

    async def __aenter__(self) -> None:
        with self._call.hops.timed("wait"):
            self._held = await self._slots.enter(self._deadline, self._host)

    async def __aexit__(self, *_error: object) -> None:
        self._slots.leave(self._held, self._host)


class _Gate:
    """A semaphore with a bounded number of waiters."""

    def __init__(self, max_inside: int, max_waiting: int) -> None:
        self._semaphore = asyncio.Semaphore(max_inside)
        self._max_waiting = max_waiting
        self._waiting = 0
        self._inside = 0

    @property
    def is_free(self) -> bool:
        return not self._semaphore.locked()

    @property
    def is_idle(self) -> bool:
        return not self._waiting and not self._inside

    async def enter(self) -> None:
        if self._semaphore.locked() and self._waiting >= self._max_waiting:
            raise ThrottledRequestException(
                "The server's queue of transfers is full (WHAUL_MAX_QUEUE). Try again later.", retry_after=1
            )
        self._waiting += 1
        try:
            await self._semaphore.acquire()
        finally:
            self._waiting -= 1
        self._inside += 1

    async def enter_quietly(self) -> None:
        await self._semaphore.acquire()
        self._inside += 1

    def leave(self) -> None:
        self._inside -= 1
        self._semaphore.release()
