"""Whether a server on this machine answers."""

import asyncio
import ssl
from pathlib import Path

import pytest

from harness.loopback import BREAK, SILENCE, Answer, Loopback, Received, Reply, reply
from tools.certificates import make_certificates
from whaul.server.liveness import answers

pytestmark = pytest.mark.anyio
PATIENCE = 30.0


def healthy(request: Received) -> Reply:
    return reply(200 if request.target == "/healthz" else 404)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (healthy, True),
        (reply(503), False),
        (Reply(b"200 OK\r\n\r\n", closes=True), False),
        (Reply(b"\xff" * 1000, closes=True), False),
        (BREAK, False),
        (SILENCE, False),
    ],
)
async def test_only_a_200_in_time_counts(answer: Answer, expected: bool) -> None:
    async with Loopback(answer) as server:
        timeout = 0.1 if answer is SILENCE else PATIENCE
        found = await asyncio.to_thread(answers, "0.0.0.0", server.port, tls=False, timeout=timeout)  # noqa: S104
        assert found is expected


async def test_a_certificate_may_have_any_name(tmp_path: Path) -> None:
    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    certificates = make_certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.chain, certificates.key)
    async with await asyncio.start_server(respond, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        assert await asyncio.to_thread(answers, "127.0.0.1", port, tls=True, timeout=PATIENCE)
        assert not await asyncio.to_thread(answers, "127.0.0.1", port, tls=False, timeout=PATIENCE)
