"""The simulator as the sender of webhooks: who gets them, how they look on the wire, and what happens on a refusal."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from harness.receiver import VERIFY_TOKEN, Receiver, receiving
from harness.simulator_client import JPEG, VOICE, Client, running
from harness.waiting import eventually
from whaul.simulator import Simulator
from whaul.simulator.apps import DEFAULT_APP_SECRET
from whaul.simulator.settings import RETRY_DELAYS, WEEK
from whaul.simulator.webhooks.post import signed_headers

DAY = 24 * 3600
USER = "US.13491208655302741918"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def client(receiver: Receiver) -> Iterator[Client]:
    with running(webhook_url=receiver.url) as client:
        yield client


def send_message(client: Client, **members: Any) -> Any:
    message = {"messaging_product": "whatsapp", "to": "15550100099", "type": "text", "text": {"body": "Hello"}}
    path = f"{client.sim.phone_numbers[0].id}/messages"
    return client.graph(path, "POST", body=json.dumps({**message, **members}).encode()).json()


def over(client: Client, count: int = 1) -> list[Any]:
    """The deliveries, once so many are over."""

    def done() -> bool:
        return sum(one.state in {"delivered", "dropped"} for one in client.sim.webhooks.deliveries) >= count

    eventually(done)
    return client.sim.webhooks.deliveries


def test_a_webhook_looks_as_metas(client: Client, receiver: Receiver) -> None:
    content = client.sim.receive(text="Grüße 🐋 http://x/y")
    (post,) = receiver.wait(1)
    assert post.json() == content
    assert post.body.isascii()
    assert rb"Gr\u00fc\u00dfe \ud83d\udc0b http:\/\/x\/y" in post.body
    assert b": " not in post.body
    assert post.is_signed_with(DEFAULT_APP_SECRET)
    assert {name: post.headers[name] for name in ("content-type", "user-agent", "accept", "content-length")} == {
        "content-type": "application/json",
        "user-agent": "facebookexternalua",
        "accept": "*/*",
        "content-length": str(len(post.body)),
    }
    assert post.headers["x-hub-signature"].startswith("sha1=")


def test_the_signature_is_that_of_a_known_example() -> None:
    headers = signed_headers(b'{"object":"whatsapp_business_account","entry":[]}', "test_app_secret")
    digest = "dec6a680679a968e7e0319355b23599cbfc54502c0784668e9618baa0c633756"
    assert headers["X-Hub-Signature-256"] == f"sha256={digest}"


def test_without_a_url_nothing_is_sent_and_no_status_comes_by_itself() -> None:
    with running() as client:
        client.sim.receive(text="Hi")
        send_message(client)
        assert client.sim.webhooks.deliveries == []


def test_a_message_that_is_sent_has_its_statuses_in_turn(client: Client, receiver: Receiver) -> None:
    sent = send_message(client, biz_opaque_callback_data="order 7")["messages"][0]["id"]
    receiver.wait(3)
    assert receiver.statuses == ["sent", "delivered", "read"]
    for post in receiver.posts:
        (status,) = post.value["statuses"]
        assert (status["id"], status["biz_opaque_callback_data"]) == (sent, "order 7")


def test_which_statuses_a_message_has_is_a_setting(client: Client, receiver: Receiver) -> None:
    client.sim.configure(message_statuses=["sent", "failed"])
    send_message(client)
    receiver.wait(2)
    assert receiver.statuses == ["sent", "failed"]
    client.sim.configure(message_statuses=[])
    send_message(client)
    send_message(client, to=USER)  # never delivered
    client.sim.receive(text="the end")
    assert "messages" in receiver.wait(3)[2].value


def test_a_read_receipt_has_no_status(client: Client, receiver: Receiver) -> None:
    received = client.sim.receive(text="Hi")["entry"][0]["changes"][0]["value"]["messages"][0]["id"]
    read = {"messaging_product": "whatsapp", "status": "read", "message_id": received}
    client.graph(f"{client.sim.phone_numbers[0].id}/messages", "POST", body=json.dumps(read).encode())
    client.sim.receive(text="the end")
    receiver.wait(2)
    assert receiver.statuses == []


def test_statuses_come_although_the_response_was_lost(client: Client, receiver: Receiver) -> None:
    client.sim.fault(kind="reset", hop="send", at=0, times=1)
    with pytest.raises(ConnectionError):
        send_message(client)
    receiver.wait(3)
    assert receiver.statuses == ["sent", "delivered", "read"]


def test_each_app_gets_its_copy_signed_with_its_secret(client: Client, receiver: Receiver) -> None:
    with receiving() as other:
        app = client.sim.add_app("Second", "second-secret")
        client.sim.set_webhook(other.url, app_id=app.id)
        client.sim.receive(text="Hi")
        (one,), (two,) = receiver.wait(1), other.wait(1)
    assert one.body == two.body
    assert (one.is_signed_with(DEFAULT_APP_SECRET), two.is_signed_with("second-secret")) == (True, True)


def test_what_one_app_did_not_take_comes_to_all_again(client: Client, receiver: Receiver) -> None:
    with receiving() as other:
        other.answers = [500]
        client.sim.set_webhook(other.url, app_id=client.sim.add_app("Second", "second-secret").id)
        client.sim.configure(webhook_retry_delays=[60])
        client.sim.webhooks.pause()
        client.sim.receive(text="Hi")
        one, two = client.sim.webhooks.deliveries
        client.sim.webhooks.resume()
        eventually(lambda: one.state == "delivered" and two.state == "due" and len(two.attempts) == 1)
        client.sim.advance(60)
        assert len({post.value["messages"][0]["id"] for post in receiver.wait(2) + other.wait(2)}) == 1
        eventually(lambda: (one.state, two.state) == ("delivered", "delivered"))
    assert (len(receiver.posts), len(other.posts)) == (2, 2)


@pytest.mark.parametrize("answer", [500, 503, 404, 401, 301, 201, 204])
def test_all_but_200_is_tried_again(client: Client, receiver: Receiver, answer: int) -> None:
    receiver.answers = [answer]
    client.sim.receive(text="Hi")
    one, two = receiver.wait(2)
    assert (one.body, one.headers) == (two.body, two.headers)
    (delivery,) = over(client)
    assert [attempt.status for attempt in delivery.attempts] == [answer, 200]


def test_it_is_tried_at_once_then_less_and_less_often_for_a_week(client: Client, receiver: Receiver) -> None:
    assert list(RETRY_DELAYS) == sorted(RETRY_DELAYS)
    assert RETRY_DELAYS[0] == 0
    assert WEEK - DAY < sum(RETRY_DELAYS) <= WEEK
    receiver.answers = [500] * 100
    client.sim.receive(text="Hi")
    receiver.wait(2)
    (delivery,) = client.sim.webhooks.deliveries
    for count, delay in enumerate(RETRY_DELAYS[1:5], start=2):
        eventually(lambda: delivery.state == "due" and len(delivery.attempts) == count)  # noqa: B023 - called at once
        assert delivery.due_at == pytest.approx(client.sim.state.now() + delay)
        client.sim.advance(delay)
        receiver.wait(count + 1)
    client.sim.advance(WEEK)
    (delivery,) = over(client)
    assert (delivery.state, delivery.due_at) == ("dropped", None)
    assert len(delivery.attempts) == len(RETRY_DELAYS) + 1 == len(receiver.posts)


def test_the_schedule_is_a_setting(client: Client, receiver: Receiver) -> None:
    client.sim.configure(webhook_retry_delays=[0.01, 0.01])
    receiver.answers = [500, 500, 500]
    client.sim.receive(text="Hi")
    assert [attempt.status for attempt in over(client)[0].attempts] == [500, 500, 500]
    client.sim.configure(webhook_retry_delays=[])
    receiver.answers = [500]
    client.sim.receive(text="Hi")
    assert [one.state for one in over(client, 2)] == ["dropped", "dropped"]


def test_a_receiver_that_is_not_there_is_tried_again(client: Client, receiver: Receiver) -> None:
    with receiving() as gone:
        pass
    client.sim.configure(webhook_retry_delays=[0])
    client.sim.set_webhook(gone.url)
    client.sim.receive(text="Hi")
    (delivery,) = over(client)
    assert [attempt.status for attempt in delivery.attempts] == [None, None]
    assert delivery.attempts[0].error == "cannot connect: Connection refused"
    assert receiver.posts == []


def test_while_paused_nothing_is_sent_and_all_of_it_afterwards(client: Client, receiver: Receiver) -> None:
    client.sim.webhooks.pause()
    client.sim.receive(text="one")
    client.sim.receive(text="two")
    send_message(client)
    eventually(lambda: [one.state for one in client.sim.webhooks.deliveries] == ["due"] * 3)
    assert receiver.posts == []
    client.sim.webhooks.resume()
    assert len(receiver.wait(5)) == 5


def test_what_was_delivered_or_is_due_can_be_sent_now(client: Client, receiver: Receiver) -> None:
    client.sim.receive(text="Hi")
    (delivery,) = over(client)
    client.sim.webhooks.redeliver(delivery.id)
    one, two = receiver.wait(2)
    assert one.body == two.body
    client.sim.configure(webhook_retry_delays=[DAY])
    receiver.answers = [500]
    client.sim.receive(text="later")
    late = client.sim.webhooks.deliveries[1]
    eventually(lambda: late.state == "due" and bool(late.attempts))
    client.sim.webhooks.redeliver(late.id)
    receiver.wait(4)
    eventually(lambda: late.state == "delivered")
    with pytest.raises(KeyError):
        client.sim.webhooks.redeliver("99")


def test_after_a_reset_nothing_is_due(client: Client, receiver: Receiver) -> None:
    receiver.answers = [500] * 2
    client.sim.receive(text="Hi")
    receiver.wait(2)
    client.sim.webhooks.pause()
    client.sim.receive(text="never sent")
    client.sim.reset()
    assert (client.sim.webhooks.deliveries, client.sim.webhooks.is_paused) == ([], False)
    client.sim.advance(WEEK)
    client.sim.receive(text="sent")
    assert receiver.wait(3)[2].value["messages"][0]["text"]["body"] == "sent"


def test_a_media_in_a_webhook_can_be_fetched_for_a_week(client: Client, receiver: Receiver) -> None:
    media_id = client.sim.add_media(b"a voice", "audio/ogg; codecs=opus")
    client.sim.receive(media_id)
    shown = receiver.wait(1)[0].value["messages"][0]["audio"]
    assert shown["id"] == media_id
    assert client.download(shown["url"]).body == b"a voice"
    client.sim.advance(WEEK)
    assert client.graph(media_id).error["error_subcode"] == 33


def test_an_attempt_has_download_urls_of_its_own(client: Client, receiver: Receiver) -> None:
    receiver.answers = [500]
    client.sim.receive(VOICE)
    one, two = receiver.wait(2)
    assert one.body != two.body
    assert two.is_signed_with(DEFAULT_APP_SECRET)
    first, second = (post.value["messages"][0] for post in (one, two))
    assert client.download(second["audio"]["url"]).status == 200
    del first["audio"]["url"], second["audio"]["url"]
    assert first == second


def graph_post(client: Client, path: str, token: str | None = None, **members: Any) -> Any:
    """A POST with the members as JSON; gives the answer, or Meta's error."""
    body = json.dumps(members).encode() if members else None
    headers = {"Content_Type": "application/json"}
    reply = client.graph(path, "POST", body=body, token=token or client.sim.token, **headers).json()
    return reply.get("error", reply)


