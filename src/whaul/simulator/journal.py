"""What the simulator was asked, and what it answered: for tests that count fetches and read headers.

Holds no secret: tokens, proofs and signatures are replaced by `***` before anything is kept.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from aiohttp import web

from whaul.simulator.faults import HOPS, Hop

MAX_EXCHANGES = 10_000
"""Requests that are kept; older ones are forgotten, the counters are not."""

SECRET_PARAMETERS = frozenset({"access_token", "input_token", "appsecret_proof", "hash", "verify_token"})
SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
REDACTED = "***"

BREAKING_FAULTS = frozenset({"truncate", "reset", "stall"})

TokenState = Literal["none", "valid", "invalid"]


@dataclass(slots=True)
class Exchange:
    """One request and how it was answered. It is filled in while the answer is on its way."""

    number: int
    at: float
    """Unix time by the simulator's clock."""
    method: str
    path: str
    """Without the query."""
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case."""
    hop: Hop | None
    object_id: str
    """The media id (or account, or phone number id) that was asked for."""
    token: TokenState
    """Whether there was one, and the right one."""
    fault: str | None = None
    """The kind of the fault that hit this request."""
    status: int | None = None
    """`None` if no status line was sent."""
    body_size: int | None = None
    """Bytes of the whole body."""
    bytes_sent: int = 0
    """Bytes of the body handed to the connection."""
    outcome: Literal["pending", "complete", "broken"] = "pending"
    """`broken`: the answer was cut short, by a fault or because the client left."""

    @property
    def user_agent(self) -> str | None:
        """The User-Agent header, if there was one."""
        return self.headers.get("user-agent")

    def describe(self) -> dict[str, Any]:
        """The exchange as JSON members."""
        return asdict(self)


@dataclass
class Journal:
    """The exchanges so far, oldest first."""

    on_request: Callable[[Exchange], None] | None = None
    """Called with each exchange once it is over."""
    exchanges: deque[Exchange] = field(default_factory=lambda: deque(maxlen=MAX_EXCHANGES))
    counters: dict[str, Counter[str]] = field(default_factory=dict)
    """Per object id: requests at each hop, and `completed_downloads`."""
    _number: int = 0
    _forgotten: int = 0
    """The number of the last exchange that `clear` knew."""
    _pending: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def open(self, request: web.Request, *, at: float, hop: Hop | None, object_id: str, token: TokenState) -> Exchange:
        """Begin an exchange."""
        self._number += 1
        self._pending += 1
        self._idle.clear()
        headers = {name.lower(): value for name, value in request.headers.items()}
        exchange = Exchange(
            number=self._number,
            at=at,
            method=request.method,
            path=request.rel_url.raw_path,
            query=_redacted(request.query, SECRET_PARAMETERS),
            headers=_redacted(headers, SECRET_HEADERS),
            hop=hop,
            object_id=object_id,
            token=token,
        )
        self.exchanges.append(exchange)
        if hop is not None:
            self.counters.setdefault(object_id, Counter())[hop] += 1
        return exchange

    def close(self, exchange: Exchange) -> None:
        """End an exchange."""
        sent = exchange.body_size is not None and exchange.bytes_sent >= exchange.body_size
        complete = sent and exchange.fault not in BREAKING_FAULTS
        exchange.outcome = "complete" if complete else "broken"
        remembered = exchange.number > self._forgotten
        if remembered and complete and exchange.hop == "download" and exchange.status == 200:
            self.counters.setdefault(exchange.object_id, Counter())["completed_downloads"] += 1
        self._pending -= 1
        if not self._pending:
            self._idle.set()
        if self.on_request is not None:
            self.on_request(exchange)

    def count(self, object_id: str) -> dict[str, int]:
        """How often an object was asked for."""
        counter = self.counters.get(object_id, Counter())
        return {name: counter[name] for name in (*HOPS, "completed_downloads")}

    def clear(self) -> None:
        """Forget all exchanges, those under way too: they belong to what was before."""
        self._forgotten = self._number
        self.exchanges.clear()
        self.counters.clear()

    async def settled(self) -> None:
        """Wait until no request is being answered."""
        while self._pending:
            await self._idle.wait()


def _redacted(members: Mapping[str, str], secret: frozenset[str]) -> dict[str, str]:
    return {name: REDACTED if name in secret else value for name, value in members.items()}
