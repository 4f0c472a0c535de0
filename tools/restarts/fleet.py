"""Servers that share a database, and a load on all of them from boto3 that counts every call that fails."""

import itertools
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from whaul.stack.local import ITSELF, REGION
from whaul.stack.processes import answers, program, wait_until

START_TIMEOUT = 60.0
STOP_TIMEOUT = 120.0
CALLERS = 8
PAUSE = 0.05
"""Seconds between a caller's calls."""


class Server:
    """`whaul serve` at a port, which can be restarted."""

    def __init__(self, port: int, environ: Mapping[str, str], log: Path) -> None:
        self.port = port
        self.environ = dict(environ)
        self.log = log
        self._running = ExitStack()
        self._starts = 0

    @property
    def ready(self) -> str:
        """Where a balancer would probe it."""
        return f"http://127.0.0.1:{self.port}/readyz"

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self._starts += 1
        self.log = self.log.with_name(f"server-{self.port}.{self._starts}.log")
        command = [*ITSELF, "serve", "--port", str(self.port)]
        self._process = self._running.enter_context(program(command, self.environ, self.log))
        wait_until(lambda: answers(self.ready), self._process, "The server", self.log, START_TIMEOUT)

    def restart(self, *, group: bool) -> None:
        """SIGTERM to the main process, or to its `group` as systemd sends it; then start it again."""
        if group:
            os.killpg(self._process.pid, signal.SIGTERM)
        else:
            self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(STOP_TIMEOUT)
        if code:
            raise RuntimeError(f"the server ended with exit code {code}: {self.log.read_text()[-2000:]}")
        self.start()

    def close(self) -> None:
        """End it."""
        self._running.close()


@contextmanager
def fleet(ports: Sequence[int], environ: Mapping[str, str], folder: Path) -> Iterator[list[Server]]:
    """Run a server at each port while the block runs."""
    servers = [Server(port, environ, folder / f"server-{port}.log") for port in ports]
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.close)
        with ThreadPoolExecutor() as pool:
            list(pool.map(Server.start, servers))
        yield servers


Call = tuple[str, Mapping[str, Any]]
"""A method of boto3's client, and what it is given."""


@dataclass(frozen=True)
class Caller:
    """What a call needs."""

    url: str
    access_key_id: str
    secret_access_key: str
    calls: Sequence[Call]
    """Made in turn."""
    attempts: int = 1
    """How often the SDK sends a call."""

    def client(self) -> Any:
        """A boto3 client that tries again only if it was told to."""
        return boto3.client(
            "socialmessaging",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            config=Config(retries={"total_max_attempts": self.attempts, "mode": "standard"}),
        )


class Load:
    """Callers that make their calls again and again while the block runs."""

    def __init__(self, caller: Caller, callers: int = CALLERS) -> None:
        self.calls = 0
        self.failures: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        clients = [caller.client() for _ in range(callers)]
        self._threads = [threading.Thread(target=self._run, args=(each, caller.calls)) for each in clients]

    def _run(self, client: Any, calls: Sequence[Call]) -> None:
        for method, request in itertools.cycle(calls):
            if self._ended.wait(PAUSE):
                return
            failure = _failure(getattr(client, method), request)
            with self._lock:
                self.calls += 1
                if failure:
                    self.failures[failure] += 1

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


def _failure(method: Callable[..., object], request: Mapping[str, Any]) -> str:
    try:
        method(**request)
    except (BotoCoreError, ClientError) as error:
        return f"{type(error).__name__}: {error}"
    return ""
