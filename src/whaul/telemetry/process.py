"""What runs, and what its workers use of the machine.

Prometheus's own `process_*` metrics are read from /proc for every worker when they are asked for, and added up.
Elsewhere than on Linux there are none.
"""

import platform
from collections.abc import Callable, Collection, Iterable
from functools import partial

from prometheus_client import ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from whaul.telemetry.instruments import counter_family, gauge_family

EARLIEST = "process_start_time_seconds"
"""The one of them that is not added up."""


class ProcessMetrics(Collector):
    """The metrics of a set of worker processes, as one."""

    def __init__(
        self,
        version: str,
        workers: Callable[[], Collection[int | str]] = lambda: ["self"],
        started: Callable[[], int] = lambda: 1,
        *,
        commit: str | None = None,
    ) -> None:
        """`version` and `commit` are ours; `workers` names the processes, as /proc does; `started` counts all."""
        self._version = version
        self._commit = commit or ""
        self._workers = workers
        self._started = started

    def collect(self) -> Iterable[Metric]:
        """Make the samples."""
        build = gauge_family("whaul_build_info")
        python = platform.python_version(), platform.python_implementation()
        build.add_metric([self._version, self._commit, *python], 1)
        yield build
        workers = self._workers()
        yield gauge_family("whaul_workers", len(workers))
        yield counter_family("whaul_worker_starts_total", self._started())
        joined: dict[str, Metric] = {}
        for worker in workers:
            for metric in ProcessCollector(pid=partial(str, worker), registry=None).collect():
                if metric.name in joined:
                    _add(joined[metric.name], metric)
                else:
                    joined[metric.name] = metric
        yield from joined.values()


def _add(total: Metric, metric: Metric) -> None:
    for i, (sample, further) in enumerate(zip(total.samples, metric.samples, strict=True)):
        values = sample.value, further.value
        total.samples[i] = sample._replace(value=min(values) if sample.name == EARLIEST else sum(values))
