"""A shortened, seeded run of the fault bench; `./run faults` is the whole of it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tools.faults.bench import World, lane, world
from tools.faults.fault_table import DESTINATIONS, ROWS, SMALL, Row
from tools.faults.matrix import Cell, run_matrix
from tools.faults.process_faults import SCENARIOS, Story, tell
from tools.faults.soak import Soak, run_soak

SEED = 7
STREAMED = 3_000_000
"""Bytes of a file that is too large to be held whole, and stands for the 100 MB of the long run."""
LANES = 4
SOAK_SECONDS = 6.0
STORE_SCENARIO = next(name for name in SCENARIOS if name.startswith("S3 server killed"))
SHORT_SCENARIOS = [
    *(name for name in SCENARIOS if name != STORE_SCENARIO and not name.startswith("file descriptors")),
    STORE_SCENARIO,  # the last: it takes the store away from everything else
]


def short_cells() -> list[Cell]:
    """Each fault once: with each size and each destination in turn."""
    found = []
    for number, row in enumerate(row for row in ROWS if not row.slow):
        size_name, size = (("small", SMALL), ("streamed", STREAMED))[number // 2 % 2]
        destination = row.destinations[number % len(row.destinations)]
        found.append(Cell(_hastened(row), destination, size_name, size, brief_deadline=1.5))
    return found


def _hastened(row: Row) -> Row:
    values = {name: getattr(row, name) for name in Row.__slots__}
    return Row(**values | {"slowness": row.slowness / 3, "seconds": row.seconds / 2})


CELLS = short_cells()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("faults"), SEED) as running:
        yield running


@pytest.fixture(scope="module")
def played(bench: World) -> dict[str, Story]:
    """The matrix, with the stories beside it."""
    with ExitStack() as stack, ThreadPoolExecutor(1) as beside:
        ready = stack.enter_context(lane(bench, "stories"))
        stories = beside.submit(lambda: {name: tell(ready, name, 1, STREAMED) for name in SHORT_SCENARIOS[:-1]})
        run_matrix(bench, CELLS, lanes=LANES - 1, repeats=1)
        told = stories.result()
        told[STORE_SCENARIO] = tell(ready, STORE_SCENARIO, 1, STREAMED)
        return told


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_fault_of_the_network_loses_and_breaks_no_object(cell: Cell) -> None:
    assert cell.losses == []
    assert cell.misses == []
    assert cell.runs, "it did not run"


@pytest.mark.parametrize("name", SHORT_SCENARIOS)
def test_a_fault_of_a_process_loses_and_breaks_no_object(played: dict[str, Story], name: str) -> None:
    story = played[name]
    assert story.losses == []
    assert story.misses == []
    assert story.injected


@pytest.fixture(scope="module")
def soaked(bench: World, played: dict[str, Story]) -> Soak:
    assert played
    with lane(bench, "soak") as ready:
        return run_soak(ready, SOAK_SECONDS, callers=24, warm_up=2.0)


def test_a_soak_under_faults_loses_no_object_and_leaks_nothing(soaked: Soak) -> None:
    assert soaked.losses == []
    assert soaked.misses == []
    assert soaked.calls > 50
    assert soaked.highest is not None
    assert soaked.highest.tasks > 2, "the look inside sees tasks"
    assert sum(soaked.faults.values()) > 5


def test_the_bench_covers_both_destinations_on_every_link() -> None:
    assert {(row.link, destination) for row in ROWS for destination in row.destinations} == {
        (link, destination) for link in ("meta", "store", "client") for destination in DESTINATIONS
    }
