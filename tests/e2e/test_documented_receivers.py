"""The receivers that docs/destinations.md shows: each gets a message by real processes, and stores its file."""

import asyncio
import hashlib
import hmac
import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import nats
import pytest

from harness import brokers, moto
from harness.installs import node
from harness.receiver import receiving
from harness.store import BUCKET, Store
from harness.waiting import eventually
from harness.world import Gateway, World
from whaul.simulator.apps import DEFAULT_APP_SECRET
from whaul.stack.local import REGION, clean_environment
from whaul.stack.processes import answers, free_ports

DOCS = Path(__file__).parents[2] / "docs"
SUBJECT = "whatsapp"


def blocks(language: str, page: str = "destinations.md") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    with moto.moto_server() as url:
        yield url


@pytest.fixture(scope="module")
def gateway(world: World, aws: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("receivers")
    environ = {f"AWS_ENDPOINT_URL_{service}": aws for service in ("SNS", "SQS", "EVENTBRIDGE")}
    environ |= {"WHAUL_DATABASE_URL": f"sqlite:///{folder / 'whaul.db'}", "WHAUL_EVENT_HOSTS": "127.0.0.1"}
    own = World(world.simulator, world.environ | environ, folder)
    (folder / "app-secret").write_text(DEFAULT_APP_SECRET)
    own.link("--app-secret-file", str(folder / "app-secret"))
    world.simulator.reset()
    with own.gateway() as running:
        own.whaul("webhooks", "subscribe", world.simulator.waba_id, "--url", running.url)
        yield running
    world.simulator.reset()


@pytest.fixture
def page(gateway: Gateway, aws: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """All Python of the page, as one program, for this gateway and bucket."""
    key = gateway.world.key
    environ = {
        "AWS_ENDPOINT_URL_SOCIALMESSAGING": gateway.url,
        "AWS_ENDPOINT_URL_SQS": aws,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": key.id,
        "AWS_SECRET_ACCESS_KEY": key.secret,
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    found: dict[str, Any] = {}
    for block in [*blocks("python", "events.md")[:1], *blocks("python")]:
        exec(block.replace("my-bucket", BUCKET).replace("inbox/", prefix), found)  # noqa: S102 - our own page
    return found


@pytest.fixture
def sent(gateway: Gateway) -> Iterator[Callable[..., Any]]:
    """Add a destination, and send it a message with a file; the answer is what `add` said."""
    own, simulator = gateway.world, gateway.world.simulator

    def send(to: str, *options: str) -> Any:
        added = own.whaul("destinations", "add", "one", "--account", simulator.waba_id, "--to", to, *options)
        simulator.send_webhook("image")
        return added

    yield send
    own.whaul("destinations", "remove", "one", "--yes")


@pytest.fixture
def is_stored(store: Store, prefix: str) -> Callable[[], bool]:
    return lambda: bool(store.keys(prefix))


class Aws:
    """Topics, queues and a bus at moto."""

    def __init__(self, url: str) -> None:
        keys = {"endpoint_url": url, "region_name": REGION, "aws_access_key_id": "t", "aws_secret_access_key": "t"}
        self.sqs, self.sns, self.events = (boto3.client(service, **keys) for service in ("sqs", "sns", "events"))

    def queue(self, name: str) -> tuple[str, str]:
        """The URL and the ARN of a new queue."""
        url = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return url, found["Attributes"]["QueueArn"]

    def topic(self, name: str, **attributes: str) -> tuple[str, str]:
        """The ARN of a new topic, and the URL of the queue behind it."""
        url, queue = self.queue(name)
        arn = self.sns.create_topic(Name=name)["TopicArn"]
        self.sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue, Attributes=attributes)
        return arn, url

    def body(self, url: str) -> Any:
        """What the next message of a queue holds."""
        while True:
            for message in self.sqs.receive_message(QueueUrl=url, WaitTimeSeconds=2).get("Messages", ()):
                return json.loads(message["Body"])


def test_a_lambda_function_behind_a_topic(
    aws: str, page: dict[str, Any], sent: Callable[..., Any], is_stored: Callable[[], bool]
) -> None:
    arn, url = Aws(aws).topic("lambda")
    sent(arn)
    # Lambda gets the same notification, as Records[].Sns. https://docs.aws.amazon.com/lambda/latest/dg/with-sns.html
    page["on_sns"]({"Records": [{"EventSource": "aws:sns", "Sns": Aws(aws).body(url)}]}, None)
    assert is_stored()


@pytest.mark.parametrize("way", ["queue", "notification", "raw"])
def test_a_queue_with_and_without_raw_delivery(
    aws: str, page: dict[str, Any], sent: Callable[..., Any], is_stored: Callable[[], bool], way: str
) -> None:
    if way == "queue":
        url, arn = Aws(aws).queue("queue")
    else:
        arn, url = Aws(aws).topic(way, **({"RawMessageDelivery": "true"} if way == "raw" else {}))
    sent(arn)
    eventually(lambda: page["take"](url) or is_stored())


def test_a_rule_of_a_bus(
    aws: str, page: dict[str, Any], sent: Callable[..., Any], is_stored: Callable[[], bool]
) -> None:
    [pattern] = blocks("json")
    events, (url, queue) = Aws(aws).events, Aws(aws).queue("rule")
    arn = events.create_event_bus(Name="orders")["EventBusArn"]
    events.put_rule(Name="messages", EventBusName="orders", EventPattern=pattern)
    events.put_targets(Rule="messages", EventBusName="orders", Targets=[{"Id": "queue", "Arn": queue}])
    sent(arn)
    page["on_bus"](Aws(aws).body(url), None)
    assert is_stored()


def test_an_https_receiver_in_python(
    page: dict[str, Any], sent: Callable[..., Any], is_stored: Callable[[], bool]
) -> None:
    handler = page["OnPost"]
    handler.log_message = lambda *_: None
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        handler.secret = "whsec_" + "A" * 32  # another one: 401, and tried again
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            handler.secret = sent(f"http://127.0.0.1:{server.server_port}/whatsapp")["secret"]
            eventually(is_stored)
        finally:
            server.shutdown()
            thread.join()


def test_an_https_receiver_in_javascript(gateway: Gateway, sent: Callable[..., Any], tmp_path: Path) -> None:
    [program] = blocks("javascript")
    (tmp_path / "receiver.mjs").write_text(program)
    secrets = [tmp_path / "secret", tmp_path / "other"]
    for file, letter in zip(secrets, "AB", strict=True):
        file.write_text("whsec_" + letter * 32)
    with free_ports(1) as [port]:
        environ = clean_environment() | {"SECRET": secrets[0].read_text(), "PORT": str(port)}
        command = [node()[0], tmp_path / "receiver.mjs"]
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
            try:
                eventually(lambda: answers(f"http://127.0.0.1:{port}", [401]))
                sent(f"http://127.0.0.1:{port}/", "--secret-file", str(secrets[0]))
                assert process.stdout is not None
                message_id, kind = process.stdout.readline().split()
                for expected in (True, False):  # the secret before signs, too; the one before that does not
                    gateway.world.do("destinations", "rotate", "one", "--secret-file", str(secrets[1]), "--json")
                    tried = gateway.world.run("destinations", "test", "one", "--json")
                    assert json.loads(tried.stdout)["accepted"] is expected
            finally:
                process.kill()
    assert kind == "image"
    [event] = gateway.world.whaul("events", "list", "--destination", "one")["events"]
    assert event["messageId"] == message_id


def test_a_bot_written_for_meta(page: dict[str, Any], sent: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "app-secret"
    file.write_text(DEFAULT_APP_SECRET)
    with receiving() as bot:
        sent(bot.url, "--format", "meta", "--secret-file", str(file))
        [post] = bot.wait(1)
    signature = post.headers["x-hub-signature-256"]
    assert page["is_metas"](DEFAULT_APP_SECRET, signature, post.body)
    assert not page["is_metas"](DEFAULT_APP_SECRET, signature, post.body + b" ")
    assert post.json()["object"] == "whatsapp_business_account"
    assert post.value["messages"][0]["type"] == "image"
    digest = hmac.new(DEFAULT_APP_SECRET.encode(), post.body, hashlib.sha256).hexdigest()
    assert signature == f"sha256={digest}"


def test_a_receiver_of_nats(
    page: dict[str, Any], sent: Callable[..., Any], is_stored: Callable[[], bool], tmp_path: Path
) -> None:
    async def prepare(url: str) -> None:
        client = await nats.connect(url)
        await client.jetstream().add_stream(name="WHATSAPP", subjects=[SUBJECT])
        await client.close()

    with brokers.nats_server(tmp_path) as server:
        url = f"nats://127.0.0.1:{server.port}"
        asyncio.run(prepare(url))
        sent(f"{url}/{SUBJECT}")
        asyncio.run(page["take_from_nats"](url))
    assert is_stored()


def test_a_receiver_of_kafka(page: dict[str, Any], sent: Callable[..., Any], is_stored: Callable[[], bool]) -> None:
    with brokers.kafka_broker() as broker:
        server = f"127.0.0.1:{broker.port}"
        sent(f"kafka://{server}/{SUBJECT}")
        consumer = page["Consumer"]  # this broker lets a group begin after half of the time that a member may be silent
        page["Consumer"] = lambda options: consumer(options | {"session.timeout.ms": 500, "heartbeat.interval.ms": 100})
        eventually(lambda: page["take_from_kafka"](server) or is_stored())
