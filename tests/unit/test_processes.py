"""The programs of the local stack, and the ports that are kept for them."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from harness.waiting import eventually, is_running
from whaul.server.listener import check_free
from whaul.stack import processes
from whaul.stack.processes import StackError, free_ports, program, wait_until


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port is only looked for, and not kept")
def test_a_port_is_kept_from_all_but_the_server_it_is_for() -> None:
    with free_ports(1) as [port]:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        check_free("127.0.0.1", port)
        with socket.create_server(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
            pass
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))


def test_no_port_is_picked_twice() -> None:
    with free_ports(50) as some, free_ports(50) as others:
        assert len({*some, *others}) == 100


def test_more_ports_than_there_are_end_with_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    with free_ports(1) as [port]:
        monkeypatch.setattr(processes, "PORTS", range(port, port + 1))
        with pytest.raises(StackError, match="not enough free ports"), free_ports(1):
            pass


KEEPER = """
import os, signal, sys
from whaul.stack.processes import program
with program(sys.argv[1:], os.environ, None):
    signal.pause()
"""
FAMILY = "sleep 600 & echo $$ $! >&2; wait"


def test_a_program_and_its_children_do_not_outlive_us_when_we_are_killed() -> None:
    command = [sys.executable, "-c", KEEPER, "/bin/sh", "-c", FAMILY]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as keeper:
        assert keeper.stderr is not None
        family = [int(word) for word in keeper.stderr.readline().split()]
        assert len(family) == 2
        keeper.kill()
        for number in family:
            eventually(lambda number=number: not is_running(number))


FORKER = """
import signal, sys
from pathlib import Path
from harness.zygote import Zygote
print(Zygote().call("time:sleep", [600], Path(sys.argv[1])).pid, flush=True)
signal.pause()
"""


@pytest.mark.long
def test_what_tests_have_forked_does_not_outlive_them_when_they_are_killed(tmp_path: Path) -> None:
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, Path(__file__).parents[1:3]))}
    command = [sys.executable, "-c", FORKER, str(tmp_path / "log")]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) as forker:
        assert forker.stdout is not None
        number = int(forker.stdout.readline())
        assert is_running(number)
        forker.kill()
    eventually(lambda: not is_running(number))


def test_a_program_is_stopped_with_its_children(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with program(["/bin/sh", "-c", FAMILY], os.environ, log) as process:
        eventually(lambda: log.read_text().count(" ") == 1)
    assert process.returncode == -signal.SIGINT
    for number in log.read_text().split():
        eventually(lambda number=number: not is_running(int(number)))


def test_a_program_that_does_not_start_says_so_in_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with program(["/no/such/program"], os.environ, log) as process, pytest.raises(StackError, match="/no/such/program"):
        wait_until(lambda: False, process, "The program", log, 60)