@pytest.fixture
def bare() -> Iterator[Client]:
    """A simulator whose app has no webhooks yet."""
    with running() as client:
        yield client


def app_token(client: Client) -> str:
    app = client.sim.apps[0]
    return f"{app.id}|{app.secret}"


def test_an_app_is_subscribed_as_at_meta(bare: Client, receiver: Receiver) -> None:
    app, waba = bare.sim.apps[0], bare.sim.waba_id
    wanted = {"object": "whatsapp_business_account", "callback_url": receiver.url, "verify_token": VERIFY_TOKEN}
    path = f"{app.id}/subscriptions"
    assert bare.graph(path, token=app_token(bare)).json() == {"data": []}
    assert graph_post(bare, path, app_token(bare), **wanted, fields="messages,account_update") == {"success": True}
    assert [query["hub.mode"] for query in receiver.verifications] == ["subscribe"]
    (shown,) = bare.graph(path, token=app_token(bare)).json()["data"]
    assert shown == {
        "object": "whatsapp_business_account",
        "callback_url": receiver.url,
        "active": True,
        "fields": [{"name": name, "version": "v25.0"} for name in ("messages", "account_update")],
    }
    bare.sim.receive(text="before the subscription")
    assert bare.graph(f"{waba}/subscribed_apps").json() == {"data": []}
    assert graph_post(bare, f"{waba}/subscribed_apps") == {"success": True}
    (subscribed,) = bare.graph(f"{waba}/subscribed_apps").json()["data"]
    assert (subscribed["whatsapp_business_api_data"]["id"], "override_callback_uri" in subscribed) == (app.id, False)
    bare.sim.receive(text="after it")
    bare.sim.webhooks.emit(waba, "security", {"event": "PIN_CHANGED"})
    bare.sim.webhooks.emit(waba, "account_update", {"event": "ACCOUNT_VIOLATION"})
    one, two = receiver.wait(2)
    fields = {post.json()["entry"][0]["changes"][0]["field"] for post in (one, two)}
    assert fields == {"messages", "account_update"}
    assert bare.graph(f"{waba}/subscribed_apps", "DELETE").json() == {"success": True}
    bare.sim.receive(text="the end")
    assert len(over(bare, 2)) == 2


