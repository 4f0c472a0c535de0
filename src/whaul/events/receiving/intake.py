"""Where jobs go that are born leased: to whoever does them in this process."""

from collections.abc import Hashable
from typing import Protocol, TypeVar

Lane_contra = TypeVar("Lane_contra", bound=Hashable, contravariant=True)
Job_contra = TypeVar("Job_contra", contravariant=True)


class Intake(Protocol[Lane_contra, Job_contra]):
    """Takes new jobs without a look at the database, as far as there is room in memory for them.

    A lane is what has room of its own: a destination, say.
    """

    def reserve(self, lane: Lane_contra, /) -> bool:
        """Keep a place for a job that is about to be made; False if there is none."""
        ...

    def cancel(self, lane: Lane_contra, /) -> None:
        """Give back a place: the job was not made."""
        ...

    def take(self, job: Job_contra, /) -> None:
        """Do this job: it has its place, and is leased to this process."""
        ...

    def wake(self, lane: Lane_contra, /) -> None:
        """Look into the database soon: jobs were made for which there was no place."""
        ...


class Unleased:
    """An intake for jobs that are all claimed from the database."""

    def reserve(self, _lane: object) -> bool:
        """Have no places."""
        return False

    def cancel(self, _lane: object) -> None:
        """Do nothing."""

    def take(self, _job: object) -> None:
        """Do nothing: no job is born leased."""

    def wake(self, _lane: object) -> None:
        """Do nothing: it looks by itself."""
