"""What runs, and what its workers use of the machine: `whaul_build_info` and Prometheus's own `process_*` metrics.

The latter are read from /proc for every worker when they are asked for, and added up. Elsewhere than on Linux there
are none.
"""

import platform
from collections.abc import Callable, Iterable
from functools import partial

from prometheus_client import ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

EARLIEST = "process_start_time_seconds"
"""The one of them that is not added up."""


class ProcessMetrics(Collector):
    """The metrics of a set of worker processes, as one."""

    def __init__(
        self, version: str, workers: Callable[[], Iterable[int | str]] = lambda: ["self"], *, commit: str | None = None
    ) -> None:
        """`version` and `commit` are ours; `workers` names the processes, as /proc does."""
        self._version = version
        self._commit = commit or ""
        self._workers = workers

    def collect(self) -> Iterable[Metric]:
        """Make the samples."""
        build = GaugeMetricFamily(
            "whaul_build_info",
            "Always 1; the labels say which versions run.",
            labels=["version", "commit", "python", "implementation"],
        )
        python = platform.python_version(), platform.python_implementation()
        build.add_metric([self._version, self._commit, *python], 1)
        yield build
        joined: dict[str, Metric] = {}
        for worker in self._workers():
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
