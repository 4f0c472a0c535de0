"""`whaul webhooks` against the simulated Meta, with a receiver that stands for the server's public URL."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.receiver import Receiver, receiving
from harness.world import World
from whaul.simulator import Simulator
from whaul.simulator.apps import DEFAULT_APP_SECRET


@pytest.fixture
def own(world: World, simulator: Simulator, tmp_path: Path) -> World:
    """The simulated account, linked with its app's secret in a database of its own."""
    found = World(simulator, world.environ | {"WHAUL_DATABASE_URL": f"sqlite:///{tmp_path / 'whaul.db'}"}, tmp_path)
    link(found)
    return found


@pytest.fixture
def receiver(own: World) -> Iterator[Receiver]:
    with receiving() as found:
        token = own.whaul("webhooks", "token")["verifyToken"]
        found.challenge = lambda query: (
            (200, query["hub.challenge"]) if query.get("hub.verify_token") == token else (403, "")
        )
        yield found


def base(receiver: Receiver) -> str:
    """Its URL without a path, as people give it."""
    return receiver.url.removesuffix("/hook")


def link(world: World, *more: str) -> None:
    secret = world.folder / "app-secret"
    secret.write_text(DEFAULT_APP_SECRET)
    world.whaul("link", "--waba-id", world.simulator.waba_id, "--app-secret-file", str(secret), *more)


def subscribe(world: World, url: str, *more: str) -> Any:
    return world.whaul("webhooks", "subscribe", world.simulator.waba_id, "--url", url, *more)


def status(world: World) -> tuple[int, Any]:
    done = world.run("webhooks", "status", "--json")
    (account,) = json.loads(done.stdout)["accounts"]
    return done.returncode, account


def test_from_a_linked_account_to_the_first_webhook(own: World, receiver: Receiver, simulator: Simulator) -> None:
    app_id = next(iter(simulator.apps)).id
    assert subscribe(own, base(receiver)) == {"url": f"{base(receiver)}/webhooks/meta/{app_id}"}
    code, found = status(own)
    assert found == {
        "accountId": own.whaul("accounts")["linkedAccounts"][0]["id"],
        "appId": app_id,
        "subscribed": True,
        "effectiveUrl": f"{base(receiver)}/webhooks/meta/{app_id}",
        "level": "waba",
        "ours": True,
        "reachable": True,
        "problems": [],
    }
    assert code == 0
    (probe,) = receiver.posts
    assert probe.is_signed_with(DEFAULT_APP_SECRET)
    assert probe.json()["entry"] == []
    simulator.send_webhook("text")
    receiver.wait(2)
    assert receiver.posts[1].is_signed_with(DEFAULT_APP_SECRET)
    assert subscribe(own, f"{base(receiver)}/webhooks/meta/{app_id}/")["url"].endswith(f"/webhooks/meta/{app_id}")
    assert not own.whaul("webhooks", "unsubscribe", simulator.waba_id, "--yes")["subscribed"]
    code, found = status(own)
    assert (code, found["subscribed"]) == (1, False)
    assert "is not subscribed" in " ".join(found["problems"])


def test_what_is_somebody_else_s_is_not_replaced_unless_forced(own: World, receiver: Receiver) -> None:
    subscribe(own, f"{base(receiver)}/other")
    done = own.run("webhooks", "subscribe", own.simulator.waba_id, "--url", base(receiver))
    assert done.returncode == 1
    assert f"{base(receiver)}/other" in done.stderr
    assert "--force" in done.stderr
    subscribe(own, base(receiver), "--force")
    assert "/webhooks/meta/" in status(own)[1]["effectiveUrl"]


def test_a_url_that_does_not_answer_is_not_subscribed(own: World) -> None:
    with receiving() as gone:
        pass
    done = own.run("webhooks", "subscribe", own.simulator.waba_id, "--url", base(gone))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("url", ["ftp://hooks.example", "https://hooks.example/?a=b", "https://h.example/" + "x" * 200])
