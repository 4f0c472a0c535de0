"""A lane of the bench: gateways, with a fault proxy on each of their links, and an independent look at the store."""

import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tools.certificates import Certificates, make_certificates
from tools.faults.fault_proxy import FaultProxy, Network, network
from tools.faults.fault_table import Destination, Link, Transport
from tools.faults.servers import BUCKET, Gateway, Store, store
from whaul.simulator import Simulator, simulator_in_thread
from whaul.stack.local import REGION, clean_environment, whaul

MIME_TYPE = "video/mp4"
EXTENSION = ".mp4"
DEADLINE = 55.0
PATIENT_CLIENT: dict[str, Any] = {"connect_timeout": 3, "read_timeout": 12, "retries": {"total_max_attempts": 10}}
"""An SDK that tries again, as users have it, with shorter timeouts than the usual 60 s."""
SINGLE_CLIENT: dict[str, Any] = {"read_timeout": 90, "retries": {"total_max_attempts": 1}}
"""An SDK that shows what one call does."""
BLOCK = 1024 * 1024


@dataclass(frozen=True)
class Media:
    """A file at the simulated Meta, and its hash as the bench has computed it."""

    id: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Seen:
    """What the store has under a key; `sha256` is empty when it has nothing."""

    size: int = 0
    sha256: str = ""
    content_type: str = ""

    def is_of(self, media: Media) -> bool:
        """Whether it is that file, whole."""
        return (self.size, self.sha256, self.content_type) == (media.size, media.sha256, MIME_TYPE)


@dataclass
class Result:
    """How a call ended: `error` is empty for a 200; `size` is None when the answer was cut off before it."""

    error: str = ""
    message: str = ""
    status: int = 0
    size: int | None = 0
    sha256: str = ""

    @property
    def stored(self) -> bool:
        return not self.error


@dataclass
class World:
    """What all lanes share."""

    folder: Path
    store: Store
    network: Network
    certificates: Certificates
    seed: int

    def look(self, key: str, bucket: str = BUCKET) -> Seen:
        """Read an object back from the store itself, past gateway and proxies, and hash it."""
        try:
            found = self.store.client.get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return Seen()
            raise
        digest, size = hashlib.sha256(), 0
        for block in found["Body"].iter_chunks(BLOCK):
            digest.update(block)
            size += len(block)
        return Seen(size, digest.hexdigest(), found["ContentType"])

    def keep(self, key: str, body: bytes, bucket: str = BUCKET) -> Seen:
        """Put an object there that must survive a failed overwrite."""
        self.store.client.put_object(Bucket=bucket, Key=key, Body=body, ContentType="text/plain")
        return Seen(len(body), hashlib.sha256(body).hexdigest(), "text/plain")

    def keys(self, bucket: str = BUCKET) -> set[str]:
        pages = self.store.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {found["Key"] for page in pages for found in page.get("Contents", [])}

    def drop_bucket(self, bucket: str) -> None:
        """Delete a bucket with all that is in it, which gives its room on the disk back."""
        keys = sorted(self.keys(bucket))
        for start in range(0, len(keys), 1000):
            listed = [{"Key": key} for key in keys[start : start + 1000]]
            self.store.client.delete_objects(Bucket=bucket, Delete={"Objects": listed, "Quiet": True})
        self.store.client.delete_bucket(Bucket=bucket)


@contextmanager
def world(folder: Path, seed: int) -> Iterator[World]:
    certificates = make_certificates(folder)
    with network() as net, store(folder / "s3", clean_environment(), certificates) as running:
        yield World(folder, running, net, certificates, seed)


