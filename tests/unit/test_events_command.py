"""`whaul events`: what came and what became of it, told without what people wrote."""

import asyncio
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from typer.testing import CliRunner, Result

from harness.inbox import (
    ACCOUNT_ID,
    KEY,
    NOON,
    NUMBER,
    OWNER,
    REGION,
    WABA,
    AnySpeaker,
    Installation,
    image,
    installation,
    post,
    text,
    webhook,
)
from harness.store import Answer, StandIn, s3_answer, stand_in
from harness.waiting import eventually
from whaul.arns import Arns
from whaul.cli import app
from whaul.cli.failures import CommandError
from whaul.cli.output import OutputError
from whaul.events.database.columns import microseconds_now
from whaul.events.delivery.replays import Replays
from whaul.events.receiving import items
from whaul.events.receiving.drafts import Post

T = TypeVar("T")

ARNS = Arns(OWNER, REGION)
HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202e\n\rforged\u2028"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@pytest.fixture(autouse=True)
def url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shop: Path) -> str:
    """A database with a linked account."""
    url = f"sqlite:///{shutil.copy(shop, tmp_path)}"
    environ = {"WHAUL_DATABASE_URL": url, "WHAUL_SECRET_KEY": KEY.get_secret_value()}
    environ |= {"WHAUL_ACCOUNT_ID": OWNER, "AWS_REGION": REGION, "WHATSAPP_ACCESS_TOKEN": "token"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return url


def inside(url: str, work: Callable[[Installation], Awaitable[T]]) -> T:
    """Do something with the database."""

    async def do() -> T:
        async with installation(url) as here:
            return await work(here)

    return asyncio.run(do())


def put(url: str, *messages: Any) -> None:
    """Have a message come with each webhook."""

    async def work(here: Installation) -> None:
        for message in messages:
            await here.inbox.put(post(message))

    inside(url, work)


def sql(url: str, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    return inside(url, lambda here: here.rows(statement, *parameters))


def run(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, ["events", *arguments], input=stdin)


def done(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def document(*arguments: str) -> Any:
    return json.loads(done(*arguments, "--json"))


def refused(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code != 0
    if isinstance(result.exception, CommandError | OutputError):
        return str(result.exception)
    return result.stderr.splitlines()[0]


def test_an_event_is_listed_as_it_is(url: str) -> None:
    async def work(here: Installation) -> None:
        await here.add_destination(state="paused")
        await here.add_archive()
        await here.inbox.put(post(image("wamid.1", "77")))

    inside(url, work)
    listed = document("list")
    [event] = listed["events"]
    assert re.fullmatch(TIME, event.pop("receivedAt"))
    assert re.fullmatch("[0-9a-f-]{36}", event.pop("messageId"))
    assert event == {
        "field": "messages",
        "kind": "message",
        "type": "image",
        "wabaId": WABA,
        "accountId": ACCOUNT_ID,
        "metaPhoneNumberId": NUMBER,
        "phoneNumberId": ARNS.phone_number_id(NUMBER),
        "whatsAppMessageId": "wamid.1",
        "deliveries": [
            {"destination": "orders", "state": "paused", "attempts": 0, "deliveredAt": None, "lastError": None}
        ],
        "files": [
            {
                "mediaId": "77",
                "state": "pending",
                "bucket": "bucket",
                "key": "77",
                "sha256": None,
                "size": None,
                "lastError": None,
            }
        ],
    }
    assert listed["nextToken"] is None


def test_lists_are_paged(url: str) -> None:
    put(url, *(text(f"wamid.{number}") for number in range(3)))
    first = document("list", "--limit", "2")
    assert [event["whatsAppMessageId"] for event in first["events"]] == ["wamid.2", "wamid.1"]
    second = document("list", "--limit", "2", "--next-token", first["nextToken"])
    assert [event["whatsAppMessageId"] for event in second["events"]] == ["wamid.0"]
    assert second["nextToken"] is None
    assert f"--next-token {first['nextToken']}" in done("list", "--limit", "2")


def test_events_are_chosen_by_whom_and_which_file_they_are_about(url: str) -> None:
    inside(url, lambda here: here.add_archive())
    put(url, text("wamid.1", "15550100222"), image("wamid.2", "7711"), text("wamid.3"))
    [theirs] = document("list", "--sender", "+1 555 0100222")["events"]
    assert theirs["whatsAppMessageId"] == "wamid.1"
    [named] = document("list", "--media-id", "7711")["events"]
    assert named["whatsAppMessageId"] == "wamid.2"
    for options in (("--sender", "4900"), ("--media-id", "4900"), ("--media-id", "7711", "--sender", "15550100222")):
        assert document("list", *options)["events"] == []


def test_events_are_chosen_by_filters(url: str) -> None:
    put(url, text("wamid.1"), image("wamid.2", "77"))

    def found(*options: str) -> list[str]:
        return [event["whatsAppMessageId"] for event in document("list", *options)["events"]]

    both = ["wamid.2", "wamid.1"]
    for account in (WABA, ACCOUNT_ID, ARNS.arn(ACCOUNT_ID)):
        assert found("--account", account) == both
    assert found("--phone-number", ARNS.phone_number_id(NUMBER), "--field", "messages", "--kind", "message") == both
    assert found("--type", "image") == ["wamid.2"]
    assert found("--state", "pending") == found("--state", "unrouted") == found("--kind", "status") == []
    sql(url, "UPDATE events SET received_at = $1 WHERE wamid = 'wamid.1'", microseconds_now())
    assert found("--since", "5m") == ["wamid.1"]
    assert found("--until", "5m") == ["wamid.2"]
    assert found("--since", "2026-11-20", "--until", "2026-11-20T13:00:00+01:00") == []
    assert found("--since", "2026-11-20T12:00:00Z", "--until", "2026-11-20T12:00:01Z") == ["wamid.2"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--account", "1"), "1 is not linked"),
        (("--phone-number", "1"), "1 is no linked phone number"),
        (("--destination", "none"), "there is no destination none"),
        (("--kind", "letter"), "letter is none of message"),
        (("--since", "yesterday"), "--since: expected a time such as"),
        (("--until", "5x"), "--until: expected a time such as"),
        (("--since", "999999999d"), "--since: expected a time such as"),
        (("--next-token", "x"), "--next-token: expected the nextToken of a page before"),
        (("--state", "gone"), "--state"),
    ],
)
def test_a_filter_that_names_nothing_is_one_line(options: tuple[str, ...], said: str) -> None:
    assert said in refused("list", *options)


def test_content_is_shown_only_when_it_is_asked_for(url: str) -> None:
    put(url, text("wamid.1", sender="15550100199", body="a private word"))
    [event] = document("list")["events"]
    plain = done("list") + done("list", "--json") + done("show", event["messageId"])
    shown = document("show", event["messageId"])
    assert "private" not in plain + json.dumps(shown)
    assert "15550100199" not in plain + json.dumps(shown)
    assert shown == event | {"attempts": []}
    envelope = document("show", event["messageId"], "--content")["envelope"]
    entry = json.loads(envelope["whatsAppWebhookEntry"])
    assert entry["changes"][0]["value"]["messages"][0]["text"] == {"body": "a private word"}
    assert envelope["messageId"] == event["messageId"]
    assert "a private word" in done("show", event["messageId"], "--content")


def test_what_could_not_be_parsed_can_be_looked_at(url: str) -> None:
    inside(url, lambda here: here.inbox.put(webhook(b'{"object": "\xff' + HOSTILE.encode())))
    [event] = document("list", "--state", "unparsed")["events"]
    assert "\x1b" not in done("show", event["messageId"], "--content")
    envelope = document("show", event["messageId"], "--content")["envelope"]
    assert envelope["whatsAppWebhookEntry"].startswith('{"object": "\\xff')


def test_an_id_that_no_event_has_is_one_line() -> None:
    for command in ("show", "replay --to orders", "dead retry", "dead drop"):
        words = command.split()
        if "--to" in words:
            continue
        assert refused(*words, "none") == "there is no event none; `whaul events list` lists them"


def test_what_strangers_wrote_reaches_a_terminal_as_visible_text_only(url: str) -> None:
    async def work(here: Installation) -> None:
        await here.add_destination(state="paused")
        await here.add_archive()
        message = image(f"wamid.{HOSTILE}", f"9{HOSTILE}") | {"from": HOSTILE}
        await here.inbox.put(post(message))
        error = here.cipher.seal(f"HTTP 400: {HOSTILE}".encode())
        await here.rows("UPDATE deliveries SET last_error = $1, state = 'dead', died_at = 1", error)
        await here.rows("UPDATE files SET last_error = $1", error)
        await here.rows("UPDATE events SET field = $1, type = $1, waba_id = $1, meta_phone_number_id = $1", HOSTILE)
        await here.rows(
            "INSERT INTO attempts (seq, destination, delivery, number, at, outcome, seconds, key_id, detail) "
            "VALUES (1, 1, 1, 1, 1, 'rejected', 0.1, $1, $2)",
            here.cipher.key_ids[0],
            error,
        )

    inside(url, work)
    [event] = document("list")["events"]
    id_ = event["messageId"]
    assert event["type"] == HOSTILE  # JSON is exact
    for command in (["list"], ["show", id_], ["show", id_, "--content"], ["dead", "list"]):
        for options in ([], ["--json"]):
            shown = done(*command, *options)
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e\u2028]", shown), command
            assert not re.search("^ *forged", shown, re.MULTILINE), command


def test_a_list_of_nothing_says_so() -> None:
    assert done("list").startswith("There are no such events. ")
    assert done("dead", "list") == "There are no dead letters.\n"
    assert done("replay", "--list") == "There are no replays.\n"


@pytest.fixture
def following() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "whaul", "events", "tail", *options]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_events_are_told_as_they_come(url: str, following: Callable[..., "subprocess.Popen[str]"]) -> None:
    put(url, text("wamid.before"))
    sql(url, "UPDATE events SET received_at = $1", microseconds_now())
    process = following("--json", "--since", "1h", "--type", "text")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["whatsAppMessageId"] == "wamid.before"
    put(url, image("wamid.picture", "1"), text("wamid.1"), text("wamid.2"))
    sql(url, "UPDATE events SET received_at = $1", microseconds_now())
    found = [json.loads(process.stdout.readline())["whatsAppMessageId"] for _ in range(2)]
    assert found == ["wamid.1", "wamid.2"]
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert process.stdout.read() == ""


@pytest.mark.usefixtures("url")
def test_whoever_waits_before_a_terminal_is_told_so() -> None:
    master, terminal = os.openpty()
    command = [sys.executable, "-m", "whaul", "events", "tail"]
    with subprocess.Popen(command, stdout=terminal, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "Ctrl-C ends it" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
    for number in (master, terminal):
        os.close(number)


def test_nobody_is_told_of_what_came_before(url: str, following: Callable[..., "subprocess.Popen[str]"]) -> None:
    put(url, text("wamid.before"))
    process = following()
    assert process.stdout is not None

    lines: list[str] = []
    numbers = itertools.count()

    def told() -> bool:
        put(url, text(f"wamid.{next(numbers)}"))
        return bool(lines)

    reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()))
    reader.start()
    eventually(told)
    process.send_signal(signal.SIGINT)
    reader.join()
    assert "wamid.before" not in "".join(lines)
    assert re.match(rf"{TIME}  messages/message/text  {NUMBER}  kept  [0-9a-f-]{{36}}\n", lines[0])


