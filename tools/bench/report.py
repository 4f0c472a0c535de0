"""The tables, from the results file, and the page that holds them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.bench.contestants import CONTESTANTS
from tools.bench.figures import (
    HOPS,
    WHAUL,
    Figure,
    RunData,
    added,
    cpu_ms_per_file,
    cpu_ratio,
    cpu_s_per_gb,
    figure,
    files_per_second,
    latency,
    paired,
    peak_mb,
)
from tools.bench.workloads import WORKLOADS

DASH = "\N{EN DASH}"
BEGIN, END = "<!-- figures: begin; written by ./run bench -->", "<!-- figures: end -->"

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

READING = (
    "The CPU of each contestant for a file, divided by whaul's: "
    "whaul moves this many times as many files per CPU second."
)
PROVISIONAL = (
    "\n\n**Provisional:** there were too few rounds, or the machine was busy with other things, for figures to rely on."
)
FEWEST_ROUNDS = 3
MAX_LOAD = 0.75
"""The highest load average per core, before the run, of a machine that has nothing else to do."""
PLOTS = {
    "small": "CPU for each file of 100 KB",
    "large": "CPU for each GB",
    "memory": "Peak memory over file size",
    "scaling": "Files per second over calls at once",
}

Cells = Mapping[str, Mapping[str, Any]]


def shown(found: Figure | None, *, spread: bool = True) -> str:
    """A figure to three digits, with its spread."""
    if found is None:
        return DASH
    text, least, most = digits(found.median), digits(found.least), digits(found.most)
    return f"{text} ({least}{DASH}{most})" if spread and (least, most) != (text, text) else text


def digits(value: float) -> str:
    """Three digits, no more."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 99.95 else f"{value:.1f}" if size >= 9.995 else f"{value:.2f}"


def rows(cells: Cells, *, bytes_matter: bool = True) -> list[list[str]]:
    """The rows of one workload: a contestant each."""
    ours = cells.get(WHAUL, {}).get("runs", [])
    hops = _timed(cells.get(HOPS, {}).get("runs", []))
    found: list[list[str]] = []
    for name, contestant in CONTESTANTS.items():
        if name not in cells:
            continue
        runs = cells[name]["runs"]
        timed = _timed(runs)
        found.append(
            [
                contestant.title,
                shown(figure(runs, files_per_second), spread=False),
                shown(figure(runs, cpu_ms_per_file)),
                shown(figure(runs, cpu_s_per_gb)) if bytes_matter else DASH,
                _pair(*(figure(timed, latency(rank)) for rank in ("p50", "p99"))),
                _pair(*(paired(hops, timed, added(rank)) for rank in ("p50", "p99"))) if name != HOPS else DASH,
                shown(figure(runs, peak_mb), spread=False),
                shown(paired(ours, runs, cpu_ratio)) if name != WHAUL else "1",
            ]
        )
    return found


def notes(cells: Cells) -> list[str]:
    """What went wrong, a line for each contestant that it went wrong for."""
    found: list[str] = []
    for name, cell in cells.items():
        runs, reason, title = cell["runs"], cell.get("failed"), CONTESTANTS[name].title
        if cell.get("absent"):
            found.append(f"Not run: {title}. {reason}.")
        elif reason:
            found.append(f"Failed in {runs.count(None)} of {len(runs)} runs: {title}. {reason}.")
    return found


def _timed(runs: Sequence[RunData | None]) -> list[RunData | None]:
    """The runs of which latencies are known, each in its place."""
    return [run if run and run["p50_ms"] is not None else None for run in runs]


def _pair(median: Figure | None, tail: Figure | None) -> str:
    return f"{shown(median, spread=False)} / {shown(tail, spread=False)}" if median else DASH


def table(columns: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table, aligned for the terminal too."""
    widths = [max(len(line[i]) for line in (columns, *body)) for i in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    rule = "| " + " | ".join("-" * width for width in widths) + " |"
    return "\n".join([line(columns), rule, *(line(cells) for cells in body)])


def workload_table(title: str, cells: Cells, *, bytes_matter: bool = True) -> str:
    """A heading and the table of one workload."""
    told = "".join(f"\n{note}\n" for note in notes(cells))
    return f"### {title}\n\n{table(COLUMNS, rows(cells, bytes_matter=bytes_matter))}\n{told}"


def overview(workloads: Mapping[str, Cells]) -> str:
    """Each rival's CPU in terms of whaul's, a row for each workload."""
    names = [name for name in CONTESTANTS if name not in (WHAUL, HOPS)]
    body = []
    for name, cells in workloads.items():
        if name not in WORKLOADS or WORKLOADS[name].scaling:
            continue
        ours = cells.get(WHAUL, {}).get("runs", [])
        found = [paired(ours, cells.get(rival, {}).get("runs", []), cpu_ratio) for rival in names]
        body.append([WORKLOADS[name].title, *(shown(ratio, spread=False) for ratio in found)])
    return table(["workload", *(CONTESTANTS[name].title for name in names)], body)


def scaling(workloads: Mapping[str, Cells]) -> str:
    """Whaul alone, over concurrency and workers."""
    columns = ["at once", "workers", "files/s", "CPU ms/file", "p50 / p99 ms", "peak MB"]
    body: list[list[str]] = []
    told: list[str] = []
    for name, cells in workloads.items():
        workload = WORKLOADS.get(name)
        if workload is None or not workload.scaling:
            continue
        runs = cells[WHAUL]["runs"]
        told += [f"\n\n{workload.title}: {note}" for note in notes(cells)]
        body.append(
            [
                f"{workload.concurrency:,}",
                str(workload.workers),
                shown(figure(runs, files_per_second)),
                shown(figure(runs, cpu_ms_per_file)),
                _pair(*(figure(runs, latency(rank)) for rank in ("p50", "p99"))),
                shown(figure(runs, peak_mb), spread=False),
            ]
        )
    return table(columns, body) + "".join(told)


def figures_text(document: Mapping[str, Any]) -> str:
    """All that is generated of the page."""
    workloads = document["workloads"]
    rounds, load = document["rounds"], float(document["machine"]["load before"]) / int(document["machine"]["cores"])
    parts = [
        f"{document['date']}, `{document['command']}`, {document['minutes']:.0f} minutes: medians of {rounds} rounds, "
        "with the least and the most in brackets." + (PROVISIONAL if rounds < FEWEST_ROUNDS or load > MAX_LOAD else ""),
        f"## Overview\n\n{READING}\n\n{overview(workloads)}",
        "\n\n".join(f"![{text}]({name}.svg)" for name, text in PLOTS.items()),
        "## Workloads",
    ]
    for name, cells in workloads.items():
        workload = WORKLOADS.get(name)
        if workload is not None and not workload.scaling:
            parts.append(workload_table(workload.title, cells, bytes_matter=not workload.metadata_only).strip())
    parts.append("## Scaling\n\n100 KB files, whaul alone.\n\n" + scaling(workloads))
    parts.append("## Machine\n\n" + table(["", ""], list(document["machine"].items())))
    parts.append("## Versions\n\n" + table(["", ""], list(document["software"].items())))
    return "\n\n".join(parts)


def write_page(page: Path, text: str) -> None:
    """Put the figures between their markers."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page.name} has lost its markers {BEGIN!r} and {END!r}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
