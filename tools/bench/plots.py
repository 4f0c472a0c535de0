"""The plots, from the results file: on white, so that they read in a dark page too."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from tools.bench.contestants import CONTESTANTS
from tools.bench.figures import (
    HOPS,
    WHAUL,
    Figure,
    Measure,
    cpu_ms_per_file,
    cpu_s_per_gb,
    figure,
    files_per_second,
    peak_mb,
)
from tools.bench.workloads import WORKLOADS

OURS, OTHERS = "#0b6e4f", ("#8d99ae", "#c9ada7", "#e09f3e", "#457b9d", "#9e2a2b", "#6d597a", "#b8c0c8")
SMALL = ("100kb-x1", "100kb-x32", "100kb-x256")
LARGE = ("16mb-x1", "16mb-x8", "16mb-x64", "100mb-x1", "100mb-x8", "100mb-x64")
GROWING = ("100kb-x1", "16mb-x1", "100mb-x1"), ("100kb-x32", "16mb-x8", "100mb-x8")

Workloads = Mapping[str, Mapping[str, Any]]


def draw(workloads: Workloads, folder: Path) -> None:
    """Write the plots."""
    mpl.rcParams.update({"svg.hashsalt": "whaul", "font.size": 9, "svg.fonttype": "none"})
    _bars(workloads, SMALL, cpu_ms_per_file, "CPU ms for each file of 100 KB", folder / "small.svg")
    _bars(workloads, LARGE, cpu_s_per_gb, "CPU s for each GB", folder / "large.svg")
    _memory(workloads, folder / "memory.svg")
    _scaling(workloads, folder / "scaling.svg")


def _colour(name: str) -> str:
    rivals = [rival for rival in CONTESTANTS if rival != WHAUL]
    return OURS if name == WHAUL else OTHERS[rivals.index(name) % len(OTHERS)]


def _axes(title: str, size: tuple[float, float] = (8.0, 4.0)) -> tuple[Any, Axes]:
    drawing, axes = plt.subplots(figsize=size, facecolor="white", layout="constrained")
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(axis="y", color="#e5e5e5")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return drawing, axes


def _save(drawing: Any, path: Path) -> None:
    drawing.legend(loc="outside lower center", frameon=False, fontsize=8, ncols=5)
    drawing.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(drawing)


def _figure(workloads: Workloads, workload: str, name: str, measure: Measure) -> Figure | None:
    return figure(workloads.get(workload, {}).get(name, {}).get("runs", []), measure)


def _spread(found: Sequence[Figure]) -> list[list[float]]:
    """Down to the least and up to the most."""
    return [[one.median - one.least for one in found], [one.most - one.median for one in found]]


def _bars(workloads: Workloads, chosen: Sequence[str], measure: Measure, title: str, path: Path) -> None:
    drawing, axes = _axes(title)
    there = [name for name in CONTESTANTS if any(_figure(workloads, one, name, measure) for one in chosen)]
    width = 0.85 / max(len(there), 1)
    for place, name in enumerate(there):
        shift = (place - (len(there) - 1) / 2) * width
        known = [(index, _figure(workloads, one, name, measure)) for index, one in enumerate(chosen)]
        points = [(index + shift, found) for index, found in known if found]
        figures = [found for _, found in points]
        axes.bar(
            [x for x, _ in points],
            [found.median for found in figures],
            width * 0.92,
            yerr=_spread(figures),
            error_kw={"elinewidth": 0.8, "ecolor": "#444444"},
            color=_colour(name),
            label=CONTESTANTS[name].title,
        )
    axes.set_xticks(range(len(chosen)), [WORKLOADS[name].title.replace(", ", "\n") for name in chosen])
    _save(drawing, path)


def _memory(workloads: Workloads, path: Path) -> None:
    drawing, axes = _axes("Peak memory in MB over file size; dashed: one at a time, solid: 8 (100 KB: 32) at once")
    for chosen, style in zip(GROWING, ("--", "-"), strict=True):
        for name in CONTESTANTS:
            heights = [found.median for one in chosen if (found := _figure(workloads, one, name, peak_mb))]
            if name != HOPS and len(heights) == len(chosen):
                label = CONTESTANTS[name].title if style == "-" else None
                axes.plot(range(len(chosen)), heights, style, marker="o", color=_colour(name), label=label)
    axes.set_xticks(range(3), ["100 KB", "16 MB", "100 MB"])
    axes.set_ylim(bottom=0)
    _save(drawing, path)


def _scaling(workloads: Workloads, path: Path) -> None:
    drawing, axes = _axes("whaul: files of 100 KB per second, over calls at once")
    for workers, style in ((1, "-"), (2, "--")):
        points = [
            (workload.concurrency, found)
            for name, workload in WORKLOADS.items()
            if workload.scaling and workload.workers == workers
            if (found := figure(workloads.get(name, {}).get(WHAUL, {}).get("runs", []), files_per_second))
        ]
        if points:
            xs, figures = zip(*points, strict=True)
            medians = [one.median for one in figures]
            label = f"{workers} worker{'s' * (workers > 1)}"
            axes.errorbar(xs, medians, _spread(figures), fmt=f"o{style}", color=OURS, capsize=3, label=label)
    axes.set_xscale("log")
    axes.set_xticks([1, 4, 16, 64, 256, 1000], ["1", "4", "16", "64", "256", "1,000"])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    _save(drawing, path)