# Once more


@pytest.fixture
def orders(url: str) -> str:
    """A destination that is paused, and three events from before it was there."""
    put(url, *(text(f"wamid.{number}") for number in range(3)))
    inside(url, lambda here: here.add_destination(state="paused"))
    return url


@pytest.mark.usefixtures("orders")
def test_a_replay_is_counted_before_it_begins() -> None:
    assert document("replay", "--to", "orders", "--dry-run") == {"matched": 3, "queued": 0, "job": None}
    assert document("replay", "--list") == {"replays": [], "nextToken": None}
    assert document("replay", "--to", "orders", "--type", "audio", "--yes") == {"matched": 0, "queued": 0, "job": None}
    result = run("replay", "--to", "orders", "--json")
    assert "give --yes" in str(result.exception)
    assert "nothing was queued" in str(run("replay", "--to", "orders", stdin="n\n").exception)


def test_a_replay_is_stored_worked_off_and_listed(orders: str) -> None:
    found = document("replay", "--to", "orders", "--yes")
    assert (found["matched"], found["queued"]) == (3, 3)
    [listed] = document("replay", "--list")["replays"]
    assert re.fullmatch(TIME, listed.pop("createdAt"))
    expected = {"job": found["job"], "destination": "orders", "state": "running", "matched": 3, "queued": 0}
    assert listed == expected
    inside(orders, lambda here: Replays(here.store, here.cipher, OWNER).run())
    assert document("replay", "--list")["replays"][0]["queued"] == 3
    assert document("replay", "--to", "orders", "--yes") == {"matched": 3, "queued": 0, "job": None}
    assert "0 events, beside 3 that wait for it already" in done("replay", "--to", "orders", "--yes")
    assert [event["deliveries"][0]["state"] for event in document("list")["events"]] == ["paused"] * 3


