"""Circuits: after repeated failures, calls are refused here for a while instead of failing there.

Providers block phone numbers that keep erring, and a host that falls silent holds every call for its whole timeout.
A circuit opens after a number of failures in a row. While it is open, calls are refused with the error that opened
it; once its time is over, one call goes through as a probe: its success closes the circuit, its failure opens it
for another while.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

MAX_CIRCUITS = 10_000
"""Circuits that are remembered; beyond, the one that failed longest ago is forgotten, and so closed."""

E = TypeVar("E", bound=Exception)


@dataclass(slots=True)
class _Circuit(Generic[E]):
    error: E
    failures: int = 0
    opens_again_at: float | None = None
    """When a probe may go through; None while the circuit is closed."""


class Circuits(Generic[E]):
    """The circuits of one kind of thing, by its name: of phone numbers, say, or of hosts."""

    def __init__(
        self,
        max_failures: int,
        seconds: float,
        clock: Callable[[], float],
        on_change: Callable[[int], None] = lambda _open: None,
    ) -> None:
        """Open after so many failures in a row, for so many `seconds`.

        `clock` is monotonic, in seconds; `on_change` is told how many circuits are open.
        """
        self._max_failures = max_failures
        self._seconds = seconds
        self._clock = clock
        self._on_change = on_change
        self._failing: OrderedDict[str, _Circuit[E]] = OrderedDict()
        self._open = 0

    def refusal(self, name: str) -> E | None:
        """The error to refuse a call with; None when the call may go through (as the probe, perhaps)."""
        circuit = self._failing.get(name)
        if circuit is None or circuit.opens_again_at is None:
            return None
        if self._clock() < circuit.opens_again_at:
            return circuit.error
        circuit.opens_again_at = self._clock() + self._seconds  # for all but this call, until its end is known
        return None

    def failed(self, name: str, error: E) -> None:
        """Count a failure that is the named thing's own."""
        circuit = self._failing.setdefault(name, _Circuit(error))
        self._failing.move_to_end(name)
        circuit.failures += 1
        circuit.error = error
        if circuit.failures >= self._max_failures:
            self._tell(circuit.opens_again_at is None)
            circuit.opens_again_at = self._clock() + self._seconds
        if len(self._failing) > MAX_CIRCUITS:
            _, forgotten = self._failing.popitem(last=False)
            self._tell(-(forgotten.opens_again_at is not None))

    def succeeded(self, name: str) -> None:
        """Close the circuit."""
        circuit = self._failing.pop(name, None)
        self._tell(-(circuit is not None and circuit.opens_again_at is not None))

    def _tell(self, change: int) -> None:
        if change:
            self._open += change
            self._on_change(self._open)
