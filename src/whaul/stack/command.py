"""Runs a command inside the stack as if it had been started instead of us: same terminal, signals and exit code."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from whaul.stack.processes import StackError, watched

FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
"""Signals that a terminal sends to the whole group in its foreground."""

# It waits until it is watched, on a pipe that we alone write to, since its standard input is the user's. Python, not a
# shell as for servers: that could not close the pipe. What Python has changed of signals is undone.
WHEN_WATCHED = """
import os, signal, sys
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
gate, *command = sys.argv[1:]
if not os.read(int(gate), 1):
    sys.exit(1)
os.close(int(gate))
for name in ("SIGPIPE", "SIGXFSZ"):
    signal.signal(getattr(signal, name), signal.SIG_DFL)
try:
    os.execvp(command[0], command)
except OSError as error:
    sys.exit(f"whaul: {command[0]} cannot be run: {error.strerror}")
"""


def check_command(command: Sequence[str]) -> None:
    """Raise `StackError` unless there is such a program."""
    if shutil.which(command[0]) is None:
        raise StackError(f"{command[0]} cannot be run: there is no such program in PATH")


def run(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a command; return its exit code, as a shell has it: 128 and the number of the signal that ended it.

    Signals to us go to it; Ctrl-C does so by itself when we share a terminal.
    """
    process: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        if process is None:
            early.append(number)
        else:
            process.send_signal(number)

    def leave(_number: int, _frame: FrameType | None) -> None:
        """Do nothing: the command has been sent it, too."""

    from_terminal = leave if _in_foreground() else forward
    handlers = dict.fromkeys(FORWARDED, forward) | dict.fromkeys(FROM_TERMINAL, from_terminal)
    before = {
        number: signal.signal(number, handler)
        for number, handler in handlers.items()
        if signal.getsignal(number) != signal.SIG_IGN  # what we ignore, the command ignores, too
    }
    gate, opening = os.pipe()
    try:
        process = subprocess.Popen(  # noqa: S603 - the caller's own command
            [sys.executable, "-I", "-S", "-c", WHEN_WATCHED, str(gate), *command], env=dict(environ), pass_fds=[gate]
        )
        os.close(gate)
        with watched(process.pid):
            with os.fdopen(opening, "wb") as pipe:
                pipe.write(b"\n")
            for number in early:
                process.send_signal(number)
            code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 - code if code < 0 else code


def _in_foreground() -> bool:
    """Whether Ctrl-C reaches all of our process group."""
    try:
        with Path("/dev/tty").open("rb") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False
