"""The tables, from the results file."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import figures
from benchmarks.contestants import CONTESTANTS
from benchmarks.figures import HOPS, WHAUL, Figure, RunData
from benchmarks.workloads import WORKLOADS

DASH = "\N{EN DASH}"

COLUMNS = (
    "contestant",
    "files/s",
    "CPU ms/file",
    "CPU s/GB",
    "p50 / p99 ms",
    "added ms, p50 / p99",
    "peak MB",
    "CPU ÷ whaul's",
)


def shown(found: Figure | None, *, spread: bool = True) -> str:
    """A figure with its spread, to three digits."""
    if found is None:
        return DASH
    text = digits(found.median)
    least, most = digits(found.least), digits(found.most)
    return f"{text} ({least}{DASH}{most})" if spread and (least, most) != (text, text) else text


def digits(value: float) -> str:
    """Three digits, no more."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def rows(cells: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """The rows of one workload: a contestant each."""
    ours: Sequence[RunData | None] = cells.get(WHAUL, {}).get("runs", [])
    hops: Sequence[RunData | None] = cells.get(HOPS, {}).get("runs", [])
    found: list[list[str]] = []
    for name, contestant in CONTESTANTS.items():
        if name not in cells:
            continue
        runs = cells[name]["runs"]
        reason = cells[name].get("failed")
        if not any(runs):
            found.append([contestant.title, f"failed: {reason}", *[""] * (len(COLUMNS) - 2)])
            continue
        calls = not cells[name].get("metadata_only")
        latency = f"{shown(figures.figure(runs, lambda run: run['p50_ms']), spread=False)} / " + shown(
            figures.figure(runs, lambda run: run["p99_ms"]), spread=False
        )
        added = f"{shown(figures.paired(runs, hops, figures.added_p50), spread=False)} / " + shown(
            figures.paired(runs, hops, figures.added_p99), spread=False
        )
        found.append(
            [
                contestant.title + (f" (failed in {runs.count(None)} of {len(runs)} runs: {reason})" if reason else ""),
                shown(figures.figure(runs, figures.files_per_second), spread=False),
                shown(figures.figure(runs, figures.cpu_ms_per_file)),
                shown(figures.figure(runs, figures.cpu_s_per_gb)) if calls else DASH,
                latency,
                added if name != HOPS else DASH,
                shown(figures.figure(runs, figures.peak_mb), spread=False),
                shown(figures.paired(ours, runs, figures.cpu_ratio)) if name != WHAUL else "1",
            ]
        )
    return found


def table(columns: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table, aligned for the terminal too."""
    widths = [max(len(line[i]) for line in (columns, *body)) for i in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(columns), rule, *(line(cells) for cells in body)])


def workload_table(name: str, cells: Mapping[str, Mapping[str, Any]]) -> str:
    """A heading and the table of one workload."""
    title = WORKLOADS[name].title if name in WORKLOADS else name
    return f"### {title}\n\n{table(COLUMNS, rows(cells))}\n"
