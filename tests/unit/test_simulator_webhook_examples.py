"""What the simulator can send on command: an example of every webhook, batches, copies, and POSTs with faults."""

import base64
import hashlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from harness.peer import answer, listening
from harness.receiver import Posted, Receiver, receiving
from harness.simulator_client import MISSING, VOICE, Client, running
from harness.waiting import eventually
from whaul.simulator.apps import ALL_FIELDS, DEFAULT_APP_SECRET
from whaul.simulator.webhooks.contents import MESSAGES, WITHOUT_CONTACTS
from whaul.simulator.webhooks.examples import NAMES, SAMPLE
from whaul.simulator.webhooks.faults import KINDS, Slow
from whaul.simulator.webhooks.fields import VALUES
from whaul.simulator.webhooks.post import seconds_of
from whaul.simulator.webhooks.sender import MAX_CONCURRENT

DAY = 24 * 3600
USER, PARENT = "US.13491208655302741918", "US.ENT.11815799212886844830"


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Client, Receiver]]:
    with receiving() as receiver, running(webhook_url=receiver.url) as client:
        yield client, receiver


@pytest.fixture
def client(shared: tuple[Client, Receiver]) -> Client:
    client, receiver = shared
    client.sim.reset()
    receiver.posts.clear()
    receiver.broken.clear()
    receiver.answers.clear()
    return client


@pytest.fixture
def receiver(shared: tuple[Client, Receiver]) -> Receiver:
    return shared[1]


def send(client: Client, *, status: int = 201, **members: Any) -> Any:
    reply = client.control("POST", "webhooks", {name.rstrip("_"): value for name, value in members.items()})
    assert reply.status == status, reply.body
    return reply.json()


def only(receiver: Receiver) -> Posted:
    (post,) = receiver.posts
    return post


def media_in(content: Any) -> Iterator[dict[str, Any]]:
    if isinstance(content, dict):
        if "mime_type" in content:
            yield content
        for member in content.values():
            yield from media_in(member)
    elif isinstance(content, list):
        for member in content:
            yield from media_in(member)


@pytest.mark.parametrize("name", NAMES)
def test_every_example_is_sent_whole_and_its_files_can_be_fetched(
    client: Client, receiver: Receiver, name: str
) -> None:
    (delivery,) = send(client, example=name)["deliveries"]
    assert (delivery["state"], [one["status"] for one in delivery["attempts"]]) == ("delivered", [200])
    post = only(receiver)
    (entry,) = post.json()["entry"]
    (change,) = entry["changes"]
    of_number = "messaging_product" in change["value"]
    assert ("time" in entry) is not of_number
    assert of_number is ("metadata" in change["value"])
    assert change["field"] == delivery["field"] == ("messages" if name in (*MESSAGES, SAMPLE) else VALUES[name][0])
    for shown in media_in(change["value"]):
        known = client.graph(shown["id"]).json()
        data = client.download(shown["url"]).body
        digest = hashlib.sha256(data).digest()
        in_hex = change["field"] == "history" or name.startswith("edit")
        assert shown["sha256"] == (digest.hex() if in_hex else base64.b64encode(digest).decode())
        assert (known["mime_type"], known["sha256"]) == (shown["mime_type"], digest.hex())
        assert client.sim.media[shown["id"]].expires_at == client.clock.now + 7 * DAY


def test_there_is_an_example_of_every_field_that_has_a_documented_form() -> None:
    without = {"message_echoes", "tracking_events"}
    assert {"messages", *(field for field, _ in VALUES.values())} == {*ALL_FIELDS} - without
    with_files = {"image", "audio", "edit_image", "standby_image", "standby_echo", "echo_image", "history_image"}
    assert with_files < {*NAMES}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_has_its_type_and_the_member_of_that_name(client: Client, receiver: Receiver, name: str) -> None:
    send(client, example=name)
    value = only(receiver).value
    (message,) = value["messages"]
    assert message["type"] in {*message} | {"request_welcome", "unsupported"}
    assert ("contacts" in value) is (name not in WITHOUT_CONTACTS)
    assert message["timestamp"] == str(int(client.clock.now))


@pytest.mark.parametrize("name", [name for name in NAMES if name != SAMPLE])
@pytest.mark.parametrize("sender", [USER, PARENT])
def test_of_somebody_with_a_user_name_no_number_shows(
    client: Client, receiver: Receiver, name: str, sender: str
) -> None:
    send(client, example=name, from_=sender, contacts=False)

    def numbers(content: Any) -> Iterator[str]:
        if isinstance(content, dict):
            for member, value in content.items():
                if member in {"from", "to", "wa_id", "recipient_id"} and isinstance(value, str):
                    yield value
                yield from numbers(value)
        elif isinstance(content, list):
            for one in content:
                yield from numbers(one)

    value = only(receiver).value
    business = {"15550100001"}
    if name not in {"system", "contacts", "status_group"}:  # which are about other people
        assert {*numbers(value)} <= business
    if name in MESSAGES:
        assert "contacts" not in value


