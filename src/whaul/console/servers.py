"""What the servers say of themselves: each is asked for `/metrics` and `/readyz`, as a monitor does.

All who look within a second share one request. Rates are those between the latest answer and an earlier one, so
there are none at the first look.
"""

import asyncio
import os
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from whaul.doctor.asking import ask, untrusting
from whaul.outbound.certificates import named_bundles
from whaul.settings import Settings
from whaul.telemetry.catalogue import METRICS

LOOK: Final = 1.0
"""Seconds between two looks."""
SPAN: Final = 30.0
"""Seconds over which rates are taken, if somebody looks that often."""
MAX_AGE: Final = 300.0
"""Seconds after which an answer is no longer compared with."""
PATIENCE: Final = 3.0
"""Seconds in which a server has to answer."""
MAX_SERVERS: Final = 100
MAX_VALUE: Final = 1e18
"""Above what anything of ours counts; whoever says more, or what is no number, is a stranger."""
_LAST_MOMENT: Final = datetime.max.replace(tzinfo=UTC).timestamp() - 1
UNTRUSTED: Final = "its certificate is not trusted", "name its authority in SSL_CERT_FILE, or ask by http"


class Address(NamedTuple):
    """A server, by one of its addresses."""

    address: str
    port: int
    host: str
    has_tls: bool

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{'https' if self.has_tls else 'http'}://{host}:{self.port}"


class Circuit(NamedTuple):
    """What a server leaves alone."""

    kind: str
    name: str
    probe_at: datetime


class Usage(NamedTuple):
    """How much of a rate limit of Meta's is used."""

    kind: str
    account: str
    """Meta's id; empty for the app."""
    percent: float


class Build(NamedTuple):
    """Which whaul runs."""

    version: str
    commit: str
    """Empty where nobody knows."""

    def is_like(self, other: Self) -> bool:
        """Whether nothing tells them apart."""
        return self.version == other.version and (self.commit == other.commit or not (self.commit and other.commit))


@dataclass(frozen=True, slots=True)
class Sample:
    """The metrics of a server at a moment."""

    at: float
    """Monotonic, in seconds."""
    values: Mapping[str, Sequence[tuple[Mapping[str, str], float]]]

    def sum(self, name: str, **labels: str) -> float:
        """Add up what a metric has under these labels."""
        of_name = self.values.get(name, ())
        return sum(value for named, value in of_name if labels.items() <= named.items())


@dataclass(frozen=True, slots=True)
class ServerState:
    """A server as it says, or why nothing is known of it."""

    url: str
    host: str
    """As the setting names it."""
    problem: str | None = None
    advice: str = ""
    reasons: tuple[str, ...] = ()
    """Why it is not ready."""
    build: Build | None = None
    sample: Sample | None = None
    before: Sample | None = None

    def now(self, name: str) -> int:
        """Read a gauge."""
        return 0 if self.sample is None else int(self.sample.sum(name))

    def rate(self, name: str, **labels: str) -> float | None:
        """Say how much a counter grew in a second; None at the first look, and after a restart."""
        if self.sample is None or self.before is None:
            return None
        grown = self.sample.sum(name, **labels) - self.before.sum(name, **labels)
        return grown / (self.sample.at - self.before.at) if grown >= 0 else None

    @property
    def circuits(self) -> Iterator[Circuit]:
        """What it leaves alone."""
        for labels, moment in self._all("whaul_circuit_probe_timestamp_seconds"):
            if 0 < moment <= _LAST_MOMENT:
                yield Circuit(labels.get("kind", ""), labels.get("name", ""), datetime.fromtimestamp(moment, UTC))

    @property
    def usages(self) -> Iterator[Usage]:
        """What Meta said last of its limits."""
        for labels, percent in self._all("whaul_meta_usage_percent"):
            yield Usage(labels.get("kind", ""), labels.get("account", ""), percent)

    def _all(self, name: str) -> Sequence[tuple[Mapping[str, str], float]]:
        return () if self.sample is None else self.sample.values.get(name, ())


