"""The endpoint that events are delivered to: notes each message, and fails as told."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What one POST is answered."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    """Until then."""


@dataclass
class Target:
    port: int = 0
    taken: "Counter[str]" = field(default_factory=Counter)
    """How often each message was answered 200, by its `wamid`."""
    answers: list[Answer] = field(default_factory=list)
    """Of the next POSTs; then, and without any, 200 at once."""
    failed: int = 0
    """POSTs that were not answered 200."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def duplicates(self) -> int:
        return self.taken.total() - len(self.taken)


def wamids(entry: Any) -> list[str]:
    """The ids of the messages of an entry; what is no message has none."""
    messages = [message for change in entry["changes"] for message in change["value"].get("messages", [])]
    return [message["id"] for message in messages if isinstance(message, dict) and "id" in message]


@contextmanager
def event_target() -> Iterator[Target]:
    """Listen while the block runs."""
    target = Target()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with target.lock:
                answer = target.answers.pop(0) if target.answers else Answer(200)
            threading.Event().wait(answer.seconds)
            with target.lock:
                if answer.status == 200:
                    target.taken.update(wamids(json.loads(json.loads(body)["whatsAppWebhookEntry"])))
                else:
                    target.failed += 1
            self.send_response(answer.status)
            for name, value in ({"Content-Length": "0"} | answer.headers).items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: Any) -> None:
            """Say nothing of those who broke off."""

    with Server(("127.0.0.1", 0), Handler) as server:
        target.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield target
        finally:
            server.shutdown()
            thread.join()
