"""What commands print, and what they read of the environment."""

import json
import os
from collections.abc import Sequence

import typer


def document(value: object) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def rows(table: Sequence[Sequence[str]]) -> None:
    """Print rows, indented, their columns aligned."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        typer.echo("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def environment(name: str) -> str | None:
    """Read a variable; None when it is unset or empty."""
    return os.environ.get(name) or None
