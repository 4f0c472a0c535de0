"""A loopback server that keeps every byte it is sent, and answers with whatever bytes it is told to."""

import re
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

from harness.waiting import PATIENCE

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)

Answer = bytes | Callable[[bytes], bytes]


class Peer:
    """What was sent to it, and what it answers."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.host = f"127.0.0.1:{port}"
        self.url = f"http://{self.host}"
        self.connections = 0
        self.received: list[bytes] = []
        """Each request, head and body, as it came."""
        self.answer: Answer = answer(200)

    def reset(self, then: Answer | None = None) -> None:
        self.connections, self.received = 0, []
        self.answer = then if then is not None else answer(200)


def answer(status: int = 200, body: bytes = b"", *headers: bytes) -> bytes:
    """An answer with a true Content-Length, after which the connection ends."""
    lines = [b"HTTP/1.1 %d Told" % status, b"Content-Length: %d" % len(body), b"Connection: close", *headers, b"", b""]
    return b"\r\n".join(lines) + body


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    block_on_close = False
    request_queue_size = 128
    peer: Peer


class _Connection(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        """Answer one request, whole or not, and close."""
        peer = cast("_Server", self.server).peer
        peer.connections += 1
        connection: socket.socket = self.request
        connection.settimeout(PATIENCE)
        data = b""
        try:
            while not _is_whole(data):
                block = connection.recv(65536)
                if not block:
                    break
                data += block
            if data:
                peer.received.append(data)
                connection.sendall(peer.answer if isinstance(peer.answer, bytes) else peer.answer(data))
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
        except OSError:
            pass  # the other side left


def _is_whole(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    length = _LENGTH.search(head + b"\r\n")
    return bool(end) and len(body) >= (int(length[1]) if length else 0)


@contextmanager
def listening() -> Iterator[Peer]:
    """Listen on a free loopback port while the block runs."""
    with _Server(("127.0.0.1", 0), _Connection) as server:
        server.peer = Peer(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="peer")
        thread.start()
        try:
            yield server.peer
        finally:
            server.shutdown()
            thread.join()
