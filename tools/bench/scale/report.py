"""The tables of `./run bench --scale`."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tools.bench.figures import Figure, RunData, figure
from tools.bench.report import FEWEST_ROUNDS, MAX_LOAD, PROVISIONAL, Cells, shown, table

PROCESSES: Final = "processes on one PostgreSQL"
COLUMNS: Final = {
    "calls_cpu": "CPU ms a call",
    "calls_database_cpu": "… PostgreSQL's",
    "calls_per_second": "calls/s",
    "events_cpu": "CPU ms a delivery",
    "events_database_cpu": "… PostgreSQL's",
    "events_per_second": "events/s",
}
TARGET: Final = 1000
"""Calls, or messages, a second, for which nodes are counted."""


def figures_text(document: Mapping[str, Any]) -> str:
    """All that is generated of the page."""
    machine, rounds = document["machine"], document["rounds"]
    busy = rounds < FEWEST_ROUNDS or float(machine["load before"]) / int(machine["cores"]) > MAX_LOAD
    parts = [
        f"{document['date']}, `{document['command']}`, {document['minutes']:.0f} minutes: medians of {rounds} rounds, "
        "with the least and the most in brackets." + (PROVISIONAL if busy else "")
    ]
    for title, cells in document["workloads"].items():
        parts.append(f"### {title[0].upper()}{title[1:]}\n\n{_table(title, cells)}")
        if title == PROCESSES:
            parts.append(cores(cells))
    parts.append("### Machine and versions\n\n" + table(["", ""], [*machine.items(), *document["software"].items()]))
    return "\n\n".join(parts)


def cores(cells: Cells) -> str:
    """How many cores a thousand calls, or messages, a second keep busy, with the most processes that were measured."""
    runs = [*cells.values()][-1]["runs"]
    body = []
    for what, name in (("calls", "calls"), ("messages in, one delivery each", "events")):
        own, database = (_of(runs, f"{name}_{whose}") for whose in ("cpu", "database_cpu"))
        if own and database:
            busy = [f"{TARGET * each.median / 1000:.1f}" for each in (own, database)]
            body.append([f"{TARGET:,} {what} a second", *busy])
    return table(["", "cores for whaul", "cores for PostgreSQL"], body)


def _table(title: str, cells: Cells) -> str:
    known = [name for name in COLUMNS if any(name in run for cell in cells.values() for run in cell["runs"])]
    body = [[name, *(shown(_of(cell["runs"], column)) for column in known)] for name, cell in cells.items()]
    return table(["" if title == PROCESSES else title, *(COLUMNS[name] for name in known)], body)


def _of(runs: Sequence[RunData], name: str) -> Figure | None:
    return figure(runs, lambda run: float(run[name]))
