"""How a server ends and its workers are replaced: by signals to one process or to all, or by misfortune."""

import os
import re
import signal
import sqlite3
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from harness.client import HTTPConnection, exchange
from harness.store import Store
from harness.waiting import PATIENCE, eventually
from harness.world import SERVE, Gateway, World, gateway
from tools.certificates import make_certificates
from whaul.database_url import database_file
from whaul.server.listener import check_free
from whaul.simulator import Simulator

PDF = "100000000000003"
LONG = "60"
"""Seconds of a notice that the tests end."""


def to_main(running: Gateway, number: signal.Signals) -> None:
    running.process.send_signal(number)


def to_group(running: Gateway, number: signal.Signals) -> None:
    os.killpg(running.process.pid, number)


def workers(running: Gateway) -> list[int]:
    """The ids of all worker processes that were started so far."""
    return [int(pid) for pid in re.findall(r"Spawning worker-\d with PID: (\d+)", running.log.read_text())]


@pytest.mark.parametrize("count", ["1", "2"])
@pytest.mark.parametrize("tell", [to_main, to_group])
def test_calls_are_served_throughout_the_notice_and_finished_after_it(
    *,
    world: World,
    simulator: Simulator,
    store: Store,
    prefix: str,
    tell: Callable[[Gateway, signal.Signals], None],
    count: str,
) -> None:
    media_id = simulator.add_generated(2_000_000, "image/png", seed=3)
    simulator.fault(media_id, kind="latency", hop="download", seconds=60)
    with world.gateway(WHAUL_SHUTDOWN_NOTICE=LONG, WHAUL_WORKERS=count) as running, ThreadPoolExecutor() as pool:
        under_way = pool.submit(running.get_to, media_id, prefix)
        eventually(lambda: simulator.count(media_id)["download"] == 1)
        tell(running, signal.SIGTERM)
        eventually(lambda: running.log.read_text().count('"draining"') == int(count))
        unready = running.send("GET", "/readyz")
        assert (unready.status, b"draining" in unready.body) == (503, True)
        for _ in range(8):  # each on a connection of its own, so that each worker gets some
            for answer in (
                running.post(running.request(PDF, metadataOnly=True) | {"destinationS3File": None}),
                running.send("GET", "/healthz"),
            ):
                assert answer.headers["connection"] == "close"
            assert running.get(PDF, metadataOnly=True)["fileSize"] == simulator.media[PDF].size
        tell(running, signal.SIGTERM)
        eventually(lambda: "Stopping worker" in running.log.read_text())
        simulator.advance(60)
        assert under_way.result()["fileSize"] == 2_000_000
        assert running.process.wait(PATIENCE) == 0
        assert "Unexpected exit" not in running.log.read_text()
    assert len(store.read(f"{prefix}{media_id}.png")) == 2_000_000


@pytest.mark.long
@pytest.mark.parametrize("tell", [to_main, to_group])
def test_ctrl_c_gives_no_notice(world: World, tell: Callable[[Gateway, signal.Signals], None]) -> None:
    with gateway(world, {"WHAUL_SHUTDOWN_NOTICE": "600", "WHAUL_WORKERS": "2"}, command=SERVE) as running:
        tell(running, signal.SIGINT)
        assert running.process.wait(PATIENCE) == 0
        assert "Unexpected exit" not in running.log.read_text()


def test_the_notice_ends_by_itself_and_an_idle_connection_with_it(world: World) -> None:
    with (
        world.gateway(WHAUL_SHUTDOWN_NOTICE="0.1") as running,
        closing(HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE)) as idle,
    ):
        assert exchange(idle, "GET", "/healthz", b"", {}).status == 200
        running.process.send_signal(signal.SIGTERM)
        assert idle.sock.recv(1) == b""
        assert running.process.wait(PATIENCE) == 0