@pytest.mark.usefixtures("orders")
def test_a_replay_of_some_events() -> None:
    ids = [event["messageId"] for event in document("list", "--limit", "2")["events"]]
    assert document("replay", *ids, "--to", "orders", "--dry-run")["matched"] == 2
    assert refused("replay", "none", "--to", "orders") == "there is no event none; `whaul events list` lists them"
    assert "there is no destination x" in refused("replay", "--to", "x", "--yes")


def test_a_replay_is_cancelled(orders: str) -> None:
    job = document("replay", "--to", "orders", "--yes")["job"]
    assert document("replay", "--cancel", job) == {"job": job, "state": "cancelled"}
    assert f"no replay {job} is running" in refused("replay", "--cancel", job)
    inside(orders, lambda here: Replays(here.store, here.cipher, OWNER).run())
    assert sql(orders, "SELECT count(*) FROM deliveries") == [(0,)]


@pytest.mark.parametrize("options", [(), ("--list", "--to", "x"), ("--cancel", "x", "--list")])
def test_a_replay_wants_one_thing_at_a_time(options: tuple[str, ...]) -> None:
    assert "give one of --to DESTINATION, --list and --cancel JOB" in refused("replay", *options)


# Dead letters


@pytest.fixture
def dead(url: str) -> str:
    """Three dead letters."""

    async def work(here: Installation) -> None:
        await here.add_destination(state="paused")
        for number in range(3):
            await here.inbox.put(post(text(f"wamid.{number}")))
        error = here.cipher.seal(b"HTTP 413")
        await here.rows("UPDATE deliveries SET state = 'dead', died_at = id * 1000000, last_error = $1", error)

    inside(url, work)
    return url


