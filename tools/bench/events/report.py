"""The tables of `./run bench --events`, and the page that holds them."""

from collections.abc import Mapping, Sequence
from typing import Any

from tools.bench.events.contestants import BY_HAND, CONTESTANTS
from tools.bench.figures import Figure, Measure, RunData, figure, paired
from tools.bench.report import FEWEST_ROUNDS, MAX_LOAD, PROVISIONAL, Cells, shown, table

TITLES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
COLUMNS = (
    "contestant",
    "answer, p50 / p99 ms",
    "delivered, p50 / p99 ms",
    "CPU ms an event, steady",
    "… in a burst",
    "… PostgreSQL's",
    "events/s in a burst",
    "1,000 items ms",
    "MB idle / most / waiting",
)
RATIOS: tuple[tuple[str, str], ...] = (
    ("answer p50", "answer_p50"),
    ("delivered p50", "delivered_p50"),
    ("CPU, steady", "steady_cpu"),
    ("CPU, burst", "burst_cpu"),
    ("events/s", "burst_per_second"),
    ("1,000 items", "batch"),
    ("memory", "peak"),
)


def title(name: str) -> str:
    """The heading of a setting such as `sqlite-1`."""
    kind, _, processes = name.partition("-")
    return f"{TITLES[kind]}, {'one process' if processes == '1' else f'{processes} processes'}"


def rows(cells: Cells) -> list[list[str]]:
    """A row for each contestant."""
    found = []
    for name, cell in cells.items():
        runs = cell["runs"]
        memory = [shown(_of(runs, member, 1e-6), spread=False) for member in ("idle", "peak", "waiting")]
        found.append(
            [
                CONTESTANTS[name].title,
                _pair(runs, "answer"),
                _pair(runs, "delivered"),
                shown(_of(runs, "steady_cpu")),
                shown(_of(runs, "burst_cpu")),
                shown(_of(runs, "burst_database_cpu")),
                shown(_of(runs, "burst_per_second")),
                shown(_of(runs, "batch"), spread=False),
                " / ".join(memory),
            ]
        )
    return found


def ratios(cells: Cells) -> str:
    """All in terms of the receiver that was written by hand, taken in each round."""
    base = cells.get(BY_HAND, {}).get("runs", [])
    body = []
    for name, cell in cells.items():
        if name != BY_HAND:
            found = [paired(base, cell["runs"], _ratio(member)) for _, member in RATIOS]
            body.append([CONTESTANTS[name].title, *(shown(ratio) for ratio in found)])
    return table(["÷ written by hand", *(text for text, _ in RATIOS)], body)


def setting_table(name: str, cells: Cells) -> str:
    """The heading and the tables of one setting, and what went wrong."""
    notes = [
        f"\n\n{CONTESTANTS[each].title}: {'not run' if cell.get('absent') else 'failed'}: {cell['failed']}."
        for each, cell in cells.items()
        if cell.get("failed")
    ]
    return f"### {title(name)}\n\n{table(COLUMNS, rows(cells))}\n\n{ratios(cells)}{''.join(notes)}"


def figures_text(document: Mapping[str, Any]) -> str:
    """All that is generated of the page."""
    machine, rounds, size = document["machine"], document["rounds"], document["size"]
    busy = rounds < FEWEST_ROUNDS or float(machine["load before"]) / int(machine["cores"]) > MAX_LOAD
    parts = [
        f"{document['date']}, `{document['command']}`, {document['minutes']:.0f} minutes: medians of {rounds} rounds, "
        f"with the least and the most in brackets. Steady: {size['rate']} events a second for {size['seconds']:.0f} s. "
        f"Burst: {size['burst']:,} events. Waiting: {size['waiting']:,} events." + (PROVISIONAL if busy else "")
    ]
    parts += [setting_table(name, cells) for name, cells in document["workloads"].items()]
    parts.append("### Machine and versions\n\n" + table(["", ""], [*machine.items(), *document["software"].items()]))
    return "\n\n".join(parts)


def _pair(runs: Sequence[RunData | None], name: str) -> str:
    found = [shown(_of(runs, f"{name}_{rank}"), spread=False) for rank in ("p50", "p99")]
    return " / ".join(found)


def _of(runs: Sequence[RunData | None], member: str, scale: float = 1.0) -> Figure | None:
    measure: Measure = lambda run: run[member] * scale  # noqa: E731
    return figure([run for run in runs if run is not None and run[member] is not None], measure)


def _ratio(member: str) -> Any:
    return lambda base, run: run[member] / base[member]