@dataclass
class Lane:
    """Gateways with the same links, used for one thing at a time."""

    world: World
    name: str
    simulators: dict[Transport, Simulator]
    proxies: dict[tuple[Link, Transport], FaultProxy]
    parts: ExitStack
    folder: Path
    phone_number_id: str = ""
    key: tuple[str, str] = ("", "")
    _gateways: dict[tuple[Transport, float], Gateway] = field(default_factory=dict)
    _media: dict[tuple[Transport, int, int], Media] = field(default_factory=dict)
    _clients: dict[Any, Any] = field(default_factory=dict)

    def environment(self, transport: Transport) -> dict[str, str]:
        """What a gateway of this lane needs to know."""
        common = clean_environment() | self.world.store.endpoint.environment()
        common |= {
            "AWS_REGION": REGION,
            "WHAUL_DATABASE_URL": f"sqlite:///{self.folder / 'whaul.db'}",
            "WHATSAPP_ACCESS_TOKEN": self.simulators[transport].token,
            "AWS_ENDPOINT_URL_S3": self.endpoint("store", transport),
            "WHAUL_GRAPH_URL": self.endpoint("meta", transport),
        }
        if transport == "plain":
            return common | {"WHAUL_MEDIA_HOSTS": "127.0.0.1"}
        files = self.world.certificates
        return common | {
            "WHAUL_MEDIA_HOSTS": "localhost",
            "SSL_CERT_FILE": str(files.authority),
            "WHAUL_TLS_CERT_FILE": str(files.chain),
            "WHAUL_TLS_KEY_FILE": str(files.key),
        }

    def endpoint(self, link: Link, transport: Transport) -> str:
        """The address of a link's proxy."""
        port = self.proxies[link, transport].port
        return f"http://127.0.0.1:{port}" if transport == "plain" else f"https://localhost:{port}"

    def gateway(self, transport: Transport = "plain", deadline: float = DEADLINE) -> Gateway:
        """The lane's gateway with that deadline, started when it is first wanted."""
        known = self._gateways.get((transport, deadline))
        if known is None:
            known = self.new_gateway(f"gateway-{transport}-{deadline:g}", transport, WHAUL_DEADLINE=f"{deadline:g}")
            self._gateways[transport, deadline] = known
        return known

    def new_gateway(
        self, name: str, transport: Transport = "plain", limits: Mapping[str, int] | None = None, **settings: str
    ) -> Gateway:
        """Start a gateway of its own."""
        gateway = Gateway(name, self.environment(transport) | settings, self.folder, limits)
        self.parts.callback(gateway.close)
        gateway.start()
        return gateway

    def media(self, size: int, number: int = 0, transport: Transport = "plain") -> Media:
        """A media of that size; other numbers have other bytes."""
        known = self._media.get((transport, size, number))
        if known is None:
            simulator = self.simulators[transport]
            media_id = simulator.add_generated(size, MIME_TYPE, seed=self.world.seed * 1000 + number)
            digest = hashlib.sha256()
            for block in simulator.media[media_id].content.blocks():
                digest.update(block)
            known = self._media[transport, size, number] = Media(media_id, size, digest.hexdigest())
        return known

    def client(self, endpoint: str, config: Mapping[str, Any]) -> Any:
        """An unmodified boto3 client of the gateway behind that address."""
        known = (endpoint, repr(config))
        if known not in self._clients:
            self._clients[known] = boto3.client(
                "socialmessaging",
                endpoint_url=endpoint,
                region_name=REGION,
                aws_access_key_id=self.key[0],
                aws_secret_access_key=self.key[1],
                verify=str(self.world.certificates.authority),
                config=Config(max_pool_connections=128, **config),
            )
        return self._clients[known]

    def forget_client(self) -> None:
        """Let `client` make new ones."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def destination(
        self, kind: Destination, prefix: str, media: Media, transport: Transport = "plain", bucket: str = BUCKET
    ) -> dict[str, Any]:
        """The member of a call that stores under `prefix` and the media's name."""
        if kind == "S3 file":
            return {"destinationS3File": {"bucketName": bucket, "key": prefix}}
        endpoint = self.endpoint("store", transport)
        known = (endpoint, "s3")
        if known not in self._clients:
            self._clients[known] = boto3.client(
                "s3",
                endpoint_url=endpoint,
                region_name=REGION,
                aws_access_key_id=self.world.store.endpoint.access_key_id,
                aws_secret_access_key=self.world.store.endpoint.secret_access_key,
                config=Config(s3={"addressing_style": "path"}, signature_version="s3v4"),
            )
        params = {"Bucket": bucket, "Key": final_key(prefix, media)}
        url = self._clients[known].generate_presigned_url("put_object", Params=params, ExpiresIn=3600)
        return {"destinationS3PresignedUrl": {"url": url, "headers": {}}}

    def call(self, client: Any, media: Media, destination: Mapping[str, Any]) -> Result:
        """Call the operation; every end is a result."""
        try:
            answer = client.get_whatsapp_message_media(
                mediaId=media.id, originationPhoneNumberId=self.phone_number_id, **destination
            )
        except ClientError as error:
            told = error.response
            return Result(
                told["Error"]["Code"], told["Error"]["Message"], int(told["ResponseMetadata"]["HTTPStatusCode"])
            )
        except BotoCoreError as error:
            return Result(type(error).__name__, str(error))
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        return Result(status=200, size=answer.get("fileSize"), sha256=headers.get("x-whaul-sha256", ""))

    def calm(self) -> None:
        """End all faults, and all connections with them."""
        for proxy in self.proxies.values():
            proxy.drop()


def final_key(prefix: str, media: Media) -> str:
    return f"{prefix}{media.id}{EXTENSION}"


@contextmanager
def lane(of: World, name: str) -> Iterator[Lane]:
    """Set up a lane: two simulated Metas, one of them behind TLS, six proxies, a database."""
    with ExitStack() as parts:
        folder = of.folder / name
        folder.mkdir()
        simulators: dict[Transport, Simulator] = {
            "plain": parts.enter_context(simulator_in_thread()),
            "tls": parts.enter_context(simulator_in_thread()),
        }
        gateway_side: dict[Transport, dict[Link, int]] = {
            "plain": {"meta": simulators["plain"].port, "store": of.store.port},
            "tls": {
                "meta": of.network.tls_front(simulators["tls"].port, of.certificates.server_context()),
                "store": of.store.tls_port,
            },
        }
        proxies = {
            (link, transport): of.network.proxy(port, (of.seed, name, link, transport))
            for transport, links in gateway_side.items()
            for link, port in links.items()
        }
        made = Lane(of, name, simulators, proxies, parts, folder)
        simulators["tls"].configure(media_base_url=made.endpoint("meta", "tls"))
        environ = made.environment("plain")
        account = whaul(["link", "--waba-id", simulators["plain"].waba_id], environ)["account"]
        made.phone_number_id = account["phoneNumbers"][0]["phoneNumberId"]
        key = whaul(["keys", "create", "--name", "bench", "--allow-all"], environ)
        made.key = (key["accessKeyId"], key["secretAccessKey"])
        yield made


def client_proxy(of: Lane, gateway: Gateway) -> FaultProxy:
    """The proxy between clients and a gateway, made when it is first wanted."""
    known = of.proxies.get(("client", "tls" if gateway.tls else "plain"))
    if known is None or known.target != gateway.port:
        transport: Transport = "tls" if gateway.tls else "plain"
        seed = (of.world.seed, of.name, "client", transport)
        known = of.proxies["client", transport] = of.world.network.proxy(gateway.port, seed)
    return known


def draw(seed: int, *what: object) -> random.Random:
    """A source of numbers that depends on the seed and on what it is for, not on what ran before."""
    return random.Random(":".join(str(part) for part in (seed, *what)))
