"""Who is told what happens to events."""

from typing import Protocol


class Observer(Protocol):
    """Is told what happens, for metrics."""

    def event(self, field: str, kind: str) -> None:
        """Count a new event."""
        ...

    def delivered(self, destination: str, outcome: str, seconds: float | None) -> None:
        """Count an attempt; with the seconds since the event was received, if it was delivered."""
        ...

    def archived(self, outcome: str) -> None:
        """Count an attempt to archive a file: `stored`, `failed`, `parked`, `retry` or `lost`."""
        ...

    def taken_over(self, count: int) -> None:
        """Count deliveries and files that another process left."""
        ...

    def lost(self, count: int) -> None:
        """Count attempts whose delivery was no longer ours: another process delivers it, too."""
        ...
