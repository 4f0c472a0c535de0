"""What is known about one API call: gathered while it runs, for its log line, metrics and audit record."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Body = bytes


@dataclass(slots=True)
class Call:
    """One API call. Apart from the two bodies it holds nothing secret: no destination, header or token."""

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
    """Size of the file that was stored or uploaded to Meta."""
    error: str | None = None
    """The error code of the response; None for a success."""
    message: str | None = None
    """The public message of that error."""
    claimed_access_key_id: str | None = None
    """The key that a refused request claims, unproven."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Time spent on each hop: `describe`, `get`, `upload`, `send` and `delete` at Meta, `put` at the destination,
    `open` at the source, `wait` for a transfer slot."""
    stale: bool = False
    """Whether the response may be out of date because Meta cannot be reached."""
    arriving: bool = False
    """Whether the body has not been read whole: an error response then ends the connection."""
    body: Body = field(default=b"", repr=False)
    """The request body of an authenticated caller. Only for the audit log, which shows what is not sensitive."""
    answer: Body = field(default=b"", repr=False)
    """The response body, unless it is an error. Only for the audit log."""

    @contextmanager
    def timed(self, hop: str) -> Iterator[None]:
        """Measure a hop, however it ends."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[hop] = time.monotonic() - started
