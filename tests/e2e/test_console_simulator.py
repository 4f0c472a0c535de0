"""The simulator's page: in `whaul dev` only, what somebody sends, and what goes wrong on command."""

import json
from collections.abc import Iterator
from html import unescape

import pytest

from harness.client import send
from harness.console import RunningConsole, Visitor, allow, console, words
from harness.receiver import receiving
from harness.world import World
from whaul.console.pages.simulator import PAGES
from whaul.simulator import Simulator

NOTE = b"OggS" + bytes(2_000_000)


@pytest.fixture(scope="module")
def console_of_dev(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:
    """A console with the variables that `whaul dev` gives."""
    given = {"WHAUL_DEV_BUCKET": "inbox", "WHAUL_DEV_PHONE_NUMBER_ID": "phone-number-id-1", "WHAUL_PORT": "0"}
    with console(world.environ | given, tmp_path_factory.mktemp("simulator")) as running:
        yield running


@pytest.fixture(scope="module")
def developer(console_of_dev: RunningConsole) -> Visitor:
    return console_of_dev.sign_in(console_of_dev.key("--allow-all"))


def test_it_is_there_under_dev_only_and_for_those_who_may(operator: Visitor, console_of_dev: RunningConsole) -> None:
    assert operator.get("/simulator").status == 404
    assert "Simulator" not in words(operator.get("/messages"))
    _, reader = console_of_dev.with_policy(allow("whaul:View*"))
    for page in PAGES:
        path = page.path.replace("{word}", "pause").replace("{id:int}", "1")
        assert (reader.post(path) if page.posts else reader.get(path)).status == 403


def test_people_send_texts_files_and_examples(developer: Visitor, simulator: Simulator) -> None:
    with receiving() as program:
        simulator.set_webhook(program.url)
        told = words(developer.upload("/simulator/messages", {}, "empty.txt", b""))
        assert "has sent a file (text/plain, 0 B)" in told
        told = words(developer.upload("/simulator/messages", {"from": "4915112345678"}, "note.ogg", NOTE))
        assert "4915112345678 has sent a file (audio/ogg; codecs=opus, 2.0 MB)" in told
        [note] = [media for media in simulator.media.values() if media.size == len(NOTE)]
        assert (note.mime_type, note.read()) == ("audio/ogg; codecs=opus", NOTE)
        page = developer.submit("/simulator/messages", {"from": "4915112345678", "text": "Hello <b>"})
        assert 'value="4915112345678"' in page.text
        told = words(developer.submit("/simulator/examples", {"example": "location", "from": "US.123"}))
        assert "Posted location; what came back: 200" in told
        found = [json.loads(delivery.body) for delivery in simulator.webhooks.deliveries]
    messages = [body["entry"][0]["changes"][0]["value"]["messages"][0] for body in found]
    assert [message["type"] for message in messages] == ["document", "audio", "text", "location"]
    assert messages[1]["audio"]["id"] == note.id
    assert (messages[2]["from"], messages[2]["text"]["body"]) == ("4915112345678", "Hello <b>")
    assert messages[3]["from_user_id"] == "US.123"


def test_what_the_simulator_refuses_is_said(developer: Visitor, simulator: Simulator) -> None:
    for target, members, why in (
        ("messages", {"text": " "}, "Write something, or choose a file"),
        ("messages", {"text": "Hello", "to": "nobody"}, "nobody"),
        ("examples", {"example": "location"}, "No app gets this"),
        ("statuses", {"message": "wamid.X", "status": "read"}, "No message wamid.X was sent"),
        ("faults", {"kind": "latency"}, "seconds"),
        ("faults", {"kind": "latency", "seconds": "soon"}, "soon is not JSON; it takes number"),
        ("faults", {"kind": "corrupt", "hop": "metadata"}, "Right is: download"),
        ("clock", {"seconds": "nan"}, "nan is no number of seconds"),
    ):
        reply = developer.post(f"/simulator/{target}", members)
        assert (reply.status in {400, 404}, why in words(reply)) == (True, True), (target, words(reply))
    assert simulator.state.faults.describe() == []


def test_things_go_wrong_and_time_passes_on_command(developer: Visitor, simulator: Simulator) -> None:
    form = developer.get("/simulator?fault=error")
    assert 'curl -d \'{"kind":"error","code":1}\'' in unescape(form.text)
    given = {"kind": "error", "code": "131000", "times": "2", "hop": "send", "is_transient": "True", "details": "5"}
    told = words(developer.submit("/simulator/faults", given))
    assert "error code=131000, is_transient=True, details=5 send of anything 0, 2 to come" in told
    [fault] = simulator.state.faults.describe()
    assert {name: fault[name] for name in ("code", "times", "hop", "is_transient", "details")} == {  # type: ignore[literal-required]
        "code": 131000, "times": 2, "hop": "send", "is_transient": True, "details": "5",
    }  # fmt: skip
    simulator.fault("4711", kind="expired_url")
    told = words(developer.submit("/simulator/faults/clear", {"media_id": "4711"}))
    assert "Faults of 4711 are gone" in told
    assert len(simulator.state.faults.describe()) == 1
    assert "Nothing, at the moment" in words(developer.submit("/simulator/faults/clear", {}))
    assert "1 d ahead of this machine" in words(developer.submit("/simulator/clock", {"seconds": "86500"}))


def test_what_reached_the_phone_is_shown_and_gets_a_status(developer: Visitor, simulator: Simulator) -> None:
    path = f"/v23.0/{simulator.phone_numbers[0].id}/messages"
    message = {"messaging_product": "whatsapp", "to": "+4915112345678", "text": {"body": "Yes, in <blue>"}}
    headers = {"Authorization": f"Bearer {simulator.token}", "Content-Type": "application/json"}
    sent = json.loads(send(simulator.port, "POST", path, json.dumps(message).encode(), headers).body)
    told = words(developer.get("/simulator"))
    assert "+4915112345678 text Yes, in &lt;blue&gt;" in told
    assert f"POST {path} 200" in told
    with receiving() as program:
        simulator.set_webhook(program.url)
        developer.submit("/simulator/webhooks/pause")
        given = {"message": sent["messages"][0]["id"], "status": "read"}
        assert "Webhooks held back" in words(developer.submit("/simulator/statuses", given)).replace(
            "Send them again ", ""
        )
        developer.submit("/simulator/webhooks/resume")
        [status] = program.wait(1)[0].value["statuses"]
        assert (status["id"], status["status"]) == (given["message"], "read")
        [delivery] = simulator.webhooks.deliveries
        developer.submit(f"/simulator/webhooks/{delivery.id}/redeliver")
        program.wait(2)
