"""HTTP as it is on the wire: the standard library's client, which corrects nothing."""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from typing import Any

from harness.waiting import PATIENCE


@dataclass(frozen=True)
class Reply:
    status: int
    lines: list[tuple[str, str]]
    """The headers as they came."""
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """Names in lower case."""
        return {name.lower(): value for name, value in self.lines}

    @property
    def text(self) -> str:
        """All of it, to be searched."""
        return f"{self.lines}{self.body.decode('utf-8', 'replace')}"

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error code, after a look that it is the same wherever it is told."""
        code = self.headers["x-amzn-errortype"]
        assert self.json()["__type"] == code
        assert self.headers["content-type"] == "application/json"
        return code

    @property
    def error(self) -> dict[str, Any]:
        """The error of an answer of the Graph API."""
        found: dict[str, Any] = self.json()["error"]
        return found

    @property
    def message(self) -> str:
        return str(self.json()["message"])


def send(port: int, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> Reply:
    """One request on a connection of its own."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        return exchange(connection, method, target, body, headers)


def exchange(connection: HTTPConnection, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> Reply:
    """One request on a connection that may be used again."""
    connection.request(method, target, body=body, headers=dict(headers))
    return reply(connection.getresponse())


def reply(response: HTTPResponse) -> Reply:
    return Reply(response.status, response.getheaders(), response.read())


@contextmanager
def connection_to(port: int) -> Iterator[socket.socket]:
    """A bare socket."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)) as opened:
        yield opened


def request_bytes(method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """A request, as text."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
