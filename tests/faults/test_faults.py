"""A dozen squares of the fault bench's matrix, one after the other seed; `./run faults` is the whole of it."""

from collections.abc import Iterator

import pytest

from tools.faults.bench import World, world
from tools.faults.fault_table import DESTINATIONS, ROWS, SMALL, Row
from tools.faults.matrix import Cell, run_matrix

pytestmark = pytest.mark.long

SEED = 7
STREAMED = 3_000_000
"""Bytes of a file that is too large to be held whole, and stands for the 100 MB of the long run."""
LANES = 2
CHOSEN = (
    ("meta", "description: reset before the answer"),
    ("meta", "reset after N bytes, once"),
    ("meta", "closed after N bytes, always"),
    ("meta", "one bit corrupted, once"),
    ("store", "answer lost by a reset, file stored"),
    ("store", "reset after N bytes, once"),
    ("store", "closed after N bytes, once"),
    ("store", "closed between head and body, once"),
    ("store", "one bit corrupted, always"),
    ("client", "request: one bit corrupted"),
    ("client", "answer lost by a reset"),
    ("client", "answer closed after N bytes"),
)


def squares() -> list[Cell]:
    """The rows that were chosen, with each size and each destination in turn."""
    rows: dict[tuple[str, str], Row] = {(row.link, row.name): row for row in ROWS}
    found = []
    for number, row in enumerate(rows[key] for key in CHOSEN):
        size_name, size = (("small", SMALL), ("streamed", STREAMED))[number // 2 % 2]
        destination = row.destinations[number % len(row.destinations)]
        found.append(Cell(row, destination, size_name, size, brief_deadline=1.5))
    return found


SQUARES = squares()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("faults"), SEED) as running:
        run_matrix(running, SQUARES, lanes=LANES, repeats=1)
        yield running


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize("cell", SQUARES, ids=lambda cell: cell.name)
def test_a_fault_of_the_network_loses_and_breaks_no_object(cell: Cell) -> None:
    assert cell.losses == []
    assert cell.misses == []
    assert cell.runs, "it did not run"


def test_the_bench_covers_both_destinations_on_every_link() -> None:
    assert {(row.link, destination) for row in ROWS for destination in row.destinations} == {
        (link, destination) for link in ("meta", "store", "client") for destination in DESTINATIONS
    }
