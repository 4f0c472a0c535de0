"""What became of each media of a run, and the sums."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from whaul.errors import ApiError, DependencyException, ThrottledRequestException
from whaul.model import MediaInfo

MAY_PASS: Final = (ThrottledRequestException, DependencyException)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome for one id."""

    media_id: str
    status: Literal["stored", "skipped", "failed", "planned"]
    """`planned`: a dry run would have stored it."""
    number: str | None = None
    """The id of the phone number that received it; after a failure, perhaps as the list has it."""
    name: str | None = None
    """The file's name; None after a failure."""
    info: MediaInfo | None = None
    """What was stored, or would be."""
    error: ApiError | None = None

    @property
    def may_pass(self) -> bool:
        """Whether another run may succeed."""
        return isinstance(self.error, MAY_PASS)


@dataclass(slots=True)
class Tally:
    """The outcomes so far, counted."""

    stored: int = 0
    skipped: int = 0
    planned: int = 0
    failed: int = 0
    may_pass: int = 0
    """Failures that another run may not have."""
    bytes: int = 0
    """Of the files that were stored, or would be."""
    errors: Counter[str] = field(default_factory=Counter)
    """Failures by error code."""

    @property
    def done(self) -> int:
        """Ids whose outcome is known."""
        return self.stored + self.skipped + self.planned + self.failed

    def count(self, outcome: Outcome) -> None:
        """Add one."""
        if outcome.status == "stored":
            self.stored += 1
        elif outcome.status == "planned":
            self.planned += 1
        elif outcome.status == "skipped":
            self.skipped += 1
        else:
            self.failed += 1
            self.may_pass += outcome.may_pass
            self.errors[outcome.error.code if outcome.error else ""] += 1
        self.bytes += outcome.info.file_size if outcome.info else 0


def document(outcome: Outcome, location: Callable[[str], dict[str, str]]) -> dict[str, object]:
    """Write an outcome for programs; `location` says where a name is."""
    told: dict[str, object] = {"mediaId": outcome.media_id, "status": outcome.status}
    if outcome.number is not None:
        told["phoneNumberId"] = outcome.number
    if outcome.name is not None:
        told |= location(outcome.name)
    if outcome.info is not None:
        info = outcome.info
        told |= {"fileSize": info.file_size, "mimeType": info.mime_type, "sha256": info.sha256.hex()}
    if outcome.error is not None:
        error = outcome.error
        told["error"] = {"code": error.code, "message": error.message, "mayPass": outcome.may_pass}
    return told
