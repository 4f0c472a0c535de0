"""Measures fleets of several shapes, and databases that hold more and more; writes docs/benchmarks/scale.md."""

import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from tools.bench.contestants import Contestant, Ground, Prepared, rival
from tools.bench.events.runs import CONNECTIONS, SETTLING, Endpoint, Phases, endpoint, sending
from tools.bench.installs import FOLDER
from tools.bench.machine import ROOT, machine, software
from tools.bench.measure import cpu_seconds, idle_seconds, memory, threads, tree
from tools.bench.report import write_page
from tools.bench.runs import Failed, run
from tools.bench.scale.fleet import Fleet, Land, Shape
from tools.bench.scale.report import PROCESSES, figures_text
from tools.bench.scale.rows import ACCOUNTS, DESTINATIONS, EVENTS, KEYS, Copies, fill
from tools.bench.stage import stage
from tools.bench.sweep import Results
from tools.bench.workloads import Workload
from tools.postgresql import PostgresqlServer, postgresql_server
from whaul.stack.processes import StackError

DOCS: Final = ROOT / "docs" / "benchmarks"
SAVED: Final = FOLDER / "scale.json"
CALLS: Final = Workload("scale", "100 KB, 32 at once", ("k100",), 32, 2.0, 0)
EVENTS_SENT: Final = 3000
WARM: Final = 100
MOST_AT_ONCE: Final = 1600
"""Deliveries of the webhooks that are sent at once: a busy machine has to store them within a second."""
FAILURES: Final = (Failed, StackError, OSError, subprocess.SubprocessError, ValueError)
SHAPES: Final = {
    "one process": Shape(),
    "one process, two workers": Shape(workers=2),
    "two processes": Shape(processes=2),
    "four processes": Shape(processes=4),
}


@dataclass(frozen=True)
class Growth:
    """Something of which there may be more and more."""

    title: str
    copies: Copies
    counts: tuple[int, ...]
    matters: tuple[str, ...] = ("calls", "events")
    """What could become slower by it."""
    is_delivered: bool = False
    """Whether each event is delivered once for each of them."""


GROWTHS: Final = (
    Growth("linked accounts", ACCOUNTS, (1, 1_000, 100_000)),
    Growth("access keys", KEYS, (1, 1_000, 100_000), ("calls",)),
    Growth("destinations of the account", DESTINATIONS, (1, 10, 100), ("events",), is_delivered=True),
    Growth("rows of the journal", EVENTS, (10_000, 1_000_000), ("events",)),
)


class Watch:
    """Who uses the CPU while something is measured."""

    def __init__(self, servers: Sequence[int], database: int) -> None:
        self._servers = servers
        self._database = database
        self.database = 0.0
        """Seconds of the database."""
        self.busiest = 0.0
        """Of all threads of the servers, the share of a core that the busiest one used."""
        self.machine = 0.0
        """The share of all cores that were busy, whoever with."""

    @contextmanager
    def watch(self, *_roots: int) -> Iterator[None]:
        """Look at them before and after."""
        used, busy, idle, began = cpu_seconds(self._database), threads(*self._servers), idle_seconds(), time.monotonic()
        yield
        took = time.monotonic() - began
        self.machine = 1 - (idle_seconds() - idle) / (took * (os.cpu_count() or 1))
        self.busiest = max(now - busy.get(thread, 0.0) for thread, now in threads(*self._servers).items()) / took
        self.database = cpu_seconds(self._database) - used


def calls(land: Land, fleet: Fleet) -> dict[str, float]:
    """Fetch files of 100 KB through the fleet. Milliseconds of CPU are those of one call."""

    @contextmanager
    def prepare(ground: Ground, _workload: Workload) -> Iterator[Prepared]:
        yield Prepared(rival("whaul_calls"), ground.environ, fleet.account, measured=fleet.pids)

    watch = Watch(fleet.pids, _root(land.server))
    done = run(Contestant("whaul", "whaul", prepare, lambda _: True), CALLS, land.ground, watch.watch)
    return {
        "calls_cpu": 1000 * done.cpu / done.files,
        "calls_database_cpu": 1000 * watch.database / done.files,
        "calls_per_second": done.files / done.seconds,
        "calls_busiest": 100 * watch.busiest,
        "calls_machine": 100 * watch.machine,
    }


def settle(at: Endpoint) -> None:
    """Wait until nothing is delivered any more: a run that failed leaves some."""
    while at.ask("/seen"):
        time.sleep(SETTLING)


def first_event(land: Land, fleet: Fleet) -> None:
    """Send one webhook, so that there is a row to copy."""
    settle(land.endpoint)
    with sending(fleet.ports) as sender:
        phases = Phases(sender, land.endpoint, 0)
        phases.delivered(phases.send("first", 1))
        time.sleep(SETTLING)


