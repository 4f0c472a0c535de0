"""`./run faults`: the fault bench. Exits with 1 when anything was lost, or ended otherwise than it had to."""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools.faults.bench import lane, world
from tools.faults.event_faults import LONG, Scenario, event_world, tell_events
from tools.faults.event_faults import SCENARIOS as EVENT_SCENARIOS
from tools.faults.fault_table import ROWS, SIZES
from tools.faults.matrix import Cell, cells, run_matrix
from tools.faults.process_faults import SCENARIOS, Story, tell
from tools.faults.report import (
    EVENT_MARKS,
    events_figures,
    figures,
    line_of,
    line_of_story,
    problems,
    soak_table,
    write_page,
)
from tools.faults.soak import Soak, run_soak

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
LANES = 3


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments say; print it; give the exit code."""
    parser = argparse.ArgumentParser(prog="./run faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="where faults strike (default: 1)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only faults whose name holds this")
    parser.add_argument("--size", choices=[*SIZES], help="only files of this size")
    parser.add_argument("--lanes", type=int, default=LANES, help=f"cells at the same time (default: {LANES})")
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="a soak of so long, and nothing else")
    parser.add_argument("--all", action="store_true", help="the matrix, and then a soak of 10 minutes")
    parser.add_argument("--write", action="store_true", help="write the figures into docs/reliability.md")
    parser.add_argument("--events", action="store_true", help="webhooks and events, instead of files")
    chosen = parser.parse_args(arguments)
    if chosen.events:
        return _events(chosen.only, chosen.lanes, write=chosen.write)
    started = time.monotonic()
    sizes = {chosen.size: SIZES[chosen.size]} if chosen.size else SIZES
    matrix: list[Cell] = []
    names: list[str] = []
    if chosen.soak is None:
        matrix = [cell for cell in cells(ROWS, sizes) if chosen.only in cell.name]
        names = [name for name in SCENARIOS if chosen.only in name]
    stories: list[Story] = []
    soak: Soak | None = None
    with tempfile.TemporaryDirectory(prefix="whaul-faults-") as folder, world(Path(folder), chosen.seed) as shared:
        if matrix:
            run_matrix(shared, matrix, lanes=chosen.lanes, repeats=1, told=lambda cell: _say(line_of(cell)))
        with lane(shared, "stories") as ready:
            for name in names:
                stories.append(tell(ready, name))
                _say(line_of_story(stories[-1]))
        if chosen.soak or chosen.all:
            with lane(shared, "soak") as ready:
                soak = run_soak(ready, chosen.soak or 600.0)
            _say("\n" + soak_table(soak))
    text = figures(matrix, stories, soak, seed=chosen.seed, seconds=time.monotonic() - started)
    if chosen.write:
        write_page(PAGE, text)
    if matrix or stories:
        _say("\n" + text.partition("\n")[0].replace("**", ""))
    wrong = problems(matrix, stories, soak)
    for problem in wrong:
        _say(f"PROBLEM {problem}")
    return 1 if wrong else 0


def _events(only: str, lanes: int, *, write: bool) -> int:
    started = time.monotonic()
    pairs = [(scenario, database) for scenario in EVENT_SCENARIOS for database in scenario.databases]
    chosen = [(scenario, database) for scenario, database in pairs if only in f"{scenario.name} ({database})"]

    def told(scenario: Scenario, database: str) -> Story:
        story = tell_events(shared, scenario, database, LONG)
        _say(line_of_story(story))
        return story

    with tempfile.TemporaryDirectory(prefix="whaul-faults-") as folder, event_world(Path(folder)) as shared:
        with ThreadPoolExecutor(lanes) as pool:
            stories = list(pool.map(lambda pair: told(*pair), [pair for pair in chosen if not pair[0].alone]))
        stories += [told(*pair) for pair in chosen if pair[0].alone]
    text = events_figures(stories, seconds=time.monotonic() - started)
    if write:
        write_page(PAGE, text, EVENT_MARKS)
    _say("\n" + text.partition("\n")[0].replace("**", ""))
    wrong = problems([], stories, None)
    for problem in wrong:
        _say(f"PROBLEM {problem}")
    return 1 if wrong else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
