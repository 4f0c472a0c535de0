"""Runs workloads in rounds, one contestant after the other, so that what slows the machine down slows all of them."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tools.bench.contestants import Contestant, Ground
from tools.bench.figures import cpu_ms_per_file, cpu_s_per_gb
from tools.bench.installs import NotThere
from tools.bench.report import digits
from tools.bench.runs import Failed, as_json, run
from tools.bench.workloads import Workload

Cells = dict[str, dict[str, Any]]
"""By contestant: `runs`, None for one that failed; `failed`, the last reason; `absent`, when it cannot run here."""


def takers(workload: Workload, contestants: Sequence[Contestant]) -> list[Contestant]:
    """The contestants of a workload."""
    invited = [c for c in contestants if workload.only is None or c.name in workload.only]
    return [contestant for contestant in invited if contestant.takes(workload)]


def sweep(
    workload: Workload, contestants: Sequence[Contestant], ground: Ground, rounds: int, say: Callable[[str], None]
) -> Cells:
    """Run one workload. A contestant that fails is noted with its reason, and the others go on."""
    taking = takers(workload, contestants)
    cells: Cells = {contestant.name: {"runs": []} for contestant in taking}
    for number in range(min(rounds, workload.rounds or rounds)):
        first = number % len(taking) if taking else 0
        for contestant in taking[first:] + taking[:first]:  # nobody always comes after the same one
            cell = cells[contestant.name]
            if cell.get("absent"):
                continue
            started = time.monotonic()
            try:
                done = as_json(run(contestant, workload, ground))
                note = f"{done['files']} files, {digits(cpu_ms_per_file(done))} CPU ms/file"
                note += f", {digits(cpu_s_per_gb(done))} CPU s/GB" if workload.large else ""
                cell["runs"].append(done)
            except Failed as failure:
                cell["runs"].append(None)
                cell["failed"] = str(failure)
                note = f"FAILED: {failure}"
            except NotThere as absence:
                cell["absent"], cell["failed"] = True, str(absence)
                note = f"SKIPPED: {absence}"
            took = time.monotonic() - started
            say(f"  {workload.name} #{number + 1} {contestant.name}: {note} [{took:.1f} s]")
    return cells


class Results:
    """The results file: saved after each workload, so that a run that was broken off can be resumed."""

    def __init__(self, path: Path, document: dict[str, Any]) -> None:
        self._path = path
        self.document = document
        self.document.setdefault("workloads", {})

    @classmethod
    def load(cls, path: Path) -> "Results | None":
        """What was saved; None when there is nothing."""
        if not path.exists():
            return None
        return cls(path, json.loads(path.read_text(encoding="utf-8")))

    def has(self, workload: Workload) -> bool:
        """Whether a workload has been run."""
        return workload.name in self.document["workloads"]

    def add(self, workload: Workload, cells: Cells) -> None:
        """Note a workload's runs, and save."""
        self.document["workloads"][workload.name] = cells
        self.save(self._path)

    def save(self, path: Path) -> None:
        """Write the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.document, indent=1)
        path.write_text(_one_line_each(text), encoding="utf-8")


def _one_line_each(text: str) -> str:
    """Put each run on a line of its own: small to look at, and small to commit."""
    lines: list[str] = []
    for line in text.splitlines():
        depth = len(line) - len(line.lstrip())
        if depth > RUN_DEPTH or (depth == RUN_DEPTH and line.strip()[0] in "}]"):
            lines[-1] += line.strip() + (" " if line.endswith(",") else "")
        else:
            lines.append(line)
    return "\n".join(line.rstrip() for line in lines) + "\n"


RUN_DEPTH = 5
