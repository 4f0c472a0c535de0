"""The process that `whaul serve` is: it starts the workers, watches them, and stops them in order.

It lives as long as the server and does nothing else, so it loads little: no settings, no database, no AWS. What it
must know is in its `Plan`.
"""

import http.client
import json
import multiprocessing
import os
import pkgutil
import resource
import signal
import ssl
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Self

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops, SSLProtocols
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.common import AbstractServer

from whaul.server import DRAIN_SIGNAL
from whaul.server.systemd import Systemd
from whaul.telemetry import logs

APPLICATION = "whaul.app:create_app"
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Where the workers keep their counters; prometheus_client reads it."""
MAX_CONNECTIONS = 8192
"""Open connections of a worker, most of them idle: one costs 3 KB and an open file."""
MAX_HEAD = 32 * 1024
"""Bytes of a request's head, and of what is read at once. Anybody can send as much on each of the connections."""
OTHER_FILES = 256
"""Files that a worker may need for other things: the database, libraries, outbound connections."""
DRAIN_NOTICE = 3.0
"""Seconds between SIGTERM and the end of listening, in which `/readyz` answers 503."""
DRAIN_MARGIN = 5
"""Seconds that a stop waits beyond the deadline of a call."""
PROBE_TIMEOUT = 5.0
"""Seconds in which a worker must answer `/healthz` to count as alive; less if the watchdog asks more often."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the supervisor must know of the settings; nothing of it is secret."""

    address: str
    port: int
    workers: int
    deadline: float
    idle_timeout: float
    max_transfers: int
    tls_cert_file: str | None
    tls_key_file: str | None
    log_level: str
    log_format: str

    def as_json(self) -> str:
        """Write it, to be handed over as an argument."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read it."""
        return cls(**json.loads(text))


def run(plan: Plan) -> None:
    """Serve until told to stop; calls under way are finished first."""
    with ExitStack() as stack:
        if not os.environ.get(METRICS_FOLDER):
            os.environ.pop(METRICS_FOLDER, None)  # its reader takes an empty one for a folder
            if plan.workers > 1:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="whaul-metrics-"))
                os.environ[METRICS_FOLDER] = folder
        _serve(plan)


def _serve(plan: Plan) -> None:
    server = Granian(
        APPLICATION,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        address=plan.address,
        port=plan.port,
        workers=plan.workers,
        workers_kill_timeout=int(plan.deadline) + DRAIN_MARGIN,
        backpressure=_connections(plan.max_transfers),
        # Hyper counts the timeout from the last response: it is how long a connection may be idle. What bounds a head
        # that has begun is `unfinished_heads`.
        http1_settings=HTTP1Settings(header_read_timeout=int(plan.idle_timeout * 1000), max_buffer_size=MAX_HEAD),
        ssl_cert=Path(plan.tls_cert_file) if plan.tls_cert_file else None,
        ssl_key=Path(plan.tls_key_file) if plan.tls_key_file else None,
        log_level=LogLevels.debug if plan.log_level == "debug" else LogLevels.info,  # its start and stop, always
        log_dictconfig=logs.server_logging(plan.log_level, plan.log_format),
        ssl_protocol_min=SSLProtocols.tls12,
        respawn_failed_workers=True,
    )
    systemd = Systemd()
    timeout = min(PROBE_TIMEOUT, systemd.watchdog / 2 or PROBE_TIMEOUT)
    server.on_startup(lambda: _handle_signals(server, systemd))
    server.on_startup(lambda: systemd.watch(lambda: _is_alive(plan, timeout)))
    server.serve(target_loader=_application, wrap_loader=False)  # its own would import from the working directory first


def _application() -> Callable[..., Any]:
    """Make the application, in a worker."""
    application: Callable[..., Any] = pkgutil.resolve_name(APPLICATION)()
    return application


def _connections(max_transfers: int) -> int:
    """Connections per worker: enough for idle clients, with file descriptors left for calls.

    Raises the limit of open files for that as far as it may; it is often a mere 1024.
    """
    reserved = 2 * max_transfers + OTHER_FILES
    wanted = MAX_CONNECTIONS + reserved
    soft, hard = (sys.maxsize if n == resource.RLIM_INFINITY else n for n in resource.getrlimit(resource.RLIMIT_NOFILE))
    if soft < min(wanted, hard):
        soft = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return max(min(wanted, soft) - reserved, max_transfers)


def _handle_signals(server: AbstractServer[Any], systemd: Systemd) -> None:
    """On SIGTERM, let load balancers see that the workers are draining before the server stops listening.

    Ctrl-C, and a second SIGTERM, stop it at once. Calls under way are finished in any case.
    """
    stop_now: Any = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        systemd.stop()
        stop_now(number, frame)

    def drain(_number: int, _frame: FrameType | None) -> None:
        systemd.stop()
        signal.signal(signal.SIGTERM, stop)
        server.respawn_failed_workers = False
        for worker in multiprocessing.active_children():
            os.kill(worker.pid or 0, DRAIN_SIGNAL)
        threading.Timer(DRAIN_NOTICE, os.kill, (os.getpid(), signal.SIGINT)).start()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, drain)


def _is_alive(plan: Plan, timeout: float) -> bool:
    """Whether a worker answers."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(plan.address, plan.address)  # noqa: S104 - not listened on here
    if plan.tls_cert_file is None:
        connection = http.client.HTTPConnection(host, plan.port, timeout=timeout)
    else:
        unverified = ssl._create_unverified_context()  # noqa: S323, SLF001 - ours, whatever name its certificate holds
        connection = http.client.HTTPSConnection(host, plan.port, timeout=timeout, context=unverified)
    with closing(connection):
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
