"""What commands print. Whatever others wrote in it reaches a terminal as visible text only; `--json` stays exact."""

import io
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from whaul.terminal import visible


class OutputError(Exception):
    """Standard output takes no more: it is full, or nobody reads it."""


def prepare() -> None:
    """Make the standard streams safe to use where they are closed or do not take all of Unicode. Raises `OutputError`.

    A closed stream leaves its number to the next file that is opened, a database say, which would be written over.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115 - for as long as the program runs
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    if sys.stdout is None:
        raise OutputError("standard output is closed; redirect it to a file, or to /dev/null")
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Libraries' own lines, asyncio's about a forgotten task say, repeat what they were given, secrets too.
    logging.getLogger().addHandler(logging.NullHandler())


def line(text: str) -> None:
    """Print one line on standard output. Raises `OutputError`."""
    with _translated():
        print(visible(text), flush=True)  # noqa: T201 - the command line's voice


def tell(text: str) -> None:
    """Print one line on standard error; a reader that is gone, or a full disk, changes nothing."""
    with suppress(OSError):
        print(visible(text), file=sys.stderr, flush=True)  # noqa: T201 - the command line's voice


def confirms(question: str) -> bool:
    """Ask for a yes; anything else is a no, the end of standard input too. Raises `OutputError`."""
    with _translated():
        print(f"{visible(question)} [y/N]: ", end="", flush=True)  # noqa: T201 - the command line's voice
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def document(value: object) -> None:
    """Print one JSON document. Raises `OutputError`."""
    with _translated():
        text = json.dumps(value, indent=2, ensure_ascii=not _takes_unicode())
        print(text, flush=True)  # noqa: T201 - the command line's voice


def rows(table: Sequence[Sequence[str]]) -> None:
    """Print rows, indented, their columns aligned. Raises `OutputError`."""
    shown = [[visible(cell) for cell in row] for row in table]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        line("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def environment(name: str) -> str | None:
    """Read a variable; None when it is unset or empty."""
    return os.environ.get(name) or None


def _takes_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"standard output cannot be written: {error.strerror}") from error


def finish(code: int) -> None:
    """End the program with an exit code unless it is 0, once all that was printed is out; 1 where it cannot be.

    Not by `sys.exit`: the HTTP client's threads may be at work still, and an interpreter that is taken down in order
    aborts now and then when it meets one of them (exit code 134).
    """
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except OSError as error:
            if not code:
                tell(f"whaul: standard output cannot be written: {error.strerror}")
            code = code or 1
    if code:
        with suppress(OSError):
            sys.stderr.flush()
        os._exit(code)
