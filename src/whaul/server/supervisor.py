"""The process that `whaul serve` is: it has the workers started, and hears the signals that are for the server.

It lives as long as the server and does nothing else, so it loads little: no settings, no database, no AWS. What it
must know is in its `Plan`.
"""

import gc
import json
import os
import resource
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from granian.constants import HTTPModes, Interfaces, Loops, SSLProtocols
from granian.http import HTTP1Settings
from granian.log import LogLevels

from whaul.server import EVERY_SIGNAL
from whaul.server.companion import Companion, Order
from whaul.server.liveness import answers
from whaul.server.systemd import Systemd
from whaul.server.workers import Workers
from whaul.telemetry import logs

if TYPE_CHECKING:
    from whaul.server.worker import Worker

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Where the workers keep their counters; prometheus_client reads it."""
MAX_CONNECTIONS = 8192
"""Open connections of a worker, most of them idle: one costs 3 KB and an open file."""
MAX_HEAD = 32 * 1024
"""Bytes of a request's head, and of what is read at once. Anybody can send as much on each of the connections."""
OTHER_FILES = 256
"""Files that a worker may need for other things: the database, libraries, outbound connections."""
STOP_MARGIN = 5.0
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
    shutdown_notice: float
    max_transfers: int
    tls_cert_file: str | None
    tls_key_file: str | None
    log_level: str
    log_format: str
    application: str = "whaul.app:create_app"
    """What makes it, in each worker."""
    companion: "Plan | None" = None
    """Of a second server process beside this one."""
    is_companion: bool = False

    def as_json(self) -> str:
        """Write it, to be handed over as an argument."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read it."""
        return cls.of(json.loads(text))

    @classmethod
    def of(cls, members: dict[str, Any]) -> Self:
        """Read what `asdict` wrote."""
        companion = members.pop("companion", None)
        return cls(**members, companion=None if companion is None else cls.of(companion))


def run(plan: Plan) -> None:
    """Serve until told to stop; calls under way are finished first."""
    signal.pthread_sigmask(signal.SIG_BLOCK, EVERY_SIGNAL)  # in all threads and workers to come, too
    with ExitStack() as stack:
        if not os.environ.get(METRICS_FOLDER):
            os.environ.pop(METRICS_FOLDER, None)  # its reader takes an empty one for a folder
            if plan.workers > 1 or plan.companion is not None:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="whaul-metrics-"))
                os.environ[METRICS_FOLDER] = folder
        systemd = Systemd()
        companion = None
        if plan.companion is not None:
            companion = Companion([sys.executable, "-P", "-m", "whaul.server", plan.companion.as_json()])
            stack.enter_context(companion.kept())
        _serve(plan, systemd, companion)


def _serve(plan: Plan, systemd: Systemd, companion: Companion | None) -> None:
    server = Workers(
        notice=plan.shutdown_notice,
        patience=plan.deadline + STOP_MARGIN,
        target=plan.application,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        address=plan.address,
        port=plan.port,
        workers=plan.workers,
        backpressure=_connections(plan.max_transfers),
        # Hyper counts the timeout from the last response: it is how long a connection may be idle. What bounds a head
        # that has begun is `unfinished_heads`.
        http1_settings=HTTP1Settings(header_read_timeout=int(plan.idle_timeout * 1000), max_buffer_size=MAX_HEAD),
        ssl_cert=Path(plan.tls_cert_file) if plan.tls_cert_file else None,
        ssl_key=Path(plan.tls_key_file) if plan.tls_key_file else None,
        log_level=LogLevels.debug if plan.log_level == "debug" else LogLevels.info,  # its start and stop, always
        log_dictconfig=logs.server_logging(plan.log_level, plan.log_format),
        ssl_protocol_min=SSLProtocols.tls12,
    )
    timeout = min(PROBE_TIMEOUT, systemd.watchdog / 2 or PROBE_TIMEOUT)
    orders = _piped() if plan.is_companion else _signalled(companion)
    obeying = threading.Thread(
        target=_obey, args=(orders, server, systemd, plan.shutdown_notice), name="orders", daemon=True
    )
    server.on_startup(obeying.start)
    server.on_startup(
        lambda: systemd.watch(
            lambda: answers(plan.address, plan.port, tls=plan.tls_cert_file is not None, timeout=timeout)
        )
    )
    # Granian's own loader would import from the working directory first.
    loader = partial(_application, plan.application, plan.port, plan.shutdown_notice)
    # Workers are forks. Their garbage collector leaves alone what is here now, so that its pages stay shared: 6 MB.
    gc.collect()
    gc.freeze()
    server.serve(target_loader=loader, wrap_loader=False)


def _application(application: str, port: int, notice: float, serving: Connection) -> "Worker":
    """Make the application, in a worker."""
    from whaul.server.worker import Worker  # noqa: PLC0415 - only workers load the gateway

    module, _, name = application.partition(":")
    return Worker(getattr(import_module(module), name)(), port, notice, serving)


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


def _signalled(companion: Companion | None) -> Iterator[Order]:
    """Wait for signals, pass them on to the companion, and say what they mean.

    SIGTERM begins the notice; another one, or Ctrl-C, ends it. Calls under way are finished in any case.
    """
    draining = False
    while True:
        number = signal.sigwait(EVERY_SIGNAL)
        if number not in {signal.SIGHUP, signal.SIGTERM, signal.SIGINT}:
            continue
        order = Order.RELOAD
        if number != signal.SIGHUP:
            order = Order.DRAIN if number == signal.SIGTERM and not draining else Order.STOP
            draining = True
        if companion is not None:
            companion.tell(order)
        yield order


def _piped() -> Iterator[Order]:
    """Read orders from standard input; its end means that the main process has died."""
    while word := os.read(0, 1):
        yield Order(word)
    yield Order.STOP


def _obey(orders: Iterator[Order], server: Workers, systemd: Systemd, notice: float) -> None:
    for order in orders:
        if order is Order.RELOAD:
            server.reload()
        elif order is Order.DRAIN and notice and not server.draining:
            systemd.stop()
            server.drain()
            ending = threading.Timer(notice, server.stop)
            ending.daemon = True
            ending.start()
        else:
            systemd.stop()
            server.stop()
