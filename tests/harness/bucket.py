"""An S3 store in memory that keeps every version of an object, so that tests can count the PUTs that counted."""

import hashlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast
from urllib.parse import unquote, urlsplit

from harness.waiting import PATIENCE

METADATA = "x-amz-meta-"


@dataclass(frozen=True)
class Version:
    body: bytes
    headers: dict[str, str]

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.body).hexdigest()}"'  # noqa: S324 - as S3 makes it


@dataclass
class Bucket:
    url: str = ""
    honours_conditions: bool = True
    versions: dict[str, list[Version]] = field(default_factory=lambda: defaultdict(list))
    """By path, bucket included."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Method and path."""
    error: tuple[int, str] | None = None
    """What every request gets: a status and a code."""
    on_put: Callable[[str], None] = lambda _path: None
    """Called when a PUT's head has come."""
    on_look: Callable[[str], None] = lambda _path: None
    """Called when somebody asks for an object, or about it."""
    before_keeping: Callable[[str], None] = lambda _path: None
    """Called when a PUT is whole, before its object is there."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self) -> dict[str, int]:
        """The number of versions of each object."""
        return {path: len(versions) for path, versions in self.versions.items() if versions}

    def methods(self, path: str) -> list[str]:
        return [method for method, asked in self.requests if asked == path]

    def put(self, path: str, body: bytes, headers: dict[str, str]) -> Version | None:
        """Keep a version; None if the condition forbids it."""
        with self._lock:
            if self.honours_conditions and headers.get("if-none-match") == "*" and self.versions[path]:
                return None
            self.versions[path].append(Version(body, headers))
            return self.versions[path][-1]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    bucket: Bucket


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE

    @property
    def _bucket(self) -> Bucket:
        return cast("_Server", self.server).bucket

    def do_PUT(self) -> None:
        path = self._asked()
        self._bucket.on_put(path)
        length = int(self.headers["content-length"])
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        self._bucket.before_keeping(path)
        if self._bucket.error is not None:
            self._fail(*self._bucket.error)
            return
        kept = self._bucket.put(path, body, {name.lower(): value for name, value in self.headers.items()})
        if kept is None:
            self._fail(412, "PreconditionFailed")
        else:
            self._answer(200, {"ETag": kept.etag})

    def do_GET(self) -> None:
        path = self._asked()
        self._bucket.on_look(path)
        versions = self._bucket.versions[path]
        if self._bucket.error is not None:
            self._fail(*self._bucket.error)
        elif not versions:
            self._fail(404, "NoSuchKey")
        else:
            kept = {name: value for name, value in versions[-1].headers.items() if name.startswith(METADATA)}
            self._answer(200, kept | {"ETag": versions[-1].etag}, versions[-1].body)

    do_HEAD = do_GET  # noqa: N815 - as the library calls it

    def do_DELETE(self) -> None:
        self._bucket.versions.pop(self._asked(), None)
        self._answer(204, {})

    def log_message(self, *_: object) -> None:
        pass

    def _asked(self) -> str:
        path = unquote(urlsplit(self.path).path)
        self._bucket.requests.append((self.command, path))
        return path

    def _fail(self, status: int, code: str) -> None:
        self._answer(status, {}, f"<Error><Code>{code}</Code></Error>".encode())

    def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in (headers | {"x-amz-request-id": "1"}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def bucket() -> Iterator[Bucket]:
    """Listen on a loopback port while the block runs."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.bucket = Bucket(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="bucket")
        thread.start()
        try:
            yield server.bucket
        finally:
            server.shutdown()
            thread.join()
