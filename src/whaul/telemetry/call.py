"""What is known of one API call, gathered on its way for its log line and metrics."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Body = bytes


@dataclass(slots=True)
class Call:
    """One API call. Holds nothing secret, but for the two bodies: no destination, no header, no token."""

    request_id: str
    operation: str | None = None
    client: str | None = None
    """The address that the request came from."""
    access_key_id: str | None = None
    caller: str | None = None
    """The name of the access key."""
    phone_number_id: str | None = None
    media_id: str | None = None
    bytes: int | None = None
    """Size of the file that was stored, or uploaded to Meta."""
    error: str | None = None
    """The error code that was answered; None for a success."""
    message: str | None = None
    """The public message of that error."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Time spent on each hop: `describe`, `get`, `upload`, `send` and `delete` at Meta, `put` at the destination,
    `open` at the source, `wait` for a transfer slot."""
    stale: bool = False
    """Whether the answer tells of accounts what Meta said some time ago, because it cannot be asked now."""
    arriving: bool = False
    """Whether its body is not here whole: an error that is answered now ends the connection."""
    body: Body = field(default=b"", repr=False)
    """What a proven caller sent: for the audit log only, which shows what is not sensitive."""
    answer: Body = field(default=b"", repr=False)
    """What was answered, if not an error: for the audit log only, too."""

    @contextmanager
    def timed(self, hop: str) -> Iterator[None]:
        """Measure a hop, however it ends."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[hop] = time.monotonic() - started
