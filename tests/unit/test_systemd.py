"""What systemd is told, at a real datagram socket, as it listens on."""

import os
import socket
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from whaul.server.systemd import Systemd

PATIENCE = 20.0
PLACES = ["path", pytest.param("abstract", marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux only"))]


@pytest.fixture(params=PLACES)
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A listening socket, and the name that NOTIFY_SOCKET has for it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@{uuid.uuid4()}"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listening:
        listening.bind("\0" + name[1:] if name.startswith("@") else name)
        listening.settimeout(PATIENCE)
        yield listening, name


def test_readiness_life_and_end_are_told(manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    systemd = Systemd({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "2000", "WATCHDOG_PID": str(os.getpid())})
    looks = iter([False, False, True])
    systemd.watch(lambda: next(looks, True))
    assert [listening.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
    systemd.stop()
    while (told := listening.recv(100)) != b"STOPPING=1":
        assert told == b"WATCHDOG=1"


def test_a_server_that_answers_no_more_gives_no_sign_of_life(manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    systemd = Systemd({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "2000"})
    looks: list[int] = []

    def answers() -> bool:
        looks.append(1)
        if len(looks) == 5:
            systemd.stop()
        return len(looks) == 1

    systemd.watch(answers)
    assert [listening.recv(100) for _ in range(2)] == [b"READY=1", b"STOPPING=1"]


def test_children_do_not_see_the_socket(manager: tuple[socket.socket, str]) -> None:
    environ = {"NOTIFY_SOCKET": manager[1], "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "PATH": "/bin"}
    Systemd(environ)
    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
    ],
)
def test_no_sign_of_life_is_due_without_a_watchdog_of_ours(environ: dict[str, str]) -> None:
    assert Systemd(dict(environ)).watchdog == 0


@pytest.mark.parametrize("name", ["", "vsock:2:1234", "relative"])
def test_another_kind_of_socket_is_told_nothing(name: str) -> None:
    Systemd({"NOTIFY_SOCKET": name}).tell("READY=1")


def test_a_socket_that_is_gone_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Systemd({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell("READY=1")
    assert "systemd cannot be told READY=1: No such file or directory" in caplog.text
