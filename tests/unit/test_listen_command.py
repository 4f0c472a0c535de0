"""`whaul listen`: events to a program under development, and no trace of it."""

import asyncio
import base64
import hashlib
import hmac
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harness.inbox import ACCOUNT_ID, KEY, OWNER, REGION, WABA, image, installation, post, text
from harness.receiver import Posted, Receiver, receiving
from whaul.cli import app
from whaul.events.database.columns import microseconds_now


@dataclass
class Here:
    """A database with a linked account, and a program that takes events."""

    path: Path
    program: Receiver
    started: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def put(self, *messages: Any) -> None:
        """Have messages come, now."""

        async def work() -> None:
            async with installation(f"sqlite:///{self.path}") as inside:
                for message in messages:
                    await inside.inbox.put(post(message))
                await inside.rows("UPDATE events SET received_at = $1", microseconds_now())

        asyncio.run(work())

    def listen(self, *options: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-P", "-m", "whaul", "listen", "--account", WABA, "--forward-to", self.program.url]
        process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.started.append(process)
        return process

    def dump(self) -> list[str]:
        """All that is in the database."""
        with closing(sqlite3.connect(self.path)) as database:
            return list(database.iterdump())


@contextmanager
def stopped(started: "list[subprocess.Popen[str]]") -> Iterator[None]:
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.communicate()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shop: Path) -> Iterator[Here]:
    path = Path(shutil.copy(shop, tmp_path))
    environ = {"WHAUL_DATABASE_URL": f"sqlite:///{path}", "WHAUL_SECRET_KEY": KEY.get_secret_value()}
    environ |= {"WHAUL_ACCOUNT_ID": OWNER, "AWS_REGION": REGION, "WHATSAPP_ACCESS_TOKEN": "token"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with receiving() as program:
        found = Here(path, program)
        with stopped(found.started):
            yield found


def read(process: "subprocess.Popen[str]") -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr else ""
    return json.loads(line)


def wamid(received: Posted) -> str:
    [change] = json.loads(received.json()["whatsAppWebhookEntry"])["changes"]
    return str(change["value"]["messages"][0]["id"])


def standard_signature(secret: str, received: Posted) -> str:
    signed = f"{received.headers['webhook-id']}.{received.headers['webhook-timestamp']}.".encode() + received.body
    digest = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def test_events_reach_the_program_as_at_a_destination(here: Here) -> None:
    here.put(text("wamid.before"))
    process = here.listen("--json")
    start = read(process)
    assert start == {
        "accountId": ACCOUNT_ID,
        "forwardTo": here.program.url,
        "format": "aws",
        "secret": start["secret"],
    }
    here.program.answers = [200, 503]
    here.put(text("wamid.1"), image("wamid.2", "77"))
    told = [read(process), read(process)]
    first, second = here.program.posts
    assert [wamid(first), wamid(second)] == ["wamid.1", "wamid.2"]
    assert first.headers["webhook-signature"] == standard_signature(start["secret"], first)
    assert first.headers["webhook-id"] == first.json()["messageId"] == told[0]["messageId"]
    assert "whaul-replay" not in first.headers
    shown = {name: told[0][name] for name in ("field", "kind", "type", "replay", "status", "error")}
    expected = {"field": "messages", "kind": "message", "type": "text", "replay": False, "status": 200, "error": None}
    assert shown == expected
    assert (told[1]["type"], told[1]["status"]) == ("image", 503)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_listening_leaves_no_trace(here: Here, end: signal.Signals) -> None:
    here.put(text("wamid.before"))
    before = here.dump()
    process = here.listen("--json", "--since", "1h")
    read(process)
    here.program.wait(1)
    process.send_signal(end)
    assert process.wait() in {130, -signal.SIGKILL}
    assert here.dump() == before


def test_what_came_since_then_is_sent_in_order_and_chosen_as_for_destinations(here: Here) -> None:
    lost = text("wamid.lost")
    here.put(lost, *(text(f"wamid.{number}") for number in range(3)), image("wamid.picture", "1"), text("wamid.last"))
    with closing(sqlite3.connect(here.path)) as database, database:
        database.execute("UPDATE events SET entry = 'of a key that is gone' WHERE wamid = 'wamid.lost'")
    process = here.listen("--json", "--since", "1h", "--kind", "message", "--type", "text", "--field", "messages")
    for _ in range(5):
        read(process)
    assert [wamid(one) for one in here.program.posts] == ["wamid.0", "wamid.1", "wamid.2", "wamid.last"]
    process.kill()
    assert process.communicate()[1].count("an event is left out") == 1


def test_lines_show_no_content_unless_it_is_asked_for(here: Here, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of-the-program")
    here.put(text("wamid.1", body="private\x1b[2J"))
    for options, is_shown in ((["--content"], True), ([], False)):
        process = here.listen("--since", "1h", "--format", "meta", "--secret-file", str(secret), *options)
        assert process.stdout is not None
        head = [process.stdout.readline() for _ in range(2)]
        assert "of-the-program" not in "".join(head)
        line = process.stdout.readline()
        assert "messages/message/text  HTTP 200  " in line, process.stderr and process.stderr.read()
        process.send_signal(signal.SIGINT)
        rest = line + process.stdout.read()
        assert ("private" in rest) is is_shown
        assert "\x1b" not in rest
    assert here.program.posts[0].is_signed_with("of-the-program")
    assert here.program.posts[0].json()["object"] == "whatsapp_business_account"


def test_a_program_that_is_not_there_misses_an_event_and_gets_the_next(here: Here, nobody: str) -> None:
    here.put(text("wamid.1"))
    here.program.url = f"http://{nobody}/"
    process = here.listen("--json", "--since", "1h")
    read(process)
    told = read(process)
    assert told["status"] is None
    assert "connect" in told["error"]
    here.put(text("wamid.2"))
    assert read(process)["status"] is None


def test_replays_to_whichever_destination_come_too(here: Here) -> None:
    async def add() -> None:
        async with installation(f"sqlite:///{here.path}") as inside:
            await inside.add_destination(state="paused")

    here.put(text("wamid.1"), image("wamid.2", "7"))
    asyncio.run(add())
    process = here.listen("--json")
    read(process)
    replay = CliRunner().invoke(app, ["events", "replay", "--type", "text", "--to", "orders", "--yes", "--json"])
    assert json.loads(replay.stdout)["matched"] == 1
    assert read(process)["replay"] is True
    [sent] = here.program.posts
    assert (wamid(sent), sent.headers["whaul-replay"]) == ("wamid.1", "1")


def test_dead_letters_that_are_tried_again_come_too(here: Here) -> None:
    async def die() -> None:
        async with installation(f"sqlite:///{here.path}") as inside:
            await inside.add_destination(state="paused")
            for wamid in ("wamid.1", "wamid.2"):
                await inside.inbox.put(post(text(wamid)))
            await inside.store.run(("UPDATE deliveries SET state = 'dead', died_at = seq WHERE seq = 1", ()))

    asyncio.run(die())
    process = here.listen("--json")
    read(process)
    retry = CliRunner().invoke(app, ["events", "dead", "retry", "--yes", "--json"])
    assert json.loads(retry.stdout) == {"matched": 1, "queued": 1}
    told = read(process)
    [sent] = here.program.posts
    assert (wamid(sent), told["replay"]) == ("wamid.1", True)
    listed = CliRunner().invoke(app, ["events", "replay", "--list", "--json"])
    assert [(job["state"], job["queued"]) for job in json.loads(listed.stdout)["replays"]] == [("done", 1)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--account", "1", "--forward-to", "http://127.0.0.1:1/"], "1 is not linked"),
        (["--account", WABA, "--forward-to", "127.0.0.1:1"], "--forward-to"),
        (["--account", WABA, "--forward-to", "http://user@127.0.0.1:1/"], "user information"),
        (["--account", WABA, "--forward-to", "http://127.0.0.1:1/", "--since", "yesterday"], "--since"),
        (["--account", WABA, "--forward-to", "http://127.0.0.1:1/", "--kind", "letter"], "--kind"),
        (["--account", WABA, "--forward-to", "http://127.0.0.1:1/", "--phone-number", "5"], "no linked phone number"),
    ],
)
@pytest.mark.usefixtures("here")
def test_what_cannot_be_listened_to_is_refused(options: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    result = CliRunner().invoke(app, ["listen", *options])
    assert result.exit_code != 0
    assert said in f"{result.stderr} {result.exception}"
