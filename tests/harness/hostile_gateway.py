"""A running gateway for raw sockets: `whaul serve` over a simulated Meta and a peer that takes every PUT."""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from harness.client import Reply, send
from harness.peer import Peer
from harness.waiting import PATIENCE
from harness.world import World
from whaul.simulator import Simulator
from whaul.stack.local import REGION, clean_environment

CALL = "/v1/whatsapp/media/get"
JPEG = "100000000000001"
BUCKET, KEY = "hostile-bucket", "hostile-key/"
STORE_SECRET = "hostile-store-secret-key"
TOKEN = "EAAhostiletokenofthegateway0123456789"
APP_SECRET = "hostileappsecret0123456789"


POST = b"POST " + CALL.encode() + b" HTTP/1.1\r\nHost: a\r\n"
SLOW = {
    "nothing": b"",
    "half a request line": b"POST /v1/wha",
    "half a header": POST + b"Content-Le",
    "no body": POST + b"Content-Length: 100\r\n\r\n",
    "half a body": POST + b"Content-Length: 100\r\n\r\n{",
    "half a chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n40\r\n{",
    "no last chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
}
"""Beginnings of requests that never end."""


@dataclass
class Target:
    """The gateway under attack, and what a caller of it needs."""

    port: int
    log: Path
    phone_number_id: str
    key: tuple[str, str] = field(repr=False)
    _seen: int = 0
    """How much of its output was looked at."""

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def members(self, **members: Any) -> bytes:
        """The body of a good call, with members added, replaced, or (None) taken away."""
        good = {
            "mediaId": JPEG,
            "originationPhoneNumberId": self.phone_number_id,
            "destinationS3File": {"bucketName": BUCKET, "key": KEY},
        }
        return json.dumps({k: v for k, v in (good | members).items() if v is not None}).encode()

    def signed(self, body: bytes, method: str = "POST", target: str = CALL, **headers: str) -> dict[str, str]:
        """The headers of a request that is signed well, Host among them."""
        request = AWSRequest(method, f"http://{self.host}{target}", headers=headers, data=body)
        SigV4Auth(Credentials(*self.key), "social-messaging", REGION).add_auth(request)
        return {"Host": self.host} | dict(request.headers.items())

    def call(self, body: bytes | None = None) -> Reply:
        """Make a call that is signed well."""
        body = self.members() if body is None else body
        return self.send("POST", CALL, body, self.signed(body))

    def send(self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Reply:
        return send(self.port, method, target, body, headers or {})

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def is_well(self) -> None:
        """Check that the worker of the beginning is still there, and still does its work."""
        assert self.send("GET", "/healthz").status == 200
        reply = self.call()
        assert reply.status == 200, reply.text
        output = self.output()[self._seen :]
        self._seen += len(output)
        for sign in ("Respawning", "Traceback", "panicked", "unforeseen", "raised an exception"):
            assert sign not in output, output[output.index(sign) - 200 : output.index(sign) + 2000]


def linked(simulator: Simulator, app_secret: str, folder: Path) -> World:
    """Link the simulated account, with what its operator would set for a gateway that talks as much as it can."""
    environ = clean_environment() | {
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "AKIAHOSTILESTORE",
        "AWS_SECRET_ACCESS_KEY": STORE_SECRET,
        "WHAUL_DATABASE_URL": f"sqlite:///{folder / 'whaul.db'}",
        "WHAUL_GRAPH_URL": simulator.url,
        "WHAUL_MEDIA_HOSTS": simulator.url.removeprefix("http://"),
        "WHAUL_LOG_LEVEL": "debug",
    }
    token, secret = folder / "token", folder / "app-secret"
    token.write_text(simulator.token, encoding="utf-8")
    secret.write_text(app_secret, encoding="utf-8")
    world = World(simulator, environ, folder)
    world.link("--token-file", str(token), "--app-secret-file", str(secret))
    return world


@contextmanager
def attacked(world: World, store: Peer, **settings: str) -> Iterator[Target]:
    """Run a gateway while the block runs."""
    settings = {"AWS_ENDPOINT_URL_S3": store.url, "WHAUL_IDLE_TIMEOUT": "15", "WHAUL_SHUTDOWN_NOTICE": "0"} | settings
    with world.gateway(**settings) as running:
        key = (world.key.id, world.key.secret)
        yield Target(port=running.port, log=running.log, phone_number_id=world.phone_number_id, key=key)


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def replies(port: int, raw: bytes) -> tuple[list[int], bool]:
    """Send raw bytes: the statuses of what comes back, and whether the connection is good for another request."""
    probe = b"GET /healthz HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n"
    with closing(connected(port)) as connection:
        received = b""
        with suppress(OSError):  # it may close the connection before it is sent everything
            connection.sendall(raw)
        try:
            received = connection.recv(65536)
            if received:
                connection.sendall(probe)
            while block := connection.recv(65536):
                received += block
        except ConnectionError:
            pass
    statuses = []
    goes_on = False
    while received:
        head, end, rest = received.partition(b"\r\n\r\n")
        assert end, received
        lines = head.lower().split(b"\r\n")
        length = next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
        statuses.append(int(head.split(b" ")[1]))
        goes_on = b"connection: close" in lines and rest[:length] == b'{"status":"ok"}'
        received = rest[length:]
    return (statuses[:-1] if goes_on else statuses), goes_on
