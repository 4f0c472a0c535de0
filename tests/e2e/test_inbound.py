"""From a customer's message at the simulated Meta to the event at a receiver, through real processes."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from harness.receiver import Receiver, receiving
from harness.waiting import PATIENCE, eventually
from harness.world import ACCOUNT_ID, Gateway, World
from whaul.components import cipher, event_store
from whaul.events.delivery.destinations import Destinations, NewDestination
from whaul.events.receiving.signatures import new_secret
from whaul.events.targets.discreet import REPEATED
from whaul.settings import Settings
from whaul.simulator import Simulator
from whaul.simulator.apps import DEFAULT_APP_SECRET
from whaul.stack.customer import Installation, receive
from whaul.stack.local import REGION
from whaul.stack.processes import StackError, answers, free_ports


@pytest.fixture(scope="module")
def own(world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The simulated account, linked with its app's secret in a database of its own."""
    folder = tmp_path_factory.mktemp("inbound")
    environ = world.environ | {
        "WHAUL_DATABASE_URL": f"sqlite:///{folder / 'whaul.db'}",
        "WHAUL_EVENT_HOSTS": "127.0.0.1",
    }
    found = World(world.simulator, environ, folder)
    (folder / "app-secret").write_text(DEFAULT_APP_SECRET)
    found.link("--app-secret-file", str(folder / "app-secret"))
    return found


@pytest.fixture(scope="module")
def gateway(own: World) -> Iterator[Gateway]:
    with own.gateway() as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


async def add(database_url: str, url: str, account_id: str) -> None:
    settings = Settings.load(database_url=database_url)
    async with event_store(settings) as store:
        destinations = Destinations(store, cipher(settings), settings.account_id)
        new = NewDestination(name="orders", target=url, account_ids=[account_id], secret=new_secret())
        await destinations.add(new)


def test_a_message_reaches_the_receiver(gateway: Gateway, receiver: Receiver, simulator: Simulator) -> None:
    own = gateway.world
    account = own.whaul("accounts")["linkedAccounts"][0]["id"]
    asyncio.run(add(own.environ["WHAUL_DATABASE_URL"], receiver.url, account))
    own.whaul("webhooks", "subscribe", simulator.waba_id, "--url", gateway.url)
    simulator.send_webhook("text")
    (post,) = receiver.wait(1)
    envelope = post.json()
    entry = json.loads(envelope["whatsAppWebhookEntry"])
    assert entry["changes"][0]["value"]["messages"][0]["type"] == "text"
    assert post.headers["webhook-id"] == envelope["messageId"]
    assert own.run("webhooks", "status").returncode == 0
    delivered = 'whaul_deliveries_total{destination="orders",outcome="delivered"} 1.0'
    eventually(lambda: delivered in gateway.send("GET", "/metrics").body.decode())
    checks = {check["check"]: check for check in own.whaul("doctor")["checks"]}
    for name in ("webhooks", "durability", "backlog", "destination orders", f"webhooks {simulator.waba_id}"):
        assert checks[name]["outcome"] == "ok", checks[name]


def test_an_event_is_followed_replayed_and_tried_again(
    gateway: Gateway, receiver: Receiver, simulator: Simulator
) -> None:
    own = gateway.world
    secret = own.whaul("destinations", "add", "crm", "--account", simulator.waba_id, "--to", receiver.url)["secret"]
    assert own.whaul("destinations", "test", "crm")["accepted"]
    own.whaul("webhooks", "subscribe", simulator.waba_id, "--url", gateway.url, "--force")
    receiver.answers, receiver.echoes = [413], True  # as some frameworks do
    simulator.send_webhook("text")
    eventually(lambda: own.whaul("events", "dead", "list")["dead"])
    [letter] = own.whaul("events", "dead", "list", "--destination", "crm")["dead"]
    assert (letter["destination"], letter["attempts"]) == ("crm", 1)
    assert letter["lastError"] == f"HTTP 413 {REPEATED}"
    id_ = letter["messageId"]

    def states() -> list[str]:
        shown = own.whaul("events", "show", id_)
        return [each["state"] for each in shown["deliveries"] if each["destination"] == "crm"]

    assert states() == ["dead"]
    assert own.whaul("events", "dead", "retry", id_, "--yes") == {"matched": 1, "queued": 1}
    eventually(lambda: states() == ["delivered"])
    found = own.whaul("events", "replay", id_, "--to", "crm", "--yes")
    assert (found["matched"], found["queued"]) == (1, 1)
    sample, first, *again = receiver.wait(4)
    assert "whaul_test" in sample.body.decode()
    assert "whaul-replay" not in first.headers
    assert {(post.headers["webhook-id"], post.headers["whaul-replay"]) for post in again} == {(id_, "1")}
    assert {post.body for post in again} == {first.body}
    eventually(lambda: own.whaul("events", "replay", "--list")["replays"][0]["state"] == "done")
    outcomes = ["delivered", "delivered", "impossible"]

    def attempts() -> list[str]:
        shown = own.whaul("events", "show", id_)
        return [each["outcome"] for each in shown["attempts"] if each["destination"] == "crm"]

    eventually(lambda: attempts() == outcomes)
    assert secret not in own.run("events", "show", id_, "--content").stdout
    assert own.whaul("destinations", "remove", "crm", "--yes") == {"name": "crm", "dropped": 0}


