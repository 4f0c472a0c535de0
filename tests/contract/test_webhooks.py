"""The paths of webhooks: what is taken, what is refused, and who may speak for whom."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import pytest
from pydantic import SecretStr

from harness.inbox import ACCOUNT_ID, KEY, NUMBER, OWNER, REGION, WABA, Installation, installation, text
from whaul.events.receiving.app_secrets import LARGE_BODY, MAX_TRIED, AppSecrets
from whaul.events.receiving.items import MAX_ITEMS
from whaul.events.receiving.verify_tokens import AcceptedTokens, VerifyTokens
from whaul.events.routing import raise_generation
from whaul.inbound import inbound_running
from whaul.outbound.http import HttpClient
from whaul.server.bodies import BodyBudget
from whaul.server.webhooks import MAX_BODY, Webhooks
from whaul.settings import Settings
from whaul.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio

SECRET, OTHER = "test_app_secret", "other_app_secret"
PATH = "/webhooks/meta"
TOKEN = "of the settings"


@pytest.fixture
def url(sqlite_url: str) -> str:
    return sqlite_url


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """The paths, over a real inbox."""

    here: Installation
    secrets: AppSecrets
    webhooks: Webhooks
    metrics: Metrics = field(default_factory=Metrics)

    async def ask(
        self,
        method: str,
        path: str = PATH,
        *,
        body: bytes = b"",
        headers: Sequence[tuple[bytes, bytes]] = (),
        query: str = "",
        parts: Sequence[Any] | None = None,
    ) -> Reply:
        sent: list[Any] = []
        messages = list(parts if parts is not None else [{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        if parts is None and body:
            headers = [*headers, (b"content-length", b"%d" % len(body))]
        scope = {"method": method, "path": path, "query_string": query.encode(), "headers": list(headers)}
        await self.webhooks(scope, receive, send)
        start, content = sent
        found = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        return Reply(start["status"], found, content["body"])

    async def post(self, body: bytes, secret: str = SECRET, path: str = PATH, **more: Any) -> Reply:
        return await self.ask(
            "POST", path, body=body, headers=[(b"x-hub-signature-256", signature(body, secret))], **more
        )

    async def count(self) -> int:
        return int(await self.here.value("SELECT count(*) FROM events"))

    async def outcomes(self) -> dict[str, float]:
        (metric,) = self.metrics.events.webhooks.collect()
        return {it.labels["outcome"]: it.value for it in metric.samples if it.name.endswith("_total") and it.value}


def signature(body: bytes, secret: str = SECRET) -> bytes:
    return b"sha256=" + hmac.digest(secret.encode(), body, hashlib.sha256).hex().encode()


def webhook(*messages: Any, waba: str = WABA, number: str = NUMBER) -> bytes:
    value = {"metadata": {"phone_number_id": number}, "messages": list(messages)}
    entry = {"id": waba, "changes": [{"value": value, "field": "messages"}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


async def receiver_of(
    here: Installation, *, operators: dict[str, list[str]], budget: int = MAX_BODY * 8, read: bool = True
) -> Receiver:
    found = {app: [SecretStr(secret) for secret in secrets] for app, secrets in operators.items()}
    secrets = AppSecrets(here.store, here.cipher, OWNER, found)
    if read:
        await secrets.read()
    tokens = AcceptedTokens(VerifyTokens(here.store, here.cipher, OWNER), [SecretStr(TOKEN)], pause=0)
    metrics = Metrics()
    webhooks = Webhooks(secrets, tokens, here.inbox, BodyBudget(budget), metrics.events)
    return Receiver(here, secrets, webhooks, metrics)


@pytest.fixture
async def here(url: str) -> AsyncIterator[Installation]:
    async with installation(url, places=100) as opened:
        await opened.link()
        yield opened


@pytest.fixture
async def receiver(here: Installation) -> Receiver:
    return await receiver_of(here, operators={"900": [SECRET]})


async def test_a_signed_webhook_is_kept(receiver: Receiver) -> None:
    reply = await receiver.post(webhook(text("wamid.A"), text("wamid.B")))
    assert (reply.status, reply.body, reply.headers["content-length"]) == (200, b"", "0")
    assert await receiver.count() == 2
    assert (await receiver.post(webhook(text("wamid.A")))).status == 200
    assert await receiver.count() == 2
    assert await receiver.outcomes() == {"accepted": 1, "duplicate_only": 1}


BODY = webhook(text("wamid.A"))


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"x-hub-signature", b"sha1=" + b"0" * 40)],
        [(b"x-hub-signature-256", b"")],
        [(b"x-hub-signature-256", b"sha256=" + b"0" * 64)],
        [(b"x-hub-signature-256", signature(BODY).upper())],
        [(b"x-hub-signature-256", signature(BODY)[7:])],
        [(b"x-hub-signature-256", signature(BODY, OTHER))],
        [(b"x-hub-signature-256", signature(BODY)), (b"x-hub-signature-256", signature(BODY))],
        [(b"x-hub-signature-256", signature(BODY.replace(b", ", b",")))],
    ],
)
async def test_what_is_not_signed_is_refused(receiver: Receiver, headers: list[tuple[bytes, bytes]]) -> None:
    reply = await receiver.ask("POST", body=BODY, headers=headers)
    assert (reply.status, reply.headers["connection"]) == (401, "close")
    assert await receiver.count() == 0
    assert set(await receiver.outcomes()) <= {"unsigned", "bad_signature"}


async def test_the_path_may_name_the_app(receiver: Receiver) -> None:
    assert (await receiver.post(BODY, path=f"{PATH}/900")).status == 200
    for path in (f"{PATH}/901", f"{PATH}/x%20y"):
        assert (await receiver.post(BODY, path=path)).status == 401
    for path in (f"{PATH}/900/more", f"{PATH}x", "/webhooks"):
        assert (await receiver.post(BODY, path=path)).status == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
async def test_other_methods(receiver: Receiver, method: str) -> None:
    reply = await receiver.ask(method)
    assert (reply.status, reply.headers["allow"]) == (405, "GET, POST")


async def test_without_a_secret_there_is_no_such_path(here: Installation) -> None:
    nothing = await receiver_of(here, operators={})
    for method in ("GET", "POST", "PUT"):
        assert (await nothing.ask(method, query="hub.mode=subscribe")).status == 404


async def test_until_secrets_are_read_nobody_is_told_that_a_signature_is_wrong(here: Installation) -> None:
    early = await receiver_of(here, operators={}, read=False)
    reply = await early.post(BODY)
    assert reply.status == 503
    assert int(reply.headers["retry-after"]) > 0


def question(token: str = TOKEN, challenge: str = "1158201444", **more: str) -> str:
    return urlencode({"hub.mode": "subscribe", "hub.verify_token": token, "hub.challenge": challenge} | more)


async def test_metas_question_is_answered_with_its_challenge(receiver: Receiver) -> None:
    reply = await receiver.ask("GET", query=question())
    assert (reply.status, reply.body) == (200, b"1158201444")
    assert reply.headers["content-type"].startswith("text/plain")
    assert (await receiver.ask("GET", f"{PATH}/900", query=question())).status == 200


@pytest.mark.parametrize(
    "query",
    [
        "",
        question(token="wrong"),
        question(token=""),
        question(challenge=""),
        question(challenge="<script>"),
        question(challenge="x" * 257),
        question(**{"hub.mode": "unsubscribe"}),
        question() + "&hub.verify_token=another",
        question() + "&hub.challenge=2",
        "hub.mode=subscribe&hub.challenge=1&hub.verify_token=%ff%00",
    ],
)
async def test_other_questions_are_refused(receiver: Receiver, query: str) -> None:
    reply = await receiver.ask("GET", query=query)
    assert reply.status == 403
    assert b"script" not in reply.body


@pytest.mark.parametrize(("until", "status"), [(2**52, 200), (1, 403)])
async def test_the_installation_s_own_token_and_its_former_one(receiver: Receiver, until: int, status: int) -> None:
    tokens = VerifyTokens(receiver.here.store, receiver.here.cipher, OWNER)
    old, new = await tokens.current(), await tokens.rotate()
    await receiver.here.store.run(("UPDATE installation SET old_verify_token_until = $1", (until,)))
    assert (await receiver.ask("GET", query=question(new.get_secret_value()))).status == 200
    assert (await receiver.ask("GET", query=question(old.get_secret_value()))).status == status


async def test_many_who_guess_a_token_cost_one_look(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = VerifyTokens(here.store, here.cipher, OWNER)
    secret, looks = (await tokens.current()).get_secret_value(), []
    monkeypatch.setattr(tokens, "all", lambda of=tokens.all: looks.append(1) or of())
    accepted = AcceptedTokens(tokens, [], pause=3600)
    answers = await asyncio.gather(*(accepted.include(token) for token in ["guess", secret, "another"] * 100))
    assert answers == [False, True, False] * 100
    assert await accepted.include(secret)
    assert looks == [1]


async def test_a_token_is_known_as_soon_as_it_is_made(here: Installation) -> None:
    tokens = VerifyTokens(here.store, here.cipher, OWNER)
    accepted = AcceptedTokens(tokens, [], pause=0)
    assert not await accepted.include("guess")
    for secret in (await tokens.current(), await tokens.rotate()):
        assert await accepted.include(secret.get_secret_value())


async def test_a_webhook_is_answered_as_soon_as_the_server_runs(here: Installation) -> None:
    settings = Settings.load(
        database_url=here.url,
        secret_key=KEY.get_secret_value(),
        account_id=OWNER,
        region=REGION,
        app_secrets=f"900={SECRET}",
    )
    metrics = Metrics()
    async with HttpClient() as http, inbound_running(settings, http, BodyBudget(MAX_BODY), metrics.events) as inbound:
        receiver = Receiver(here, AppSecrets(here.store, here.cipher, OWNER, {}), inbound.webhooks, metrics)
        assert (await receiver.post(BODY)).status == 200


async def test_a_body_has_bounds(here: Installation) -> None:
    receiver = await receiver_of(here, operators={"900": [SECRET]}, budget=100_000)
    length = [(b"content-length", b"%d" % (MAX_BODY + 1)), (b"x-hub-signature-256", signature(b""))]
    assert (await receiver.ask("POST", headers=length, parts=[])).status == 413  # before reading
    length[0] = (b"content-length", b"200000")
    reply = await receiver.ask("POST", headers=length, parts=[])
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    broken = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    length[0] = (b"content-length", b"100")
    assert (await receiver.ask("POST", headers=length, parts=broken)).status == 400
    large = webhook(text("wamid.A", body="x" * 60_000))
    assert (await receiver.post(large)).status == 200  # the room was given back


async def test_a_body_without_a_stated_length_has_bounds_too(receiver: Receiver) -> None:
    part = {"type": "http.request", "body": b"x" * 1024**2, "more_body": True}
    headers = [(b"transfer-encoding", b"chunked"), (b"x-hub-signature-256", signature(b""))]
    assert (await receiver.ask("POST", headers=headers, parts=[part] * 6)).status == 413


@pytest.mark.parametrize("body", [b"", b"not JSON", b'{"object":"page","entry":[]}', b'{"a":"\xff"}'])
async def test_what_is_signed_is_kept_even_if_nobody_can_use_it(receiver: Receiver, body: bytes) -> None:
    assert (await receiver.post(body)).status == 200
    assert await receiver.here.rows("SELECT kind, state FROM events") == [("unparsed", "unparsed")]
    assert await receiver.outcomes() == {"unparsed": 1}


async def test_a_body_without_items_is_taken(receiver: Receiver) -> None:
    assert (await receiver.post(b'{"object":"whatsapp_business_account","entry":[]}')).status == 200
    assert await receiver.outcomes() == {"accepted": 1}


async def test_a_thousand_items_in_one_body(receiver: Receiver) -> None:
    assert (await receiver.post(webhook(*(text(f"wamid.{number}") for number in range(1000))))).status == 200
    assert await receiver.count() == 1000


async def test_more_items_than_meta_sends_are_kept_in_one_piece(receiver: Receiver) -> None:
    assert (await receiver.post(webhook(*({"id": str(number)} for number in range(MAX_ITEMS + 1))))).status == 200
    assert await receiver.here.value("SELECT kind FROM events") == "unparsed"


async def test_a_backlog_that_is_full_refuses(url: str) -> None:
    async with installation(url, max_events=0) as here:
        await here.link()
        receiver = await receiver_of(here, operators={"900": [SECRET]})
        reply = await receiver.post(BODY)
        assert reply.status == 503
        assert int(reply.headers["retry-after"]) > 0


async def test_a_database_that_is_away_refuses(receiver: Receiver) -> None:
    await receiver.here.store.run(("DROP TABLE webhook_bodies", ()))
    assert (await receiver.post(BODY)).status == 503


async def test_the_database_is_asked_for_the_token_only(receiver: Receiver) -> None:
    await receiver.here.store.run(("DROP TABLE installation", ()))
    assert (await receiver.ask("GET", query=question())).status == 503
    assert (await receiver.ask("GET", query=question(challenge="?"))).status == 403


# Who may speak for whom

WABA_B, NUMBER_B = "202290129340398", "206540352242922"


async def linked(here: Installation, secret: str, app_id: str | None, waba: str = WABA) -> None:
    """Give a linked account a secret, as linking it does."""
    update = "UPDATE accounts SET app_secret = $1, app_id = $2 WHERE meta_waba_id = $3"
    changed = (update, (here.cipher.encrypt(SecretStr(secret)), app_id, waba))
    await here.store.run(changed, raise_generation(OWNER))
    await here.routing.refresh()


async def test_secrets_are_read_again_only_when_accounts_have_changed(here: Installation) -> None:
    receiver = await receiver_of(here, operators={})
    await linked(here, SECRET, "900")
    await receiver.secrets.read()
    await here.store.run(("UPDATE accounts SET app_secret = 'nobody raised the generation'", ()))
    await receiver.secrets.read()
    assert (await receiver.post(BODY)).status == 200
    await linked(here, "another secret", "900")
    await receiver.secrets.read()
    assert (await receiver.post(BODY)).status == 401


async def test_the_secret_of_a_linked_account_turns_webhooks_on(here: Installation) -> None:
    receiver = await receiver_of(here, operators={})
    assert (await receiver.post(BODY)).status == 404
    await linked(here, SECRET, "900")
    await receiver.secrets.read()
    assert (await receiver.post(BODY)).status == 200
    assert (await receiver.post(BODY, path=f"{PATH}/900")).status == 200


async def test_a_customer_cannot_write_another_s_messages_nor_hide_them(here: Installation) -> None:
    await here.link(WABA_B, [NUMBER_B])
    await linked(here, SECRET, "900")
    await linked(here, OTHER, "901", WABA_B)
    receiver = await receiver_of(here, operators={})
    assert (await receiver.post(BODY, OTHER)).status == 401
    assert (await receiver.post(webhook(text("wamid.A"), number=NUMBER_B), OTHER)).status == 401
    both = json.loads(BODY)
    both["entry"] += json.loads(webhook(text("wamid.B"), waba=WABA_B, number=NUMBER_B))["entry"]
    assert (await receiver.post(json.dumps(both).encode(), OTHER)).status == 200
    assert await here.rows("SELECT wamid FROM events") == [("wamid.B",)]
    assert (await receiver.post(BODY)).status == 200
    assert await receiver.count() == 2
    assert await receiver.outcomes() == {"foreign": 2, "accepted": 2}


async def test_one_app_may_have_several_accounts(here: Installation) -> None:
    await here.link(WABA_B, [NUMBER_B])
    await linked(here, SECRET, "900")
    await linked(here, OTHER, "900", WABA_B)
    receiver = await receiver_of(here, operators={})
    assert (await receiver.post(BODY, OTHER)).status == 200


async def test_a_secret_of_an_unknown_app_speaks_for_its_own_account_only(here: Installation) -> None:
    await here.link(WABA_B, [NUMBER_B])
    await linked(here, SECRET, None)
    await linked(here, OTHER, None, WABA_B)
    receiver = await receiver_of(here, operators={})
    assert (await receiver.post(BODY)).status == 200
    assert (await receiver.post(webhook(text("wamid.B"), waba=WABA_B, number=NUMBER_B))).status == 401
    assert (await receiver.post(webhook(text("wamid.C"), waba="5", number="6"))).status == 401


async def test_entries_of_nobody_are_kept_for_later(here: Installation) -> None:
    await linked(here, SECRET, "900")
    receiver = await receiver_of(here, operators={})
    assert (await receiver.post(webhook(text("wamid.C"), waba="5", number="6"))).status == 200
    assert await here.rows("SELECT state, app FROM events") == [("unrouted", "900")]


async def test_the_operator_s_secret_is_good_for_every_account(here: Installation) -> None:
    await linked(here, OTHER, "901")
    receiver = await receiver_of(here, operators={"900": ["of the past", SECRET]})
    assert (await receiver.post(BODY)).status == 200
    (metric,) = receiver.metrics.events.matches.collect()
    (sample,) = [sample for sample in metric.samples if sample.name.endswith("_total")]
    assert sample.labels == {"app": "900", "position": "2"}


async def test_of_many_secrets_some_are_tried_unless_the_url_names_the_app(here: Installation) -> None:
    many = {str(number): [f"secret {number}"] for number in range(MAX_TRIED)}
    receiver = await receiver_of(here, operators=many | {"900": [SECRET]})
    assert (await receiver.post(BODY)).status == 401
    assert (await receiver.post(BODY, path=f"{PATH}/900")).status == 200
    assert list(receiver.secrets.untried()) == ["900"]


async def test_for_a_large_body_the_secret_that_matched_last_comes_first(here: Installation) -> None:
    many = {str(number): [f"secret {number}"] for number in range(20)}
    receiver = await receiver_of(here, operators=many | {"900": [SECRET]})
    large = webhook(text("wamid.L", body="x" * LARGE_BODY))
    assert (await receiver.post(large)).status == 401
    assert (await receiver.post(BODY)).status == 200
    assert (await receiver.post(large)).status == 200


async def test_webhooks_that_come_together(receiver: Receiver) -> None:
    bodies = [webhook(text(f"wamid.{number}")) for number in range(100)]
    replies = await asyncio.gather(*(receiver.post(body) for body in bodies))
    assert {reply.status for reply in replies} == {200}
    assert await receiver.count() == 100
    assert await receiver.here.value("SELECT count(DISTINCT account_id) FROM events") == 1
    assert await receiver.here.value("SELECT min(account_id) FROM events") == ACCOUNT_ID