def test_a_thousand_items_go_in_one_post(client: Client, receiver: Receiver) -> None:
    (delivery,) = send(client, example="text", count=1000, text="x" * 2900)["deliveries"]
    value = only(receiver).value
    assert len({message["id"] for message in value["messages"]}) == 1000
    assert len(value["contacts"]) == 1
    assert 3_000_000 < delivery["size"] < 3 * 1024 * 1024
    send(client, example="image", count=50)
    assert len({message["image"]["id"] for message in receiver.posts[1].value["messages"]}) == 50
    send(client, example="standby", count=3)
    assert len(receiver.posts[2].value["standby"]["messages"]) == 3
    send(client, example="account_update", count=4)
    assert len(receiver.posts[3].json()["entry"][0]["changes"]) == 4


def test_the_same_post_comes_again(client: Client, receiver: Receiver) -> None:
    send(client, example="audio", copies=3)
    assert len({post.body for post in receiver.posts}) == 1
    receiver.posts.clear()
    send(client, example="audio", copies=3, new_urls=True)
    assert len({post.body for post in receiver.posts}) == 3
    assert len({post.value["messages"][0]["id"] for post in receiver.posts}) == 1
    for post in receiver.posts:
        assert post.is_signed_with(DEFAULT_APP_SECRET)
        assert client.download(post.value["messages"][0]["audio"]["url"]).status == 200


def test_one_app_alone_can_get_it(client: Client, receiver: Receiver) -> None:
    with receiving() as other:
        app = client.control("POST", "apps", {"name": "Second", "secret": "second-secret"}).json()
        shown = client.control("PUT", f"apps/{app['id']}/webhook", {"url": other.url, "fields": ["messages"]}).json()
        assert (shown["callback_url"], shown["fields"], shown["subscribed"]) == (other.url, ["messages"], True)
        assert client.control("GET", "state").json()["apps"][1] == shown
        assert "secret" not in shown
        assert len(send(client, example="text")["deliveries"]) == 2
        (delivery,) = send(client, example="text", app_id=app["id"])["deliveries"]
        assert (delivery["app_id"], len(receiver.posts), len(other.posts)) == (app["id"], 1, 2)


def test_a_value_a_webhook_or_any_text_can_be_sent(client: Client, receiver: Receiver) -> None:
    send(client, field="new_field", value={"a": 1}, waba_id="7", status=400)  # to which nobody can be subscribed
    send(client, field="security", value={"a": 1}, waba_id="7", count=2)
    entry = receiver.posts[0].json()["entry"][0]
    assert (entry["id"], [change["value"] for change in entry["changes"]]) == ("7", [{"a": 1}] * 2)
    whole = {"object": "whatsapp_business_account", "entry": [{"id": "7", "changes": [{"value": 7, "field": "calls"}]}]}
    send(client, webhook=whole)
    assert receiver.posts[1].json() == whole
    for text in ("", "no JSON", '{"entry": "é"}', "[" * 10):
        send(client, body=text)
        assert receiver.posts[-1].body == text.encode()
        assert receiver.posts[-1].is_signed_with(DEFAULT_APP_SECRET)
    send(client, body="\ud800")  # which is not UTF-8
    assert receiver.posts[-1].body == b"\xed\xa0\x80"
    for broken in ({}, {"entry": []}, {"entry": [{"id": 7, "changes": [{"value": {"metadata": 7}, "field": "x"}]}]}):
        send(client, webhook=broken)
        assert receiver.posts[-1].json() == broken


def test_the_sample_of_the_dashboard_comes_without_a_subscription(client: Client, receiver: Receiver) -> None:
    client.sim.set_webhook(receiver.url, subscribed=False)
    send(client, example="text", status=400)
    send(client, example="sample")
    assert only(receiver).json()["entry"][0]["id"] == "0"


def test_statuses_can_come_swapped_and_again(client: Client, receiver: Receiver) -> None:
    for name in ("status_read", "status_delivered", "status_sent", "status_delivered"):
        send(client, example=name, message_id="wamid.A")
    assert receiver.statuses == ["read", "delivered", "sent", "delivered"]
    assert {post.value["statuses"][0]["id"] for post in receiver.posts} == {"wamid.A"}


@pytest.mark.parametrize("name", ["reply", "reaction", "edit", "edit_image", "revoke", "status_read"])
def test_what_is_about_a_message_names_it(client: Client, receiver: Receiver, name: str) -> None:
    send(client, example=name, message_id="wamid.A")
    assert '"wamid.A"' in json.dumps(only(receiver).value)


