"""The programs under test: the S3 server and the gateway, which can be killed, stopped and started on their ports."""

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

import boto3
from botocore.config import Config

from tools.certificates import Certificates
from whaul.stack.local import REGION
from whaul.stack.processes import answers, free_ports, program, wait_until
from whaul.stack.seaweedfs import S3Endpoint, prepared

BUCKET = "inbox"
START_TIMEOUT = 60.0
PROBE = Path(__file__).with_name("inside")


class Server:
    """A program on a fixed port."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environ: Mapping[str, str],
        log: Path,
        healthy: str,
        *,
        folder: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._environ = environ
        self._healthy = healthy
        self._folder = folder
        self._running = ExitStack()
        self.process: Popen[bytes] | None = None
        self._starts = 0

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._starts += 1
        log = self.log.with_suffix(f".{self._starts}.log")
        self.process = self._running.enter_context(program(self._command, self._environ, log, folder=self._folder))
        wait_until(lambda: answers(self._healthy), self.process, self.name, log, START_TIMEOUT)

    def kill(self) -> None:
        """SIGKILL the program and all processes of its session."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def terminate(self) -> None:
        """SIGTERM the program, as a supervisor does; do not wait."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def processes(self) -> list[int]:
        """The ids of the program and its children."""
        assert self.process is not None
        found = [self.process.pid]
        for pid in found:
            for thread in Path(f"/proc/{pid}/task").iterdir():
                found += [int(child) for child in (thread / "children").read_text().split()]
        return found

    def close(self) -> None:
        self._running.close()


@dataclass
class Store:
    """The S3 server, reached directly for what is independent of the gateway."""

    server: Server
    endpoint: S3Endpoint
    tls_port: int
    client: Any = field(repr=False)

    @property
    def port(self) -> int:
        return int(self.endpoint.url.rpartition(":")[2])


@contextmanager
def store(folder: Path, environ: Mapping[str, str], certificates: Certificates) -> Iterator[Store]:
    """Run a SeaweedFS that listens with and without TLS."""
    with ExitStack() as parts:
        command, endpoint = parts.enter_context(prepared(folder))
        [tls_port] = parts.enter_context(free_ports(1))
        options = {"port.https": tls_port, "cert.file": certificates.chain, "key.file": certificates.key}
        command += [f"-s3.{name}={value}" for name, value in options.items()]
        server = Server("SeaweedFS", command, environ, folder / "weed.log", endpoint.healthy, folder=folder)
        parts.callback(server.close)
        client = boto3.client(
            "s3",
            endpoint_url=endpoint.url,
            region_name=REGION,
            aws_access_key_id=endpoint.access_key_id,
            aws_secret_access_key=endpoint.secret_access_key,
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                retries={"total_max_attempts": 8},
                max_pool_connections=32,
            ),
        )
        parts.callback(client.close)
        server.start()
        client.create_bucket(Bucket=BUCKET)
        yield Store(server, endpoint, tls_port, client)


class Gateway(Server):
    """`whaul serve`, with a look inside: the number of its tasks, and a clock that can be moved."""

    def __init__(
        self, name: str, environ: Mapping[str, str], folder: Path, limits: Mapping[str, int] | None = None
    ) -> None:
        """`limits` are resource limits by the name of their constant, such as `RLIMIT_NOFILE`."""
        ports = ExitStack()
        [self.port] = ports.enter_context(free_ports(1))
        self.tls = "WHAUL_TLS_CERT_FILE" in environ
        inside = folder / name
        inside.mkdir()
        self._clock = inside / "clock"
        self._probe = inside / "probe"
        environ = dict(environ) | {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(PROBE), environ.get("PYTHONPATH")])),
            "BENCH_CLOCK": str(self._clock),
            "BENCH_PROBE": str(self._probe),
            "BENCH_LIMITS": json.dumps(limits or {}),
            "WHAUL_LOG_FORMAT": "json",
        }
        command = [sys.executable, "-P", "-m", "whaul", "serve", "--port", str(self.port)]
        healthy = f"http://127.0.0.1:{self.port}/readyz"
        super().__init__("The gateway", command, environ, folder / f"{name}.log", healthy)
        self._running.push(ports)
        if self.tls:
            self._healthy = ""

    def start(self) -> None:
        """See `Server`; a gateway with TLS is ready when it accepts, since only its own authority trusts it."""
        if not self.tls:
            super().start()
            return
        self._starts += 1
        log = self.log.with_suffix(f".{self._starts}.log")
        self.process = self._running.enter_context(program(self._command, self._environ, log, folder=self._folder))
        wait_until(self._accepts, self.process, self.name, log, START_TIMEOUT)

    def _accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def move_clock(self, seconds: float) -> None:
        """Move the wall clock of the gateway's Python code, from now on, by so much from the real one."""
        draft = self._clock.with_suffix(".new")
        draft.write_text(str(seconds))
        draft.replace(self._clock)

    def tasks(self) -> int:
        """How many asyncio tasks its workers have."""
        total = 0
        for path in self._probe.parent.glob("probe.*"):
            if not Path(f"/proc/{path.suffix[1:]}").exists():
                continue
            with socket.socket(socket.AF_UNIX) as asking:
                asking.settimeout(10)
                try:
                    asking.connect(str(path))
                    total += int(asking.recv(32) or b"0")
                except ConnectionError:
                    continue
        return total
