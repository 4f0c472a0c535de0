"""The tables of `./run bench --scale`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tools.bench.figures import Figure, RunData, figure
from tools.bench.report import DASH, FEWEST_ROUNDS, MAX_LOAD, PROVISIONAL, Cells, shown, table

PROCESSES: Final = "processes on one PostgreSQL"
COLUMNS: Final = {
    "calls_cpu": "CPU ms a call",
    "calls_database_cpu": "… PostgreSQL's",
    "calls_per_second": "calls/s",
    "events_cpu": "CPU ms a delivery",
    "events_database_cpu": "… PostgreSQL's",
    "events_per_second": "events/s",
    "deliveries_per_second": "deliveries/s",
    "memory": "MB",
}
BUSY: Final = {
    "calls_busiest": "calls: busiest thread, % of a core",
    "calls_machine": "… everyone, % of all cores",
    "events_busiest": "events: busiest thread, % of a core",
    "events_machine": "… everyone, % of all cores",
}
FULL: Final = 0.7
"""How much of what it bears at most a worker is given, so that a peak finds room."""
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
            parts += [_table(title, cells, BUSY), capacity(cells)]
    parts.append("### Machine and versions\n\n" + table(["", ""], [*machine.items(), *document["software"].items()]))
    return "\n\n".join(parts)


def capacity(cells: Cells) -> str:
    """What a thousand calls, or messages, a second need.

    Cores are those of the most processes that were measured. A worker bears what would fill its busiest thread.
    """
    alone, *_, most = (cell["runs"] for cell in cells.values())
    body = []
    for what, name in (("calls", "calls"), ("messages in, one delivery each", "events")):
        own, database = (_of(most, f"{name}_{whose}") for whose in ("cpu", "database_cpu"))
        done, busiest = (_of(alone, f"{name}_{what_of_it}") for what_of_it in ("per_second", "busiest"))
        if own and database and done and busiest:
            bears = done.median * 100 / busiest.median
            cores = [f"{TARGET * each.median / 1000:.1f}" for each in (own, database)]
            limit = f"{1000 / database.median:,.0f}" if database.median else DASH
            workers = math.ceil(TARGET / (FULL * bears))
            body.append([f"{TARGET:,} {what} a second", *cores, f"{bears:,.0f}", str(workers), limit])
    columns = ["cores for whaul", "cores for PostgreSQL", "a worker bears at most", f"workers at {FULL:.0%} of that"]
    return table(["", *columns, "a core of PostgreSQL bears"], body)


def _table(title: str, cells: Cells, columns: Mapping[str, str] = COLUMNS) -> str:
    known = [name for name in columns if any(name in (run or ()) for cell in cells.values() for run in cell["runs"])]
    body = [[name, *(shown(_of(cell["runs"], column)) for column in known)] for name, cell in cells.items()]
    return table(["" if title == PROCESSES else title, *(columns[name] for name in known)], body)


def _of(runs: Sequence[RunData | None], name: str) -> Figure | None:
    return figure([run for run in runs if run and name in run], lambda run: float(run[name]))
