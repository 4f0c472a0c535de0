"""Targets at AWS, beyond what all targets have in common: FIFO, attributes, batches, and what errors mean.

AWS is played by moto.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest

from harness import moto
from harness.event_receivers import EVENT, aws_receiver, making_targets, several
from harness.peer import answer, listening
from whaul.events.model import Accepted, Failed
from whaul.events.targets import Options
from whaul.events.targets.addresses import Targets

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def aws(anyio_backend: object) -> Iterator[str]:  # noqa: ARG001 - of the same scope
    with moto.moto_server() as url:
        yield url


@pytest.fixture
async def targets(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Targets]:
    for name, value in moto.KEYS.items():
        monkeypatch.setenv(name, value)
    async with making_targets() as made:
        yield made


@pytest.mark.parametrize("kind", ["sns", "sqs"])
async def test_a_fifo_keeps_order(aws: str, targets: Targets, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws)
    found = await asyncio.to_thread(aws_receiver, aws, kind, f"order-{kind}", Options(), fifo=True)
    target = targets.make(found.address, Options())
    events = several(12)
    for start in range(0, len(events), target.max_batch):
        assert all(isinstance(it, Accepted) for it in await target.send(events[start : start + target.max_batch]))
    await target.send([replace(events[0], replay=True, delivery=77)])
    messages = await found.messages(13)
    ids = [json.loads(message["Body"])["messageId"] for message in messages]
    assert ids == [*(event.message_id for event in events), events[0].message_id]
    assert {message["Attributes"]["MessageGroupId"] for message in messages} == {EVENT.conversation.hex()}
    assert messages[-1]["MessageAttributes"]["whaul-replay"]["StringValue"] == "1"


@pytest.mark.parametrize("kind", ["sns", "sqs"])
async def test_attributes_say_what_it_is(
    aws: str, targets: Targets, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws)
    found = await asyncio.to_thread(aws_receiver, aws, kind, f"attributes-{kind}", Options())
    await targets.make(found.address, Options(attributes=True)).send([replace(EVENT, type=None)])
    (message,) = await found.messages(1)
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


def sqs_answers(*answers: dict[str, Any]) -> Any:
    """Answer `GetQueueUrl`, and then each batch in turn."""
    batches = iter(answers)

    def respond(request: bytes) -> bytes:
        if b"GetQueueUrl" in request:
            return answer(200, json.dumps({"QueueUrl": "http://127.0.0.1/123456789012/events"}).encode())
        found = next(batches)
        return answer(found.get("status", 200), json.dumps(found).encode())

    return respond


async def test_a_service_that_is_not_there_is_named(targets: Targets, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    (outcome,) = await targets.make(ARNS["sns"], Options()).send(several(1))
    assert isinstance(outcome, Failed)
    assert outcome.detail.startswith("No answer from 127.0.0.1: ")


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
        assert b"TraceHeader" not in server.received[-1]


async def test_a_bus_is_told_the_trace_as_x_ray_writes_it(targets: Targets, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        server.reset(answer(200, json.dumps({"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}).encode()))
        event = replace(EVENT, trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03 vendor=opaque")
        await targets.make(ARNS["events"], Options()).send([event])
        [entry] = json.loads(server.received[0].partition(b"\r\n\r\n")[2])["Entries"]
    assert entry["TraceHeader"] == "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=b7ad6b7169203331;Sampled=1"


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
