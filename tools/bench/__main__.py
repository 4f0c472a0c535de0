"""`./run bench`: whaul and its rivals, side by side on this machine."""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tools.bench import traces
from tools.bench.contestants import CONTESTANTS, Ground
from tools.bench.events import bench as events
from tools.bench.figures import WHAUL, cpu_ratio, paired
from tools.bench.installs import FOLDER
from tools.bench.instructions import per_file
from tools.bench.machine import ROOT, machine, software
from tools.bench.report import digits, figures_text, workload_table, write_page
from tools.bench.scale import bench as scale
from tools.bench.stage import stage
from tools.bench.sweep import Results, sweep
from tools.bench.workloads import QUICK, WORKLOADS
from whaul.stack.local import clean_environment

ROUNDS = 3
QUICK_FLOOR = 2.5
"""`--quick` fails when whaul moves fewer than this many times as many files per CPU second as boto3 + requests."""
RIVAL = "boto3"
SAVED = FOLDER / "results.json"
DOCS = ROOT / "docs" / "benchmarks"


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments say; give the exit code."""
    chosen = _arguments(arguments)
    if chosen.list:
        print("workloads:  ", *WORKLOADS, "\ncontestants:", *CONTESTANTS)
        return 0
    if chosen.render:
        return _rendered(chosen)
    if not Path("/proc/self/stat").exists():
        print("bench: CPU and memory are read from /proc: this needs Linux", file=sys.stderr)
        return 2
    _raise_open_files()
    return _measured(chosen)


def _rendered(chosen: argparse.Namespace) -> int:
    if chosen.events:
        return events.render(Results.load(DOCS / "events.json"), _say)
    if chosen.scale:
        return scale.render(Results.load(DOCS / "scale.json"), _say)
    return _render(Results.load(DOCS / "results.json"))


def _measured(chosen: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="whaul-bench-") as folder:
        environ = clean_environment()
        if chosen.events:
            return events.main(Path(folder), environ, chosen.rounds, _say, quick=chosen.quick)
        if chosen.scale:
            return scale.main(Path(folder), environ, chosen.rounds, _say)
        with stage(Path(folder), environ) as running:
            ground = Ground(running, environ)
            if chosen.quick:
                return _quick(ground)
            if chosen.traces:
                return traces.bench(ground, chosen.rounds, _say)
            if chosen.workload or chosen.contestant:
                return _some(ground, chosen)
            results = _all(ground, chosen.rounds, resume=chosen.resume)
    return _render(results)


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument("--events", action="store_true", help="webhooks and events, instead of files")
    parser.add_argument("--scale", action="store_true", help="more processes, and fuller databases")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="the guard: under a minute; of --events about two",
    )
    parser.add_argument("--traces", action="store_true", help="what traces cost a call; the more --rounds the better")
    parser.add_argument(
        "--workload", action="append", default=[], metavar="TEXT", help="only workloads whose name holds this"
    )
    parser.add_argument("--contestant", action="append", default=[], choices=[*CONTESTANTS], help="only these")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"runs of each cell (default: {ROUNDS})")
    parser.add_argument("--resume", action="store_true", help="go on with a whole run that was broken off")
    parser.add_argument("--render", action="store_true", help="write tables and plots from results.json again")
    parser.add_argument("--list", action="store_true", help="name the workloads and contestants")
    return parser.parse_args(arguments)


def _say(line: str) -> None:
    print(line, flush=True)


def _some(ground: Ground, chosen: argparse.Namespace) -> int:
    """Run a choice, and print it."""
    contestants = [CONTESTANTS[name] for name in chosen.contestant or CONTESTANTS]
    workloads = [
        workload
        for name, workload in WORKLOADS.items()
        if not chosen.workload or any(text in name for text in chosen.workload)
    ]
    for workload in workloads:
        cells = sweep(workload, contestants, ground, chosen.rounds, _say)
        _say("\n" + workload_table(workload.title, cells, bytes_matter=not workload.metadata_only))
    return 0


def _all(ground: Ground, rounds: int, *, resume: bool) -> Results:
    """Run everything, and save it as it comes."""
    results = Results.load(SAVED) if resume else None
    if results is None:
        command = "./run bench" + (f" --rounds {rounds}" if rounds != ROUNDS else "")
        document = {
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "command": command,
            "rounds": rounds,
            "minutes": 0.0,
            "machine": machine(),
        }
        results = Results(SAVED, document)
    for number, workload in enumerate(WORKLOADS.values(), start=1):
        if results.has(workload):
            continue
        _say(f"{number} of {len(WORKLOADS)}: {workload.title}")
        started = time.monotonic()
        cells = sweep(workload, [*CONTESTANTS.values()], ground, results.document["rounds"], _say)
        results.document["minutes"] = round(results.document["minutes"] + (time.monotonic() - started) / 60, 2)
        results.document["software"] = software(ground.stage.nginx)
        results.add(workload, cells)
    return results


def _render(results: Results | None) -> int:
    """Write docs/benchmarks."""
    from tools.bench.plots import draw  # noqa: PLC0415 - matplotlib takes its time

    if results is None:
        print("bench: there is no docs/benchmarks/results.json", file=sys.stderr)
        return 2
    results.save(DOCS / "results.json")
    draw(results.document["workloads"], DOCS)
    write_page(DOCS / "README.md", figures_text(results.document))
    _say("written: docs/benchmarks")
    return 0


def _quick(ground: Ground) -> int:
    """Print the ratio to boto3 + requests; 1 when it is below the floor."""
    cells = sweep(QUICK, [CONTESTANTS[WHAUL], CONTESTANTS[RIVAL]], ground, 3, _say)
    ratio = paired(cells[WHAUL]["runs"], cells[RIVAL]["runs"], cpu_ratio)
    _say("\n" + workload_table(QUICK.title, cells))
    _say(f"CPU instructions of a call: {per_file(ground, QUICK)}")
    if ratio is None:
        print("bench: there is no ratio, since a contestant failed", file=sys.stderr)
        return 1
    _say(
        f"whaul moves {digits(ratio.median)} times the files per CPU second of boto3 + requests; at least {QUICK_FLOOR}"
    )
    return 0 if ratio.median >= QUICK_FLOOR else 1


def _raise_open_files() -> None:
    """A thousand calls at once need more open files than a shell allows by default."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
