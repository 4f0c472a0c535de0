"""One run of a contestant: the same phases for all, measured and checked against what the endpoint got."""

import json
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tools.bench.events.contestants import APP_SECRET, Contestant, Place, database
from tools.bench.events.sender import Result
from tools.bench.measure import Peak, cpu_seconds, memory, tree
from tools.bench.runs import Failed
from tools.postgresql import PostgresqlServer
from whaul.stack.processes import free_ports, program, wait_until

HERE = Path(__file__).parent
CONNECTIONS = 64
START_TIMEOUT = 30.0
PATIENCE = 90.0
"""Seconds for the deliveries of a phase."""
SETTLING = 0.5
"""Seconds after the last delivery in which its outcome is written, and counts."""
BATCH = 1000
PER_POST = 100


@dataclass(frozen=True)
class Size:
    """How much of each phase."""

    rate: int
    """POSTs a second, of one event each."""
    seconds: float
    burst: int
    """Events, each in a POST of its own."""
    waiting: int
    """Events that wait for an endpoint that is down; none: not measured."""


@dataclass(frozen=True)
class EventRun:
    """What one run gave. Times are in milliseconds, CPU in milliseconds for an event, memory in bytes."""

    answer_p50: float
    answer_p99: float
    delivered_p50: float
    delivered_p99: float
    steady_cpu: float
    burst_per_second: float
    burst_cpu: float
    burst_database_cpu: float | None
    """Of PostgreSQL; SQLite's is the contestant's own."""
    batch: float
    """Until a POST of 1,000 items is answered."""
    idle: int
    peak: int
    waiting: int | None
    duplicates: int


@dataclass(frozen=True)
class Endpoint:
    url: str
    context: ssl.SSLContext

    def ask(self, path: str, method: str = "GET") -> Any:
        asked = urllib.request.Request(f"{self.url}{path}", method=method)
        with urllib.request.urlopen(asked, context=self.context, timeout=30) as answer:
            return json.loads(answer.read() or b"null")


@contextmanager
def endpoint(folder: Path, environ: dict[str, str]) -> Iterator[Endpoint]:
    """Run the endpoint; its certificate is in the folder."""
    with free_ports(1) as [port]:
        line = [sys.executable, str(HERE / "endpoint.py"), str(port), f"{folder}/chain.pem", f"{folder}/key.pem"]
        log = folder / "endpoint.log"
        running = Endpoint(f"https://127.0.0.1:{port}", ssl.create_default_context(cafile=f"{folder}/authority.pem"))
        with program(line, environ, log) as process:
            wait_until(lambda: _answers(running), process, "The endpoint", log, START_TIMEOUT)
            yield running


def _answers(running: Endpoint) -> bool:
    try:
        running.ask("/count")
    except OSError:
        return False
    return True


class Phases:
    """Sends phases, and waits until their events are delivered."""

    def __init__(self, process: "subprocess.Popen[str]", at: Endpoint, root: int) -> None:
        """`root` is the process whose tree is measured."""
        self.endpoint = at
        self.root = root
        self._process = process
        self.duplicates = 0

    def send(self, name: str, posts: int, items: int = 1, connections: int = CONNECTIONS, **more: Any) -> list[Result]:
        """Send POSTs; all must be answered with 200."""
        phase = {"name": name, "posts": posts, "items": items, "connections": connections, **more}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(phase) + "\n")
        self._process.stdin.flush()
        results: list[Result] = json.loads(self._process.stdout.readline())
        refused = [status for *_, status in results if status != 200]
        if refused:
            raise Failed(f"{len(refused)} of {posts} webhooks of the phase {name} were answered with {refused[0]}")
        return results

    def delivered(self, results: Sequence[Result], copies: int = 1) -> dict[str, float]:
        """Wait for the events of these POSTs, each at so many destinations; say when each came first."""
        wanted = {id_ for ids, *_ in results for id_ in ids}
        end = time.monotonic() + PATIENCE
        while True:
            events, deliveries = self.endpoint.ask("/count")
            if events >= len(wanted) and deliveries >= copies * len(wanted):
                break
            if time.monotonic() > end:
                raise Failed(f"{events} of {len(wanted)} events were delivered within {PATIENCE:.0f} s")
            time.sleep(0.1)
        seen: dict[str, list[float]] = self.endpoint.ask("/seen")
        if seen.keys() != wanted:
            raise Failed(f"{len(wanted - seen.keys())} events were lost")
        self.duplicates += sum(len(times) - copies for times in seen.values())
        return {id_: times[0] for id_, times in seen.items()}


