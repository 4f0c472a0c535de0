"""The metrics of calls and of the server; `catalogue` says what each means.

prometheus_client looks at `PROMETHEUS_MULTIPROC_DIR` when it is imported, and `whaul serve` sets it for its workers:
what is loaded before must not import this module.
"""

import os
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from types import MappingProxyType

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from whaul import __version__
from whaul.build import commit
from whaul.telemetry.call import Call
from whaul.telemetry.disk import DiskMetrics
from whaul.telemetry.event_metrics import EventMetrics
from whaul.telemetry.instruments import counter, gauge, gauge_family, histogram
from whaul.telemetry.process import ProcessMetrics

MAX_NAMED = 1000
"""Things of a kind that are named; the files that join workers forget none."""
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Where several workers keep their metrics."""
OPEN_METRICS = openmetrics.CONTENT_TYPE_LATEST
TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The metrics of this process. With several workers, `PROMETHEUS_MULTIPROC_DIR` joins theirs in one response."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self._commit = commit()
        if not os.environ.get(FOLDER):  # else `exposition` adds those of all workers
            registry.register(ProcessMetrics(__version__, commit=self._commit))
        self.calls = counter("whaul_calls_total", registry)
        self.call_seconds = histogram("whaul_call_seconds", registry)
        self.hop_seconds = histogram("whaul_hop_seconds", registry)
        self.stored_bytes = counter("whaul_stored_bytes_total", registry)
        self.uploaded_bytes = counter("whaul_uploaded_bytes_total", registry)
        self.transfers = gauge("whaul_transfers", registry)
        self.waiting = gauge("whaul_waiting_calls", registry)
        self.max_transfers = gauge("whaul_max_transfers", registry)
        self.max_waiting = gauge("whaul_max_waiting_calls", registry)
        self.open_circuits = gauge("whaul_open_circuits", registry)
        self.circuit_probes = gauge("whaul_circuit_probe_timestamp_seconds", registry)
        self.refreshes = counter("whaul_refreshes_total", registry)
        self.meta_usage = gauge("whaul_meta_usage_percent", registry)
        self.database_up = gauge("whaul_database_up", registry)
        self.audit_dropped = counter("whaul_audit_dropped_total", registry)
        self.audit_failures = counter("whaul_audit_failures_total", registry)

        self.events = EventMetrics(registry)
        self.disk = DiskMetrics()
        registry.register(self.disk)
        self._tokens = _TokenExpiries()
        registry.register(self._tokens)

        # Looking up a label takes longer than counting. There are few, all of them our own words.
        self._calls_of = cache(self.calls.labels)
        self._call_seconds_of = cache(self.call_seconds.labels)
        self._hop_seconds_of = cache(self.hop_seconds.labels)
        self._meta_usage_of = cache(self.meta_usage.labels)

    def observe(self, call: Call, seconds: float) -> None:
        """Count a finished call."""
        operation = call.operation or "none"
        self._calls_of(operation, call.error or "ok").inc()
        self._call_seconds_of(operation).observe(seconds, call.exemplar)
        hops = call.hops.seconds()
        for hop, duration in hops.items():
            self._hop_seconds_of(hop).observe(duration)
        if call.bytes is not None:
            counter = self.uploaded_bytes if "upload" in hops else self.stored_bytes
            counter.inc(call.bytes)

    def observe_meta_usage(self, usage: Mapping[tuple[str, str], float]) -> None:
        """Record the percentages of Meta's usage headers, by kind and account."""
        for of, percent in usage.items():
            self._meta_usage_of(*of).set(percent)

    def circuits(self, kind: str) -> "CircuitMetrics":
        """Follow the circuits of one kind of thing."""
        return CircuitMetrics(kind, self.open_circuits, self.circuit_probes)

    def set_token_expiries(self, expiries: Mapping[str, datetime]) -> None:
        """Record when the tokens of accounts expire."""
        self._tokens.by_account = {account: moment.timestamp() for account, moment in expiries.items()}

    def exposition(self, *, open_metrics: bool = False) -> bytes:
        """Write all metrics in Prometheus's text format, or as OpenMetrics, which has exemplars."""
        if open_metrics:
            return openmetrics.generate_latest(self._joined())  # type: ignore[no-any-return, no-untyped-call]
        return generate_latest(self._joined())

    def _joined(self) -> CollectorRegistry:
        """Return the metrics of all workers."""
        folder = os.environ.get(FOLDER)
        if folder is None:
            return self._registry
        _forget_dead_workers(Path(folder))
        joined = CollectorRegistry()
        joined.register(
            ProcessMetrics(
                __version__, lambda: _workers(Path(folder)), lambda: _started(Path(folder)), commit=self._commit
            )
        )
        MultiProcessCollector(joined)  # type: ignore[no-untyped-call]
        joined.register(self.disk)
        joined.register(self._tokens)
        joined.register(self.events.waiting)
        return joined


class CircuitMetrics:
    """Called when a circuit of one kind opens, stays open or closes."""

    def __init__(self, kind: str, count: Gauge, probes: Gauge) -> None:
        self._kind = kind
        self._count = count.labels(kind)
        self._probes = probes
        self._open: set[str] = set()
        self._named: set[str] = set()

    def __call__(self, name: str, seconds: float | None) -> None:
        """Note that a thing is left alone for so many seconds, or, with None, no longer."""
        if seconds is None:
            self._open.discard(name)
        else:
            self._open.add(name)
        self._count.set(len(self._open))
        # What follows the thing's id tells its tokens apart, and is nobody's business.
        shown = name.partition(" ")[0]
        if len(self._named) < MAX_NAMED or shown in self._named:
            self._named.add(shown)
            self._probes.labels(self._kind, shown).set(0 if seconds is None else time.time() + seconds)


class _TokenExpiries(Collector):
    """Read by every worker for itself: the files that join metrics would keep accounts that are no longer linked."""

    by_account: Mapping[str, float] = MappingProxyType({})

    def collect(self) -> Iterable[Metric]:
        """Make the samples."""
        family = gauge_family("whaul_token_expiry_timestamp_seconds")
        for account, seconds in self.by_account.items():
            family.add_metric([account], seconds)
        yield family


def _forget_dead_workers(folder: Path) -> None:
    """Remove the gauges of workers that have died from the sum: a crashed worker cannot do so itself."""
    for worker in _workers(folder):
        try:
            os.kill(worker, 0)
        except OSError:  # no such process, or another user's by now
            mark_process_dead(worker)  # type: ignore[no-untyped-call]


def _workers(folder: Path) -> set[int]:
    return {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_live*_*.db")}


def _started(folder: Path) -> int:
    """How many workers there have been: each leaves a file of its counters."""
    return sum(1 for _ in folder.glob("counter_*.db"))
