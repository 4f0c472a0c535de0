"""What is known about one API call: gathered while it runs, for its log line, metrics, audit record and trace."""

import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple

from whaul.errors import ApiError

Body = bytes
RETRY = "retry"
"""The wait before something is tried again."""


class Hop(NamedTuple):
    """A part of a call; its moments are those of the monotonic clock, in seconds."""

    name: str
    started: float
    ended: float
    error: str | None = None
    """Why it failed: an error code, or the name of an exception."""


class Hops(list[Hop]):
    """The parts of a call, as they ended."""

    def timed(self, name: str) -> "_Timing":
        """Measure a hop, however it ends."""
        return _Timing(self, name)

    def retried(self, error: ApiError, delay: float) -> None:
        """Note that something is tried again after an error, in so many seconds."""
        now = time.monotonic()
        self.append(Hop(RETRY, now, now + delay, error.code))

    def seconds(self) -> dict[str, float]:
        """How long each hop took; of several attempts, the last one."""
        return {name: ended - started for name, started, ended, _ in self if name != RETRY}


class _Timing:
    __slots__ = ("_hops", "_name", "_started")

    def __init__(self, hops: Hops, name: str) -> None:
        self._hops = hops
        self._name = name

    def __enter__(self) -> None:
        self._started = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        reason = None if kind is None else error.code if isinstance(error, ApiError) else kind.__name__
        self._hops.append(Hop(self._name, self._started, time.monotonic(), reason))


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
    hops: Hops = field(default_factory=Hops)
    """`describe`, `get`, `upload`, `send` and `delete` at Meta, `put` at the destination, `open` at the source, `wait`
    for a transfer slot."""
    stale: bool = False
    """Whether the response may be out of date because Meta cannot be reached."""
    arriving: bool = False
    """Whether the body has not been read whole: an error response then ends the connection."""
    body: Body = field(default=b"", repr=False)
    """The request body of an authenticated caller. Only for the audit log, which shows what is not sensitive."""
    answer: Body = field(default=b"", repr=False)
    """The response body, unless it is an error. Only for the audit log."""
    trace_id: str | None = None
    """Of its trace, sampled or not; None when there are no traces."""
    exemplar: dict[str, str] | None = None
    """Names its span, if that is exported."""
