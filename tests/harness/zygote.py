"""Processes of whaul that need not load it first: they are forked from one that has.

Run as a program, this is that one. It takes jobs from a socket, each with the descriptors of its standard streams and
of a pipe, on which it tells the process's id at once and its exit code at the end.
"""

import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from sqlalchemy.orm import configure_mappers

from harness.waiting import PATIENCE
from whaul import cli
from whaul.server.supervisor import Plan, run
from whaul.stack.processes import stop

MAX_JOB = 256 * 1024
LOADED = (
    "whaul.app",
    "whaul.doctor",
    "whaul.bulk.run",
    "whaul.events.database.tables",
    "aiosqlite",
    "asyncpg",
    "uvloop",
)
"""What commands and gateways load when they run."""


class Forked:
    """A process of it, to be used as a `subprocess.Popen`."""

    def __init__(self, told: int) -> None:
        self._told = os.fdopen(told)
        self.pid = int(self._told.readline())
        self.returncode: int | None = None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float = PATIENCE) -> int:
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("whaul", timeout)
            self.returncode = int(self._told.readline())
            self._told.close()
        return self.returncode


class Zygote:
    """The other side of it; started when it is first wanted, and gone with us."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def run(
        self, arguments: list[str], environ: Mapping[str, str], stdin: str = ""
    ) -> "subprocess.CompletedProcess[str]":
        """Run `whaul` with arguments, as `subprocess.run` would."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as error:
            reading, writing = os.pipe()
            process = self._fork("main", arguments, environ, [reading, out.fileno(), error.fileno()])
            os.close(reading)
            feeder = threading.Thread(target=_feed, args=(writing, stdin.encode()), daemon=True)
            feeder.start()
            process.wait()
            feeder.join()
            out.seek(0)
            error.seek(0)
            return subprocess.CompletedProcess(["whaul", *arguments], process.wait(), out.read(), error.read())

    @contextmanager
    def server(self, plan: Plan, environ: Mapping[str, str], log: Path) -> Iterator[Forked]:
        """Run what `whaul serve` becomes once it has made its plan, as `whaul.stack.processes.program` would."""
        with log.open("wb") as output, open(os.devnull, "rb") as nothing:  # noqa: PTH123
            streams = [nothing.fileno(), output.fileno(), output.fileno()]
            process = self._fork("server", [plan.as_json()], environ, streams)
        try:
            yield process
        finally:
            stop(process, signal.SIGINT)

    def call(self, function: str, arguments: list[str], log: Path) -> Forked:
        """Call `module:function` of the tests with arguments."""
        with log.open("wb") as output, open(os.devnull, "rb") as nothing:  # noqa: PTH123
            streams = [nothing.fileno(), output.fileno(), output.fileno()]
            return self._fork(function, arguments, os.environ, streams)

    def _fork(self, what: str, arguments: list[str], environ: Mapping[str, str], streams: list[int]) -> Forked:
        told, telling = os.pipe()
        folder = str(Path.cwd())
        job = {"what": what, "arguments": arguments, "environ": dict(environ), "folder": folder}
        with self._lock:
            socket.send_fds(self._connected(), [json.dumps(job).encode()], [*streams, telling])
        os.close(telling)
        return Forked(told)

    def _connected(self) -> socket.socket:
        if self._socket is None:
            ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MAX_JOB)
            with its:
                command = [sys.executable, "-P", "-m", "harness.zygote", str(its.fileno())]
                places = filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")])
                environ = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
                process = subprocess.Popen(command, env=environ, pass_fds=[its.fileno()], start_new_session=True)
            atexit.register(self._end, ours, process)
            self._socket = ours
        return self._socket

    def _end(self, connection: socket.socket, process: "subprocess.Popen[bytes]") -> None:
        connection.close()
        process.wait(PATIENCE)


def _feed(descriptor: int, data: bytes) -> None:
    with suppress(BrokenPipeError), os.fdopen(descriptor, "wb") as pipe:  # nobody need read it
        pipe.write(data)


def _load() -> None:
    for place in cli.COMMANDS.values():
        import_module(f"whaul.cli.{place.partition(':')[0]}")
    for name in LOADED:
        import_module(name)
    configure_mappers()
    gc.freeze()


def _serve(jobs: socket.socket) -> None:
    _load()
    assert threading.active_count() == 1, "what has threads cannot be forked"
    telling: dict[int, int] = {}

    def reap(*_: object) -> None:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pipe = telling.pop(ended[0])
                with suppress(BrokenPipeError):  # whoever asked may have lost patience
                    os.write(pipe, b"%d\n" % os.waitstatus_to_exitcode(ended[1]))
                os.close(pipe)

    signal.signal(signal.SIGCHLD, reap)
    while True:
        data, descriptors, _, _ = socket.recv_fds(jobs, MAX_JOB, 4)
        if not data:  # whoever asked is gone; however that ended, nothing outlives it
            for pid in list(telling):
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
            return
        *streams, pipe = descriptors
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
            for descriptor in (jobs.detach(), pipe, *telling.values()):
                os.close(descriptor)
            _become(json.loads(data), streams)
        telling[pid] = pipe
        os.write(pipe, b"%d\n" % pid)
        for descriptor in streams:
            os.close(descriptor)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


def _become(job: dict[str, Any], streams: list[int]) -> None:
    os.setsid()
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    for descriptor in streams:
        os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environ"])
    if job["what"] == "server":
        run(Plan.from_json(job["arguments"][0]))
    elif job["what"] == "main":
        sys.argv = ["whaul", *job["arguments"]]
        cli.main()
    else:
        module, _, function = job["what"].partition(":")
        getattr(import_module(module), function)(*job["arguments"])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as waiting:
        _serve(waiting)
