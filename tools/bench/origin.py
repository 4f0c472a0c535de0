"""Reads uploads to their last byte and counts them, behind nginx; without nginx it is the whole site.

nginx alone would answer a PUT that it throws away before the body is there. So it passes uploads on, through a
Unix socket, to this process, which keeps nothing of them. Where nginx cannot be had, this process also serves the
descriptions and the files, with TLS: slower, so that the contestants wait for it, but not at the expense of their CPU.

Usage: origin.py CONFIG.json, with "socket" or "port", "cert", "key", "files".
"""

import asyncio
import json
import re
import ssl
import sys
from pathlib import Path
from typing import Any

import uvloop

SCRATCH = bytearray(512 * 1024)
"""Where every connection reads to: nothing of a body is kept."""
VIEW = memoryview(SCRATCH)
BACKLOG = 4096
CHUNK = 256 * 1024
STORED = b'HTTP/1.1 200 OK\r\nETag: "9b2cf535f27731c974343645a3985328"\r\nContent-Length: 0\r\n\r\n'
EMPTY_BUCKET = "<ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>"
"""The answer to a listing: nothing is kept, so nothing is there."""
MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
NO_LENGTH = b"HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect: *100-continue", re.IGNORECASE)
_MEDIA = re.compile(r"/v[\d.]+/(\w+f(\w+))")
_FILE = re.compile(r"/files/(\w+)\.\w+")


class Counts:
    """Uploads that arrived whole."""

    puts = 0
    bytes = 0


class Connection(asyncio.BufferedProtocol):
    """One keep-alive connection."""

    def __init__(self, files: dict[str, dict[str, Any]], contents: dict[str, memoryview]) -> None:
        self._files = files
        self._contents = contents
        self._head = b""
        self._length = 0
        self._left = 0
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._sending: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def pause_writing(self) -> None:
        self._resumed.clear()

    def resume_writing(self) -> None:
        self._resumed.set()

    def connection_lost(self, _error: Exception | None) -> None:
        if self._sending:
            self._sending.cancel()

    def get_buffer(self, _hint: int) -> bytearray:
        return SCRATCH

    def buffer_updated(self, count: int) -> None:
        start = 0
        while start < count:
            if self._left:
                taken = min(self._left, count - start)
                self._left -= taken
                start += taken
                if not self._left:
                    self._stored()
                continue
            known = len(self._head)
            self._head += bytes(VIEW[start:count])
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            start += end + 4 - known
            head, self._head = self._head[: end + 2], b""
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
        if method == "PUT":
            length = _LENGTH.search(head)
            if length is None:
                self._transport.write(NO_LENGTH)
                self._transport.close()
                return
            self._length = self._left = int(length[1])
            if _EXPECT.search(head):
                self._transport.write(CONTINUE)
            if not self._left:
                self._stored()
        elif method == "GET" and "list-type=2" in target:
            self._whole("application/xml", EMPTY_BUCKET.encode())
        elif target == "/counts":
            self._json({"puts": Counts.puts, "bytes": Counts.bytes})
        elif method == "GET" and (media := _MEDIA.match(target)) and media[2] in self._files:
            self._json(self._files[media[2]]["description"] | {"id": media[1]})
        elif method == "GET" and (file := _FILE.match(target)) and file[1] in self._files:
            self._sending = asyncio.get_running_loop().create_task(self._send(file[1]))
        else:
            self._transport.write(MISSING)

    def _stored(self) -> None:
        Counts.puts += 1
        Counts.bytes += self._length
        self._transport.write(STORED)

    def _json(self, document: object) -> None:
        self._whole("application/json", json.dumps(document).encode())

    def _whole(self, kind: str, body: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)

    async def _send(self, name: str) -> None:
        data, kind = self._contents[name], self._files[name]["description"]["mime_type"]
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
        self._transport.write(head.encode())
        for start in range(0, len(data), CHUNK):
            await self._resumed.wait()
            self._transport.write(data[start : start + CHUNK])


async def serve(config: dict[str, Any], contents: dict[str, memoryview]) -> None:
    """Serve until the process is stopped."""
    loop = asyncio.get_running_loop()
    files = config.get("files", {})

    def connection() -> Connection:
        return Connection(files, contents)

    servers = [await loop.create_unix_server(connection, config["socket"], backlog=BACKLOG)]
    if "port" in config:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(config["cert"], config["key"])
        servers += [await loop.create_server(connection, "127.0.0.1", config["port"], ssl=context, backlog=BACKLOG)]
    await asyncio.gather(*(server.serve_forever() for server in servers))


def main() -> None:
    """Read the configuration and the files, and serve."""
    config = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    files = config.get("files", {})
    uvloop.run(serve(config, {name: memoryview(Path(file["path"]).read_bytes()) for name, file in files.items()}))


if __name__ == "__main__":
    main()
