"""The alerts: when each fires, what it means, what to do, and a case in which it fires and one in which it is silent.

`packaging/monitoring/alerts.yaml`, its tests and `docs/alerts.md` are made of this table.

Words of expressions: `JOB` selects whaul's own scrapes where a metric is not whaul's alone. A rate over a window needs
two scrapes in it; windows are at least five minutes, for scrapes up to two minutes apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

Series = Mapping[str, str]
"""Values of series, a minute apart, in promtool's notation."""

JOB: Final = 'job=~".*whaul.*"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A rule."""

    name: str
    severity: Literal["critical", "warning"]
    expr: str
    wait: str = ""
    """For how long it must be so."""
    summary: str
    """One line for the message, with Prometheus's templates."""
    meaning: str
    """In Markdown."""
    advice: Sequence[str]
    """What to do, in Markdown; the likeliest first."""
    fires: Series
    labels: Mapping[str, str] = field(default_factory=dict)
    """What the alert that fires then has."""
    says: str
    """Its summary."""
    silent: Series
    at: str = "20m"
    """When both are looked at."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are about one thing."""

    name: str
    title: str
    alerts: Sequence[Alert]


def share(metric: str, part: str, window: str) -> str:
    """Write the share of a counter's increase that has certain labels."""
    return f"sum by (job) (rate({metric}{{{part}}}[{window}]))\n  / sum by (job) (rate({metric}[{window}]))"
