"""Whether a server on this machine answers: its main process asks, and so does a container's health check.

`python -m whaul.server.liveness [PORT PATH]` is that check. It reads the listener from the environment, and loads no
settings and no HTTP client: it runs every few seconds, and the main process keeps what it has loaded. With port and
path it asks something else in the container, such as a simulator.
"""

import os
import socket
import sys
from typing import Final

TIMEOUT: Final = 5.0
"""Seconds in which the health check must be answered."""
MAX_LINE: Final = 256
"""Bytes of a status line."""


def answers(address: str, port: int, path: str = "/healthz", *, tls: bool, timeout: float) -> bool:
    """Whether the path is answered with 200 within `timeout` seconds, at the address that the server listens on."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104 - not listened on here
    named = f"[{host}]" if ":" in host else host
    request = f"GET {path} HTTP/1.1\r\nHost: {named}:{port}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection((host, port), timeout) as plain, _encrypted(plain, tls=tls) as connection:
            connection.sendall(request.encode("ascii"))
            return connection.makefile("rb").readline(MAX_LINE).split()[1:2] == [b"200"]
    except OSError:
        return False


def _encrypted(connection: socket.socket, *, tls: bool) -> socket.socket:
    if not tls:
        return connection
    import ssl  # noqa: PLC0415 - a tenth of the time and memory of a check that needs none

    unverified = ssl._create_unverified_context()  # noqa: S323, SLF001 - ours, whatever name its certificate holds
    return unverified.wrap_socket(connection)


if __name__ == "__main__":
    of = os.environ.get
    port, path = sys.argv[1:] or (of("WHAUL_PORT") or "8080", "/healthz")
    tls = bool(of("WHAUL_TLS_CERT_FILE")) and len(sys.argv) == 1
    alive = answers(of("WHAUL_HOST") or "127.0.0.1", int(port), path, tls=tls, timeout=TIMEOUT)
    sys.exit(0 if alive else f"nobody answers {path} on port {port}")