def test_a_file_of_ones_own_is_shown(client: Client, receiver: Receiver) -> None:
    send(client, example="audio", media_id=VOICE, phone_number_id=client.sim.phone_numbers[1].id)
    value = only(receiver).value
    assert value["messages"][0]["audio"]["id"] == VOICE
    assert value["metadata"] == {"display_phone_number": "15550100002", "phone_number_id": "500000000000002"}


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({}, 400),
        ({"example": "smoke"}, 400),
        ({"example": "text", "body": "x"}, 400),
        ({"field": "messages"}, 400),
        ({"value": {}}, 400),
        ({"example": "text", "count": 0}, 400),
        ({"example": "text", "copies": 10_001}, 400),
        ({"example": "text", "colour": "red"}, 400),
        ({"example": "text", "fault": "smoke"}, 400),
        ({"example": "text", "fault": {"kind": "slow", "speed": 1}}, 400),
        ({"example": "text", "fault": {"kind": 7}}, 400),
        ({"example": "text", "fault": 7}, 400),
        ({"example": "text", "app_id": MISSING}, 404),
        ({"example": "text", "phone_number_id": MISSING}, 404),
        ({"example": "image", "media_id": MISSING}, 404),
    ],
)
def test_what_cannot_be_sent_is_refused(client: Client, receiver: Receiver, members: Any, status: int) -> None:
    assert send(client, status=status, **members)["error"]
    assert (receiver.posts, client.sim.webhooks.deliveries) == ([], [])


def test_nobody_to_send_to_is_said() -> None:
    with running() as client:
        assert "webhook URL" in send(client, example="text", status=400)["error"]
        with pytest.raises(ValueError, match="webhook URL"):
            client.sim.send_webhook("text")


def test_the_lists_of_examples_and_faults_are_complete(client: Client) -> None:
    shown = client.control("GET", "webhooks/examples").json()
    assert shown["examples"].keys() == {*NAMES}
    assert shown["faults"].keys() == {*KINDS}
    assert all(fault["does"] for fault in shown["faults"].values())


@pytest.mark.parametrize(
    ("fault", "signed", "headers"),
    [
        ("wrong_signature", False, {"x-hub-signature", "x-hub-signature-256"}),
        ("malformed_signature", False, {"x-hub-signature", "x-hub-signature-256"}),
        ("no_signature", False, set()),
        ("sha1_only", False, {"x-hub-signature"}),
        ("not_json", True, {"x-hub-signature", "x-hub-signature-256"}),
        ("unknown_object", True, {"x-hub-signature", "x-hub-signature-256"}),
        ({"kind": "unknown_object", "object": "instagram"}, True, {"x-hub-signature", "x-hub-signature-256"}),
        ("too_large", True, {"x-hub-signature", "x-hub-signature-256"}),
        ({"kind": "slow", "bytes_per_second": 100_000}, True, {"x-hub-signature", "x-hub-signature-256"}),
    ],
)
def test_a_post_can_be_wrong(client: Client, receiver: Receiver, fault: Any, signed: bool, headers: set[str]) -> None:
    (delivery,) = send(client, example="text", fault=fault)["deliveries"]
    post = only(receiver)
    assert post.is_signed_with(DEFAULT_APP_SECRET) is signed
    assert {name for name in post.headers if name.startswith("x-hub")} == headers
    kind = fault if isinstance(fault, str) else fault["kind"]
    assert delivery["fault"]["kind"] == kind
    if kind == "not_json":
        with pytest.raises(json.JSONDecodeError):
            post.json()
    elif kind == "unknown_object":
        assert post.json()["object"] == ("page" if fault == kind else "instagram")
    elif kind == "too_large":
        assert len(post.body) == 4 * 1024 * 1024 + 1
    else:
        assert post.json()["object"] == "whatsapp_business_account"


