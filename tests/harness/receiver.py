"""A receiver of webhooks on a loopback port: proves itself to Meta, keeps what it is sent, answers as told."""

import hashlib
import hmac
import json
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from harness.waiting import PATIENCE, eventually

VERIFY_TOKEN = "let-me-in"


@dataclass(frozen=True)
class Posted:
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def value(self) -> Any:
        """The value of the first change."""
        return self.json()["entry"][0]["changes"][0]["value"]

    def is_signed_with(self, secret: str) -> bool:
        digest = hmac.new(secret.encode(), self.body, hashlib.sha256).hexdigest()
        return self.headers.get("x-hub-signature-256") == f"sha256={digest}"


@dataclass
class Receiver:
    url: str = ""
    posts: list[Posted] = field(default_factory=list)
    """What came whole."""
    broken: list[bytes] = field(default_factory=list)
    """Bodies that came in part."""
    verifications: list[dict[str, str]] = field(default_factory=list)
    """The queries of GETs."""
    challenge: Callable[[dict[str, str]], tuple[int, str]] = lambda query: (
        (200, query["hub.challenge"]) if query.get("hub.verify_token") == VERIFY_TOKEN else (403, "")
    )
    """What a GET is answered."""
    answers: list[int] = field(default_factory=list)
    """Statuses of the next POSTs; afterwards, and without any, `status`."""
    status: int = 200
    echoes: bool = False
    """Whether the body of an answer is that of the POST."""

    def wait(self, count: int) -> list[Posted]:
        """The posts, once there are so many."""
        eventually(lambda: len(self.posts) >= count)
        return self.posts

    @property
    def statuses(self) -> list[str]:
        """The statuses of messages so far."""
        return [status["status"] for post in self.posts for status in post.value.get("statuses", [])]


@contextmanager
def receiving(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Listen while the block runs."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE

        def do_GET(self) -> None:
            query = dict(parse_qsl(urlsplit(self.path).query))
            receiver.verifications.append(query)
            self._answer(*receiver.challenge(query))

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            if len(body) < length:
                receiver.broken.append(body)
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = receiver.answers.pop(0) if receiver.answers else receiver.status
            receiver.posts.append(Posted(self.path, headers, body))
            self._answer(status, body.decode() if receiver.echoes else "")

        def _answer(self, status: int, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: Any) -> None:
            """Say nothing of clients that broke off."""
            assert isinstance(sys.exception(), OSError)

    with Server(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        receiver.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}/hook"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="receiver")
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