def test_the_time_is_on_webhooks_that_concern_no_number(client: Client, receiver: Receiver) -> None:
    client.sim.webhooks.emit("42", "account_update", {"event": "ACCOUNT_VIOLATION"})
    client.sim.receive(text="Hi")
    entries = [post.json()["entry"][0] for post in receiver.wait(2)]
    times = {entry["changes"][0]["field"]: (entry["id"], entry.get("time")) for entry in entries}
    assert times == {"account_update": ("42", int(client.clock.now)), "messages": (client.sim.waba_id, None)}


@pytest.mark.parametrize("encoding", ["json", "form", "query"])
def test_overrides_of_account_and_number_win_over_the_app(client: Client, receiver: Receiver, encoding: str) -> None:
    waba, (one, two) = client.sim.waba_id, client.sim.phone_numbers[:2]

    def override(path: str, url: str) -> None:
        members = {"override_callback_uri": url, "verify_token": VERIFY_TOKEN}
        if encoding == "json":
            nested = members if path.startswith(waba) else {"webhook_configuration": members}
            assert graph_post(client, path, **nested) == {"success": True}
            return
        flat = members if path.startswith(waba) else {"webhook_configuration": json.dumps(members)}
        text = urlencode(flat)
        if encoding == "query":
            assert client.graph(f"{path}?{text}", "POST").json() == {"success": True}
        else:
            form = {"Content_Type": "application/x-www-form-urlencoded"}
            assert client.graph(path, "POST", body=text.encode(), **form).json() == {"success": True}

    def configuration(number_id: str) -> Any:
        return client.graph(f"{number_id}?fields=webhook_configuration").json()["webhook_configuration"]

    with receiving() as account, receiving() as number:
        assert configuration(one.id) == {"application": receiver.url}
        override(f"{waba}/subscribed_apps", account.url)
        override(one.id, number.url)
        assert configuration(one.id) == {
            "phone_number": number.url,
            "whatsapp_business_account": account.url,
            "application": receiver.url,
        }
        (shown,) = client.graph(f"{waba}/subscribed_apps").json()["data"]
        assert shown["override_callback_uri"] == account.url
        client.sim.receive(text="to the number", phone_number_id=one.id)
        client.sim.receive(text="to the account", phone_number_id=two.id)
        client.sim.webhooks.emit(waba, "account_update", {"event": "ACCOUNT_VIOLATION"})
        assert number.wait(1)[0].value["messages"][0]["text"]["body"] == "to the number"
        assert account.wait(1)[0].value["messages"][0]["text"]["body"] == "to the account"
        assert receiver.wait(1)[0].value == {"event": "ACCOUNT_VIOLATION"}
        assert [one.level for one in client.sim.webhooks.deliveries] == ["number", "account", "app"]
        assert graph_post(client, one.id, webhook_configuration={"override_callback_uri": ""}) == {"success": True}
        assert graph_post(client, f"{waba}/subscribed_apps") == {"success": True}
        assert configuration(one.id) == {"application": receiver.url}


