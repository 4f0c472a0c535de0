"""A body that is sent in parts, and the watch over the peer that takes them; why there is one is told in `http`."""

import asyncio
import time
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from pyreqwest.bytes import Bytes

SLOWEST_LINE = 8 * 1024
"""Bytes a second at which a body is taken to arrive at the least."""
MAX_UNSEEN = 4 * 1024 * 1024
"""Bytes of a body that may have left us, and not arrived: what Linux lets a connection hold (`tcp_wmem`)."""
LOOKS = 8
"""Checks for silence within its time, while an upload waits for its next part."""


class WatchedBody:
    """The parts of a body on their way, with two cares that the client does not take.

    The peer may not be silent for too long, but only the time that it is waited for counts, not the time that the
    next part is. And once the exchange is over no part is waited for or given any more: the client would keep the
    connection open for it, and go on sending to a peer that has answered.
    """

    def __init__(self, parts: AsyncIterator[Bytes], silence: float) -> None:
        self.waiting_since: float | None = time.monotonic()
        """Since when the peer is waited for; None while the next part is."""
        self._parts = parts
        self._timer = asyncio.timeout(None)
        self._silence = silence
        self._unseen = 0
        self._loop = asyncio.get_running_loop()
        self._step: asyncio.Task[object] | None = None
        self._is_over = False

    async def __aenter__(self) -> Self:
        await self._timer.__aenter__()
        # One look now and then, since moving the timer for every part costs more than the part's own work.
        self._next_look = self._loop.call_later(self._silence, self._look)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        self._next_look.cancel()
        if self._step is not None and not self._step.done():
            self._step.cancel()
            await asyncio.wait({self._step})  # until then nobody may close the parts
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

    def _look(self) -> None:
        """End the exchange if the peer has been silent for too long, else look again when it may have been."""
        waited = 0.0 if self.waiting_since is None else time.monotonic() - self.waiting_since
        left = self._silence + self._unseen / SLOWEST_LINE - waited
        if left <= 0:
            self._timer.reschedule(self._loop.time())
        else:
            pause = self._silence / LOOKS if self.waiting_since is None else left
            self._next_look = self._loop.call_later(pause, self._look)
