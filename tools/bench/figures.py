"""From runs to figures: medians with their spread, and ratios between contestants of the same round."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

WHAUL = "whaul"
HOPS = "hops"
GB = 1e9

RunData = Mapping[str, Any]
"""A run as the results file has it."""
Measure = Callable[[RunData], float]


@dataclass(frozen=True)
class Figure:
    """The median of several runs, and the least and the most."""

    median: float
    least: float
    most: float


def files_per_second(run: RunData) -> float:
    """By the clock."""
    return float(run["files"] / run["seconds"])


def cpu_ms_per_file(run: RunData) -> float:
    """User and system, whole process tree."""
    return float(run["cpu"] / run["files"] * 1000)


def cpu_s_per_gb(run: RunData) -> float:
    """A GB is 10^9 bytes."""
    return float(run["cpu"] / (run["bytes"] / GB))


def gb_per_second(run: RunData) -> float:
    """By the clock."""
    return float(run["bytes"] / GB / run["seconds"])


def peak_mb(run: RunData) -> float:
    """Resident memory."""
    return float(run["peak"] / 1e6)


def figure(runs: Sequence[RunData | None], measure: Measure) -> Figure | None:
    """The figure of the runs that there are; None when there is none."""
    values = [measure(run) for run in runs if run is not None]
    return Figure(median(values), min(values), max(values)) if values else None


def paired(
    ours: Sequence[RunData | None], theirs: Sequence[RunData | None], combine: Callable[[RunData, RunData], float]
) -> Figure | None:
    """A figure of two contestants, taken round by round, so that what slows the machine down slows both."""
    values = [combine(mine, other) for mine, other in zip(ours, theirs, strict=False) if mine and other]
    return Figure(median(values), min(values), max(values)) if values else None


def cpu_ratio(ours: RunData, theirs: RunData) -> float:
    """How many times our CPU per file the other needs: our files per CPU second in terms of theirs."""
    return cpu_ms_per_file(theirs) / cpu_ms_per_file(ours)


def latency(rank: str) -> Measure:
    """Milliseconds of a file at `p50` or `p99`."""
    return lambda run: float(run[f"{rank}_ms"])


def added(rank: str) -> Callable[[RunData, RunData], float]:
    """Milliseconds beyond the hops alone."""
    return lambda hops, run: float(run[f"{rank}_ms"] - hops[f"{rank}_ms"])
