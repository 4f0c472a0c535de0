"""The standard streams of commands. Text that others wrote is shown as visible text; `--json` stays exact."""

import atexit
import errno
import io
import json
import logging
import os
import select
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, TextIO, cast

from whaul.terminal import takes_colour, visible, visible_json

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


class OutputError(Exception):
    """Standard output cannot be written: it is full or closed."""


class UnansweredError(OutputError):
    """A question was asked where nobody answers."""


class UnreadError(OutputError):
    """Nobody reads standard output any more, as when `head` has seen enough."""


def prepare() -> None:
    """Make the standard streams safe to use if they are closed or cannot encode all of Unicode. Raises `OutputError`.

    The number of a closed stream goes to the next file that is opened. If that is a database, output overwrites it.
    """
    if sys.stdin is None:
        sys.stdin = _nothing("r")
    if sys.stderr is None:
        sys.stderr = _nothing("w")
    if sys.stdout is None:
        raise OutputError("standard output is closed; redirect it to a file, or to /dev/null")
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Libraries' own log lines may repeat secrets, for example asyncio's about a task that failed unnoticed.
    logging.getLogger().addHandler(logging.NullHandler())


def _nothing(mode: str) -> TextIO:
    """Open /dev/null in place of a closed stream, for this program and those that it becomes or starts."""
    stream = cast("TextIO", open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - never closed
    os.set_inheritable(stream.fileno(), True)
    return stream


def standard_input() -> BinaryIO:
    """Return the bytes of standard input. Raises OSError if it was closed when the program started."""
    if getattr(sys.stdin, "name", "") == os.devnull:
        raise OSError(errno.EBADF, "it is closed")
    return sys.stdin.buffer


def line(text: str, *, must_be_read: bool = False) -> None:
    """Print one line on standard output. Raises `OutputError`.

    Nothing happens if nobody reads it any more: what a command does, and its exit code, do not depend on that. If
    they do, it `must_be_read`; then `UnreadError` is raised.
    """
    with _translated(must_be_read=must_be_read):
        print(visible(text), flush=True)  # noqa: T201 - the command line's voice


def page(text: str) -> None:
    """Print lines of ours, which may hold colours. Raises `OutputError`."""
    with _translated():
        print(text, flush=True)  # noqa: T201 - the command line's voice


def styled(text: str, *styles: str) -> str:
    """Text for `page`, visible, in a style if standard output takes colours."""
    if not styles or not takes_colour(sys.stdout):
        return visible(text)
    return f"\x1b[{';'.join(STYLES[style] for style in styles)}m{visible(text)}\x1b[0m"


def console(*, stderr: bool = False, **options: Any) -> "Console":
    """Rich's console, with colours and bold where the stream takes them."""
    from rich.console import Console

    takes = takes_colour(sys.stderr if stderr else sys.stdout)
    return Console(stderr=stderr, highlight=False, color_system="auto" if takes else None, **options)


def itself() -> str:
    """How the user can start this program: `whaul`, or its path where the shell would find none, or another one."""
    program = Path(sys.argv[0]).absolute()
    found = shutil.which("whaul")
    if found is not None and Path(found).absolute() == program:
        return "whaul"
    if program.name != "whaul":
        return f"{Path(sys.executable).name} -m whaul"
    folder = Path.cwd()
    return str(program.relative_to(folder) if program.is_relative_to(folder) else program)


def tell(text: str) -> None:
    """Print one line on standard error. If it is full or closed, nothing happens."""
    with suppress(OSError):
        print(visible(text), file=sys.stderr, flush=True)  # noqa: T201 - the command line's voice


def tell_page(text: str) -> None:
    """Print lines of ours, which may hold colours, on standard error. If it is full or closed, nothing happens."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - the command line's voice


def confirms(question: str, *, aside: bool = False) -> bool:
    """Ask a question. Anything but yes is a no. Raises `OutputError`, also at the end of standard input.

    It is asked `aside`, on standard error, where standard output is a document.
    """
    stream = sys.stderr if aside else sys.stdout
    try:
        with _translated(must_be_read=True):
            print(f"{visible(question)} [y/N]: ", end="", file=stream, flush=True)
        answer = sys.stdin.readline()
    except UnreadError:
        answer = ""
    if not answer:
        (tell if aside else line)("")
        raise UnansweredError("nothing was changed: nobody is there to answer; give --yes")
    return answer.strip().lower() in {"y", "yes"}


def document(value: object, *, must_be_read: bool = False) -> None:
    """Print one JSON document. Raises `OutputError`, as `line` does."""
    with _translated(must_be_read=must_be_read):
        for text in json.dumps(value, indent=2, ensure_ascii=not _takes_unicode()).split("\n"):
            print(visible_json(text))  # noqa: T201 - the command line's voice
        sys.stdout.flush()


def json_line(value: object) -> None:
    """Print one JSON document in one line, which must be read. Raises `OutputError`."""
    with _translated(must_be_read=True):
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=not _takes_unicode())
        print(visible_json(text), flush=True)  # noqa: T201 - the command line's voice


def rows(table: Sequence[Sequence[str]]) -> None:
    """Print rows, indented, their columns aligned. Raises `OutputError`."""
    shown = [[visible(cell) for cell in row] for row in table]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        line("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def environment(name: str) -> str | None:
    """Read a variable; None when it is unset or empty."""
    return os.environ.get(name) or None


def reader_left() -> bool:
    """Whether standard output is a pipe from which nobody reads any more."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _takes_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


@contextmanager
def _translated(*, must_be_read: bool = False) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        _write_to_nobody()
        if must_be_read:
            raise UnreadError("standard output cannot be written: nobody reads it") from error
    except OSError as error:
        raise OutputError(f"standard output cannot be written: {error.strerror}") from error


def _write_to_nobody() -> None:
    """Let what is written from now on, and what is still in a buffer, go nowhere."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


def finish(code: int) -> NoReturn:
    """Flush the output and end the program with `code`. A flush that fails makes it 1 if it is 0.

    What `atexit` knows is done as ever, but the interpreter is not taken down: threads of the HTTP client live on after
    their last request, and Python before 3.14 aborts (exit code 134) when such a thread wants to run then.
    https://github.com/python/cpython/issues/87135
    """
    atexit._run_exitfuncs()  # noqa: SLF001 - there is no other way to have it done before an end like this
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _write_to_nobody()
        except OSError as error:
            if not code:
                tell(f"whaul: standard output cannot be written: {error.strerror}")
            code = code or 1
    if sys.stderr is not None:
        with suppress(OSError):
            sys.stderr.flush()
    os._exit(code)