def test_an_override_comes_after_the_subscription(bare: Client, receiver: Receiver) -> None:
    override = {"override_callback_uri": receiver.url, "verify_token": VERIFY_TOKEN}
    for path, members in (
        (f"{bare.sim.waba_id}/subscribed_apps", override),
        (bare.sim.phone_numbers[0].id, {"webhook_configuration": override}),
    ):
        error = graph_post(bare, path, **members)
        assert error["code"] == 100
        assert error["message"].startswith("(#100) Before override the current callback uri, your app must be")
    assert receiver.verifications == []
    graph_post(bare, f"{bare.sim.waba_id}/subscribed_apps")
    assert graph_post(bare, f"{bare.sim.waba_id}/subscribed_apps", **override) == {"success": True}


@pytest.mark.parametrize(
    ("challenge", "code", "says"),
    [
        (lambda _: (403, ""), 2200, "HTTP Status Code = 403"),
        (lambda query: (201, query["hub.challenge"]), 2200, "HTTP Status Code = 201"),
        (lambda query: (200, f'"{query["hub.challenge"]}"'), 2201, "does not match challenge"),
        (lambda _: (200, ""), 2201, "does not match challenge"),
    ],
)
def test_a_url_that_does_not_prove_itself_is_refused(
    bare: Client, receiver: Receiver, challenge: Any, code: int, says: str
) -> None:
    receiver.challenge = challenge
    bare.sim.set_webhook(None)
    override = {"override_callback_uri": receiver.url, "verify_token": VERIFY_TOKEN}
    wanted = {"object": "whatsapp_business_account", "callback_url": receiver.url, "verify_token": VERIFY_TOKEN}
    for error in (
        graph_post(bare, f"{bare.sim.waba_id}/subscribed_apps", **override),
        graph_post(bare, bare.sim.phone_numbers[0].id, webhook_configuration=override),
        graph_post(bare, f"{bare.sim.apps[0].id}/subscriptions", app_token(bare), **wanted, fields=["messages"]),
    ):
        assert error["code"] == code
        assert says in error["message"]
    bare.sim.receive(text="Hi")
    assert bare.sim.webhooks.deliveries == []


