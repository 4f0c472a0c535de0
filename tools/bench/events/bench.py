"""Runs the settings in rounds, one contestant after the other, and writes docs/benchmarks/events.md."""

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from tools.bench.events.contestants import BY_HAND, CONTESTANTS, WHAUL, Contestant
from tools.bench.events.report import figures_text, setting_table
from tools.bench.events.runs import Size, Stage, endpoint, run
from tools.bench.installs import FOLDER, NotThere
from tools.bench.machine import ROOT, machine, software
from tools.bench.report import digits, write_page
from tools.bench.runs import Failed
from tools.bench.sweep import Cells, Results
from tools.certificates import make_certificates
from tools.postgresql import postgresql_server
from whaul.stack.processes import StackError

FULL = Size(rate=100, seconds=3, burst=500, waiting=5000)
QUICK = Size(rate=100, seconds=3, burst=500, waiting=2000)
DOCS = ROOT / "docs" / "benchmarks"
SAVED = FOLDER / "events.json"


@dataclass(frozen=True)
class Setting:
    """A database, and how many processes share it."""

    kind: str
    processes: int

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.processes}"


SETTINGS = [Setting(kind, processes) for kind in ("sqlite", "postgresql") for processes in (1, 2)]


@dataclass(frozen=True)
class Ground:
    """What all runs share."""

    stage: Stage
    say: Callable[[str], None]

    def sweep(self, setting: Setting, contestants: Sequence[Contestant], size: Size, rounds: int) -> Cells:
        """Run a setting. A contestant that fails is noted with its reason, and the others go on."""
        taking = [each for each in contestants if each.takes(setting.kind, setting.processes)]
        cells: Cells = {each.name: {"runs": []} for each in taking}
        for number in range(rounds):
            first = number % len(taking)
            for contestant in taking[first:] + taking[:first]:  # nobody always comes after the same one
                # What waits takes long to set up, and hardly varies: once is enough.
                its = size if not number and setting.processes == 1 else replace(size, waiting=0)
                if not cells[contestant.name].get("absent"):
                    note = self._run(contestant, setting, its, cells)
                    self.say(f"  {setting.name} #{number + 1} {contestant.name}: {note}")
        return cells

    def _run(self, contestant: Contestant, setting: Setting, size: Size, cells: Cells) -> str:
        cell, started = cells[contestant.name], time.monotonic()
        try:
            done = run(contestant, setting.kind, setting.processes, size, self.stage)
        except NotThere as absence:
            cell["absent"], cell["failed"] = True, str(absence)
            return f"SKIPPED: {absence}"
        except (Failed, StackError, OSError, subprocess.SubprocessError, ValueError) as error:
            cell["runs"].append(None)
            cell["failed"] = (str(error).splitlines() or [repr(error)])[-1][:300]
            return f"FAILED: {cell['failed']}"
        cell["runs"].append(done)
        return (
            f"{digits(done['burst_cpu'])} CPU ms an event, {digits(done['burst_per_second'])} events/s, "
            f"answer {digits(done['answer_p50'])} ms [{time.monotonic() - started:.0f} s]"
        )


def main(folder: Path, environ: dict[str, str], rounds: int, say: Callable[[str], None], *, quick: bool) -> int:
    """Run everything and write the page; or, quickly, whaul and the receiver written by hand with one process."""
    make_certificates(folder)
    with postgresql_server("") as postgresql, endpoint(folder, environ) as at:  # fsync on, as PostgreSQL has it
        ground = Ground(Stage(at, folder, postgresql), say)
        if quick:
            chosen = [CONTESTANTS[WHAUL], CONTESTANTS[BY_HAND]]
            for setting in SETTINGS:
                if setting.processes == 1:
                    cells = ground.sweep(setting, chosen, QUICK, rounds)
                    say("\n" + setting_table(setting.name, cells) + "\n")
            return 0
        started = time.monotonic()
        document = {
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "command": f"./run bench --events --rounds {rounds}",
            "rounds": rounds,
            "size": asdict(FULL),
            "machine": machine(),
        }
        results = Results(SAVED, document)
        for setting in SETTINGS:
            cells = ground.sweep(setting, [*CONTESTANTS.values()], FULL, rounds)
            results.document["workloads"][setting.name] = cells
            results.document["minutes"] = round((time.monotonic() - started) / 60, 2)
            results.save(SAVED)
        results.document["software"] = software("not used")
    return render(results, say)


def render(results: Results | None, say: Callable[[str], None]) -> int:
    """Write the page from results."""
    if results is None:
        say("bench: there is no docs/benchmarks/events.json")
        return 2
    results.save(DOCS / "events.json")
    write_page(DOCS / "events.md", figures_text(results.document))
    say("written: docs/benchmarks/events.md")
    return 0
