"""The contestants: how each is started, which process is measured, and for what it can be used."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tools.bench.installs import NotThere, environment, rclone
from tools.bench.stage import Stage
from tools.bench.workloads import KINDS, Workload
from whaul.stack.local import ITSELF, REGION, whaul
from whaul.stack.processes import answers, free_ports, program, wait_until

RIVALS = Path(__file__).parent / "rivals"
START_TIMEOUT = 30.0
QUEUE = 256
"""The default of WHAUL_MAX_QUEUE."""


@dataclass(frozen=True)
class Prepared:
    """A contestant that stands ready for one run: the command to run, and whose CPU counts."""

    command: list[str]
    environ: dict[str, str]
    options: dict[str, Any]
    measured: tuple[int, ...] = ()
    """The processes whose trees are measured; the command's own, when there is none."""
    children_only: bool = False
    """Whether the command is only the driver of those that are measured."""


@dataclass(frozen=True)
class Contestant:
    """One contestant."""

    name: str
    title: str
    prepare: Callable[["Ground", Workload], Any]
    """A context manager that yields a `Prepared`. Raises `NotThere`."""
    takes: Callable[[Workload], bool]


class Ground:
    """What all contestants share: the stage, and whaul's registry with a linked number and an access key."""

    def __init__(self, stage: Stage, environ: dict[str, str]) -> None:
        self.stage = stage
        self.environ = environ | {"SSL_CERT_FILE": str(stage.ca_file), "TMPDIR": str(stage.folder)}

    @cached_property
    def whaul_environ(self) -> dict[str, str]:
        """The settings of whaul: all at their defaults but what names the stage."""
        return self.environ | {
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench-secret",
            "AWS_ENDPOINT_URL_S3": self.stage.url,
            "WHAUL_GRAPH_URL": self.stage.url,
            "WHAUL_MEDIA_HOSTS": self.stage.host,
            "WHAUL_DATABASE_URL": f"sqlite:///{self.stage.folder / 'whaul.db'}",
            "WHATSAPP_ACCESS_TOKEN": "bench-token",
        }

    @cached_property
    def account(self) -> dict[str, str]:
        """A linked phone number, and an access key that may do everything."""
        number = ["--name", "bench", "--phone-number", "106540352242922=+15550100"]
        linked = whaul(["link", "--no-verify", "--waba-id", "102290129340398", *number], self.whaul_environ)
        made = whaul(["keys", "create", "--name", "bench", "--allow-all"], self.whaul_environ)
        return {
            "phone_number_id": linked["account"]["phoneNumbers"][0]["phoneNumberId"],
            "key_id": made["accessKeyId"],
            "secret": made["secretAccessKey"],
        }


def _limits(workload: Workload) -> dict[str, str]:
    """The settings that a workload needs raised, lest whaul refuse it as it should."""
    raised: dict[str, str] = {}
    if workload.concurrency > QUEUE:
        raised["WHAUL_MAX_QUEUE"] = str(workload.concurrency)
    if workload.large and workload.concurrency > 8:
        raised["WHAUL_DEADLINE"] = "600"  # so many at once take longer than the 55 s on a slow machine
    return raised


@contextmanager
def serve(ground: Ground, workload: Workload, environ: Mapping[str, str] = MappingProxyType({})) -> Iterator[Prepared]:
    """Run whaul with further settings."""
    account = ground.account
    with ExitStack() as stack:
        [port] = stack.enter_context(free_ports(1))
        line = [*ITSELF, "serve", "--port", str(port), "--workers", str(workload.workers)]
        log = ground.stage.folder / f"whaul-{port}.log"
        process = stack.enter_context(program(line, ground.whaul_environ | _limits(workload) | dict(environ), log))
        ready = f"http://127.0.0.1:{port}/healthz"
        wait_until(lambda: answers(ready), process, "whaul", log, START_TIMEOUT)
        yield Prepared(
            [sys.executable, str(RIVALS / "whaul_calls.py")],
            ground.environ,
            account | {"hosts": [f"127.0.0.1:{port}"]},
            measured=(process.pid,),
        )
    log.unlink(missing_ok=True)


def _script(name: str, python: str | None = None) -> Callable[[Ground, Workload], Any]:
    @contextmanager
    def prepare(ground: Ground, _workload: Workload) -> Iterator[Prepared]:
        yield Prepared(rival(name, python), ground.environ, {})

    return prepare


def rival(name: str, python: str | None = None) -> list[str]:
    interpreter = str(environment(python)) if python else sys.executable
    return [interpreter, str(RIVALS / f"{name}.py")]


@contextmanager
def _curl(ground: Ground, _workload: Workload) -> Iterator[Prepared]:
    if not shutil.which("curl"):
        raise NotThere("curl is not installed")
    yield Prepared(rival("curl_curl"), ground.environ, {}, children_only=True)


@contextmanager
def _rclone(ground: Ground, _workload: Workload) -> Iterator[Prepared]:
    options = {"rclone": str(rclone())}
    yield Prepared(rival("rclone_copyurl"), ground.environ, options, children_only=True)


@contextmanager
def _get(ground: Ground, workload: Workload) -> Iterator[Prepared]:
    known = subprocess.run([*ITSELF, "get", "--help"], capture_output=True, check=False, timeout=START_TIMEOUT)
    if known.returncode:
        raise NotThere("This version of whaul has no `get` command")
    options = {
        "command": [*ITSELF],
        "phone_number_id": ground.account["phone_number_id"],
        "files": workload.batch,
        "sizes": {name: kind.size for name, kind in KINDS.items()},
    }
    yield Prepared(rival("whaul_get"), ground.whaul_environ | _limits(workload), options, children_only=True)


def _always(_workload: Workload) -> bool:
    return True


def _large(workload: Workload) -> bool:
    return workload.large


def _files(workload: Workload) -> bool:
    return not workload.metadata_only


def _plain(workload: Workload) -> bool:
    return workload.name == "100kb-x32"


_ALL = [
    Contestant("whaul", "whaul", serve, _always),
    Contestant("get", "whaul get", _get, _files),
    Contestant("boto3", "boto3 + requests", _script("boto3_requests", "threads"), _always),
    Contestant("plain", "boto3 + requests, as often written", _script("boto3_plain", "threads"), _plain),
    Contestant("pywa", "pywa + boto3", _script("pywa_boto3", "threads"), _always),
    Contestant("aiohttp", "aiohttp + aiobotocore", _script("aiohttp_aiobotocore", "tasks"), _always),
    Contestant("rclone", "rclone copyurl", _rclone, _large),
    Contestant("curl", "curl, piped into curl", _curl, _large),
    Contestant("hops", "the hops alone", _script("bare_hops"), _always),
]
CONTESTANTS = {contestant.name: contestant for contestant in _ALL}