def test_a_url_where_nobody_listens_is_refused(bare: Client) -> None:
    with receiving() as gone:
        pass
    graph_post(bare, f"{bare.sim.waba_id}/subscribed_apps")
    override = {"override_callback_uri": gone.url, "verify_token": VERIFY_TOKEN}
    error = graph_post(bare, f"{bare.sim.waba_id}/subscribed_apps", **override)
    assert (error["code"], "curl_error" in error["message"]) == (2200, True)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"object": "page"}, 100),
        ({"callback_url": None}, 100),
        ({"callback_url": "ftp://x"}, 100),
        ({"verify_token": ""}, 100),
        ({"fields": ["messages", "smoke"]}, 100),
        ({"fields": [7]}, 100),
        ({"fields": 7}, 100),
    ],
)
def test_a_subscription_that_cannot_be_is_refused(
    bare: Client, receiver: Receiver, change: dict[str, Any], code: int
) -> None:
    wanted = {"object": "whatsapp_business_account", "callback_url": receiver.url, "verify_token": VERIFY_TOKEN}
    path = f"{bare.sim.apps[0].id}/subscriptions"
    assert graph_post(bare, path, app_token(bare), **{**wanted, "fields": "messages", **change})["code"] == code
    assert receiver.verifications == []


@pytest.mark.parametrize("url", ["ftp://x", f"https://{'x' * 200}/", 7])
def test_an_override_that_cannot_be_is_refused(client: Client, url: Any) -> None:
    override = {"override_callback_uri": url, "verify_token": VERIFY_TOKEN}
    assert graph_post(client, f"{client.sim.waba_id}/subscribed_apps", **override)["code"] == 100
    number_id = client.sim.phone_numbers[0].id
    for configuration in (override, "{", "7", None, {"override_callback_uri": "http://127.0.0.1:1/"}):
        assert graph_post(client, number_id, webhook_configuration=configuration)["code"] == 100


