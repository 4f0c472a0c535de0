"""The HTTPS endpoint that events are delivered to: notes when each came, and answers as told.

`PUT /answer/503` says what it answers from now on; `GET /seen` gives each message id with the times at which it came,
on the clock that all processes share.
"""

import asyncio
import json
import re
import ssl
import sys
import time
from typing import Any

import uvloop

ID = re.compile(rb"wamid\.[A-Za-z0-9]+")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

seen: dict[str, list[float]] = {}
status = 200


class Connection(asyncio.Protocol):
    """One kept connection."""

    def __init__(self) -> None:
        self._data = bytearray()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            found = LENGTH.search(self._data, 0, end)
            size = end + 4 + (int(found[1]) if found else 0)
            if len(self._data) < size:
                return
            request = bytes(self._data[:size])
            del self._data[:size]
            self._transport.write(answer(request, end + 4))


def answer(request: bytes, body: int) -> bytes:
    global status  # noqa: PLW0603 - the state of a small program
    content = b""
    told = 200
    if request.startswith(b"POST"):
        told = status
        if status == 200 and (found := ID.search(request, body)):
            seen.setdefault(found[0].decode(), []).append(time.monotonic())
    elif request.startswith(b"PUT /answer/"):
        status = int(request[12:15])
    elif request.startswith(b"GET /count"):
        content = json.dumps([len(seen), sum(map(len, seen.values()))]).encode()
    elif request.startswith(b"GET /seen"):
        content = json.dumps(seen).encode()
        seen.clear()
    return b"HTTP/1.1 %d Told\r\ncontent-length: %d\r\n\r\n%b" % (told, len(content), content)


async def main() -> None:
    port, chain, key = sys.argv[1:]
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(chain, key)
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", int(port), ssl=tls, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
