"""The contract of targets: what all of them do, each at a real server in a process of its own.

What one kind alone does is in `test_aws_targets`, `test_https_target` and `test_broker_targets`.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from harness import moto
from harness.event_receivers import (
    ENVELOPES,
    EVENT,
    KINDS,
    SECRET,
    Receiver,
    Servers,
    making_targets,
    of_size,
    servers,
    several,
)
from harness.peer import listening
from whaul.events.model import Accepted, Failed, Outcomes
from whaul.events.targets import Options, Target, TargetError
from whaul.events.targets.addresses import Targets

pytestmark = pytest.mark.anyio

AWS = {
    "sns": "arn:aws:sns:eu-west-1:123456789012:nobody",
    "sqs": "arn:aws:sqs:eu-west-1:123456789012:nobody",
    "events": "arn:aws:events:eu-west-1:123456789012:event-bus/nobody",
}


@pytest.fixture(scope="module")
def running(anyio_backend: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:  # noqa: ARG001
    with servers(tmp_path_factory.mktemp("servers")) as found:
        yield found


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in moto.KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
async def targets() -> AsyncIterator[Targets]:
    async with making_targets() as made:
        yield made


@pytest.fixture(params=KINDS)
async def receiver(running: Servers, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    return await running.receiver(request.param, monkeypatch)


@pytest.fixture
async def target(targets: Targets, receiver: Receiver) -> AsyncIterator[Target]:
    made = targets.make(receiver.address, receiver.options)
    yield made
    await made.close()


def reasons(outcomes: Outcomes) -> list[str]:
    return [outcome.reason if isinstance(outcome, Failed) else "accepted" for outcome in outcomes]


async def test_the_envelope_arrives_whole(target: Target, receiver: Receiver) -> None:
    assert reasons(await target.send([EVENT])) == ["accepted"]
    (arrival,) = await receiver.arrived(1)
    envelope = ENVELOPES.aws(EVENT)
    if ":events:" in receiver.address:
        assert json.loads(arrival.body) == json.loads(envelope)
    else:
        assert arrival.body == envelope
    assert "whaul-replay" not in arrival.named


async def test_events_arrive_in_the_order_of_their_batches(target: Target, receiver: Receiver) -> None:
    events = several(12)
    for start in range(0, len(events), target.max_batch):
        batch = events[start : start + target.max_batch]
        assert reasons(await target.send(batch)) == ["accepted"] * len(batch)
    assert [arrival.id for arrival in await receiver.arrived(12)] == [event.message_id for event in events]


async def test_a_replay_and_a_trace_are_told_beside_the_event(target: Target, receiver: Receiver) -> None:
    await target.send([EVENT])
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    told = replace(EVENT, replay=True, delivery=7, trace=f"{traceparent} vendor=opaque")
    assert reasons(await target.send([told])) == ["accepted"]
    first, second = await receiver.arrived(2)
    assert (first.id, second.id) == (EVENT.message_id, EVENT.message_id)
    assert not {"whaul-replay", "traceparent", "tracestate"} & first.named.keys()
    if ":events:" not in receiver.address:  # a bus has nothing but the event
        assert second.named["whaul-replay"] == "1"
        assert (second.named["traceparent"], second.named["tracestate"]) == (traceparent, "vendor=opaque")


async def test_what_is_too_large_is_impossible_and_all_else_passes(target: Target, receiver: Receiver) -> None:
    events = [EVENT, of_size(receiver.max_size), replace(EVENT, message_id="later")]
    found: list[str] = []
    for start in range(0, len(events), target.max_batch):
        found += reasons(await target.send(events[start : start + target.max_batch]))
    assert found == ["accepted", "impossible", "accepted"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_is_not_there_is_down(targets: Targets, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    with listening() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        brokers = {"nats": f"nats://{server.host}/whatsapp", "kafka": f"kafka://{server.host}/whatsapp"}
        address = (AWS | brokers | {"https": server.url})[kind]
    target = targets.make(address, Options(secrets=[SECRET]))
    batch = several(target.max_batch)
    assert reasons(await target.send(batch)) == ["down"] * len(batch)
    await target.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_speaks_otherwise_is_down(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    with listening() as server:
        server.reset(b"SSH-2.0-OpenSSH_9.2\r\n")
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        brokers = {"nats": f"nats://{server.host}/whatsapp", "kafka": f"kafka://{server.host}/whatsapp"}
        async with making_targets(patience=0.5) as targets:
            target = targets.make((AWS | brokers | {"https": server.url})[kind], Options(secrets=[SECRET]))
            assert reasons(await target.send([EVENT])) == ["down"]
            await target.close()


async def test_nothing_is_left_of_a_target_that_was_closed(targets: Targets, receiver: Receiver) -> None:
    tasks, threads = asyncio.all_tasks(), set(threading.enumerate())
    target = targets.make(receiver.address, receiver.options)
    await asyncio.gather(*(target.send([event]) for event in several(4)))
    await target.close()
    await target.close()
    assert asyncio.all_tasks() == tasks
    left = {thread for thread in set(threading.enumerate()) - threads if thread.name == "whaul-daemon"}
    for thread in left:
        thread.join()


async def test_a_target_that_was_closed_can_be_sent_to(target: Target, receiver: Receiver) -> None:
    """It may be retired while a delivery is under way."""
    await target.send([EVENT])
    await target.close()
    later = replace(EVENT, message_id="later")
    assert all(isinstance(outcome, Accepted) for outcome in await target.send([later]))
    assert [arrival.id for arrival in await receiver.arrived(2)] == [EVENT.message_id, "later"]


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
        "nats://127.0.0.2/subject",
        "nats://public.example/subject",
        "tls://10.0.0.1:4222/subject",
        "tls://public.example:4222/",
        "tls://public.example:4222/a.*",
        "tls://public.example:4222/a..b",
        "tls://public.example:4222/$JS.API.STREAM.DELETE.x",
        "tls://public.example:0/subject",
        "tls://public.example:70000/subject",
        "tls://[::1]:4222/subject",
        "tls://user:secret@public.example/subject",
        "nats://user:secret@127.0.0.1/subject",
        "kafka://public.example/topic",
        "kafka://127.0.0.1,10.0.0.1/topic",
        "kafka://127.0.0.1/",
        "kafka://127.0.0.1/..",
        "kafka://127.0.0.1/a/b",
        "kafka://127.0.0.1,/topic",
        "kafka://user:secret@127.0.0.1/topic",
        "amqp://user:secret@127.0.0.1/queue",
        "topic",
        "",
    ],
)
async def test_addresses_that_cannot_be(targets: Targets, address: str) -> None:
    with pytest.raises(TargetError) as caught:
        targets.make(address, Options(secrets=[SECRET]))
    assert "secret@" not in str(caught.value)


async def test_only_https_has_other_formats(targets: Targets) -> None:
    for arn in (*AWS.values(), "nats://127.0.0.1/whatsapp", "kafka://127.0.0.1/whatsapp"):
        with pytest.raises(TargetError, match="format"):
            targets.make(arn, Options(format="meta"))
