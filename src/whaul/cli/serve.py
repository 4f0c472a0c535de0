"""`whaul serve` and `whaul migrate`."""

import asyncio
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import threading
from contextlib import ExitStack
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whaul.cli import output

if TYPE_CHECKING:
    from granian.server.common import AbstractServer

    from whaul.settings import Settings

HEADER_TIMEOUT = 15_000
"""Milliseconds in which a request's headers must come."""
MOST_CONNECTIONS = 8192
"""Open connections of a worker, most of them idle: one costs 3 KB and an open file."""
OTHER_FILES = 256
"""Files that a worker may need besides its connections and transfers: the database, libraries, outbound connections."""
DRAIN_NOTICE = 3.0
"""Seconds between SIGTERM and the end of listening, in which `/readyz` answers 503."""
DRAIN_MARGIN = 5
"""Seconds that a stop waits beyond the deadline of a call."""


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on (WHAUL_HOST).", show_default="127.0.0.1")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (WHAUL_PORT).", show_default="8080")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes (WHAUL_WORKERS).", show_default="1")] = None,
) -> None:
    """Run the gateway until it is told to stop; calls under way are finished first."""
    from whaul.environment import environment_name
    from whaul.settings import Settings
    from whaul.stack.processes import check_free

    settings = Settings.load(host=host, port=port, workers=workers)
    asyncio.run(_check_parts(settings))
    check_free(settings.host, settings.port)
    # Workers are processes of their own and read the settings from the environment, as if it had held the options.
    for name in ("host", "port", "workers"):
        os.environ[environment_name(name)] = str(getattr(settings, name))
    with ExitStack() as stack:
        if settings.workers > 1:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="whaul-metrics-"))
            os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", folder)
        _serve(settings)


def _serve(settings: "Settings") -> None:
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces, Loops, SSLProtocols
    from granian.http import HTTP1Settings
    from granian.log import LogLevels

    from whaul.telemetry import logs

    server = Granian(
        "whaul.app:create_app",
        factory=True,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        address=settings.host,
        port=settings.port,
        workers=settings.workers,
        workers_kill_timeout=int(settings.deadline) + DRAIN_MARGIN,
        backpressure=_connections(settings),
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_TIMEOUT),
        ssl_cert=settings.tls_cert_file,
        ssl_key=settings.tls_key_file,
        log_level=LogLevels(settings.log_level),
        log_dictconfig=logs.server_logging(settings.log_level, settings.log_format),
        ssl_protocol_min=SSLProtocols.tls12,
        respawn_failed_workers=True,
    )
    server.on_startup(lambda: _give_notice(server))
    server.serve()


def _connections(settings: "Settings") -> int:
    """How many connections a worker takes: so many that idle ones keep no calls out, and files are left for the calls.

    Raises the limit of open files for that as far as it may; it is often a mere 1024.
    """
    reserved = 2 * settings.max_transfers + OTHER_FILES
    wanted = MOST_CONNECTIONS + reserved
    soft, hard = (sys.maxsize if n == resource.RLIM_INFINITY else n for n in resource.getrlimit(resource.RLIMIT_NOFILE))
    if soft < min(wanted, hard):
        soft = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return max(min(wanted, soft) - reserved, settings.max_transfers)


def _give_notice(server: "AbstractServer[Any]") -> None:
    """On SIGTERM, let load balancers see that the workers are draining before the server stops taking connections.

    Ctrl-C, and a second SIGTERM, stop it at once. Calls under way are finished in any case.
    """
    from whaul.settings import DRAIN_SIGNAL

    stop = signal.getsignal(signal.SIGTERM)

    def drain(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, stop)
        server.respawn_failed_workers = False
        for worker in multiprocessing.active_children():
            os.kill(worker.pid or 0, DRAIN_SIGNAL)
        threading.Timer(DRAIN_NOTICE, os.kill, (os.getpid(), signal.SIGINT)).start()

    signal.signal(signal.SIGTERM, drain)


def migrate() -> None:
    """Bring the database to the current schema."""
    from whaul.parts import stored
    from whaul.registry import schema
    from whaul.settings import Settings

    settings = Settings.load()
    stored.cipher(settings)  # makes the key file of a new SQLite database, which is not made later
    revision = asyncio.run(schema.migrate(settings.database_url.get_secret_value()))
    output.line(f"The database is at revision {revision}.")


async def _check_parts(settings: "Settings") -> None:
    """Fail before the server starts, with a message instead of a worker's traceback."""
    from whaul.parts import stored
    from whaul.parts.audit import check_audit_log
    from whaul.parts.outbound import check_outbound
    from whaul.parts.s3 import s3_config
    from whaul.parts.tls import check_tls

    s3_config(settings)
    check_outbound()
    check_tls(settings)
    check_audit_log(settings)
    async with stored.registry(settings) as registry:
        await registry.ping()