def test_an_app_token_is_for_its_app_only(bare: Client) -> None:
    app, other = bare.sim.apps[0], bare.sim.add_app("Second", "second-secret", "second-token")
    token = app_token(bare)
    assert bare.graph(f"{app.id}/subscriptions").error["code"] == 15
    assert bare.graph(f"{other.id}/subscriptions", token=token).error["error_subcode"] == 33
    assert bare.graph(JPEG, token=token).error["error_subcode"] == 33
    assert bare.graph(f"{app.id}/subscriptions", token=f"{app.id}|wrong").error["code"] == 190
    assert bare.graph(app.id).json()["id"] == app.id


def test_debug_token_names_the_app(bare: Client) -> None:
    app, other = bare.sim.apps[0], bare.sim.add_app("Second", "second-secret", "second-token")
    for token, expected, kind in (
        (bare.sim.token, app, "SYSTEM_USER"),
        ("second-token", other, "SYSTEM_USER"),
        (app_token(bare), app, "APP"),
    ):
        shown = bare.graph(f"debug_token?input_token={token}", token=app_token(bare)).json()["data"]
        assert (shown["app_id"], shown["application"], shown["type"]) == (expected.id, expected.name, kind)


def test_each_apps_token_subscribes_its_app(bare: Client, receiver: Receiver) -> None:
    other = bare.sim.add_app("Second", "second-secret", "second-token")
    graph_post(bare, f"{bare.sim.waba_id}/subscribed_apps", "second-token")
    (shown,) = bare.graph(f"{bare.sim.waba_id}/subscribed_apps").json()["data"]
    assert shown["whatsapp_business_api_data"]["id"] == other.id
    override = {"override_callback_uri": receiver.url, "verify_token": VERIFY_TOKEN}
    graph_post(bare, f"{bare.sim.waba_id}/subscribed_apps", "second-token", **override)
    bare.sim.receive(text="Hi")
    assert receiver.wait(1)[0].is_signed_with("second-secret")
    with pytest.raises(ValueError, match="token that no other app has"):
        bare.sim.add_app("Third", "third-secret", "second-token")


def test_proofs_are_made_with_the_secret_of_the_tokens_app() -> None:
    with running(app_secret="first-secret") as client:
        app = client.sim.add_app("Second", "second-secret", "second-token")
        for secret, code in (("first-secret", 100), ("second-secret", None)):
            proof = hmac.new(secret.encode(), b"second-token", hashlib.sha256).hexdigest()
            reply = client.graph(f"{JPEG}?appsecret_proof={proof}", token="second-token").json()
            assert reply.get("error", {}).get("code") == code
        assert client.graph(f"{app.id}/subscriptions", token=f"{app.id}|second-secret").status == 200


@pytest.mark.anyio
async def test_settled_waits_for_what_is_being_sent(receiver: Receiver) -> None:
    async with Simulator(webhook_url=receiver.url) as sim:
        for _ in range(20):
            sim.receive(text="Hi")
        await sim.settled()
        assert len(receiver.posts) == 20
        sim.webhooks.pause()
        sim.receive(text="Hi")
        await sim.settled()
        assert len(receiver.posts) == 20
        sim.webhooks.resume()
        await sim.settled()
        assert len(receiver.posts) == 21
        receiver.answers = [500] * 3
        sim.receive(text="Hi")
        await sim.settled()
        assert len(receiver.posts) == 23
        for posts in (24, 25):
            sim.advance(60)
            await sim.settled()
            assert len(receiver.posts) == posts
        sim.advance(WEEK)
        await sim.settled()
        assert len(receiver.posts) == 25
