"""Targets by HTTPS, beyond what all targets have in common: signatures, formats, and what answers mean."""

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from harness.event_receivers import ENVELOPES, EVENT, SECRET, making_targets, parts
from harness.peer import Peer, answer, listening
from whaul import __version__
from whaul.events.model import Accepted, Failed, Outcome
from whaul.events.targets import Options, Target, TargetError, sentence
from whaul.events.targets.addresses import Targets
from whaul.outbound.errors import HttpError

pytestmark = pytest.mark.anyio


@pytest.fixture
async def targets() -> AsyncIterator[Targets]:
    async with making_targets() as made:
        yield made


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
    assert headers["user-agent"] == f"whaul/{__version__}"
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


FAR_AWAY = b"Mon, 01 Jan 99999999999999999999 00:00:00 GMT"


@pytest.mark.parametrize("value", [b"soon", b"-5", b"", b"Wed, 99 Foo 2026 07:28:00 GMT", b"1.5", FAR_AWAY])
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
        assert outcome.detail.startswith("The ")


def test_an_error_is_written_as_a_sentence_with_its_capitals() -> None:
    assert sentence(HttpError("it refused the TLS handshake")) == "It refused the TLS handshake."


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
