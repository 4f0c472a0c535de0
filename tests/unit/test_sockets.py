"""A listener that is about to be closed, on real connections."""

import select
import socket
import sys
from contextlib import closing

import pytest

from harness.waiting import PATIENCE
from whaul.server.sockets import hold_off_connections, sockets_at

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists sockets and filters packets")
FAMILIES = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}


@pytest.mark.parametrize("host", FAMILIES)
def test_a_held_off_listener_still_gives_those_that_wait_and_nobody_is_cut_off_when_it_closes(host: str) -> None:
    with closing(socket.create_server((host, 0), family=FAMILIES[host])) as listener:
        port = listener.getsockname()[1]
        with closing(socket.create_connection((host, port))) as kept, closing(listener.accept()[0]) as accepted:
            waits = socket.create_connection((host, port))
            waits.sendall(b"waits")
            hold_off_connections(port)
            late = socket.socket(FAMILIES[host])
            late.setblocking(False)
            late.connect_ex((host, port))
            with closing(listener.accept()[0]) as taken, closing(waits):
                assert taken.recv(5) == b"waits"
            kept.sendall(b"kept")
            assert accepted.recv(4) == b"kept"
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()
    with closing(late):
        assert select.select([], [late], [], PATIENCE)[1]
        error = late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    with pytest.raises(ConnectionRefusedError):
        raise OSError(error, "it was refused before it could send anything")


def test_only_tcp_sockets_at_the_port_are_found() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener, closing(socket.socket()) as other:
        port = listener.getsockname()[1]
        other.bind(("127.0.0.1", 0))
        found = [each for _, each in sockets_at(port)]
        assert [each.getsockname() for each in found] == [listener.getsockname()]
        for each in found:
            each.close()
