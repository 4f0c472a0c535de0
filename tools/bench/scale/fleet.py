"""Several `whaul serve` on one PostgreSQL, with an account, a key and a destination; they take calls and webhooks."""

import base64
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tools.bench.contestants import Ground
from tools.bench.events.contestants import APP_SECRET
from tools.bench.events.runs import Endpoint
from tools.bench.events.sender import NUMBER, WABA
from tools.postgresql import PostgresqlServer
from whaul.stack.local import ITSELF, whaul
from whaul.stack.processes import answers, free_ports, program, wait_until

START_TIMEOUT = 180.0
"""Seconds; a worker first reads all accounts, and the machine may be busy."""


@dataclass(frozen=True)
class Shape:
    """How many processes of their own, and how many workers in each."""

    processes: int = 1
    workers: int = 1


@dataclass(frozen=True)
class Fleet:
    """The servers, and what a caller needs."""

    ports: list[int]
    pids: tuple[int, ...]
    account: dict[str, Any]


class Land:
    """A database of its own, and the environment of servers on it."""

    def __init__(self, ground: Ground, endpoint: Endpoint, server: PostgresqlServer, folder: Path) -> None:
        self.ground = ground
        self.endpoint = endpoint
        self.server = server
        self.database = server.create_database()
        self._folder = folder
        self._environ = ground.whaul_environ | {
            "WHAUL_DATABASE_URL": server.url(self.database),
            "WHAUL_SECRET_KEY": base64.urlsafe_b64encode(b"one key, the same in each run...").decode(),
            "WHAUL_EVENT_HOSTS": endpoint.url.partition("//")[2],
        }
        secret = folder / "app-secret"
        secret.write_text(APP_SECRET, encoding="utf-8")
        number = ["--phone-number", f"{NUMBER}=+15550100", "--app-secret-file", str(secret)]
        linked = whaul(["link", "--no-verify", "--waba-id", WABA, "--name", "bench", *number], self._environ)
        made = whaul(["keys", "create", "--name", "bench", "--allow-all"], self._environ)
        whaul(["destinations", "add", "bench", "--account", WABA, "--to", f"{endpoint.url}/hook"], self._environ)
        self._account = {
            "phone_number_id": linked["account"]["phoneNumbers"][0]["phoneNumberId"],
            "key_id": made["accessKeyId"],
            "secret": made["secretAccessKey"],
        }

    @contextmanager
    def fleet(self, shape: Shape) -> Iterator[Fleet]:
        """Run the servers."""
        with ExitStack() as stack:
            ports = stack.enter_context(free_ports(shape.processes))
            started = []
            for port in ports:
                line = [*ITSELF, "serve", "--port", str(port), "--workers", str(shape.workers)]
                log = self._folder / f"serve-{port}.log"
                started.append((stack.enter_context(program(line, self._environ, log)), port, log))
            for process, port, log in started:
                ready = f"http://127.0.0.1:{port}/readyz"
                wait_until(partial(answers, ready), process, "whaul", log, START_TIMEOUT)
            pids = tuple(process.pid for process, *_ in started)
            yield Fleet(ports, pids, self._account | {"hosts": [f"127.0.0.1:{port}" for port in ports]})
