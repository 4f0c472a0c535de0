"""Where events are sent in tests, one of each kind, and how what arrived there is read."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol
from uuid import uuid4

import boto3
import confluent_kafka
import nats
from pydantic import SecretStr

from harness import brokers, moto
from harness.peer import Peer, answer, listening
from whaul.arns import Arns
from whaul.events.envelope import Envelopes
from whaul.events.model import Event
from whaul.events.targets import Options
from whaul.events.targets.addresses import Targets
from whaul.events.targets.aws import AwsClient
from whaul.events.targets.brokers import TIMEOUT, Brokers
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import EventHosts
from whaul.outbound.public import PublicClient
from whaul.outbound.public_names import PublicNames
from whaul.storage.credentials import CredentialChain

KINDS: Final = ("sns", "sqs", "events", "https", "nats", "kafka")
ENVELOPES: Final = Envelopes(Arns("123456789012", "eu-west-1"))
SECRET: Final = SecretStr("whsec_" + base64.b64encode(b"k" * 32).decode())
MAX_BODY: Final = 2_000_000
"""What the HTTPS endpoint takes."""
EVENT: Final = Event(
    message_id="6d69f07a-c317-4278-9d5c-6a8407841900",
    received_at=datetime(2026, 11, 18, 11, 6, 42, 684321, tzinfo=UTC),
    kind="message",
    type="text",
    field="messages",
    waba_id="102290129340398",
    meta_phone_number_id="106540352242922",
    wamid="wamid.AAAA",
    conversation=b"\x01" * 16,
    entry='{"id":"102290129340398","changes":[{"value":{"text":"é \uffff"},"field":"messages"}]}'.encode(),
)


def several(count: int) -> list[Event]:
    """Events of one conversation."""
    return [replace(EVENT, message_id=f"00000000-0000-0000-0000-{number:012d}", seq=number) for number in range(count)]


def of_size(size: int) -> Event:
    """An event whose entry has so many bytes."""
    return replace(EVENT, message_id=str(uuid4()), entry=b'"' + b"x" * size + b'"')


@asynccontextmanager
async def making_targets(
    names: PublicNames | None = None,
    hosts: EventHosts | None = None,
    *,
    patience: float = TIMEOUT,
    certificates: Sequence[bytes] = (),
) -> AsyncIterator[Targets]:
    """Make what makes targets; loopback addresses may be called."""
    hosts = hosts or EventHosts(["127.0.0.1", "localhost"])
    names = names or PublicNames(hosts)
    http, public = HttpClient(), PublicClient(names)
    shared = Brokers(hosts, names, ENVELOPES, certificates, patience)
    try:
        yield Targets(public, hosts, lambda: AwsClient(http, CredentialChain()), ENVELOPES, shared)
    finally:
        await http.close()
        await public.close()


class Arrival(NamedTuple):
    """An event as it arrived."""

    body: bytes
    named: Mapping[str, str]
    """What it was named by outside its body: headers or attributes."""

    @property
    def id(self) -> Any:
        """The `messageId` in the envelope."""
        return json.loads(self.body)["messageId"]


class Receiver(Protocol):
    """A place that events can be sent to."""

    address: str
    options: Options
    max_size: int
    """Bytes beyond which an event is surely refused."""

    async def arrived(self, count: int) -> list[Arrival]:
        """Wait for `count` more events, and return them in their order."""
        ...


@dataclass
class AwsReceiver:
    """A topic, queue or bus at moto, and the queue that shows what arrived there."""

    address: str
    queue_url: str
    sqs: Any
    options: Options
    max_size: int = 1_100_000

    async def messages(self, count: int) -> list[dict[str, Any]]:
        """Take messages off the queue."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            got = await asyncio.to_thread(
                self.sqs.receive_message,
                QueueUrl=self.queue_url,
                MaxNumberOfMessages=10,
                MessageAttributeNames=["All"],
                AttributeNames=["All"],
                WaitTimeSeconds=1,
            )
            for message in got.get("Messages", ()):
                found.append(message)
                self.sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"])
        return found

    async def arrived(self, count: int) -> list[Arrival]:
        return [self._arrival(message) for message in await self.messages(count)]

    def _arrival(self, message: dict[str, Any]) -> Arrival:
        named = {name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()}
        body = message["Body"]
        if ":events:" in self.address:
            body = json.dumps(json.loads(body)["detail"])
        return Arrival(body.encode(), named)


