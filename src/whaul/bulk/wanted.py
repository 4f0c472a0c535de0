"""A media that is wanted, with what the list of a run says of it."""

from dataclasses import dataclass
from datetime import UTC, datetime

MAX_TEXT = 256
"""Characters of each fact that are kept; no media id is that long."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One media that is wanted, with what the list says of it."""

    media_id: str
    number: str | None = None
    """Who received it: Meta's id, ours or an ARN, as in the list."""
    file_name: str | None = None
    sender: str | None = None
    kind: str | None = None
    """The type of its message: `image`, `document`, …"""
    sent_at: datetime | None = None
    problem: str | None = None
    """Why it is none."""


def moment(value: str | None) -> datetime | None:
    """Read a Unix time or an ISO 8601 date; None for what is neither."""
    if not value:
        return None
    try:
        if value.isascii() and value.isdigit():
            return datetime.fromtimestamp(int(value[:12]), UTC)
        found = datetime.fromisoformat(value)
    except (ValueError, OverflowError, OSError):
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
