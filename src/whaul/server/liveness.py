"""Whether a server on this machine answers: its main process asks, and so does a container's health check.

`python -m whaul.server.liveness [PORT PATH]` is that check. It reads the listener from the environment, and loads no
settings: it runs every few seconds. With port and path it asks something else in the container, such as a simulator.
"""

import http.client
import os
import ssl
import sys
from contextlib import closing
from typing import Final

TIMEOUT: Final = 5.0
"""Seconds in which the health check must be answered."""


def answers(address: str, port: int, path: str = "/healthz", *, tls: bool, timeout: float) -> bool:
    """Whether the path is answered with 200 within `timeout` seconds, at the address that the server listens on."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104 - not listened on here
    connection: http.client.HTTPConnection
    if tls:
        unverified = ssl._create_unverified_context()  # noqa: S323, SLF001 - ours, whatever name its certificate holds
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=unverified)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
    with closing(connection):
        try:
            connection.request("GET", path)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False


if __name__ == "__main__":
    of = os.environ.get
    port, path = sys.argv[1:] or (of("WHAUL_PORT") or "8080", "/healthz")
    tls = bool(of("WHAUL_TLS_CERT_FILE")) and len(sys.argv) == 1
    alive = answers(of("WHAUL_HOST") or "127.0.0.1", int(port), path, tls=tls, timeout=TIMEOUT)
    sys.exit(0 if alive else f"nobody answers {path} on port {port}")
