"""The stores of tests: a real S3 server, read back with boto3, and one that stands in for it.

The stand-in records each request exactly as it arrived, and answers as scripted: for what a real store would not show,
such as raw paths, framing, headers, and errors on command.
"""

import hashlib
import socket
import socketserver
import ssl
import struct
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import boto3
from botocore.config import Config

from harness.waiting import PATIENCE
from whaul.stack.local import REGION
from whaul.stack.seaweedfs import S3Endpoint

BUCKET = "inbox"
KEPT_BYTES = 64 * 1024
BLOCK = 256 * 1024
RECEIVE_BUFFER = 256 * 1024
ETAG = '"0123456789abcdef"'


@dataclass
class Received:
    """One request, exactly as it arrived."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    length: int = 0
    """Bytes of the body that came."""
    sha256: str = ""
    body: bytes = b""
    """Its first bytes."""
    complete: bool = False
    over: bool = False
    """No more of it will come."""

    def header(self, name: str) -> str | None:
        values = [value for known, value in self.headers if known.lower() == name]
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else None


@dataclass(frozen=True)
class Answer:
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": ETAG})
    body: bytes = b""
    reads: int | None = None
    """Bytes of the body that are read before this is answered; None for all."""
    breaks: bool = False
    """Reset the connection instead of answering."""
    silent: threading.Event | None = None
    """Answer nothing until this is set, then close."""


def s3_answer(status: int, code: str, headers: dict[str, str] | None = None, **options: Any) -> Answer:
    """An error in S3's form."""
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>Told by S3.</Message></Error>'
    return Answer(status, {"Content-Type": "application/xml"} | (headers or {}), body.encode(), **options)


class StandIn:
    """What it was asked, and what it will answer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[Received] = []
        self._script: deque[Answer] = deque()
        self._otherwise = Answer()

    def script(self, *answers: Answer) -> None:
        """Answer the next requests so, one after the other."""
        self._script.extend(answers)

    def always(self, answer: Answer) -> None:
        """Answer so whenever nothing else is scripted."""
        self._otherwise = answer

    def reset(self) -> None:
        self.requests, self._script, self._otherwise = [], deque(), Answer()

    def next_answer(self) -> Answer:
        return self._script.popleft() if self._script else self._otherwise

    @property
    def only(self) -> Received:
        """The one request that came."""
        assert len(self.requests) == 1, [f"{r.method} {r.target}" for r in self.requests]
        return self.requests[0]


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    block_on_close = False
    request_queue_size = 128
    stand_in: StandIn
    tls: ssl.SSLContext | None = None

    def server_bind(self) -> None:
        # What a store does not read waits at its client, not in a buffer that the kernel lets grow to 32 MB.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        super().server_bind()


class _Connection(socketserver.StreamRequestHandler):
    def setup(self) -> None:
        tls = cast("_Server", self.server).tls
        if tls is not None:
            self.request = tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def handle(self) -> None:
        try:
            while self._exchange():
                pass
        except (OSError, ValueError):
            pass  # the client left

    def finish(self) -> None:
        try:
            super().finish()
        except OSError:
            pass
        finally:
            self.request.close()

    def _exchange(self) -> bool:
        line = self.rfile.readline()
        if not line:
            return False
        method, target, _ = line.decode("latin-1").rstrip("\r\n").split(" ")
        headers = []
        while (raw := self.rfile.readline().decode("latin-1").rstrip("\r\n")) != "":
            name, _, value = raw.partition(":")
            headers.append((name, value.strip()))
        received = Received(method, target, headers)
        stand_in = cast("_Server", self.server).stand_in
        answer = stand_in.next_answer()
        stand_in.requests.append(received)
        try:
            self._read_body(received, answer)
        finally:
            received.over = True
        if answer.silent is not None:
            answer.silent.wait(PATIENCE)
            return False
        if answer.breaks:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        head = [f"HTTP/1.1 {answer.status} Scripted", f"Content-Length: {len(answer.body)}"]
        head += [f"{name}: {value}" for name, value in answer.headers.items()]
        head += [] if received.complete else ["Connection: close"]
        self.wfile.write("\r\n".join([*head, "", ""]).encode("latin-1") + answer.body)
        if not received.complete:
            self._linger()
        return received.complete

    def _linger(self) -> None:
        """Take what the client still sends, as servers do: a close before that resets the connection.

        The reset could reach the client before it has read the answer.
        https://www.rfc-editor.org/rfc/rfc9112#section-9.6
        """
        self.connection.shutdown(socket.SHUT_WR)
        while self.rfile.read1(BLOCK):  # type: ignore[attr-defined]
            pass

    def _read_body(self, received: Received, answer: Answer) -> None:
        assert received.header("transfer-encoding") is None, "chunked"
        announced = int(received.header("content-length") or 0)
        digest = hashlib.sha256()
        wanted = announced if answer.reads is None else min(answer.reads, announced)
        while received.length < wanted:
            block = self.rfile.read1(min(BLOCK, wanted - received.length))  # type: ignore[attr-defined]
            if not block:
                raise ConnectionResetError
            received.length += len(block)
            digest.update(block)
            received.body += block[: KEPT_BYTES - len(received.body)]
        received.sha256 = digest.hexdigest()
        received.complete = received.length == announced


@contextmanager
def stand_in(tls: ssl.SSLContext | None = None) -> Iterator[StandIn]:
    """Run one on a free loopback port while the block runs."""
    with _Server(("127.0.0.1", 0), _Connection) as server:
        scheme, host = ("https", "localhost") if tls else ("http", "127.0.0.1")
        server.tls = tls
        server.stand_in = StandIn(f"{scheme}://{host}:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="stand-in")
        thread.start()
        try:
            yield server.stand_in
        finally:
            server.shutdown()
            thread.join()


def s3_client(s3: S3Endpoint, **config: Any) -> Any:
    """An unmodified boto3 client of the store."""
    options = {"s3": {"addressing_style": "path"}, "request_checksum_calculation": "when_required"} | config
    return boto3.client(
        "s3",
        endpoint_url=s3.url,
        region_name=REGION,
        aws_access_key_id=s3.access_key_id,
        aws_secret_access_key=s3.secret_access_key,
        config=Config(**options),
    )


@dataclass
class Store:
    """The real S3 server, read back with boto3."""

    endpoint: S3Endpoint
    client: Any

    def read(self, key: str, bucket: str = BUCKET) -> bytes:
        return bytes(self.client.get_object(Bucket=bucket, Key=key)["Body"].read())

    def content_type(self, key: str) -> str:
        return str(self.client.head_object(Bucket=BUCKET, Key=key)["ContentType"])

    def has(self, key: str) -> bool:
        try:
            self.client.head_object(Bucket=BUCKET, Key=key)
        except self.client.exceptions.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
            return False
        return True

    def put(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=body, ContentType="text/plain")

    def keys(self, prefix: str) -> list[str]:
        listed = self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return [found["Key"] for found in listed.get("Contents", [])]

    def presigned(self, key: str, *, version: str = "s3v4", expires: int = 300, **params: Any) -> str:
        """A URL for a PUT, made with boto3."""
        client = s3_client(self.endpoint, signature_version=version)
        try:
            params = {"Bucket": BUCKET, "Key": key} | params
            return str(client.generate_presigned_url("put_object", Params=params, ExpiresIn=expires))
        finally:
            client.close()
