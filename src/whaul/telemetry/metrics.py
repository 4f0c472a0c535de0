"""Every metric and its help text.

prometheus_client looks at `PROMETHEUS_MULTIPROC_DIR` when it is imported, and `whaul serve` sets it for its workers:
what is loaded before must not import this module.
"""

import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from types import MappingProxyType

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from whaul import __version__
from whaul.build import commit
from whaul.telemetry.call import Call
from whaul.telemetry.event_metrics import EventMetrics
from whaul.telemetry.process import ProcessMetrics

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Where several workers keep their metrics."""
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60)
"""Upper bounds of the duration buckets."""


class Metrics:
    """The metrics of this process. With several workers, `PROMETHEUS_MULTIPROC_DIR` joins theirs in one response."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self._commit = commit()
        if not os.environ.get(FOLDER):  # else `exposition` adds those of all workers
            registry.register(ProcessMetrics(__version__, commit=self._commit))
        self.calls = Counter(
            "whaul_calls", "API calls, by operation and outcome.", ["operation", "outcome"], registry=registry
        )
        self.call_seconds = Histogram(
            "whaul_call_seconds", "Duration of API calls.", ["operation"], buckets=SECONDS, registry=registry
        )
        self.hop_seconds = Histogram(
            "whaul_hop_seconds",
            "Duration of a call's hops: describe, get, upload, send and delete at Meta, put at the destination, "
            "open at the source, wait for a slot.",
            ["hop"],
            buckets=SECONDS,
            registry=registry,
        )
        self.stored_bytes = Counter("whaul_stored_bytes", "Bytes of stored files.", registry=registry)
        self.uploaded_bytes = Counter("whaul_uploaded_bytes", "Bytes of files uploaded to Meta.", registry=registry)
        self.transfers = Gauge(
            "whaul_transfers", "Transfers in progress.", registry=registry, multiprocess_mode="livesum"
        )
        self.waiting = Gauge(
            "whaul_waiting_calls",
            "Calls that wait for a transfer slot.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.open_circuits = Gauge(
            "whaul_open_circuits",
            "Phone numbers and hosts that are not called for a while, after repeated failures.",
            ["kind"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.refreshes = Counter(
            "whaul_refreshes", "Linked accounts asked about at Meta again, by outcome.", ["outcome"], registry=registry
        )
        self.meta_usage = Gauge(
            "whaul_meta_usage_percent",
            "Share of Meta's rate limit used, as Meta reported it last.",
            ["kind"],
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self.audit_dropped = Counter(
            "whaul_audit_dropped", "Audit records that were dropped and are not in the audit log.", registry=registry
        )
        self.audit_failures = Counter(
            "whaul_audit_failures", "Attempts to write the audit log that failed.", registry=registry
        )

        self.events = EventMetrics(registry)
        self._tokens = _TokenExpiries()
        registry.register(self._tokens)

        # Looking up a label takes longer than counting. There are few, all of them our own words.
        self._calls_of = cache(self.calls.labels)
        self._call_seconds_of = cache(self.call_seconds.labels)
        self._hop_seconds_of = cache(self.hop_seconds.labels)

    def observe(self, call: Call, seconds: float) -> None:
        """Count a finished call."""
        operation = call.operation or "none"
        self._calls_of(operation, call.error or "ok").inc()
        self._call_seconds_of(operation).observe(seconds)
        for hop, duration in call.seconds.items():
            self._hop_seconds_of(hop).observe(duration)
        if call.bytes is not None:
            counter = self.uploaded_bytes if "upload" in call.seconds else self.stored_bytes
            counter.inc(call.bytes)

    def observe_meta_usage(self, usage: Mapping[str, float]) -> None:
        """Record the percentages of Meta's usage headers."""
        for kind, percent in usage.items():
            self.meta_usage.labels(kind).set(percent)

    def set_token_expiries(self, expiries: Mapping[str, datetime]) -> None:
        """Record when the tokens of accounts expire."""
        self._tokens.by_account = {account: moment.timestamp() for account, moment in expiries.items()}

    def exposition(self) -> bytes:
        """Write all metrics in Prometheus's text format."""
        folder = os.environ.get(FOLDER)
        if folder is None:
            return generate_latest(self._registry)
        _forget_dead_workers(Path(folder))
        joined = CollectorRegistry()
        joined.register(ProcessMetrics(__version__, lambda: _workers(Path(folder)), commit=self._commit))
        MultiProcessCollector(joined)  # type: ignore[no-untyped-call]
        joined.register(self._tokens)
        joined.register(self.events.waiting)
        return generate_latest(joined)


class _TokenExpiries(Collector):
    """Read by every worker for itself: the files that join metrics would keep accounts that are no longer linked."""

    by_account: Mapping[str, float] = MappingProxyType({})

    def collect(self) -> Iterable[Metric]:
        """Make the samples."""
        gauge = GaugeMetricFamily(
            "whaul_token_expiry_timestamp_seconds",
            "When the token of a linked account ends, for tokens that do.",
            labels=["account"],
        )
        for account, seconds in self.by_account.items():
            gauge.add_metric([account], seconds)
        yield gauge


def _forget_dead_workers(folder: Path) -> None:
    """Remove the gauges of workers that have died from the sum: a crashed worker cannot do so itself."""
    for worker in _workers(folder):
        try:
            os.kill(worker, 0)
        except OSError:  # no such process, or another user's by now
            mark_process_dead(worker)  # type: ignore[no-untyped-call]


def _workers(folder: Path) -> set[int]:
    return {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_live*_*.db")}
