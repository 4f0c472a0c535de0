"""The console's deliveries, over a real server, a simulated Meta and a receiver of events."""

import json
import re
from collections.abc import Iterator

import pytest

from harness.console import RunningConsole, Visitor, allow, console, words
from harness.receiver import Receiver, receiving
from harness.waiting import eventually
from harness.world import Gateway, World
from whaul.simulator import Simulator
from whaul.simulator.apps import DEFAULT_APP_SECRET

HERE = "/deliveries/crm"


@pytest.fixture(scope="module")
def own(world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The simulated account, linked with its app's secret in a database of its own."""
    folder = tmp_path_factory.mktemp("deliveries")
    environ = world.environ | {
        "WHAUL_DATABASE_URL": f"sqlite:///{folder / 'whaul.db'}",
        "WHAUL_EVENT_HOSTS": "127.0.0.1",
        "WHAUL_AUDIT_LOG": str(folder / "audit.log"),
    }
    found = World(world.simulator, environ, folder)
    (folder / "app-secret").write_text(DEFAULT_APP_SECRET)
    found.link("--app-secret-file", str(folder / "app-secret"))
    return found


@pytest.fixture(scope="module")
def gateway(own: World) -> Iterator[Gateway]:
    with own.gateway() as running:
        yield running


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture(scope="module")
def site(gateway: Gateway, receiver: Receiver, running_simulator: Simulator) -> Iterator[RunningConsole]:
    """A console, and a destination that took nothing of three messages."""
    own = gateway.world
    own.whaul("destinations", "add", "crm", "--account", running_simulator.waba_id, "--to", receiver.url)
    own.whaul("webhooks", "subscribe", running_simulator.waba_id, "--url", gateway.url, "--force")
    receiver.answers = [413, 413, 413]
    for _ in range(3):
        running_simulator.send_webhook("text")
    eventually(lambda: len(own.whaul("events", "dead", "list")["dead"]) == 3)
    with console(own.environ, own.folder) as found:
        yield found


@pytest.fixture(scope="module")
def operator(site: RunningConsole) -> Visitor:
    return site.sign_in(site.key("--allow-all"))


def ids(visitor: Visitor) -> list[str]:
    return re.findall(r'name="id" value="([^"]+)"', visitor.get(f"{HERE}/dead").body.decode())


def test_dead_letters_are_tried_again_to_the_end(site: RunningConsole, operator: Visitor, receiver: Receiver) -> None:
    page = words(operator.get(f"{HERE}/dead"))
    assert "HTTP 413 3" in page
    assert "whaul events dead causes --destination crm" in page
    assert "Nothing" not in page
    one, *_ = chosen = ids(operator)
    assert len(chosen) == 3
    asked = operator.get(f"{HERE}/dead/retry?only=chosen&id={one}")
    assert "Try 1 dead letter again?" in words(asked)
    assert f"whaul events dead retry {one} --destination crm" in words(asked)
    assert operator.get(f"{HERE}/dead/retry?only=chosen").headers["location"] == f"{HERE}/dead"
    assert "Choose some dead letters first" in words(operator.get(f"{HERE}/dead"))
    assert "1 dead letter tried again" in words(operator.submit(f"{HERE}/dead/retry", {"id": one}))
    eventually(lambda: one in [post.headers["webhook-id"] for post in receiver.posts if "whaul-replay" in post.headers])
    assert "Remove 0 dead letters?" in words(operator.get(f"{HERE}/dead/drop?cause=HTTP+500"))
    assert "Try 2 dead letters again?" in words(operator.get(f"{HERE}/dead/retry?cause=HTTP+413"))
    operator.submit(f"{HERE}/dead/retry", {"cause": "HTTP 413"})
    eventually(lambda: {post.headers["webhook-id"] for post in receiver.posts[-2:]} == {*chosen} - {one})
    eventually(lambda: "Nothing was given up" in words(operator.get(f"{HERE}/dead")))
    record, *_ = site.audited(eventName="ReplayDelivery", readOnly=False)
    assert record["requestParameters"]["deadLetters"] == 1


def test_a_destination_shows_attempts_and_is_paused_tested_and_resumed(operator: Visitor, receiver: Receiver) -> None:
    assert "crm" in words(operator.get("/deliveries"))
    page = words(operator.get(HERE))
    assert "can never take this event HTTP 413" in page
    assert "HTTP 413" not in words(operator.get(f"{HERE}?outcome=delivered")).partition("Attempts")[2]
    assert "No such attempt" in words(operator.get(f"{HERE}?outcome=gone"))
    for wrong in ("outcome=x", "before=x", "before=1-2"):
        assert operator.get(f"{HERE}?{wrong}").status == 400
    before = len(receiver.posts)
    assert "crm took the test event" in words(operator.submit(f"{HERE}/test"))
    assert b"whaul_test" in receiver.posts[before].body
    receiver.answers = [503]
    assert "crm did not take the test event" in words(operator.submit(f"{HERE}/test"))
    assert "paused" in words(operator.submit(f"{HERE}/pause"))
    parts = [operator.get(f"/now{path}").text for path in ("/deliveries", HERE, f"{HERE}/attempts?outcome=failed")]
    assert ["paused" in part for part in parts] == [True, True, False]
    assert "HTTP 413" in parts[2]
    assert "<html" not in "".join(parts)
    assert "whaul destinations resume crm" in words(operator.get(HERE))
    assert "crm goes on" in words(operator.submit(f"{HERE}/resume"))
    assert operator.get("/deliveries/nothing").status == 404


def test_events_are_replayed_after_they_were_counted(
    site: RunningConsole, operator: Visitor, receiver: Receiver
) -> None:
    counted = operator.get(f"{HERE}/replay?since=1h&count=1")
    assert "3 events to be sent" in words(counted)
    members = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', counted.body.decode()))
    assert {*members} == {"kind", "since", "until"}
    assert "0 events to be sent" in words(operator.get(f"{HERE}/replay?type=audio&count=1"))
    before = len(receiver.posts)
    page = operator.submit(f"{HERE}/replay", members)
    assert "3 events sent once more" in words(page)
    receiver.wait(before + 3)
    assert {post.headers["whaul-replay"] for post in receiver.posts[before:]} == {"1"}
    eventually(lambda: "done 3 3" in words(operator.get(HERE)))
    job = json.loads(site.do("events", "replay", "--list", "--json"))["replays"][0]["job"]
    assert "over already" in words(operator.submit(f"{HERE}/replays/{job}/cancel"))
    assert operator.post(f"{HERE}/replays/0000/cancel").status == 404


def test_rights_are_those_of_the_policy(site: RunningConsole) -> None:
    _, visitor = site.with_policy(allow("whaul:ViewDeliveries"))
    page = visitor.get(HERE)
    assert page.status == 200
    for part in ("Send a test event", "Pause", "Replay events", "/messages/"):
        assert part not in page.text
    for target in ("/pause", "/resume", "/test", "/replay", "/dead/retry", "/dead/drop", "/replays/x/cancel"):
        assert visitor.post(f"{HERE}{target}").status == 403
    assert visitor.get(f"{HERE}/replay").status == 403
    _, stranger = site.with_policy(
        allow("whaul:ViewDeliveries", resource="arn:aws:social-messaging:*:*:event-destination/other")
    )
    assert "crm" not in words(stranger.get("/deliveries"))
    assert "crm" not in stranger.get("/now/deliveries").text
    for path in (HERE, f"/now{HERE}", f"/now{HERE}/attempts"):
        assert stranger.get(path).status == 403
