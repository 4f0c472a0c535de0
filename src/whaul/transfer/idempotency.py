"""Work that is done once for a call of an SDK, however often the SDK sends it.

AWS SDKs repeat a call by themselves when they get a 5xx or no response. All attempts of a call have the same
`amz-sdk-invocation-id`, which tells a repetition from a new call.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from copy import copy
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from whaul.errors import ApiError, Retry
from whaul.transfer.single_flight import SingleFlight

KEPT_SECONDS = 120.0
"""How long an outcome is remembered: an SDK may wait 60 s for a response, and 20 s before its next attempt."""
MAX_KEPT = 20_000
"""Outcomes that are remembered, some 6 MB; beyond that the oldest is forgotten."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Outcome(Generic[T]):
    at: float
    result: T | ApiError


class Idempotency(Generic[T]):
    """Work under way by its key and, for a while, its outcome."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock = clock
        self._under_way: SingleFlight[T] = SingleFlight()
        self._outcomes: OrderedDict[bytes, _Outcome[T]] = OrderedDict()
        """The oldest first."""

    async def run(self, key: bytes, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do the work, wait for it if it is under way, or return or raise its outcome.

        An error that may be tried again is not remembered, nor is an unforeseen one.
        """
        outcome = self._outcomes.get(key)
        if outcome is None or self._is_over(outcome):
            return await self._under_way.run(key, lambda: self._done(key, work))
        if isinstance(outcome.result, ApiError):
            raise copy(outcome.result)  # what is raised holds on to the call that it passes through
        return outcome.result

    async def drain(self) -> None:
        """Wait for the work under way."""
        await self._under_way.drain()

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
        self._outcomes.pop(key, None)
        self._outcomes[key] = _Outcome(self._clock(), result)
        while len(self._outcomes) > MAX_KEPT or self._is_over(next(iter(self._outcomes.values()))):
            self._outcomes.popitem(last=False)

    def _is_over(self, outcome: _Outcome[T]) -> bool:
        return self._clock() - outcome.at >= KEPT_SECONDS
