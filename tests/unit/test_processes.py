"""Ports that are kept for the programs of the local stack."""

import socket
import sys

import pytest

from whaul.server.listener import check_free
from whaul.stack import processes
from whaul.stack.processes import StackError, free_ports


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
