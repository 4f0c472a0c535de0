"""The contract of targets: what each sends, and what it makes of what comes back. AWS is played by moto."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from pydantic import SecretStr

from harness import moto
from harness.peer import Peer, answer, listening
from whaul.arns import Arns
from whaul.events.envelope import Envelopes
from whaul.events.model import Accepted, Event, Failed, Outcome
from whaul.events.targets import Options, Target, TargetError
from whaul.events.targets.addresses import Targets
from whaul.events.targets.aws import AwsClient
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import EventHosts
from whaul.outbound.public import PublicClient
from whaul.storage.credentials import CredentialChain

pytestmark = pytest.mark.anyio

ENVELOPES = Envelopes(Arns("123456789012", "eu-west-1"))
SECRET = SecretStr("whsec_" + base64.b64encode(b"k" * 32).decode())
EVENT = Event(
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


@pytest.fixture(scope="module")
def aws(anyio_backend: object) -> Iterator[str]:  # noqa: ARG001 - of the same scope
    with moto.moto_server() as url:
        yield url


@pytest.fixture
async def targets(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Targets]:
    for name, value in moto.KEYS.items():
        monkeypatch.setenv(name, value)
    hosts = EventHosts(["127.0.0.1", "localhost"])
    http, public = HttpClient(), PublicClient(hosts, timeout=5.0)
    try:
        yield Targets(public, hosts, lambda: AwsClient(http, CredentialChain()), ENVELOPES)
    finally:
        await http.close()
        await public.close()


@dataclass
class Place:
    """A topic, queue or bus at moto, and the queue that shows what arrived there."""

    arn: str
    queue_url: str
    sqs: Any

    async def arrived(self, count: int) -> list[dict[str, Any]]:
        """Take `count` messages off the queue, in their order."""
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


def place(url: str, kind: str, name: str, *, fifo: bool = False) -> Place:
    """Make a topic, queue or bus, with a queue behind it."""
    options = {"endpoint_url": url, "region_name": "eu-west-1", "aws_access_key_id": "t", "aws_secret_access_key": "t"}
    sqs, sns, events = (boto3.client(service, **options) for service in ("sqs", "sns", "events"))
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
    return Place(arn, queue_url, sqs)


def several(count: int) -> list[Event]:
    return [replace(EVENT, message_id=f"00000000-0000-0000-0000-{number:012d}", seq=number) for number in range(count)]


def body_of(message: dict[str, Any]) -> str:
    """The envelope in what arrived."""
    body = json.loads(message["Body"])
    return json.dumps(body["detail"]) if "detail" in body else str(message["Body"])


@pytest.mark.parametrize("kind", ["sns", "sqs", "events"])
async def test_aws_gets_the_envelope(aws: str, targets: Targets, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws)
    found = await asyncio.to_thread(place, aws, kind, f"whole-{kind}")
    target = targets.make(found.arn, Options())
    assert all(isinstance(outcome, Accepted) for outcome in await target.send([EVENT]))
    (message,) = await found.arrived(1)
    assert json.loads(body_of(message)) == json.loads(ENVELOPES.aws(EVENT))
    if kind != "events":
        assert message["Body"].encode() == ENVELOPES.aws(EVENT)
    assert "MessageAttributes" not in message


@pytest.mark.parametrize("kind", ["sns", "sqs"])
async def test_a_fifo_keeps_order(aws: str, targets: Targets, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws)
    found = await asyncio.to_thread(place, aws, kind, f"order-{kind}", fifo=True)
    target = targets.make(found.arn, Options())
    events = several(12)
    for start in range(0, len(events), target.max_batch):
        assert all(isinstance(it, Accepted) for it in await target.send(events[start : start + target.max_batch]))
    await target.send([replace(events[0], replay=True, delivery=77)])
    messages = await found.arrived(13)
    ids = [json.loads(message["Body"])["messageId"] for message in messages]
    assert ids == [*(event.message_id for event in events), events[0].message_id]
    assert {message["Attributes"]["MessageGroupId"] for message in messages} == {EVENT.conversation.hex()}
    assert messages[-1]["MessageAttributes"]["whaul-replay"]["StringValue"] == "1"


@pytest.mark.parametrize("kind", ["sns", "sqs"])
async def test_attributes_say_what_it_is(
    aws: str, targets: Targets, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws)
    found = await asyncio.to_thread(place, aws, kind, f"attributes-{kind}")
    await targets.make(found.arn, Options(attributes=True)).send([replace(EVENT, type=None)])
    (message,) = await found.arrived(1)
    assert {name: value["StringValue"] for name, value in message["MessageAttributes"].items()} == {
        "field": "messages",
        "kind": "message",
        "wabaId": EVENT.waba_id,
        "phoneNumberId": EVENT.meta_phone_number_id,
        "messageId": EVENT.message_id,
    }


@pytest.mark.parametrize(
    "arn", ["arn:aws:sns:eu-west-1:123456789012:nobody", "arn:aws:sqs:eu-west-1:123456789012:nobody"]
)
async def test_an_unknown_topic_or_queue_is_closed(
    aws: str, targets: Targets, monkeypatch: pytest.MonkeyPatch, arn: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws)
    (outcome,) = await targets.make(arn, Options()).send([EVENT])
    assert isinstance(outcome, Failed)
    assert outcome.reason == "closed"


ARNS = {
    "sns": "arn:aws:sns:eu-west-1:123456789012:events",
    "sqs": "arn:aws:sqs:eu-west-1:123456789012:events",
    "events": "arn:aws:events:eu-west-1:123456789012:event-bus/events",
}


def xml(code: str, message: str = "told") -> bytes:
    return f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>".encode()


def typed(code: str, message: str = "told") -> bytes:
    return json.dumps({"__type": f"com.amazonaws#{code}", "message": message}).encode()


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (500, b"", "down"),
        (503, b"<html>", "down"),
        (429, b"", "down"),
        (400, typed("ThrottlingException"), "down"),
        (400, xml("Throttling"), "down"),
        (400, typed("KMSThrottlingException"), "down"),
        (403, xml("AuthorizationError"), "closed"),
        (400, typed("AccessDeniedException"), "closed"),
        (400, typed("UnrecognizedClientException"), "closed"),
        (404, xml("NotFound"), "closed"),
        (400, typed("QueueDoesNotExist"), "closed"),
        (403, b"no", "refused"),
        (301, b"", "refused"),
        (400, xml("InvalidParameter", "Invalid parameter: Message too long"), "impossible"),
        (400, xml("InvalidParameter", "Something else"), "rejected"),
        (400, b"", "rejected"),
    ],
)
async def test_what_errors_of_aws_mean(
    targets: Targets, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, reason: str
) -> None:
    with listening() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        server.reset(answer(status, body))
        for arn in (ARNS["sns"], ARNS["events"]):
            (outcome,) = await targets.make(arn, Options()).send([EVENT])
            assert isinstance(outcome, Failed)
            assert outcome.reason == reason


@pytest.mark.parametrize("arn", ARNS.values())
async def test_a_server_that_is_not_there_is_down(targets: Targets, monkeypatch: pytest.MonkeyPatch, arn: str) -> None:
    with listening() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    for outcome in await targets.make(arn, Options()).send(several(3)[: targets.make(arn, Options()).max_batch]):
        assert isinstance(outcome, Failed)
        assert outcome.reason == "down"


def sqs_answers(*answers: dict[str, Any]) -> Any:
    """Answer `GetQueueUrl`, and then each batch in turn."""
    batches = iter(answers)

    def respond(request: bytes) -> bytes:
        if b"GetQueueUrl" in request:
            return answer(200, json.dumps({"QueueUrl": "http://127.0.0.1/123456789012/events"}).encode())
        found = next(batches)
        return answer(found.get("status", 200), json.dumps(found).encode())

    return respond


async def test_the_parts_of_a_batch_fail_one_by_one(targets: Targets, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        failed = [
            {"Id": "1", "SenderFault": True, "Code": "InvalidMessageContents", "Message": "no"},
            {"Id": "2", "SenderFault": False, "Code": "InternalError", "Message": "later"},
        ]
        server.reset(sqs_answers({"Successful": [{"Id": "0"}], "Failed": failed}))
        outcomes = await targets.make(ARNS["sqs"], Options()).send(several(4))
        reasons = [outcome.reason if isinstance(outcome, Failed) else "accepted" for outcome in outcomes]
        assert reasons == ["accepted", "impossible", "down", "down"]

        entries = [{"EventId": "1"}, {"ErrorCode": "ThrottlingException"}, {"ErrorCode": "MalformedDetail"}]
        server.reset(answer(200, json.dumps({"FailedEntryCount": 2, "Entries": entries}).encode()))
        outcomes = await targets.make(ARNS["events"], Options()).send(several(3))
        reasons = [outcome.reason if isinstance(outcome, Failed) else "accepted" for outcome in outcomes]
        assert reasons == ["accepted", "down", "rejected"]


async def test_a_batch_that_is_too_large_goes_in_parts(targets: Targets, monkeypatch: pytest.MonkeyPatch) -> None:
    large = replace(EVENT, entry=b'"' + b"x" * 400_000 + b'"')
    huge = replace(EVENT, entry=b'"' + b"x" * 1_100_000 + b'"')
    sizes: list[int] = []

    def respond(request: bytes) -> bytes:
        if b"GetQueueUrl" in request:
            return answer(200, json.dumps({"QueueUrl": "http://127.0.0.1/123456789012/events"}).encode())
        entries = json.loads(request.partition(b"\r\n\r\n")[2])["Entries"]
        sizes.append(len(entries))
        return answer(200, json.dumps({"Successful": [{"Id": entry["Id"]} for entry in entries]}).encode())

    with listening() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        server.reset(respond)
        outcomes = await targets.make(ARNS["sqs"], Options()).send([large, large, huge, large, EVENT])
    reasons = [outcome.reason if isinstance(outcome, Failed) else "accepted" for outcome in outcomes]
    assert reasons == ["accepted", "accepted", "impossible", "accepted", "accepted"]
    assert sizes == [2, 2]


async def test_a_queue_with_a_smaller_limit_gets_its_batch_one_by_one(
    targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        too_long = {"status": 400, "__type": "com.amazonaws.sqs#BatchRequestTooLong", "message": "262144"}
        one = {"Successful": [{"Id": "0"}]}
        server.reset(sqs_answers(too_long, one, one))
        outcomes = await targets.make(ARNS["sqs"], Options()).send(several(2))
    assert all(isinstance(outcome, Accepted) for outcome in outcomes)


# HTTPS


def parts(request: bytes) -> tuple[dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}, body


def endpoint(targets: Targets, server: Peer, **options: Any) -> Target:
    return targets.make(f"{server.url}/hook?a=b", Options(secrets=[SECRET], **options))


async def test_an_endpoint_gets_a_signed_envelope(targets: Targets) -> None:
    with listening() as server:
        options = {"headers": {"authorization": "Bearer t"}}
        (outcome,) = await endpoint(targets, server, **options).send([EVENT])
        assert isinstance(outcome, Accepted)
        headers, body = parts(server.received[0])
    assert server.received[0].startswith(b"POST /hook?a=b HTTP/1.1\r\n")
    assert body == ENVELOPES.aws(EVENT)
    signed = f"{EVENT.message_id}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.digest(b"k" * 32, signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["webhook-id"] == EVENT.message_id
    assert (headers["content-type"], headers["authorization"]) == ("application/json", "Bearer t")
    assert headers["accept-encoding"] == "identity"
    assert "whaul-replay" not in headers


async def test_a_replay_says_so_and_keeps_its_id(targets: Targets) -> None:
    with listening() as server:
        await endpoint(targets, server).send([replace(EVENT, replay=True, delivery=7)])
        headers, _ = parts(server.received[0])
    assert (headers["whaul-replay"], headers["webhook-id"]) == ("1", EVENT.message_id)


async def test_a_bot_for_meta_gets_what_meta_would_send(targets: Targets) -> None:
    secret = SecretStr("of the bot")
    with listening() as server:
        target = targets.make(server.url, Options(format="meta", secrets=[secret]))
        await target.send([EVENT])
        headers, body = parts(server.received[0])
    assert body == b'{"object":"whatsapp_business_account","entry":[' + EVENT.entry + b"]}"
    digest = hmac.digest(b"of the bot", body, hashlib.sha256).hex()
    assert headers["x-hub-signature-256"] == f"sha256={digest}"
    assert not [name for name in headers if name.startswith("webhook-")]


async def test_cloudevents_are_in_binary_mode(targets: Targets) -> None:
    with listening() as server:
        await endpoint(targets, server, format="cloudevents").send([EVENT])
        headers, body = parts(server.received[0])
    assert {name: value for name, value in headers.items() if name.startswith("ce-")} == (
        ENVELOPES.cloudevent_headers(EVENT)
    )
    assert body == ENVELOPES.aws(EVENT)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (301, "refused"),
        (401, "refused"),
        (403, "refused"),
        (404, "refused"),
        (410, "gone"),
        (413, "impossible"),
        (400, "rejected"),
        (422, "rejected"),
        (429, "down"),
        (500, "down"),
        (503, "down"),
    ],
)
async def test_what_answers_mean(targets: Targets, status: int, reason: str) -> None:
    with listening() as server:
        server.reset(answer(status, b"why\x1b[31m" + b"x" * 100_000, b"Retry-After: 120", b"Location: /elsewhere"))
        (outcome,) = await endpoint(targets, server).send([EVENT])
        assert isinstance(outcome, Failed)
        assert (outcome.reason, outcome.retry_after) == (reason, 120.0)
        assert outcome.detail.startswith(f"HTTP {status}: why")
        assert len(outcome.detail) < 1100
        assert server.connections == 1


@pytest.mark.parametrize("value", [b"soon", b"-5", b"", b"Wed, 99 Foo 2026 07:28:00 GMT", b"1.5"])
async def test_a_retry_after_that_means_nothing(targets: Targets, value: bytes) -> None:
    with listening() as server:
        server.reset(answer(503, b"", b"Retry-After: " + value))
        (outcome,) = await endpoint(targets, server).send([EVENT])
    assert isinstance(outcome, Failed)
    assert outcome.retry_after is None


async def test_a_date_to_retry_after(targets: Targets) -> None:
    with listening() as server:
        server.reset(answer(503, b"", b"Retry-After: Wed, 21 Oct 2015 07:28:00 GMT"))
        (outcome,) = await endpoint(targets, server).send([EVENT])
    assert isinstance(outcome, Failed)
    assert outcome.retry_after == 0.0


async def test_an_endpoint_that_is_not_there_or_not_http_is_down(targets: Targets) -> None:
    outcomes: list[Outcome] = []
    with listening() as server:
        server.reset(b"SSH-2.0-whatever\r\n")
        outcomes += await endpoint(targets, server).send([EVENT])
    outcomes += await endpoint(targets, server).send([EVENT])
    for outcome in outcomes:
        assert isinstance(outcome, Failed)
        assert outcome.reason == "down"
        assert server.host not in outcome.detail


@pytest.mark.parametrize(
    "address",
    [
        "http://public.example/hook",
        "https://10.0.0.1/hook",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://169.254.169.254/latest",
        "https://user:secret@public.example/",
        "https://public.example/#part",
        "https://224.0.0.1/",
        "ftp://public.example/",
        "arn:aws:s3:::bucket",
        "arn:aws:sns:eu-west-1:123456789012",
        "arn:aws-cn:sns:eu-west-1:123456789012:topic",
        "arn:aws:events:eu-west-1:123456789012:rule/x",
        "arn:aws:lambda:eu-west-1:123456789012:function:x",
        "topic",
        "",
    ],
)
async def test_addresses_that_cannot_be(targets: Targets, address: str) -> None:
    with pytest.raises(TargetError) as caught:
        targets.make(address, Options(secrets=[SECRET]))
    assert "secret@" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("host", "x"),
        ("Content-Type", "x"),
        ("webhook-id", "x"),
        ("X-Hub-Signature-256", "x"),
        ("a b", "x"),
        ("x-token", "a\nb"),
        ("x-token", "é"),
        ("x-token", ""),
    ],
)
async def test_headers_that_cannot_be(targets: Targets, name: str, value: str) -> None:
    with pytest.raises(TargetError):
        targets.make("https://public.example/", Options(secrets=[SECRET], headers={name: value}))


async def test_only_https_has_other_formats(targets: Targets) -> None:
    for arn in ARNS.values():
        with pytest.raises(TargetError, match="format"):
            targets.make(arn, Options(format="meta"))