@pytest.mark.usefixtures("dead")
def test_dead_letters_are_listed() -> None:
    first = document("dead", "list", "--limit", "2")
    second = document("dead", "list", "--limit", "2", "--next-token", first["nextToken"], "--destination", "orders")
    assert second["nextToken"] is None
    letters = first["dead"] + second["dead"]
    newest = [event["messageId"] for event in document("list", "--state", "dead")["events"]]
    assert [letter["messageId"] for letter in letters] == newest
    expected = {"destination": "orders", "attempts": 0, "diedAt": "1970-01-01T00:00:03.000Z", "lastError": "HTTP 413"}
    assert letters[0] == {"messageId": newest[0]} | expected
    assert "HTTP 413" in done("dead", "list")
    assert "nextToken" in refused("dead", "list", "--next-token", "1")


@pytest.mark.parametrize(("verb", "member"), [("retry", "queued"), ("drop", "removed")])
def test_dead_letters_are_tried_again_or_dropped(dead: str, verb: str, member: str) -> None:
    assert document("dead", verb, "--dry-run") == {"matched": 3, member: 0}
    assert "give --yes" in str(run("dead", verb).exception)
    one = document("list", "--limit", "1")["events"][0]["messageId"]
    assert document("dead", verb, one, "--yes") == {"matched": 1, member: 1}
    assert document("dead", verb, "--destination", "orders", "--yes") == {"matched": 2, member: 2}
    assert document("dead", verb, "--yes") == {"matched": 0, member: 0}
    assert document("dead", "list")["dead"] == []
    assert sql(dead, "SELECT count(*) FROM deliveries") == [(3 if verb == "retry" else 0,)]


# One person


PERSON = "15550100199"