def test_a_customer_of_the_stack_writes_and_is_waited_for(gateway: Gateway, simulator: Simulator) -> None:
    environ = gateway.world.environ
    here = Installation(environ["WHAUL_DATABASE_URL"], environ.get("WHAUL_ACCOUNT_ID", ACCOUNT_ID), REGION)
    simulator.set_webhook(f"{gateway.url}/webhooks/meta")
    found = receive(simulator, here, None, text="Hello", sender="15550100123", seconds=PATIENCE)
    assert (found.message["text"]["body"], found.message["from"], found.files) == ("Hello", "15550100123", ())
    shown = gateway.world.whaul("events", "show", found.event_id, "--content")
    assert shown["envelope"] == found.envelope
    with pytest.raises(KeyError):
        receive(simulator, here, "no-such-media", text="", sender=None, seconds=PATIENCE)
    simulator.set_webhook(None)
    with pytest.raises(StackError, match="took no webhook"):
        receive(simulator, here, None, text="Hello", sender=None, seconds=0.2)


def test_the_review_of_a_template_and_the_change_of_a_flow_are_events(
    gateway: Gateway, receiver: Receiver, simulator: Simulator
) -> None:
    """They name no phone number, and Meta writes the language otherwise than in the API: both stay as they came."""
    own, account, client = gateway.world, simulator.waba_id, gateway.client()
    fields = ["--field", "message_template_status_update", "--field", "flows"]
    own.whaul("destinations", "add", "reviews", "--account", account, "--to", receiver.url, *fields)
    simulator.set_webhook(f"{gateway.url}/webhooks/meta")
    id_ = own.whaul("accounts")["linkedAccounts"][0]["id"]
    body = {"type": "BODY", "text": "Your order has left our harbour."}
    new = {"name": "order_left", "category": "UTILITY", "language": "en_US", "components": [body]}
    made = client.create_whatsapp_message_template(id=id_, templateDefinition=json.dumps(new).encode())
    receiver.wait(1)
    simulator.change_flow(simulator.add_flow("Survey", status="PUBLISHED"), status="BLOCKED")
    [review, change] = (json.loads(post.json()["whatsAppWebhookEntry"]) for post in receiver.wait(2))
    [told] = review["changes"]
    assert (review["id"], told["field"]) == (account, "message_template_status_update")
    assert (told["value"]["event"], told["value"]["message_template_language"]) == ("APPROVED", "en-US")
    assert told["value"]["message_template_id"] == int(made["metaTemplateId"])
    [told] = change["changes"]
    assert (told["field"], told["value"]["new_status"]) == ("flows", "BLOCKED")
    own.whaul("destinations", "remove", "reviews", "--yes")


def test_webhooks_may_have_a_listener_of_their_own(own: World, simulator: Simulator) -> None:
    with free_ports(1) as [port]:
        pass
    with own.serve(WHAUL_WEBHOOK_PORT=str(port), WHAUL_SHUTDOWN_NOTICE="0") as running:
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: answers(f"{url}/healthz"))
        own.whaul("webhooks", "subscribe", simulator.waba_id, "--url", url, "--force")
        assert own.run("webhooks", "status").returncode == 0
        for path in ("/readyz", "/metrics", "/v1/whatsapp/media/get", "/"):
            assert answers(url + path, [404])
        assert answers(f"{running.url}/webhooks/meta", [404])
        simulator.send_webhook("text")
        counted = 'whaul_events_total{field="messages",kind="message"} 1.0'
        eventually(lambda: counted in running.send("GET", "/metrics").body.decode())
    assert not answers(f"{url}/healthz")
