"""What the end-to-end tests run against: a simulated Meta, a store, linked numbers, access keys and gateways.

Everything is started as a user would start it, and reached as a user's program would reach it.
"""

import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess, Popen
from typing import Any

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from harness.client import Reply, send
from harness.commands import done, planned, whaul
from harness.store import BUCKET
from harness.waiting import PATIENCE, eventually
from harness.zygote import Forked, Zygote
from whaul.simulator import Simulator
from whaul.stack.local import ITSELF, REGION
from whaul.stack.processes import answers, free_ports, program, wait_until

ACCOUNT_ID = "000000000000"
MEDIA_PATH = "/v1/whatsapp/media/get"
READER = ("reader-s3-key", "reader-s3-secret-key")
"""An identity of the store that may not write."""


SESSION = boto3.Session()
"""One for all clients: those of boto3's own keep the environment of whoever asked first."""
ZYGOTE = Zygote()
SERVE = (*ITSELF, "serve")


@dataclass(frozen=True)
class Key:
    """An access key of the gateway."""

    id: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass
class World:
    """A simulated Meta account, linked in a database of its own, and the environment that names both."""

    simulator: Simulator
    environ: dict[str, str]
    folder: Path
    phone_number_id: str = ""
    phone_number_arn: str = ""
    other_phone_number_id: str = ""
    key: Key = Key("", "")

    def link(self, *arguments: str) -> None:
        """Link the simulated account, and make an access key that may do everything."""
        account = self.whaul("link", "--waba-id", self.simulator.waba_id, *arguments)["account"]
        self.phone_number_id = account["phoneNumbers"][0]["phoneNumberId"]
        self.phone_number_arn = account["phoneNumbers"][0]["arn"]
        self.other_phone_number_id = account["phoneNumbers"][1]["phoneNumberId"]
        self.key = self.make_key("--allow-all")

    def make_key(self, *arguments: str) -> Key:
        made = self.whaul("keys", "create", "--name", "tester", *arguments)
        return Key(made["accessKeyId"], made["secretAccessKey"], made.get("sessionToken"))

    def key_with_policy(self, *statements: dict[str, Any]) -> Key:
        return self.make_key("--policy", str(self.policy_file(*statements)))

    def policy_file(self, *statements: dict[str, Any]) -> Path:
        path = self.folder / "policy.json"
        path.write_text(json.dumps({"Version": "2012-10-17", "Statement": list(statements)}), encoding="utf-8")
        return path

    def whaul(self, *arguments: str, **environ: str) -> Any:
        """Run a command with `--json`, in this process; return its document."""
        return whaul(list(arguments), self.environ | environ)

    def do(self, *arguments: str, **environ: str) -> None:
        """Run a command in this process."""
        done(list(arguments), self.environ | environ)

    def run(self, *arguments: str, stdin: str = "", **environ: str) -> "CompletedProcess[str]":
        """Run a command in a process of its own."""
        return ZYGOTE.run(list(arguments), self.environ | environ, stdin)

    @contextmanager
    def gateway(self, **settings: str) -> Iterator["Gateway"]:
        """Run a gateway with further settings while the block runs."""
        with gateway(self, settings) as running:
            yield running

    @contextmanager
    def serve(self, **settings: str) -> Iterator["Gateway"]:
        """Run `whaul serve` as a user does, with further settings."""
        with gateway(self, settings, command=SERVE) as running:
            yield running


