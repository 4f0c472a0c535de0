"""The metrics of the catalogue as prometheus_client has them."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from whaul.telemetry.catalogue import METRICS


def counter(name: str, registry: CollectorRegistry) -> Counter:
    """Make the counter of that name."""
    entry = METRICS[name]
    return Counter(name, entry.help, entry.labels, registry=registry)


def gauge(name: str, registry: CollectorRegistry) -> Gauge:
    """Make the gauge of that name."""
    entry = METRICS[name]
    return Gauge(name, entry.help, entry.labels, registry=registry, multiprocess_mode=entry.joining)


def histogram(name: str, registry: CollectorRegistry) -> Histogram:
    """Make the histogram of that name."""
    entry = METRICS[name]
    return Histogram(name, entry.help, entry.labels, buckets=entry.buckets, registry=registry)


def gauge_family(name: str, value: float | None = None) -> GaugeMetricFamily:
    """Begin the samples of a gauge that is read when it is asked for; with `value`, that is all of them."""
    entry = METRICS[name]
    return GaugeMetricFamily(name, entry.help, value=value, labels=None if value is not None else entry.labels)


def counter_family(name: str, value: float) -> CounterMetricFamily:
    """Make the one sample of a counter that is read when it is asked for."""
    return CounterMetricFamily(name, METRICS[name].help, value=value)