@pytest.mark.parametrize(("at", "arrives"), [(None, None), (0, 0), (10, 10)])
def test_a_body_breaks_off(client: Client, receiver: Receiver, at: int | None, arrives: int | None) -> None:
    (delivery,) = send(client, example="text", fault={"kind": "break_off", "at": at})["deliveries"]
    (attempt,) = delivery["attempts"]
    assert (delivery["state"], attempt["status"], attempt["error"]) == ("dropped", None, "broken off")
    eventually(lambda: bool(receiver.broken))
    assert len(receiver.broken[0]) == (delivery["size"] // 2 if arrives is None else arrives)
    assert receiver.posts == []


def test_a_slow_body_ends_when_time_passes(client: Client, receiver: Receiver) -> None:
    client.sim.send_webhook(body="slowly", fault={"kind": "slow", "bytes_per_second": 1})

    def arrived() -> bool:
        client.sim.advance(1)
        return bool(receiver.posts)

    eventually(arrived)
    assert only(receiver).is_signed_with(DEFAULT_APP_SECRET)


def test_a_slow_body_may_take_longer_than_the_answer() -> None:
    assert seconds_of(b"x" * 500, Slow(bytes_per_second=10)) == 50
    assert seconds_of(b"x" * 500, None) == 0


def test_a_receiver_that_does_not_answer_is_given_up(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client.sim.configure(webhook_timeout=0.05, webhook_retry_delays=[])
        client.sim.set_webhook(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        (delivery,) = send(client, example="text")["deliveries"]
    assert delivery["attempts"][0]["error"] == "no answer within 0.05 seconds"


def test_a_post_with_a_fault_is_sent_once_unless_it_says_how_often(client: Client, receiver: Receiver) -> None:
    receiver.answers = [401]
    (delivery,) = send(client, example="text", fault="wrong_signature")["deliveries"]
    assert (delivery["state"], len(delivery["attempts"])) == ("dropped", 1)
    receiver.answers = [401]
    send(client, example="text", fault={"kind": "wrong_signature", "attempts": 1})
    posts = receiver.wait(3)
    assert [post.is_signed_with(DEFAULT_APP_SECRET) for post in posts[1:]] == [False, True]


def test_deliveries_can_be_looked_at_held_back_and_sent_again(client: Client, receiver: Receiver) -> None:
    shown = client.control("POST", "webhooks/pause").json()
    assert shown == {"paused": True, "deliveries": []}
    (waiting,) = send(client, example="text")["deliveries"]
    assert (waiting["state"], waiting["attempts"], waiting["due_at"]) == ("due", [], client.clock.now)
    assert receiver.posts == []
    client.control("POST", "webhooks/resume")
    receiver.wait(1)
    eventually(lambda: client.sim.webhooks.get(waiting["id"]).state == "delivered")
    (listed,) = client.control("GET", "webhooks?state=delivered").json()["deliveries"]
    assert (listed["id"], listed["attempts"][0]["status"], "body" in listed) == (waiting["id"], 200, False)
    assert client.control("GET", "webhooks?state=dropped").json()["deliveries"] == []
    assert client.control("GET", "webhooks?state=eaten").status == 400
    whole = client.control("GET", f"webhooks/{waiting['id']}").json()
    assert whole["body"].encode() == receiver.posts[0].body
    receiver.answers = [500]
    (again,) = client.control("POST", f"webhooks/{waiting['id']}/redeliver").json()["deliveries"]
    assert [attempt["status"] for attempt in again["attempts"]][:2] == [200, 500]
    assert client.control("DELETE", "webhooks").json()["deliveries"] == []
    assert client.control("GET", f"webhooks/{waiting['id']}").status == 404
    assert client.control("POST", f"webhooks/{MISSING}/redeliver").status == 404


def test_what_a_receiver_says_is_kept(client: Client) -> None:
    with listening() as peer:
        peer.answer = answer(401, b"bad signature" + b"!" * 5000)
        client.sim.set_webhook(peer.url + "/")
        client.sim.configure(webhook_retry_delays=[])
        (delivery,) = send(client, example="text")["deliveries"]
    (attempt,) = delivery["attempts"]
    assert (attempt["status"], attempt["answer"][:14], len(attempt["answer"])) == (401, "bad signature!", 1024)


def test_half_a_character_and_a_nul_are_posted_as_written(client: Client, receiver: Receiver) -> None:
    content = client.control("POST", "messages/inbound", {"text": "\ud83d \0"}).json()
    assert b'"\\ud83d \\u0000"' in receiver.wait(1)[0].body
    assert receiver.posts[0].json() == content


def test_a_pause_holds_back_what_waits_for_a_place(client: Client) -> None:
    client.sim.configure(webhook_retry_delays=[], webhook_timeout=3600)
    with socket.create_server(("127.0.0.1", 0), backlog=2 * MAX_CONCURRENT) as silent:
        client.sim.set_webhook(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        made = client.sim.send_webhook("text", copies=MAX_CONCURRENT + 8)
        eventually(lambda: sum(one.state == "sending" for one in made) == MAX_CONCURRENT)
        client.sim.webhooks.pause()
    eventually(lambda: sum(one.state == "dropped" for one in made) == MAX_CONCURRENT)
    assert [(one.state, one.attempts) for one in made[MAX_CONCURRENT:]] == [("due", [])] * 8
    client.sim.webhooks.resume()
    eventually(lambda: all(one.state == "dropped" for one in made))


def test_a_message_from_a_customer_is_posted_too(client: Client, receiver: Receiver) -> None:
    content = client.control("POST", "messages/inbound", {"text": "Hi"}).json()
    assert receiver.wait(1)[0].json() == content