@pytest.mark.long
def test_workers_without_their_main_process_end_and_leave_the_port(world: World) -> None:
    with gateway(world, {"WHAUL_WORKERS": "2"}, command=SERVE) as running:
        eventually(lambda: running.log.read_text().count('"ready"') == 2)
        running.process.send_signal(signal.SIGKILL)
        running.process.wait(PATIENCE)

        def is_free() -> bool:
            try:
                os.kill(workers(running)[0], 0)
                os.kill(workers(running)[1], 0)
            except ProcessLookupError:
                return True
            return False

        eventually(is_free)
    check_free("127.0.0.1", running.port)


@pytest.fixture
def unusable(world: World, tmp_path: Path) -> "tuple[World, Callable[[str], None]]":
    """A world of its own, and what sets the oldest revision that a version must know to use its database."""
    url = f"sqlite:///{tmp_path / 'whaul.db'}"
    own = World(world.simulator, world.environ | {"WHAUL_DATABASE_URL": url}, tmp_path)
    own.link()

    def must_know(revision: str) -> None:
        with closing(sqlite3.connect(database_file(url))) as database, database:
            database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
            database.execute("UPDATE schema_compatibility SET oldest_revision = ?", (revision,))

    return own, must_know


@pytest.mark.long
def test_a_worker_that_cannot_start_ends_no_other_and_comes_back_when_it_can(
    unusable: tuple[World, Callable[[str], None]],
) -> None:
    world, must_know = unusable
    with gateway(world, {"WHAUL_WORKERS": "2"}, command=SERVE) as running:
        eventually(lambda: running.log.read_text().count('"ready"') == 2)
        with closing(sqlite3.connect(world.folder / "whaul.db")) as database:
            (revision,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
        must_know("9999")
        os.kill(workers(running)[0], signal.SIGKILL)
        eventually(lambda: "startup failed" in running.log.read_text())
        assert running.get(PDF, metadataOnly=True)["mimeType"] == "application/pdf"
        eventually(lambda: running.send("GET", "/readyz").status == 503)  # its look from before may be a second old
        assert b"run that version or restore a backup" in running.send("GET", "/readyz").body
        must_know(revision)
        eventually(lambda: running.log.read_text().count('"ready"') == 3)
        assert running.get(PDF, metadataOnly=True)["mimeType"] == "application/pdf"


@pytest.mark.long
def test_a_server_without_a_worker_that_can_start_ends_with_1(unusable: tuple[World, Callable[[str], None]]) -> None:
    world, must_know = unusable
    with world.gateway() as running:
        eventually(lambda: '"ready"' in running.log.read_text())
        must_know("9999")
        os.kill(workers(running)[0], signal.SIGKILL)
        assert running.process.wait(PATIENCE) == 1
        assert "no worker is left" in running.log.read_text()


@pytest.mark.long
def test_sighup_reads_a_renewed_certificate_and_keeps_the_old_one_if_the_new_cannot_be_used(
    world: World, tmp_path: Path
) -> None:
    certificates, renewed = make_certificates(tmp_path / "old"), make_certificates(tmp_path / "new")
    settings = {"WHAUL_TLS_CERT_FILE": str(certificates.chain), "WHAUL_TLS_KEY_FILE": str(certificates.key)}
    with gateway(world, settings, command=SERVE, ca_file=certificates.authority) as running:
        first = served_certificate(running.port)
        certificates.chain.write_bytes(renewed.chain.read_bytes())  # the key is still the old one
        running.process.send_signal(signal.SIGHUP)
        eventually(lambda: "the workers from before go on" in running.log.read_text())
        assert served_certificate(running.port) == first
        certificates.key.write_bytes(renewed.key.read_bytes())
        running.process.send_signal(signal.SIGHUP)
        eventually(lambda: "all workers are replaced" in running.log.read_text())
        eventually(lambda: served_certificate(running.port) != first)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(PATIENCE) == 0


def served_certificate(port: int) -> str:
    try:
        return ssl.get_server_certificate(("127.0.0.1", port), timeout=PATIENCE)
    except OSError:  # the listener of the worker before, which is just being closed
        return ""
