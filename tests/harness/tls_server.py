"""A server that speaks TLS with any certificate."""

import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


@contextmanager
def tls_server(pem: bytes | None, adjust: Callable[[ssl.SSLContext], None] = lambda _context: None) -> Iterator[int]:
    """A server at a loopback port that answers everything with 200, by TLS if it has a key and certificate.

    In a thread: asyncio's servers do not tell the client why a handshake failed.
    """
    context = None
    if pem is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile() as file:
            file.write(pem)
            file.flush()
            context.load_cert_chain(file.name)
        adjust(context)
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_serve, args=(server, context))
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def _serve(server: socket.socket, context: ssl.SSLContext | None) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection, suppress(OSError):
            stream = context.wrap_socket(connection, server_side=True) if context else connection
            with stream:
                stream.recv(65536)
                stream.sendall(OK)
