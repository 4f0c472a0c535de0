"""Starts programs for the local stack, waits until they answer, and stops exactly them."""

import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

STOP_TIMEOUT = 10.0
"""Seconds that a program has to stop by itself."""
PORTS = range(20_000, 32_000)
"""Below those that systems give out by themselves (from 32768 on Linux, from 49152 elsewhere), so that no connection
and no server that asks for any port is given one of these."""


class StackError(Exception):
    """The local stack cannot run; the message says why and what to do."""


# Shell, since it takes a millisecond to start. A program waits until it is watched, and its watcher until we are gone:
# each reads from a pipe that we alone write to.
WHEN_WATCHED = 'read -r _ && exec "$@" </dev/null'
WHEN_WE_ARE_GONE = 'read -r _ || kill -s KILL -- "$1"'


@contextmanager
def program(
    command: Sequence[str],
    environ: Mapping[str, str],
    log: Path | None,
    stop_with: signal.Signals = signal.SIGINT,
    folder: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a session of its own while the block runs; its output is added to `log`, or to our errors.

    It runs in `folder`, or in ours.
    `stop_with` asks it to stop. A gateway takes SIGINT to mean at once; others may have been told to ignore it, as a
    shell tells what it starts in the background.

    A session of its own, so that Ctrl-C reaches us alone and we stop the program in order. It never outlives us,
    however we end.
    """
    with ExitStack() as stack:
        output = stack.enter_context(log.open("ab")) if log else sys.stderr
        process = subprocess.Popen(  # noqa: S603 - the caller's own programs
            ["/bin/sh", "-c", WHEN_WATCHED, "sh", *command],
            bufsize=0,
            cwd=folder,
            env=dict(environ),
            stdout=output,
            stderr=output,
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        stack.enter_context(watched(-process.pid))
        stack.callback(stop, process, stop_with)
        _release(process)
        yield process


@contextmanager
def watched(target: int) -> Iterator[None]:
    """Have a process, or (negative) a process group, killed if we end while the block runs, even by SIGKILL."""
    watcher = subprocess.Popen(  # noqa: S603 - the shell's text is ours, and a number
        ["/bin/sh", "-c", WHEN_WE_ARE_GONE, "sh", str(target)],
        bufsize=0,
        cwd="/",
        env={},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        _release(watcher)
        watcher.wait()


def _release(process: subprocess.Popen[bytes]) -> None:
    """Let it go on from its `read`, unless it has ended."""
    assert process.stdin is not None  # noqa: S101 - for the type checker
    with suppress(BrokenPipeError), process.stdin:
        process.stdin.write(b"\n")


def stop(process: subprocess.Popen[bytes], stop_with: signal.Signals) -> None:
    """Ask the program to stop; if it does not, or leaves children behind, kill its session."""
    process.send_signal(stop_with)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until(
    ready: Callable[[], bool], process: subprocess.Popen[bytes], name: str, log: Path | None, seconds: float
) -> None:
    """Wait until `ready` says so; `StackError` with the end of the log when the program ends or takes too long."""
    end = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None:
            raise StackError(f"{name} stopped with exit code {process.returncode}.{_tail(log)}")
        if time.monotonic() > end:
            raise StackError(f"{name} did not answer within {seconds:.0f} s.{_tail(log)}")
        time.sleep(0.05)


def answers(url: str, statuses: Sequence[int] = (200,), tls: ssl.SSLContext | None = None) -> bool:
    """Whether a GET of a loopback URL is answered with one of the statuses."""
    try:
        with urllib.request.urlopen(url, timeout=5, context=tls) as response:  # noqa: S310 - our own loopback URL
            return response.status in statuses
    except urllib.error.HTTPError as error:
        return error.code in statuses
    except OSError:
        return False


@contextmanager
def free_ports(count: int) -> Iterator[list[int]]:
    """Keep loopback ports for programs that are started while the block runs; else `StackError`.

    On Linux nobody else can take them: a bound socket keeps out all but servers that set SO_REUSEADDR, as all servers
    do but nobody who looks for a free port. Elsewhere it would keep out the servers, too.
    """
    with ExitStack() as stack:
        picked: list[int] = []
        for port in random.sample(PORTS, len(PORTS)):
            if len(picked) == count:
                break
            holder = stack.enter_context(socket.socket())
            with suppress(OSError):
                holder.bind(("127.0.0.1", port))
                holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # only now: a taken port must refuse
                picked.append(port)
        else:
            raise StackError("There are not enough free ports on the loopback interface.")
        if sys.platform != "linux":
            stack.close()
        yield picked


def _tail(log: Path | None, lines: int = 15) -> str:
    if log is None or not log.exists():
        return ""
    text = log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    return "\nIts last lines:\n" + "\n".join(f"  {line}" for line in text)
