"""A real HTTP server on a loopback port whose answers a test writes, byte by byte if it likes."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Received:
    """A request as it came. `body` is as much of it as arrived; `is_whole` says whether that was all of it."""

    method: str
    target: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    is_whole: bool


@dataclass(frozen=True)
class Reply:
    """What goes back over the wire; without `data` the connection ends, with `hangs` nothing follows for ever."""

    data: bytes = b""
    closes: bool = False
    hangs: bool = False


Answer = Reply | Callable[[Received], Reply]
BREAK = Reply(closes=True)
SILENCE = Reply(hangs=True)


def reply(status: int = 200, body: bytes | str | dict[str, Any] = b"", **headers: str | int) -> Reply:
    """An answer with a true Content-Length, unless `content_length` says another."""
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    raw = body.encode() if isinstance(body, str) else body
    named = {"content-length": len(raw)} | {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items() if value != "")
    data = f"HTTP/1.1 {status} X\r\n{head}\r\n".encode("latin-1") + raw
    return Reply(data, closes="content-length" not in named or named["content-length"] != len(raw))


def s3_refusal(status: int, code: str, extra: str = "", **headers: str) -> Reply:
    xml = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>m</Message>{extra}</Error>'
    return reply(status, xml, **headers)


class Loopback:
    """Answers requests in order; the last answer is for all that follow. A callable decides by the request."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers) or [reply()]
        self.requests: list[Received] = []
        self.connections = 0
        self.begun = asyncio.Event()
        """Set whenever the head of a request has arrived."""
        self.seen = asyncio.Event()
        """Set whenever a request has come to its end, whole or not."""
        self.hung_up = asyncio.Event()
        """Set when a client has left in the middle of its request, or got an answer which hangs and has left."""
        self._open: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        for writer in self._writers:
            if writer.get_extra_info("socket").fileno() >= 0:  # asyncio fails to abort what has come to its end
                writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self._writers.append(writer)
        try:
            while (request := await _request(reader, self.begun)) is not None:
                self.requests.append(request)
                self.seen.set()
                if not request.is_whole:
                    self.hung_up.set()
                    break
                answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                given = answer(request) if callable(answer) else answer
                writer.write(given.data)
                await writer.drain()
                if given.hangs:
                    await reader.read()
                    self.hung_up.set()
                if given.closes or given.hangs:
                    break
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            writer.close()


async def _request(reader: asyncio.StreamReader, begun: asyncio.Event) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    begun.set()
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ", 2)
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    try:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    except asyncio.IncompleteReadError as error:
        return Received(method, target, headers, error.partial, is_whole=False)
    except ConnectionError:
        return Received(method, target, headers, b"", is_whole=False)
    return Received(method, target, headers, body, is_whole=True)