def events(land: Land, fleet: Fleet, destinations: int | None = None) -> dict[str, float]:
    """Send a burst of webhooks to the fleet. Milliseconds of CPU are those of one delivery.

    `destinations` is how many get each event, if that is what grows.
    """
    settle(land.endpoint)
    copies = destinations or 1
    connections = min(CONNECTIONS, MOST_AT_ONCE // copies)
    name, count = secrets.token_hex(4), max(EVENTS_SENT // copies, WARM)
    with sending(fleet.ports) as sender:
        phases = Phases(sender, land.endpoint, 0)
        phases.delivered(phases.send(f"warm{name}", WARM, connections=connections), copies)
        time.sleep(SETTLING)
        root = _root(land.server)
        used, base = cpu_seconds(*fleet.pids), cpu_seconds(root)
        watch = Watch(fleet.pids, root)
        with watch.watch():
            sent = phases.send(f"burst{name}", count, connections=connections)
            came = phases.delivered(sent, copies)
        took = max(came.values()) - min(at for _, at, *_ in sent)
        time.sleep(SETTLING)
        found = {
            "events_cpu": 1000 * (cpu_seconds(*fleet.pids) - used) / (count * copies),
            "events_database_cpu": 1000 * (cpu_seconds(root) - base) / (count * copies),
            "events_per_second": count / took,
            "events_busiest": 100 * watch.busiest,
            "events_machine": 100 * watch.machine,
        }
        return found if destinations is None else found | {"deliveries_per_second": count * copies / took}


def main(folder: Path, environ: dict[str, str], rounds: int, say: Callable[[str], None]) -> int:
    """Measure everything, and write the page."""
    started = time.monotonic()
    document: dict[str, Any] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "command": f"./run bench --scale --rounds {rounds}",
        "rounds": rounds,
        "machine": machine(),
    }
    results = Results(SAVED, document)
    with (
        postgresql_server("") as server,
        stage(folder, environ) as running,
        endpoint(folder, environ) as at,
    ):
        bench = _Bench(Ground(running, environ), at, server, folder, rounds, say)
        parts: list[Callable[[], tuple[str, Mapping[str, Any]]]] = [bench.shapes]
        parts += [partial(bench.growth, growth) for growth in GROWTHS]
        for part in parts:
            try:
                title, cells = part()
            except FAILURES as error:
                say(f"  FAILED, and left out: {error}")
                continue
            results.document["workloads"][title] = cells
            results.save(SAVED)
        results.document["software"] = software(running.nginx)
    results.document["minutes"] = round((time.monotonic() - started) / 60, 2)
    return render(results, say)


def render(results: Results | None, say: Callable[[str], None]) -> int:
    """Write the page from results."""
    if results is None:
        say("bench: there is no docs/benchmarks/scale.json")
        return 2
    results.save(DOCS / "scale.json")
    write_page(DOCS / "scale.md", figures_text(results.document))
    say("written: docs/benchmarks/scale.md")
    return 0


@dataclass(frozen=True)
class _Bench:
    ground: Ground
    endpoint: Endpoint
    server: PostgresqlServer
    folder: Path
    rounds: int
    say: Callable[[str], None]

    def shapes(self) -> tuple[str, Mapping[str, Any]]:
        """Measure the shapes in turns."""
        land = Land(self.ground, self.endpoint, self.server, self.folder)
        cells: dict[str, Any] = {name: {"runs": []} for name in SHAPES}
        for _ in range(self.rounds):
            for name, shape in SHAPES.items():
                with land.fleet(shape) as fleet:
                    cells[name]["runs"].append(self._run(name, land, fleet, ("calls", "events")))
        return PROCESSES, cells

    def growth(self, growth: Growth) -> tuple[str, Mapping[str, Any]]:
        """Measure one process while the database fills."""
        land = Land(self.ground, self.endpoint, self.server, self.folder)
        if growth.copies is EVENTS:
            with land.fleet(Shape()) as fleet:
                first_event(land, fleet)
        cells: dict[str, Any] = {}
        there = 1
        for count in growth.counts:
            fill(self.server, land.database, growth.copies, there, count)
            there = count
            cell = cells[f"{count:,}"] = {"runs": []}
            with land.fleet(Shape()) as fleet:
                for _ in range(self.rounds):
                    destinations = count if growth.is_delivered else None
                    done = self._run(f"{count:,} {growth.title}", land, fleet, growth.matters, destinations)
                    cell["runs"].append(done)
        return growth.title, cells

    def _run(
        self, what: str, land: Land, fleet: Fleet, matters: Sequence[str], destinations: int | None = None
    ) -> dict[str, float] | None:
        """Measure once; None if that failed. The others go on."""
        try:
            found = calls(land, fleet) if "calls" in matters else {}
            if "events" in matters:
                found |= events(land, fleet, destinations)
        except FAILURES as error:
            self.say(f"  {what}: FAILED: {error}")
            return None
        found["memory"] = sum(memory(pid) for pid in tree(*fleet.pids)) / 1e6
        self.say(f"  {what}: " + ", ".join(f"{name} {value:.2f}" for name, value in found.items()))
        return found


def _root(server: PostgresqlServer) -> int:
    assert server.process is not None
    return server.process.pid
