"""Commands in processes of their own that need not load whaul first: they are forked from one that has.

Run as a program, it is that one: it takes jobs from a socket, each with the descriptors of its standard streams.
"""

import atexit
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from harness.waiting import PATIENCE
from whaul import cli

MAX_JOB = 256 * 1024


class Zygote:
    """The other side of it; started when it is first wanted, and gone with us."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def run(
        self, arguments: list[str], environ: Mapping[str, str], stdin: str = ""
    ) -> "subprocess.CompletedProcess[str]":
        """Run `whaul` with arguments, as `subprocess.run` would."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as error, self._lock:
            reading, writing = os.pipe()
            job = json.dumps({"arguments": arguments, "environ": dict(environ), "folder": str(Path.cwd())}).encode()
            connection = self._connected()
            socket.send_fds(connection, [job], [reading, out.fileno(), error.fileno()])
            os.close(reading)
            feeder = threading.Thread(target=_feed, args=(writing, stdin.encode()), daemon=True)
            feeder.start()
            code = json.loads(connection.recv(100))
            feeder.join()
            out.seek(0)
            error.seek(0)
            return subprocess.CompletedProcess(["whaul", *arguments], code, out.read(), error.read())

    def _connected(self) -> socket.socket:
        if self._socket is None:
            ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.settimeout(PATIENCE)
            for end in (ours, its):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MAX_JOB)
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


def _serve(jobs: socket.socket) -> None:
    for place in cli.COMMANDS.values():
        import_module(f"whaul.cli.{place.partition(':')[0]}")
    for name in ("whaul.app", "whaul.doctor", "whaul.bulk.run", "aiosqlite", "asyncpg", "uvloop"):
        import_module(name)
    assert threading.active_count() == 1, "what has threads cannot be forked"
    while True:
        data, descriptors, _, _ = socket.recv_fds(jobs, MAX_JOB, 3)
        if not data:
            return
        pid = os.fork()
        if pid == 0:
            jobs.close()
            _become(json.loads(data), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        jobs.send(json.dumps(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())


def _become(job: dict[str, Any], descriptors: list[int]) -> None:
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environ"])
    sys.argv = ["whaul", *job["arguments"]]
    cli.main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as waiting:
        _serve(waiting)
