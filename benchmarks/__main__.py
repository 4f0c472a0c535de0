"""`./run bench`: whaul and its rivals, side by side on this machine."""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.contestants import CONTESTANTS, Contestant, Ground
from benchmarks.figures import WHAUL, cpu_ms_per_file, cpu_ratio, paired
from benchmarks.installs import NotThere
from benchmarks.report import digits, workload_table
from benchmarks.runs import Failed, as_json, run
from benchmarks.stage import stage
from benchmarks.workloads import QUICK, WORKLOADS, Workload
from whaul.local import clean_environment

ROUNDS = 3
QUICK_FLOOR = 1.2
"""`--quick` fails when boto3 + requests needs less than so many times whaul's CPU for each file."""


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments say; give the exit code."""
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the guard: one workload, two contestants, under a minute")
    parser.add_argument(
        "--workload", action="append", default=[], metavar="TEXT", help="only workloads whose name holds this"
    )
    parser.add_argument("--contestant", action="append", default=[], choices=[*CONTESTANTS], help="only these")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"runs of each cell (default: {ROUNDS})")
    parser.add_argument("--list", action="store_true", help="name the workloads and contestants")
    chosen = parser.parse_args(arguments)
    if chosen.list:
        print("workloads:  ", *WORKLOADS, "\ncontestants:", *CONTESTANTS)
        return 0
    if not Path("/proc/self/stat").exists():
        print("bench: CPU and memory are read from /proc: this needs Linux", file=sys.stderr)
        return 2
    _raise_open_files()
    with tempfile.TemporaryDirectory(prefix="whaul-bench-") as folder:
        environ = clean_environment()
        with stage(Path(folder), environ) as running:
            print(f"site: {running.server}", flush=True)
            ground = Ground(running, environ)
            if chosen.quick:
                return _quick(ground)
            workloads = [
                workload
                for name, workload in WORKLOADS.items()
                if not chosen.workload or any(text in name for text in chosen.workload)
            ]
            contestants = [CONTESTANTS[name] for name in chosen.contestant or CONTESTANTS]
            for workload in workloads:
                cells = _cells(workload, contestants, ground, chosen.rounds)
                print(workload_table(workload.name, cells), flush=True)
    return 0


def _cells(
    workload: Workload, contestants: Sequence[Contestant], ground: Ground, rounds: int
) -> dict[str, dict[str, Any]]:
    """Run a workload in rounds: one contestant after the other, and again."""
    takers = [
        contestant
        for contestant in contestants
        if contestant.takes(workload) and (workload.only is None or contestant.name in workload.only)
    ]
    cells: dict[str, dict[str, Any]] = {contestant.name: {"runs": []} for contestant in takers}
    for number in range(min(rounds, workload.rounds or rounds)):
        for contestant in takers:
            cell = cells[contestant.name]
            if cell.get("absent"):
                continue
            started = time.monotonic()
            try:
                done = as_json(run(contestant, workload, ground))
                note = f"{digits(cpu_ms_per_file(done))} CPU ms/file, {done['files']} files"
                cell["runs"].append(done)
            except Failed as failure:
                cell["runs"].append(None)
                cell["failed"] = note = str(failure)
            except NotThere as absence:
                cell["absent"], cell["failed"] = True, str(absence)
                note = f"SKIPPED: {absence}"
            took = time.monotonic() - started
            print(f"  {workload.name} round {number + 1} {contestant.name}: {note} [{took:.1f} s]", flush=True)
    return cells


def _quick(ground: Ground) -> int:
    pair = [CONTESTANTS[WHAUL], CONTESTANTS["boto3"]]
    cells = _cells(QUICK, pair, ground, 3)
    ours, theirs = cells[WHAUL]["runs"], cells["boto3"]["runs"]
    ratio = paired(ours, theirs, cpu_ratio)
    print(workload_table(QUICK.title, cells))
    if ratio is None:
        print("bench: there is no ratio, since a contestant failed", file=sys.stderr)
        return 1
    print(
        f"whaul moves {digits(ratio.median)} times the files per CPU second of boto3 + requests (floor: {QUICK_FLOOR})"
    )
    return 0 if ratio.median >= QUICK_FLOOR else 1


def _raise_open_files() -> None:
    """A thousand calls at once need more open files than a shell allows by default."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536) if hard != resource.RLIM_INFINITY else 65536, hard))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
