"""Every row of the table of errors is shown by a test."""

from importlib import import_module
from pathlib import Path

from harness.error_rows import ROWS, SHOWN


def test_every_row_of_the_table_of_errors_is_shown() -> None:
    for path in Path(__file__).parent.glob("test_*.py"):
        if "@shows(" in path.read_text(encoding="utf-8"):
            import_module(f"e2e.{path.stem}")
    assert ROWS.keys() == SHOWN
