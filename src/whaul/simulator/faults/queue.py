"""Whose turn it is: the faults of one id and hop queue, and those of the id come before those of `*`."""

from collections import deque
from collections.abc import Iterable
from typing import TypedDict, cast

import msgspec

from whaul.simulator.faults import EVERY_ID, Fault, Hop, RateLimit


class ShownFault(TypedDict):
    """A fault in the queue: its parameters, how many calls it hit, and how many it still will."""

    kind: str
    media_id: str
    hop: Hop
    times: int | None
    delay: float
    hits: int
    left: int | None


class ArmedFault:
    """A fault in the queue, with what is left of it."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.left = fault.times
        self.hits = 0
        self._calls: deque[float] = deque()

    def strikes(self, now: float) -> bool:
        """Whether this call is hit; `now` is the simulator's time in seconds."""
        if self.left == 0:
            return False
        if isinstance(self.fault, RateLimit) and self.fault.calls:
            while self._calls and self._calls[0] <= now - self.fault.per:
                self._calls.popleft()
            if len(self._calls) < self.fault.calls:
                self._calls.append(now)
                return False
        self.hits += 1
        if self.left is not None:
            self.left -= 1
        return True


class FaultQueue:
    """All armed faults, in the order in which they came."""

    def __init__(self) -> None:
        self._armed: list[ArmedFault] = []

    def add(self, fault: Fault) -> None:
        """Queue a fault."""
        self._armed.append(ArmedFault(fault))

    def take(self, object_id: str, hop: Hop, now: float) -> Fault | None:
        """The fault that hits this call, if any; used-up faults leave the queue."""
        for armed in self._queue(object_id, hop):
            if armed.strikes(now):
                if armed.left == 0:
                    self._armed.remove(armed)
                return armed.fault
        return None

    def _queue(self, object_id: str, hop: Hop) -> Iterable[ArmedFault]:
        waiting = [armed for armed in self._armed if armed.fault.hop == hop]
        own = [armed for armed in waiting if armed.fault.media_id == object_id]
        return own + [armed for armed in waiting if armed.fault.media_id == EVERY_ID]

    def clear(self, media_id: str | None = None) -> None:
        """Forget all faults, or those of one id."""
        self._armed = [a for a in self._armed if media_id is not None and a.fault.media_id != media_id]

    def describe(self) -> list[ShownFault]:
        """The queue, as the control endpoint shows it."""
        return [
            cast("ShownFault", {**msgspec.to_builtins(armed.fault), "hits": armed.hits, "left": armed.left})
            for armed in list(self._armed)
        ]
