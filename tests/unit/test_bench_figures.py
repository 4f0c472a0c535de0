"""The benchmark's arithmetic, and its look at a process tree."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.bench import figures, report
from tools.bench.events import report as event_report
from tools.bench.instructions import counted
from tools.bench.measure import cpu_seconds, memory, tree
from tools.bench.scale import report as scale_report
from tools.bench.sweep import Results
from tools.bench.workloads import MIX, QUICK, WORKLOADS

DOCS = Path(__file__).parents[2] / "docs" / "benchmarks"

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


def a_run(**changed: Any) -> dict[str, Any]:
    return {
        "files": 100,
        "bytes": 10_000_000,
        "seconds": 2.0,
        "cpu": 0.5,
        "peak": 50_000_000,
        "p50_ms": 10.0,
        "p99_ms": 20.0,
    } | changed


def test_a_run_is_turned_into_its_figures() -> None:
    assert figures.files_per_second(a_run()) == 50
    assert figures.cpu_ms_per_file(a_run()) == 5
    assert figures.cpu_s_per_gb(a_run()) == 50
    assert figures.peak_mb(a_run()) == 50


def test_a_figure_is_the_median_with_the_least_and_the_most_of_the_runs_that_there_are() -> None:
    runs = [a_run(files=8), None, a_run(files=32), a_run(files=16)]
    assert figures.figure(runs, figures.files_per_second) == figures.Figure(8.0, 4.0, 16.0)
    assert figures.figure([None, None], figures.cpu_ms_per_file) is None
    assert figures.figure([], figures.cpu_ms_per_file) is None


def test_a_ratio_pairs_runs_of_the_same_round() -> None:
    ours = [a_run(cpu=1.0), a_run(cpu=2.0), None]
    theirs = [a_run(cpu=2.0), a_run(cpu=4.0), a_run(cpu=100.0)]
    assert figures.paired(ours, theirs, figures.cpu_ratio) == figures.Figure(2.0, 2.0, 2.0)
    assert figures.paired(ours, [None, None, a_run()], figures.cpu_ratio) is None


def test_a_ratio_above_one_means_that_the_rival_needs_more() -> None:
    assert figures.cpu_ratio(a_run(cpu=0.5), a_run(cpu=5.0)) == 10


def test_a_ratio_is_for_each_file_however_many_were_moved() -> None:
    assert figures.cpu_ratio(a_run(cpu=1.0, files=200), a_run(cpu=1.0, files=100)) == 2


def test_the_added_latency_is_what_is_beyond_the_hops() -> None:
    assert figures.added("p99")(a_run(p99_ms=4.0), a_run(p99_ms=20.0)) == 16


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.123, "0.12"), (9.994, "9.99"), (9.996, "10.0"), (99.96, "100"), (1234.5, "1,234"), (-98.6, "-98.6")],
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert report.digits(value) == text


def test_a_spread_is_shown_only_where_there_is_one() -> None:
    assert report.shown(figures.Figure(2.0, 1.0, 3.0)) == "2.00 (1.00\N{EN DASH}3.00)"
    assert report.shown(figures.Figure(2.0, 2.0, 2.0)) == "2.00"
    assert report.shown(None) == "\N{EN DASH}"


def test_a_contestant_that_failed_is_told_of_with_its_reason() -> None:
    cells = {
        "whaul": {"runs": [a_run(), a_run()]},
        "boto3": {"runs": [None, a_run(cpu=1.0)], "failed": "it broke"},
        "pywa": {"runs": [None, None], "failed": "it broke too"},
        "rclone": {"runs": [], "absent": True, "failed": "rclone is not installed"},
    }
    whaul, boto3, pywa, _ = report.rows(cells)
    assert (whaul[-1], boto3[-1], pywa[-1]) == ("1", "2.00", "\N{EN DASH}")
    assert report.notes(cells) == [
        "Failed in 1 of 2 runs: boto3 + requests. it broke.",
        "Failed in 2 of 2 runs: pywa + boto3. it broke too.",
        "Not run: rclone copyurl. rclone is not installed.",
    ]


def test_a_contestant_that_tells_no_latency_has_none_in_the_table() -> None:
    silent = a_run(p50_ms=None, p99_ms=None)
    cells = {"whaul": {"runs": [a_run()]}, "get": {"runs": [silent]}, "hops": {"runs": [a_run(p50_ms=4.0)]}}
    whaul, get, _ = report.rows(cells)
    assert whaul[5].startswith("6.00 / ")
    assert get[4:6] == ["\N{EN DASH}", "\N{EN DASH}"]


def test_the_committed_page_shows_the_committed_results() -> None:
    results = Results.load(DOCS / "results.json")
    assert results is not None
    text = f"{report.BEGIN}\n\n{report.figures_text(results.document)}\n\n{report.END}"
    assert text in (DOCS / "README.md").read_text(encoding="utf-8"), "`./run bench --render` writes the page again"
    assert all((DOCS / f"{name}.svg").exists() for name in report.PLOTS)


def test_the_page_keeps_what_is_outside_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write_page(page, "new")
    report.write_page(page, "newer")
    assert page.read_text() == f"before\n{report.BEGIN}\n\nnewer\n\n{report.END}\nafter\n"


def test_a_page_that_lost_its_markers_is_not_written(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{report.BEGIN}\n")
    with pytest.raises(SystemExit, match="markers"):
        report.write_page(page, "new")
    assert page.read_text() == f"before\n{report.BEGIN}\n"


def a_document(**changed: Any) -> dict[str, Any]:
    return {
        "date": "2026-11-23",
        "command": "./run bench",
        "minutes": 20.0,
        "rounds": 3,
        "machine": {"load before": "0.10", "cores": "2"},
        "software": {},
        "workloads": {"mix": {"whaul": {"runs": [a_run()]}}, "scale-w1-x1": {"whaul": {"runs": [a_run()]}}},
    } | changed


def test_the_text_says_that_figures_are_provisional_when_they_are() -> None:
    assert "Provisional" not in report.figures_text(a_document())
    assert "Provisional" in report.figures_text(a_document(rounds=2))
    assert "Provisional" in report.figures_text(a_document(machine={"load before": "1.60", "cores": "2"}))


def test_results_are_read_back_as_they_were_saved(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results = Results(path, {"date": "2026-11-23"})
    results.add(QUICK, {"whaul": {"runs": [a_run(), None]}, "boto3": {"runs": [], "failed": "why"}})
    loaded = Results.load(path)
    assert loaded is not None
    assert loaded.document == results.document == json.loads(path.read_text())
    assert loaded.has(QUICK)
    assert not loaded.has(WORKLOADS["mix"])
    assert len([line for line in path.read_text().splitlines() if '"cpu"' in line]) == 1


def test_nothing_saved_is_nothing_to_resume(tmp_path: Path) -> None:
    assert Results.load(tmp_path / "results.json") is None


def test_any_stretch_of_the_mix_holds_about_its_shares() -> None:
    kinds = WORKLOADS["mix"].kinds
    assert sorted(kinds) == sorted(MIX)
    images = [kinds[start : start + 10].count("k100") for start in range(0, len(kinds), 10)]
    assert max(images) - min(images) <= 1


@pytest.mark.parametrize(
    ("told", "number"),
    [
        ("12345,,instructions:u,1000,100.00,,\n", 12345.0),
        ("<not supported>,,instructions:u,0,100.00,,\n", None),
        ("<not counted>,,instructions:u,0,100.00,,\n", None),
        ("", None),
    ],
)
def test_instructions_are_known_only_when_they_were_counted(told: str, number: float | None) -> None:
    assert counted(told) == number


BUSY_CHILD = """
import subprocess, sys
subprocess.run([sys.executable, "-c", "x = 0\\nwhile __import__('time').process_time() < 0.3: x += 1"])
print("done", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def parent_of_busy_child() -> Iterator[int]:
    """A process that has done little, and whose child has spent 0.3 s of CPU and ended."""
    command = [sys.executable, "-c", BUSY_CHILD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        yield process.pid
        process.communicate()


@needs_proc
def test_the_cpu_of_a_child_that_ended_counts(parent_of_busy_child: int) -> None:
    assert cpu_seconds(parent_of_busy_child) >= 0.25  # each of four figures is cut to whole ticks
    children = cpu_seconds(parent_of_busy_child, children_only=True)
    assert 0.25 <= children <= cpu_seconds(parent_of_busy_child)


@needs_proc
def test_a_tree_is_a_process_with_its_descendants_and_no_others(parent_of_busy_child: int) -> None:
    assert set(tree(parent_of_busy_child)) == {parent_of_busy_child}
    assert memory(parent_of_busy_child) > 1_000_000


@needs_proc
def test_a_process_that_is_gone_has_no_tree_and_no_memory() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert tree(process.pid) == {}
    assert cpu_seconds(process.pid) == 0
    assert memory(process.pid) == 0


def test_the_committed_page_of_events_shows_its_committed_results() -> None:
    results = Results.load(DOCS / "events.json")
    assert results is not None
    text = f"{report.BEGIN}\n\n{event_report.figures_text(results.document)}\n\n{report.END}"
    assert text in (DOCS / "events.md").read_text(encoding="utf-8"), "`./run bench --events --render` writes it again"


def test_a_receiver_that_failed_is_told_of_and_has_no_ratio() -> None:
    run = dict.fromkeys((member for _, member in event_report.RATIOS), 2.0) | {
        "answer_p99": 4.0,
        "delivered_p99": 4.0,
        "burst_database_cpu": None,
        "idle": 50e6,
        "waiting": None,
    }
    half = run | {member: 1.0 for _, member in event_report.RATIOS}
    cells = {"whaul": {"runs": [half]}, "by-hand": {"runs": [run]}, "dbos": {"runs": [None], "failed": "it broke"}}
    table = event_report.setting_table("sqlite-2", cells)
    assert table.startswith("### SQLite, 2 processes")
    assert "on DBOS: failed: it broke." in table
    [whaul, dbos] = [line.split("|")[2:-1] for line in event_report.ratios(cells).splitlines()[2:]]
    assert {cell.strip() for cell in whaul} == {"0.50"}
    assert {cell.strip() for cell in dbos} == {"\N{EN DASH}"}


def test_what_a_load_needs_is_read_off_one_worker_and_the_most_processes() -> None:
    one = {"calls_per_second": 500.0, "calls_busiest": 50.0, "calls_cpu": 0.8, "calls_database_cpu": 0.01}
    four = one | {"calls_cpu": 1.2, "calls_database_cpu": 0.02}
    told = scale_report.capacity({"one process": {"runs": [one, None]}, "four processes": {"runs": [four]}})
    [row] = [[cell.strip() for cell in line.split("|")[1:-1]] for line in told.splitlines()[2:]]
    assert row == ["1,000 calls a second", "1.2", "0.0", "1,000", "2", "50,000"]
