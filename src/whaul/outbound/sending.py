"""A request body that is sent in parts, and the watch over the peer that takes them. `http` explains why."""

import asyncio
import time
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from pyreqwest.bytes import Bytes

SLOWEST_LINE = 8 * 1024
"""Bytes a second: a body is expected to arrive at least as fast."""
MAX_UNSEEN = 4 * 1024 * 1024
"""Bytes of a body that may have left us without having arrived: what Linux buffers for a connection (`tcp_wmem`)."""
CHECKS = 8
"""Checks for silence in each silence timeout, while an upload waits for its next part."""


class WatchedBody:
    """The parts of a body, with two guarantees that pyreqwest does not give.

    The peer may not be silent for too long; only the time in which we wait for it counts, not the time in which we
    wait for our own next part. And when the exchange is over, no further part is awaited or sent: pyreqwest would
    keep the connection open for it, and go on sending to a peer that has already responded.
    """

    def __init__(self, parts: AsyncIterator[Bytes], silence: float) -> None:
        self.waiting_since: float | None = time.monotonic()
        """Since when we wait for the peer (`time.monotonic`); None while we wait for our own next part."""
        self._parts = parts
        self._timer = asyncio.timeout(None)
        self._silence = silence
        self._unseen = 0
        self._loop = asyncio.get_running_loop()
        self._step: asyncio.Task[object] | None = None
        self._is_over = False

    async def __aenter__(self) -> Self:
        await self._timer.__aenter__()
        # A check now and then: moving the timer for every part would cost more than sending the part.
        self._next_check = self._loop.call_later(self._silence, self._check)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        self._next_check.cancel()
        if self._step is not None and not self._step.done():
            self._step.cancel()
            await asyncio.wait({self._step})  # nobody may close `parts` before
        await self._timer.__aexit__(kind, error, trace)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Bytes:
        if self._is_over:
            raise RuntimeError("the exchange is over")
        self._step = asyncio.current_task()
        self.waiting_since = None
        try:
            part = await anext(self._parts)
        finally:
            self.waiting_since = time.monotonic()
        self._unseen = min(self._unseen + len(part), MAX_UNSEEN)
        return part

    def _check(self) -> None:
        """End the exchange if the peer has been silent for too long; else check again when it may have been."""
        waited = 0.0 if self.waiting_since is None else time.monotonic() - self.waiting_since
        left = self._silence + self._unseen / SLOWEST_LINE - waited
        if left <= 0:
            self._timer.reschedule(self._loop.time())
        else:
            pause = self._silence / CHECKS if self.waiting_since is None else left
            self._next_check = self._loop.call_later(pause, self._check)