@dataclass
class Gateway:
    """A running gateway, and clients for it."""

    world: World
    url: str
    log: Path
    process: "Popen[bytes] | Forked"
    ca_file: str | None = None
    _clients: dict[Any, Any] = field(default_factory=dict)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self, key: Key | None = None, **config: Any) -> Any:
        """An unmodified boto3 client; without `config` it does not try again by itself, so that tests can count."""
        key = key or self.world.key
        config = config or {"retries": {"total_max_attempts": 1}}
        known = (key, repr(sorted(config.items())))
        if known not in self._clients:
            self._clients[known] = SESSION.client(
                "socialmessaging",
                endpoint_url=self.url,
                region_name=REGION,
                aws_access_key_id=key.id,
                aws_secret_access_key=key.secret,
                aws_session_token=key.token,
                verify=self.ca_file,
                config=Config(**config),
            )
        return self._clients[known]

    def get(self, media_id: str, *, key: Key | None = None, **members: Any) -> Any:
        """Call the operation with boto3; without other members, into the bucket with an empty key."""
        if not members:
            members = {"destinationS3File": {"bucketName": BUCKET, "key": ""}}
        members = {"originationPhoneNumberId": self.world.phone_number_id} | members
        return self.client(key).get_whatsapp_message_media(mediaId=media_id, **members)

    def get_to(self, media_id: str, prefix: str) -> Any:
        return self.get(media_id, destinationS3File={"bucketName": BUCKET, "key": prefix})

    def post(self, body: object, *, key: Key | None = None, **options: Any) -> Reply:
        """Send a signed request whose body boto3 would not send; what is not bytes becomes JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send("POST", MEDIA_PATH, data, sign_with=key or self.world.key, **options)

    def send(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        sign_with: Key | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a raw request, signed or not."""
        headers = {"Content-Type": "application/json"} | dict(headers or {})
        if sign_with is not None:
            headers = signed(f"{self.url}{target}", method, body, headers, sign_with)
        return send(self.port, method, target, body, headers)

    def request(self, media_id: str = "1", **members: Any) -> dict[str, Any]:
        """A good request as a document, with members added or replaced."""
        good = {
            "mediaId": media_id,
            "originationPhoneNumberId": self.world.phone_number_id,
            "destinationS3File": {"bucketName": BUCKET, "key": "raw_"},
        }
        return good | members

    def calls(self) -> list[dict[str, Any]]:
        """The log lines of the calls so far."""
        whole = [line for line in self.log.read_bytes().splitlines(keepends=True) if line[-1:] == b"\n"]
        lines = [json.loads(line) for line in whole if line[:1] == b"{"]
        return [line for line in lines if line["event"] == "call"]

    def logged(self, answer: Any) -> dict[str, Any]:
        """Wait for the log line of a call, which comes after its answer: boto3's answer or error, or a `Reply`."""
        if isinstance(answer, Reply):
            request_id = answer.headers["x-amzn-requestid"]
        else:
            request_id = getattr(answer, "response", answer)["ResponseMetadata"]["RequestId"]
        found: list[dict[str, Any]] = []

        def is_logged() -> bool:
            found[:] = [line for line in self.calls() if line["request_id"] == request_id]
            return bool(found)

        eventually(is_logged)
        return found[0]

    def settle(self) -> None:
        """Wait until what was answered so far is logged and counted."""
        self.logged(self.send("POST", "/nowhere"))

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


def signed(
    url: str,
    method: str,
    body: bytes,
    headers: Mapping[str, str],
    key: Key,
    *,
    region: str = REGION,
    service: str = "social-messaging",
) -> dict[str, str]:
    """All headers of a request that botocore signed."""
    request = AWSRequest(method, url, headers=dict(headers), data=body)
    SigV4Auth(Credentials(key.id, key.secret, key.token), service, region).add_auth(request)
    return dict(request.headers.items())


@contextmanager
def gateway(
    world: World,
    settings: Mapping[str, str],
    *,
    command: Sequence[str] = (),
    ca_file: Path | None = None,
) -> Iterator[Gateway]:
    """Run a gateway; it is there once `/readyz` is answered, whatever the answer is.

    Without a `command` it is what `whaul serve` becomes, in a process that need not load anything first.
    With `ca_file` it speaks TLS, with a certificate for localhost that this authority signed.
    """
    context = ssl.create_default_context(cafile=ca_file) if ca_file else None
    with ExitStack() as stack:
        [port] = stack.enter_context(free_ports(1))
        log = world.folder / f"gateway-{port}.log"
        environ = {"WHAUL_SHUTDOWN_NOTICE": "0"} | world.environ | dict(settings)
        if environ.get("WHAUL_WORKERS", "1") != "1":
            command = command or SERVE  # prometheus_client looks for other workers when it is loaded
        process: Popen[bytes] | Forked
        if command:
            process = stack.enter_context(program([*command, "--port", str(port)], environ, log))
        else:
            process = stack.enter_context(ZYGOTE.server(*planned(environ, port), log))
        url = f"https://localhost:{port}" if ca_file else f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(f"{url}/readyz", (200, 503), context), process, "The gateway", log, PATIENCE)
        running = Gateway(world, url, log, process, str(ca_file) if ca_file else None)
        stack.callback(running.close)
        yield running
