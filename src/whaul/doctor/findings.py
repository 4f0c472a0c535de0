"""What a check found."""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """The result of one check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found."""

    check: str
    outcome: Outcome
    detail: str
    advice: str = ""
    """What to do; empty if nothing."""


def ok(check: str, detail: str) -> Finding:
    """It works."""
    return Finding(check, Outcome.OK, detail)


def warning(check: str, detail: str, advice: str) -> Finding:
    """It works, but somebody should know."""
    return Finding(check, Outcome.WARNING, detail, advice)


def failed(check: str, detail: str, advice: str) -> Finding:
    """It does not work."""
    return Finding(check, Outcome.FAILED, detail, advice)


def skipped(check: str, detail: str, advice: str = "") -> Finding:
    """It was not checked."""
    return Finding(check, Outcome.SKIPPED, detail, advice)