@pytest.fixture
def person(url: str) -> str:
    """A person's message with a stored file, and another one's message."""

    async def work(here: Installation) -> None:
        await here.add_archive()
        await here.inbox.put(post(image("wamid.1", "77") | {"from": PERSON}))
        await here.inbox.put(post(text("wamid.2")))
        await here.rows("UPDATE files SET state = 'stored', key = 'a folder/77.jpg', sha256 = $1, size = 5", bytes(32))

    inside(url, work)
    return url


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with stand_in() as found:
        for name, value in {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", found.url)
        yield found


FILE = {"mediaId": "77", "state": "stored", "bucket": "bucket", "key": "a folder/77.jpg", "sha256": "00" * 32}


def test_a_person_is_removed_when_that_is_confirmed(person: str) -> None:
    file = FILE | {"size": 5, "lastError": None}
    found = {"matched": 1, "removed": 0, "files": [file]}
    assert document("purge", "--user", PERSON, "--dry-run") == found
    assert "give --yes" in str(run("purge", "--user", PERSON).exception)
    assert "nothing was removed" in str(run("purge", "--user", PERSON, stdin="n\n").exception)
    assert document("purge", "--user", PERSON, "--yes") == found | {"removed": 1}
    assert document("purge", "--user", PERSON, "--yes") == {"matched": 0, "removed": 0, "files": []}
    assert [event["whatsAppMessageId"] for event in document("list")["events"]] == ["wamid.2"]
    assert sql(person, "SELECT count(*) FROM webhook_bodies") == [(1,)]


@pytest.mark.usefixtures("person")
def test_files_are_removed_on_request(s3: StandIn) -> None:
    s3.always(Answer(204, {}))
    assert "which were removed" in done("purge", "--user", PERSON, "--files", "--yes")
    assert (s3.only.method, s3.only.target) == ("DELETE", "/bucket/a%20folder/77.jpg")


@pytest.mark.usefixtures("person")
def test_a_file_that_cannot_be_removed_keeps_everything(s3: StandIn) -> None:
    s3.always(s3_answer(403, "AccessDenied"))
    said = refused("purge", "--user", PERSON, "--files", "--yes")
    assert said.startswith("s3://bucket/a folder/77.jpg was not removed: ")
    assert document("purge", "--user", PERSON, "--dry-run")["matched"] == 1


def test_whoever_cannot_be_read_is_told_of(person: str) -> None:
    sql(person, "UPDATE webhook_bodies SET body = 'x'")
    result = run("purge", "--user", PERSON, "--dry-run")
    assert "2 webhooks or events are encrypted with a key that is not in WHAUL_SECRET_KEY" in result.stderr


# What could not be parsed


def test_what_is_understood_now_goes_its_way(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(here: Installation) -> None:
        body = post(text("wamid.1")).body
        await here.inbox.put(Post(body, [items.unparsed(body)], AnySpeaker("900"), NOON))
        await here.inbox.put(webhook(b"no json"))

    inside(url, work)
    monkeypatch.setenv("WHAUL_APP_SECRETS", "900=secret")
    assert document("reparse", "--since", "1m") == {"matched": 0, "routed": 0}
    assert document("reparse") == {"matched": 2, "routed": 1}
    assert [event["whatsAppMessageId"] for event in document("list")["events"]] == ["wamid.1", None]
    assert done("reparse").startswith("1 could not be parsed")


def test_whoever_links_an_account_is_told_what_came_before(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(url, text("wamid.1"))
    sql(url, "UPDATE events SET state = 'unrouted', account_id = NULL, waba_id = '999'")
    monkeypatch.setenv("WHATSAPP_ACCESS_TOKEN", "token")
    link = ["link", "--waba-id", "999", "--no-verify", "--name", "Shop", "--phone-number", "888=+15550100109"]
    told = CliRunner().invoke(app, link).stderr
    assert "1 event of it came before" in told
    assert "`whaul events replay --account 999 --to NAME`" in told


@pytest.mark.parametrize("user", ["", "1", "1234", "messages", "wamid.1", "US.", "text body", "155501001x"])
def test_what_names_no_person_removes_nobody(person: str, user: str) -> None:
    assert "--user: expected a phone number" in refused("purge", "--user", user, "--yes")
    assert sql(person, "SELECT count(*) FROM webhook_bodies") == [(2,)]
