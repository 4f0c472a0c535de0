"""How `whaul serve` starts: what it refuses in one message, what it tells systemd, what it keeps in memory."""

import json
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from harness.client import HTTPConnection, exchange
from harness.store import Store
from harness.waiting import PATIENCE, eventually
from harness.world import MEDIA_PATH, World
from whaul.simulator import Simulator

JPEG = "100000000000001"
MAX_OWN_MEMORY = 45 * 1024 * 1024


def refused(world: World, *arguments: str, **environ: str) -> str:
    """The one message of a server that does not start."""
    done = world.run("serve", *arguments, **environ)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("whaul: ")
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_folder_for_counters_that_cannot_be_used_is_named(world: World, tmp_path: Path) -> None:
    message = refused(world, PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "missing"))
    assert f"PROMETHEUS_MULTIPROC_DIR={tmp_path}/missing: expected a folder that can be written to" in message


def test_a_listener_that_cannot_be_is_told(world: World) -> None:
    message = refused(world, WHAUL_HOST="no-such-name.invalid")
    assert "WHAUL_HOST=no-such-name.invalid: the name has no address here" in message


def test_a_server_that_has_nothing_yet_says_so_at_every_level_and_that_it_starts_and_stops(
    world: World, tmp_path: Path
) -> None:
    with world.serve(WHAUL_DATABASE_URL=f"sqlite:///{tmp_path / 'new.db'}", WHAUL_LOG_LEVEL="warning") as running:
        eventually(lambda: '"event":"ready"' in running.log.read_text(encoding="utf-8"))
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(PATIENCE) == 0
    lines = [json.loads(line) for line in running.log.read_text(encoding="utf-8").splitlines()]
    warned = [line["event"] for line in lines if line["level"] == "warning"]
    assert warned == ["no_account_linked", "no_access_key"]
    events = [line["event"] for line in lines if line["level"] == "info"]
    assert any(event.startswith("Listening at: http://127.0.0.1:") for event in events)
    assert events[-1] == "stopped"


def test_without_keys_programs_are_let_in_and_pages_in_a_browser_are_not(world: World) -> None:
    body = json.dumps(
        {"mediaId": JPEG, "originationPhoneNumberId": world.phone_number_id, "metadataOnly": True}
    ).encode()
    with world.serve(WHAUL_HOST="localhost", WHAUL_AUTH="none") as running:
        assert running.send("POST", MEDIA_PATH, body).status == 200
        for headers in (
            {"Origin": "https://evil.example"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Referer": "https://evil.example/"},
            {"Host": "evil.example"},
        ):
            refused = running.send("POST", MEDIA_PATH, body, headers=headers)
            assert (refused.status, refused.code) == (403, "AccessDeniedException")
            assert "programs on this machine" in refused.message
        asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        preflight = running.send("OPTIONS", MEDIA_PATH, headers=asked)
        assert (preflight.status, preflight.code) == (403, "AccessDeniedException")
        assert not [name for name in preflight.headers if name.startswith("access-control-")]


@pytest.mark.long
def test_systemd_is_told_when_the_server_answers_lives_and_stops(world: World, tmp_path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        told_by = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000", "WHAUL_IDLE_TIMEOUT": "1"}
        told_by["WHAUL_SHUTDOWN_NOTICE"] = "60"
        with world.serve(**told_by) as running:
            assert manager.recv(100) == b"READY=1"
            with closing(HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE)) as connection:
                assert exchange(connection, "GET", "/healthz", b"", {}).status == 200
                assert connection.sock.recv(1) == b"", "idle for its time, it is closed"
            assert manager.recv(100) == b"WATCHDOG=1"
            running.process.send_signal(signal.SIGTERM)
            while (told := manager.recv(100)) != b"STOPPING=1":
                assert told == b"WATCHDOG=1"
            assert running.send("GET", "/healthz").status == 200, "it still listens"
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(PATIENCE) == 0


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what memory is a process's own")
def test_the_supervisor_holds_little_memory(world: World) -> None:
    with world.serve() as running:
        rollup = Path(f"/proc/{running.process.pid}/smaps_rollup").read_text(encoding="ascii")
    values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in rollup.splitlines()[1:]}
    assert values["Pss"] <= values["Rss"] < MAX_OWN_MEMORY


@pytest.mark.long
def test_a_head_that_does_not_end_is_sent_away_and_nothing_else(
    world: World, simulator: Simulator, store: Store, prefix: str
) -> None:
    """Not a connection that is idle, and not a call that takes longer than a head may."""
    media_id = simulator.add_generated(2_500_000, "image/png", seed=4)
    simulator.fault(media_id, kind="drip", bytes_per_second=100_000)
    with (
        world.serve(WHAUL_IDLE_TIMEOUT="3600") as running,
        ThreadPoolExecutor() as pool,
        closing(HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE)) as idle,
        closing(HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE)) as endless,
    ):
        long_call = pool.submit(running.get_to, media_id, prefix)
        for each in (idle, endless):
            assert exchange(each, "GET", "/healthz", b"", {}).status == 200
        endless.sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nx: ")

        def is_closed_after_one_byte_more() -> bool:
            try:
                endless.sock.sendall(b"a")
                endless.sock.settimeout(0.5)
                return endless.sock.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        eventually(is_closed_after_one_byte_more)
        assert exchange(idle, "GET", "/healthz", b"", {}).status == 200
        assert long_call.result()["fileSize"] == 2_500_000
    assert len(store.read(f"{prefix}{media_id}.png")) == 2_500_000
