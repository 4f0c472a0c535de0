"""Who receives webhooks and delivers events: how each is started, and on which databases."""

import base64
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tools.bench.events.sender import NUMBER, WABA
from tools.bench.installs import environment
from tools.postgresql import PostgresqlServer
from whaul.stack.local import ITSELF, REGION, whaul
from whaul.stack.processes import answers, free_ports, program, wait_until

RIVALS = Path(__file__).parents[1] / "rivals"
START_TIMEOUT = 60.0
APP_SECRET = "bench-app-secret"
SIGNING_SECRET = f"whsec_{base64.b64encode(b'signs what is delivered, 32 bytes').decode()}"


@dataclass(frozen=True)
class Place:
    """Where a contestant works."""

    folder: Path
    """Its own."""
    environ: Mapping[str, str]
    database: str
    """The URL of an empty database."""
    target: str
    ca_file: Path
    processes: int


@dataclass(frozen=True)
class Running:
    port: int
    process: int
    """The root of its process tree."""


class Start(Protocol):
    def __call__(self, place: Place) -> AbstractContextManager[Running]: ...


@dataclass(frozen=True)
class Contestant:
    name: str
    title: str
    start: Start
    takes: Callable[[str, int], bool] = lambda _kind, _processes: True
    """Whether it works with that database and so many processes."""


@contextmanager
def _serve(place: Place) -> Iterator[Running]:
    environ = dict(place.environ) | {
        "AWS_REGION": REGION,
        "WHAUL_DATABASE_URL": place.database,
        "WHAUL_SECRET_KEY": base64.urlsafe_b64encode(b"one key, the same in each run...").decode(),
        "WHATSAPP_ACCESS_TOKEN": "bench-token",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench-secret",
        "WHAUL_EVENT_HOSTS": place.target.split("/")[2],
        "SSL_CERT_FILE": str(place.ca_file),
    }
    app_secret, secret = place.folder / "app-secret", place.folder / "secret"
    app_secret.write_text(APP_SECRET)
    secret.write_text(SIGNING_SECRET)
    number = ["--phone-number", f"{NUMBER}=+15550100", "--app-secret-file", str(app_secret)]
    whaul(["link", "--no-verify", "--waba-id", WABA, "--name", "bench", *number], environ)
    where = ["--account", WABA, "--to", place.target, "--secret-file", str(secret)]
    whaul(["destinations", "add", "bench", *where], environ)
    with ExitStack() as stack:
        [port] = stack.enter_context(free_ports(1))
        line = [*ITSELF, "serve", "--port", str(port), "--workers", str(place.processes)]
        yield _started(stack, line, environ, place, port)


def _rival(name: str) -> Start:
    @contextmanager
    def start(place: Place) -> Iterator[Running]:
        with ExitStack() as stack:
            [port] = stack.enter_context(free_ports(1))
            options = {
                "port": port,
                "database": place.database,
                "target": place.target,
                "ca_file": str(place.ca_file),
                "app_secret": APP_SECRET,
                "signing_secret": SIGNING_SECRET,
                "processes": place.processes,
            }
            line = [str(environment("receivers")), str(RIVALS / f"{name}.py"), json.dumps(options)]
            yield _started(stack, line, place.environ, place, port)

    return start


def _started(stack: ExitStack, line: list[str], environ: Mapping[str, str], place: Place, port: int) -> Running:
    log = place.folder / "log"
    process = stack.enter_context(program(line, environ, log))
    wait_until(lambda: answers(f"http://127.0.0.1:{port}/readyz"), process, line[-1], log, START_TIMEOUT)
    return Running(port, process.pid)


@contextmanager
def database(kind: str, folder: Path, server: PostgresqlServer) -> Iterator[str]:
    """An empty database."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / f'events-{secrets.token_hex(4)}.db'}"
        return
    name = server.create_database()
    try:
        yield server.url(name)
    finally:
        server.drop_database(name)


BY_HAND, WHAUL = "by-hand", "whaul"
_ALL = [
    Contestant(WHAUL, "whaul", _serve),
    Contestant(BY_HAND, "written by hand", _rival("receiver_by_hand")),
    Contestant("pgqueuer", "on pgqueuer", _rival("receiver_pgqueuer"), lambda kind, _: kind == "postgresql"),
    Contestant("dbos", "on DBOS", _rival("receiver_dbos"), lambda kind, _: kind == "postgresql"),
]
CONTESTANTS = {contestant.name: contestant for contestant in _ALL}
