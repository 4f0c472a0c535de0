"""Work that is done once for one call of an SDK, however often the SDK sends it.

AWS SDKs send a call again on their own when its answer is a 5xx, or does not come. All these attempts carry the same
id (`amz-sdk-invocation-id`), so that a later one can be told from a new call.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from copy import copy
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from whaul.errors import ApiError, Retry
from whaul.transfer.download import Flights

KEPT_SECONDS = 120.0
"""How long an end is remembered: an SDK may wait for an answer for 60 s, and rest for 20 s before the next attempt."""
MAX_KEPT = 20_000
"""Ends that are remembered; beyond, the oldest is forgotten. Some 6 MB."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _End(Generic[T]):
    at: float
    result: T | ApiError


class Invocations(Generic[T]):
    """Work under way by its key, and for a while how it ended."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock = clock
        self._flights: Flights[T] = Flights()
        self._ends: OrderedDict[bytes, _End[T]] = OrderedDict()
        """In the order of their ends."""

    async def once(self, key: bytes, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do the work, wait for it if it is under way, or answer as it ended.

        An error that says that the work may be done again is not remembered, nor is one that was not foreseen.
        """
        end = self._ends.get(key)
        if end is None or self._is_over(end):
            return await self._flights.join(key, lambda: self._done(key, work))
        if isinstance(end.result, ApiError):
            raise copy(end.result)  # what is raised holds on to the call that it passes through
        return end.result

    async def land(self) -> None:
        """Wait for the work under way."""
        await self._flights.land()

    async def _done(self, key: bytes, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        try:
            result = await work()
        except ApiError as error:
            if error.retry is Retry.NO:
                self._keep(key, copy(error))
            raise
        self._keep(key, result)
        return result

    def _keep(self, key: bytes, result: T | ApiError) -> None:
        self._ends.pop(key, None)
        self._ends[key] = _End(self._clock(), result)
        while len(self._ends) > MAX_KEPT or self._is_over(next(iter(self._ends.values()))):
            self._ends.popitem(last=False)

    def _is_over(self, end: _End[T]) -> bool:
        return self._clock() - end.at >= KEPT_SECONDS
