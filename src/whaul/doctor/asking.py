"""Asks a server at one of its addresses what monitors ask. It is told nothing, so that anybody may answer."""

import asyncio
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass

MAX_HEAD = 16 * 1024
"""Bytes of a head that are read of whoever listens."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes
    certificate: bytes | None
    """Of the server, DER."""


async def ask(address: str, port: int, path: str, tls: ssl.SSLContext | None, name: str | None = None) -> Answer:
    """Send a GET; `name` is the host's, for TLS. Raises OSError, EOFError, LimitOverrunError or ValueError."""
    server_name = None if tls is None else name or address
    opened = asyncio.open_connection(address, port, ssl=tls, server_hostname=server_name, limit=MAX_HEAD)
    reader, writer = await opened
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {name or 'localhost'}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        wrapped = writer.get_extra_info("ssl_object")
        certificate = wrapped.getpeercert(binary_form=True) if wrapped else None
        head = await reader.readuntil(b"\r\n\r\n")
        status = re.match(rb"HTTP/1\.[01] (\d{3})\b", head)
        if status is None:
            raise ValueError("it does not speak HTTP")
        length = re.search(rb"\r\ncontent-length: *(\d{1,7})\r\n", head, re.IGNORECASE)
        body = await reader.readexactly(int(length[1])) if length else b""
        return Answer(int(status[1]), body, certificate)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def untrusting() -> ssl.SSLContext:
    """Make a context that looks at a certificate and believes nothing: good for what is told nothing."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
