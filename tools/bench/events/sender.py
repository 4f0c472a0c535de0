"""Posts webhooks as Meta does, signed, on kept connections; says when each was sent and when it was answered.

One line of JSON in is a phase, one line out is what came of it: `[message ids, when it was due, when answered, status]`
for each POST. With a rate, a POST is due at its time whether or not earlier ones are answered.
"""

import asyncio
import hmac
import itertools
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import uvloop

WABA, NUMBER = "102290129340398", "106540352242922"
Result = tuple[list[str], float, float, int]


class Connection(asyncio.Protocol):
    """One request at a time; answers have a length, or end the connection."""

    def __init__(self) -> None:
        self._data = b""
        self._waiter: asyncio.Future[int] | None = None
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found or self._waiter is None:
            return
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        if len(body) >= length:
            self._data = b""
            waiter, self._waiter = self._waiter, None
            waiter.set_result(int(lines[0].split()[1]))

    def connection_lost(self, _error: Exception | None) -> None:
        self.transport = None
        if self._waiter is not None:
            self._waiter.set_result(0)

    async def ask(self, request: bytes) -> int:
        self._waiter = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._waiter


class Sender:
    """A pool of connections."""

    def __init__(self, ports: Sequence[int], secret: str) -> None:
        """Connections go to these ports in turn."""
        self._ports = itertools.cycle(ports)
        self._secret = secret.encode()
        self._idle: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
        self._open = 0

    async def run(self, phase: dict[str, Any]) -> list[Result]:
        """Send a phase's POSTs."""
        connections = int(phase["connections"])
        while self._open < connections:
            self._idle.put_nowait(await self._connect())
            self._open += 1
        per_post = int(phase.get("items", 1))
        made = [self._request(phase["name"], number, per_post) for number in range(int(phase["posts"]))]
        places = asyncio.Semaphore(connections)
        rate = phase.get("rate")
        start = time.monotonic() + 0.05

        async def post(number: int, ids: list[str], request: bytes) -> Result:
            if rate:
                due = start + number / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            async with places:
                sent = due if rate else time.monotonic()
                connection = await self._idle.get()
                if connection.transport is None:
                    connection = await self._connect()
                status = await connection.ask(request)
                answered = time.monotonic()
                self._idle.put_nowait(connection)
                return ids, sent, answered, status

        return await asyncio.gather(*(post(number, *each) for number, each in enumerate(made)))

    async def _connect(self) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", next(self._ports))
        return connection

    def _request(self, name: str, number: int, count: int) -> tuple[list[str], bytes]:
        ids = [f"wamid.{name}{number:06d}x{each}" for each in range(count)]
        senders = [f"1555{(number * count + each) % 9973:07d}" for each in range(count)]
        value = {
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": "15550100", "phone_number_id": NUMBER},
            "contacts": [{"profile": {"name": "A customer"}, "wa_id": who} for who in sorted(set(senders))],
            "messages": [
                {
                    "from": who,
                    "id": id_,
                    "timestamp": str(int(time.time())),
                    "type": "text",
                    "text": {"body": "Good morning! When will my order arrive? It is number 2026-11-0042."},
                }
                for who, id_ in zip(senders, ids, strict=True)
            ],
        }
        entry = {"id": WABA, "changes": [{"value": value, "field": "messages"}]}
        body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()
        signature = hmac.digest(self._secret, body, "sha256").hex()
        head = (
            f"POST /webhooks/meta HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: facebookexternalua\r\n"
            f"Content-Type: application/json\r\nX-Hub-Signature-256: sha256={signature}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return ids, head.encode() + body


async def main() -> None:
    *ports, secret = sys.argv[1:]
    sender = Sender([int(port) for port in ports], secret)
    loop = asyncio.get_running_loop()
    print("ready", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await sender.run(json.loads(line))), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