def test_urls_that_cannot_be(own: World, url: str) -> None:
    done = own.run("webhooks", "subscribe", own.simulator.waba_id, "--url", url)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_status_says_what_is_wrong(own: World, receiver: Receiver) -> None:
    code, found = status(own)
    assert (code, found["effectiveUrl"]) == (1, None)
    subscribe(own, base(receiver))
    receiver.answers = [401]
    code, found = status(own)
    assert (code, found["ours"], found["reachable"]) == (1, True, False)
    assert "HTTP 401" in " ".join(found["problems"])
    own.whaul("webhooks", "token", "--rotate")
    code, found = status(own)
    assert (code, found["ours"]) == (1, False)


def test_a_phone_number_may_have_a_url_of_its_own(own: World, receiver: Receiver, simulator: Simulator) -> None:
    subscribe(own, base(receiver))
    app = next(iter(simulator.apps))
    app.number_urls[simulator.phone_numbers[1].id] = f"{base(receiver)}/elsewhere"
    code, found = status(own)
    assert (code, found["level"], found["effectiveUrl"]) == (1, "number", f"{base(receiver)}/elsewhere")
    assert simulator.phone_numbers[1].id in " ".join(found["problems"])


def test_an_account_whose_app_is_unknown_must_be_linked_again(own: World, simulator: Simulator) -> None:
    own.do("unlink", simulator.waba_id, "--yes")
    number = simulator.phone_numbers[0].id
    own.whaul(
        "link", "--waba-id", simulator.waba_id, "--no-verify", "--name", "S", "--phone-number", f"{number}=+15550100"
    )
    done = own.run("webhooks", "subscribe", simulator.waba_id, "--url", "https://hooks.example")
    assert (done.returncode, "link the account again" in done.stderr) == (1, True)
    link(own)
    assert own.whaul("accounts")["linkedAccounts"]


@pytest.mark.parametrize("asks", [True, False])
def test_a_secret_may_be_the_operators(own: World, receiver: Receiver, simulator: Simulator, asks: bool) -> None:
    more = ["--no-verify", "--name", "S", "--phone-number", f"{simulator.phone_numbers[0].id}=+15550100"]
    app_id = next(iter(simulator.apps)).id
    own.environ["WHAUL_APP_SECRETS"] = f"{app_id}={DEFAULT_APP_SECRET}"
    own.do("unlink", simulator.waba_id, "--yes")
    own.whaul("link", "--waba-id", simulator.waba_id, *([] if asks else more))
    subscribe(own, base(receiver))
    assert status(own) == (0, status(own)[1] | {"appId": app_id, "ours": True, "reachable": True, "problems": []})
    doctor = json.loads(own.run("doctor", "--json").stdout)["checks"]
    (found,) = (check for check in doctor if check["check"] == f"webhooks {simulator.waba_id}")
    assert found["outcome"] == "ok"


def test_a_secret_stays_while_the_app_is_the_same(own: World, receiver: Receiver) -> None:
    own.whaul("link", "--waba-id", own.simulator.waba_id)
    subscribe(own, base(receiver))
    assert status(own)[1]["reachable"]
    assert receiver.posts


def test_the_token_is_made_once_and_rotated(own: World) -> None:
    first = own.whaul("webhooks", "token")["verifyToken"]
    assert own.run("webhooks", "token").stdout == f"{first}\n"
    second = own.whaul("webhooks", "token", "--rotate")["verifyToken"]
    assert second != first
    assert own.whaul("webhooks", "token")["verifyToken"] == second


def test_an_account_that_is_not_linked(own: World) -> None:
    for command in (
        ["subscribe", "1", "--url", "https://hooks.example"],
        ["status", "1"],
        ["unsubscribe", "1", "--yes"],
    ):
        done = own.run("webhooks", *command)
        assert (done.returncode, done.stderr) == (1, "whaul: 1 is not linked; `whaul accounts` lists what is\n")