@dataclass(frozen=True)
class Stage:
    """What all runs share; the endpoint's certificate is in the folder."""

    endpoint: Endpoint
    folder: Path
    postgresql: PostgresqlServer


def run(contestant: Contestant, kind: str, processes: int, size: Size, stage: Stage) -> dict[str, Any]:
    """Run one, and give its figures. Raises `Failed`, `StackError` or `NotThere`."""
    at, folder, server = stage.endpoint, stage.folder, stage.postgresql
    own = folder / f"{contestant.name}-{time.monotonic_ns()}"
    own.mkdir()
    environ = {"PATH": "/usr/bin:/bin", "TMPDIR": str(own), "HOME": str(own)}
    at.ask("/answer/200", "PUT")
    at.ask("/seen")
    with database(kind, own, server) as url:
        place = Place(own, environ, url, f"{at.url}/hook", folder / "authority.pem", processes)
        with contestant.start(place) as running, Peak(running.process) as peak, sending([running.port]) as sender:
            phases = Phases(sender, at, running.process)
            database_root = server.process.pid if kind == "postgresql" and server.process else None
            return asdict(_measured(phases, size, database_root, peak))


@contextmanager
def sending(ports: Sequence[int]) -> Iterator["subprocess.Popen[str]"]:
    """Run the sender, for servers at these ports."""
    line = [sys.executable, str(HERE / "sender.py"), *map(str, ports), APP_SECRET]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def _measured(phases: Phases, size: Size, database_root: int | None, peak: Peak) -> EventRun:
    root = phases.root
    phases.delivered(phases.send("warm", 100, connections=16))
    time.sleep(SETTLING)
    idle = _memory(root)
    used = cpu_seconds(root)
    posts = int(size.rate * size.seconds)
    steady = phases.send("steady", posts, rate=size.rate)
    came = phases.delivered(steady)
    time.sleep(SETTLING)
    steady_cpu = cpu_seconds(root) - used
    answers = sorted(answered - sent for _, sent, answered, _ in steady)
    deliveries = sorted(came[ids[0]] - sent for ids, sent, *_ in steady)

    used, base = cpu_seconds(root), cpu_seconds(database_root) if database_root else 0.0
    burst = phases.send("burst", size.burst)
    came = phases.delivered(burst)
    took = max(came.values()) - min(sent for _, sent, *_ in burst)
    time.sleep(SETTLING)
    burst_cpu = cpu_seconds(root) - used
    database_cpu = cpu_seconds(database_root) - base if database_root else None

    batch = phases.send("batch", 1, items=BATCH)
    phases.delivered(batch)
    waiting = _waiting(phases, size) if size.waiting else None
    return EventRun(
        answer_p50=_rank(answers, 0.5),
        answer_p99=_rank(answers, 0.99),
        delivered_p50=_rank(deliveries, 0.5),
        delivered_p99=_rank(deliveries, 0.99),
        steady_cpu=1000 * steady_cpu / posts,
        burst_per_second=size.burst / took,
        burst_cpu=1000 * burst_cpu / size.burst,
        burst_database_cpu=None if database_cpu is None else 1000 * database_cpu / size.burst,
        batch=1000 * (batch[0][2] - batch[0][1]),
        idle=idle,
        peak=peak.bytes,
        waiting=waiting,
        duplicates=phases.duplicates,
    )


def _waiting(phases: Phases, size: Size) -> int:
    """The memory, once so many events wait for an endpoint that is down."""
    phases.endpoint.ask("/answer/503", "PUT")
    phases.send("wait", size.waiting // PER_POST, items=PER_POST, connections=4)
    time.sleep(2)
    return _memory(phases.root)


def _memory(root: int) -> int:
    return sum(memory(pid) for pid in tree(root))


def _rank(ordered: Sequence[float], share: float) -> float:
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]