def aws_receiver(url: str, kind: str, name: str, options: Options, *, fifo: bool = False) -> AwsReceiver:
    """Make a topic, queue or bus, with a queue behind it."""
    keys = {"endpoint_url": url, "region_name": "eu-west-1", "aws_access_key_id": "t", "aws_secret_access_key": "t"}
    sqs, sns, events = (boto3.client(service, **keys) for service in ("sqs", "sns", "events"))
    name = f"{name}.fifo" if fifo else name
    attributes = {"FifoQueue": "true"} if fifo else {}
    queue_url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    queue = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    arn = queue
    if kind == "sns":
        topic = {"FifoTopic": "true"} if fifo else {}
        arn = sns.create_topic(Name=name, Attributes=topic)["TopicArn"]
        sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue, Attributes={"RawMessageDelivery": "true"})
    if kind == "events":
        arn = events.create_event_bus(Name=name)["EventBusArn"]
        pattern = json.dumps({"source": ["whaul.social-messaging"]})
        events.put_rule(Name=name, EventBusName=name, EventPattern=pattern)
        events.put_targets(Rule=name, EventBusName=name, Targets=[{"Id": "queue", "Arn": queue}])
    return AwsReceiver(arn, queue_url, sqs, options)


def parts(request: bytes) -> tuple[dict[str, str], bytes]:
    """The headers of a request, by small names, and its body."""
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}, body


class HttpsReceiver:
    """An endpoint that takes what is not too large."""

    max_size = MAX_BODY

    def __init__(self, peer: Peer) -> None:
        peer.reset(lambda request: answer(413 if len(request) > MAX_BODY else 200))
        self.address = f"{peer.url}/hook?a=b"
        self.options = Options(secrets=[SECRET])
        self._peer = peer
        self._taken = 0

    async def arrived(self, count: int) -> list[Arrival]:
        begin, self._taken = self._taken, self._taken + count
        found = [parts(request) for request in self._peer.received[begin : self._taken]]
        assert len(found) == count
        return [Arrival(body, headers) for headers, body in found]


class NatsReceiver:
    """A subject of its own, and the stream that takes it."""

    max_size = 1_100_000

    def __init__(self, port: int) -> None:
        self._subject = f"whatsapp.{uuid4().hex}"
        self._url = f"nats://127.0.0.1:{port}"
        self._taken = 0
        self.address = f"{self._url}/{self._subject}"
        self.options = Options()

    async def prepare(self, **options: Any) -> "NatsReceiver":
        """Make the stream."""
        client = await nats.connect(self._url)
        await client.jetstream().add_stream(name=self._subject.replace(".", "-"), subjects=[self._subject], **options)
        await client.close()
        return self

    async def arrived(self, count: int) -> list[Arrival]:
        client = await nats.connect(self._url)
        subscription = await client.jetstream().subscribe(self._subject, ordered_consumer=True)
        messages = [await subscription.next_msg(timeout=30) for _ in range(self._taken + count)]
        await client.close()
        begin, self._taken = self._taken, self._taken + count
        return [Arrival(message.data, message.headers or {}) for message in messages[begin:]]


class KafkaReceiver:
    """A topic of its own; the broker makes it when it is asked for."""

    max_size = 17 * 1024**2

    def __init__(self, port: int) -> None:
        self._topic = f"whatsapp-{uuid4().hex}"
        self._server = f"127.0.0.1:{port}"
        self._taken = 0
        self.address = f"kafka://{self._server}/{self._topic}"
        self.options = Options()

    async def arrived(self, count: int) -> list[Arrival]:
        messages = await asyncio.to_thread(self._read, self._taken + count)
        begin, self._taken = self._taken, self._taken + count
        return [
            Arrival(message.value(), {"key": message.key().decode()} | {n: v.decode() for n, v in message.headers()})
            for message in messages[begin:]
        ]

    def _read(self, count: int) -> list[Any]:
        consumer = confluent_kafka.Consumer({"bootstrap.servers": self._server, "group.id": "test"})
        partitions = consumer.list_topics(self._topic).topics[self._topic].partitions
        begin = confluent_kafka.OFFSET_BEGINNING
        consumer.assign([confluent_kafka.TopicPartition(self._topic, number, begin) for number in partitions])
        found: list[Any] = []
        while len(found) < count:
            message = consumer.poll(30)
            assert message is not None, f"{len(found)} of {count} arrived"
            assert message.error() is None, message.error()
            found.append(message)
        consumer.close()
        return found


class Servers:
    """The servers behind the receivers, each started when it is wanted."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._started: dict[str, Any] = {}

    @property
    def aws(self) -> str:
        """The URL of moto."""
        return str(self._once("aws", moto.moto_server()))

    async def receiver(self, kind: str, monkeypatch: Any) -> Receiver:
        """Make a new receiver of this kind."""
        if kind == "https":
            return HttpsReceiver(self._stack.enter_context(listening()))
        if kind == "nats":
            return await NatsReceiver(self._once("nats", brokers.nats_server(self._folder)).port).prepare()
        if kind == "kafka":
            return KafkaReceiver(self._once("kafka", brokers.kafka_broker()).port)
        monkeypatch.setenv("AWS_ENDPOINT_URL", self.aws)
        return await asyncio.to_thread(aws_receiver, self.aws, kind, f"{kind}-{uuid4().hex}", Options())

    def _once(self, name: str, context: Any) -> Any:
        if name not in self._started:
            self._started[name] = self._stack.enter_context(context)
        return self._started[name]


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Run what is wanted while the block runs."""
    with ExitStack() as stack:
        yield Servers(stack, folder)
