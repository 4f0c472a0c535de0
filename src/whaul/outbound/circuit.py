"""Circuit breakers: after repeated failures, calls are refused here for a while instead of failing there.

Meta blocks phone numbers that keep failing, and a silent host holds every call for a whole timeout. A circuit opens
after a number of failures in a row. While it is open, calls are refused with the last error. Then one call goes
through as a probe: if it succeeds the circuit closes, and if it fails the circuit stays open for the same time again.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

MAX_CIRCUITS = 10_000
"""Circuits that are remembered; to make room, the one that failed longest ago is forgotten, and so closed."""

OnChange = Callable[[str, float | None], None]
"""Gets the name of a circuit, and the seconds until its next probe; None when it closes."""

E = TypeVar("E", bound=Exception)


@dataclass(slots=True)
class _Circuit(Generic[E]):
    error: E
    failures: int = 0
    probe_at: float | None = None
    """When a probe may go through; None while the circuit is closed."""


def ignore(_name: str, _seconds: float | None) -> None:
    """Tell nobody."""


class Circuits(Generic[E]):
    """The circuits of one kind of thing, such as hosts or phone numbers, by name."""

    def __init__(
        self,
        max_failures: int,
        seconds: float,
        clock: Callable[[], float],
        on_change: OnChange = ignore,
    ) -> None:
        """Open for `seconds` after `max_failures` failures in a row.

        `clock` is monotonic, in seconds; `on_change` is told of circuits that open, stay open or close.
        """
        self._max_failures = max_failures
        self._seconds = seconds
        self._clock = clock
        self._on_change = on_change
        self._failing: OrderedDict[str, _Circuit[E]] = OrderedDict()

    def refusal(self, name: str) -> E | None:
        """Return the error to refuse a call with, or None if the call may go through, perhaps as the probe."""
        circuit = self._failing.get(name)
        if circuit is None or circuit.probe_at is None:
            return None
        if self._clock() < circuit.probe_at:
            return circuit.error
        self._rest(name, circuit)  # this call is the probe; others wait for its result
        return None

    def failed(self, name: str, error: E) -> None:
        """Count a failure for which the named thing is to blame."""
        circuit = self._failing.setdefault(name, _Circuit(error))
        self._failing.move_to_end(name)
        circuit.failures += 1
        circuit.error = error
        if circuit.failures >= self._max_failures:
            self._rest(name, circuit)
        if len(self._failing) > MAX_CIRCUITS:
            self._close(*self._failing.popitem(last=False))

    def succeeded(self, name: str) -> None:
        """Close the circuit."""
        circuit = self._failing.pop(name, None)
        if circuit is not None:
            self._close(name, circuit)

    def _rest(self, name: str, circuit: _Circuit[E]) -> None:
        circuit.probe_at = self._clock() + self._seconds
        self._on_change(name, self._seconds)

    def _close(self, name: str, circuit: _Circuit[E]) -> None:
        if circuit.probe_at is not None:
            self._on_change(name, None)