class Servers:
    """Those that the settings name."""

    def __init__(self, settings: Settings, patience: float = PATIENCE, look: float = LOOK) -> None:
        """`patience` and `look` are in seconds: for an answer, and between two looks."""
        self._settings = settings
        self._pause = look
        self._patience = patience
        self._samples: dict[Address, deque[Sample]] = {}
        self._looked_at = float("-inf")
        self._latest: asyncio.Future[list[ServerState]] | None = None

    async def look(self) -> list[ServerState]:
        """Ask all of them."""
        latest = self._latest
        if latest is None or (latest.done() and time.monotonic() - self._looked_at >= self._pause):
            self._looked_at = time.monotonic()
            latest = self._latest = asyncio.ensure_future(self._look())
        return await asyncio.shield(latest)  # who gives up does not end it for others

    async def _look(self) -> list[ServerState]:
        found = await asyncio.gather(*map(self._resolved, self.urls))
        addresses = list(
            dict.fromkeys(address for of_url in found for address in of_url if isinstance(address, Address))
        )
        self._samples = {address: self._samples.get(address, deque()) for address in addresses}
        unknown = [each for of_url in found for each in of_url if isinstance(each, ServerState)]
        states = await asyncio.gather(*(self._asked(address) for address in addresses[:MAX_SERVERS]))
        return [*states, *unknown]

    @property
    def urls(self) -> Sequence[str]:
        """The addresses of the settings; none if nobody can know where a server listens."""
        settings = self._settings
        if settings.console_servers:
            return settings.console_servers
        if not settings.port:
            return []
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - not listened on
        named = f"[{host}]" if ":" in host else host
        return [f"{'http' if settings.tls_cert_file is None else 'https'}://{named}:{settings.port}"]

    async def _resolved(self, url: str) -> list[Address | ServerState]:
        """Find the addresses of a name."""
        parts = urlsplit(url)
        host, has_tls = parts.hostname or "", parts.scheme == "https"
        port = parts.port or (443 if has_tls else 80)
        try:
            async with asyncio.timeout(self._patience):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return [ServerState(url, host, "its name has no address here", "check WHAUL_CONSOLE_SERVERS and the DNS")]
        addresses = {str(address[0]) for *_, address in found}
        first = {address for address in addresses if ":" not in address}  # a server with two is one server
        return [Address(address, port, host, has_tls) for address in sorted(first or addresses)]

    async def _asked(self, at: Address) -> ServerState:
        url, tls = str(at), self._tls() if at.has_tls else None
        check = f"check that whaul runs there, and that this machine reaches it: curl {url}/readyz"
        try:
            async with asyncio.timeout(self._patience):
                ready = await ask(at.address, at.port, "/readyz", tls, at.host)
                metrics = await ask(at.address, at.port, "/metrics", tls, at.host)
            sample = Sample(time.monotonic(), parsed(metrics.body.decode()))
            reasons = () if ready.status == 200 else msgspec.json.decode(ready.body, type=_Ready).reasons
        except TimeoutError:
            return ServerState(url, at.host, f"no answer within {self._patience:g} seconds", check)
        except ssl.SSLError:
            return ServerState(url, at.host, *UNTRUSTED)
        except (OSError, EOFError) as error:
            reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "it broke off"
            return ServerState(url, at.host, f"it does not answer ({reason})", check)
        except (ValueError, asyncio.LimitOverrunError):
            return self._stranger(url, at)
        builds = sample.values.get("whaul_build_info")
        if not builds:
            return self._stranger(url, at)
        labels = builds[0][0]
        return ServerState(
            url,
            at.host,
            reasons=reasons,
            build=Build(labels.get("version", ""), labels.get("commit", "")),
            sample=sample,
            before=self._before(at, sample),
        )

    @staticmethod
    def _stranger(url: str, at: Address) -> ServerState:
        return ServerState(url, at.host, "something else than whaul answers", "check WHAUL_CONSOLE_SERVERS")

    def _before(self, at: Address, sample: Sample) -> Sample | None:
        """Find an earlier sample to compare with, and keep this one for later."""
        kept = self._samples[at]
        while kept and sample.at - kept[0].at > (SPAN if len(kept) > 1 else MAX_AGE):
            kept.popleft()
        before = kept[0] if kept else None
        kept.append(sample)
        return before

    def _tls(self) -> ssl.SSLContext:
        if not self._settings.console_servers:  # this machine's, by an address that its certificate may not have
            return untrusting()
        context = ssl.create_default_context()
        for _, path in named_bundles(os.environ, None):
            context.load_verify_locations(**{"capath" if path.is_dir() else "cafile": str(path)})
        return context


class _Ready(msgspec.Struct):
    reasons: tuple[str, ...] = ()


def parsed(text: str) -> dict[str, list[tuple[Mapping[str, str], float]]]:
    """Read Prometheus's text format, of our metrics only. Raises ValueError."""
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in METRICS:
                if not abs(sample.value) <= MAX_VALUE:
                    raise ValueError("this is no count")
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found
