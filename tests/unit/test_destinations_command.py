"""`whaul destinations`: destinations through their life, and what cannot be one."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from harness import commands
from harness.brokers import nats_server
from harness.receiver import Receiver, receiving
from whaul.arns import Arns
from whaul.cli import app
from whaul.cli.failures import CommandError
from whaul.cli.output import OutputError
from whaul.components import cipher, event_store
from whaul.events.delivery.destinations import Destinations, NewDestination
from whaul.events.routing import Destination
from whaul.settings import Settings

ROOT = Path(__file__).parents[2]
OWNER, REGION = "000000000000", "us-east-1"
WABA, NUMBER = "400000000000001", "500000000000001"
ARNS = Arns(OWNER, REGION)
ACCOUNT = ARNS.waba_id(WABA)
TOPIC = "arn:aws:sns:eu-west-1:111122223333:orders"
QUEUE = "arn:aws:sqs:eu-west-1:111122223333:orders.fifo"
STREAM = "tls://nats.example.com/whatsapp"
URL = "https://bot.example.com/hook"
SECRET = "whsec_" + "YWJj" * 10


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the database of an account."""
    folder = tmp_path_factory.mktemp("linked")
    number = f"--phone-number={NUMBER}=+15550100100"
    link = ["link", "--waba-id", WABA, "--no-verify", "--name", "Shop", number]
    commands.done(link, {"WHAUL_DATABASE_URL": f"sqlite:///{folder / 'whaul.db'}", "WHATSAPP_ACCESS_TOKEN": "token"})
    return folder


@pytest.fixture(autouse=True)
def account(linked: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copytree(linked, tmp_path / "data")
    monkeypatch.setenv("WHAUL_DATABASE_URL", f"sqlite:///{tmp_path / 'data' / 'whaul.db'}")


def run(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, ["destinations", *arguments], input=stdin)


def done(*arguments: str, stdin: str = "") -> str:
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def document(*arguments: str) -> Any:
    return json.loads(done(*arguments, "--json"))


def add(*options: str, name: str = "orders", to: str = TOPIC) -> Any:
    return document("add", name, "--account", WABA, "--to", to, *options)


def stored(name: str) -> Destination:
    """A destination as the server reads it."""
    settings = Settings.load()

    async def read() -> Destination | None:
        async with event_store(settings) as store:
            return await Destinations(store, cipher(settings), OWNER).find(name)

    found = asyncio.run(read())
    assert found is not None
    return found


def refused(*arguments: str) -> str:
    """What a command says that cannot be done: one line."""
    result = run(*arguments)
    assert result.exit_code != 0
    if isinstance(result.exception, CommandError | OutputError):
        return str(result.exception)
    return result.stderr.splitlines()[0]


def test_a_destination_is_shown_as_it_was_added() -> None:
    options = ("--field", "messages", "--kind", "message", "--kind", "status", "--type", "audio", "--attributes")
    added = add(*options, "--phone-number", NUMBER, "--order", "conversation", "--wait-for-media", "30")
    assert added == {
        "name": "orders",
        "arn": f"arn:aws:social-messaging:{REGION}:{OWNER}:event-destination/orders",
        "accountIds": [ACCOUNT],
        "target": TOPIC,
        "format": "aws",
        "order": "conversation",
        "fields": ["messages"],
        "kinds": ["message", "status"],
        "types": ["audio"],
        "phoneNumberIds": [ARNS.phone_number_id(NUMBER)],
        "waitForMedia": 30,
        "attributes": True,
        "concurrency": 16,
        "state": "active",
        "pending": 0,
        "dead": 0,
        "oldestSeconds": None,
        "lastError": None,
    }
    assert document("show", "orders") == added
    assert document("list") == {"destinations": [added]}
    assert "waits for files  30 s at most" in done("show", "orders")


def test_destinations_are_listed_by_name() -> None:
    assert "There are no destinations" in done("list")
    for name in ("b", "a"):
        add(name=name)
    assert [each["name"] for each in document("list")["destinations"]] == ["a", "b"]
    assert [line.split()[:2] for line in done("list").splitlines()] == [["a", "active"], ["b", "active"]]


@pytest.mark.parametrize("name", [ACCOUNT, WABA, f"arn:aws:social-messaging:{REGION}:{OWNER}:waba/{ACCOUNT[5:]}"])
def test_an_account_has_several_names(name: str) -> None:
    assert document("add", "a", "--account", name, "--account", WABA, "--to", TOPIC)["accountIds"] == [ACCOUNT]


@pytest.mark.parametrize("number", [NUMBER, ARNS.phone_number_id(NUMBER), ARNS.arn(ARNS.phone_number_id(NUMBER))])
def test_a_phone_number_has_several_names(number: str) -> None:
    assert add("--phone-number", number)["phoneNumberIds"] == [ARNS.phone_number_id(NUMBER)]


def test_a_fifo_target_implies_the_order_of_conversations() -> None:
    assert add(to=QUEUE)["order"] == "conversation"
    assert add(name="other")["order"] is None


def test_the_secret_of_https_is_shown_once() -> None:
    secret = add(to=URL)["secret"]
    assert secret.startswith("whsec_")
    assert secret not in done("show", "orders") + done("list", "--json") + done("show", "orders", "--json")
    assert "secret" not in add(name="topic")


def test_a_secret_can_be_brought(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    assert "secret" not in add("--secret-file", str(file), to=URL), "who brings it, has it"
    assert stored("orders").secret == SecretStr(SECRET)
    rotated = done("rotate", "orders", "--secret-file", str(file))
    assert SECRET not in rotated
    assert "the old one signs, too, for 24 hours" in rotated
    file.write_text("an-app-secret-of-meta")
    meta = add("--format", "meta", "--secret-file", str(file), to=URL, name="meta")
    assert meta["format"] == "meta"
    assert stored("meta").secret == SecretStr("an-app-secret-of-meta")
    assert "the old one signs no more" in done("rotate", "meta", "--secret-file", str(file))
    problem = refused("add", "c", "--account", WABA, "--to", URL, "--secret-file", str(file))
    assert problem.startswith("--secret-file: ")
    assert "an-app-secret" not in problem


def test_a_rotation_shows_the_new_secret() -> None:
    old = add(to=URL)["secret"]
    new = document("rotate", "orders")["secret"]
    assert new.startswith("whsec_")
    assert new != old
    add(name="topic")
    assert "has no secret" in refused("rotate", "topic")


def test_a_paused_destination_goes_on_when_it_is_resumed() -> None:
    add()
    assert document("pause", "orders")["state"] == "paused"
    assert document("show", "orders")["state"] == "paused"
    assert document("resume", "orders")["state"] == "active"


def test_a_destination_is_removed_when_that_is_confirmed() -> None:
    add()
    assert "nothing was removed" in str(run("remove", "orders", stdin="no\n").exception)
    assert "give --yes" in str(run("remove", "orders").exception)
    assert document("list")["destinations"]
    assert document("remove", "orders", "--yes") == {"name": "orders", "dropped": 0}
    assert document("list") == {"destinations": []}
    assert add()["name"] == "orders"  # the name is free


def test_a_question_is_no_part_of_a_document() -> None:
    add()
    result = run("remove", "orders", "--json", stdin="y\n")
    assert json.loads(result.stdout) == {"name": "orders", "dropped": 0}
    assert "Remove orders?" in result.stderr


@pytest.mark.parametrize("command", ["show", "remove", "pause", "resume", "rotate", "test"])
def test_a_name_that_nobody_has_is_one_line(command: str) -> None:
    assert refused(command, "none") == "there is no destination none; `whaul destinations list` lists them"


@pytest.mark.parametrize("name", ["", "A", "-a", "a_b", "a.b", "a" * 64, "a\n", "\u00e4", "api-" + "0f" * 16])
def test_a_name_that_no_destination_can_have_is_refused(name: str) -> None:
    result = run("add", "--account", WABA, "--to", TOPIC, "--", name)
    assert result.exit_code == 2
    assert "expected up to 63 small letters, digits and hyphens" in result.stderr


def test_a_name_is_given_once() -> None:
    add()
    assert "there is a destination orders already" in refused("add", "orders", "--account", WABA, "--to", TOPIC)


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("", "no address of a destination"),
        ("ftp://example.com/x", "no address of a destination"),
        ("arn:aws:lambda:eu-west-1:111122223333:function:x", "cannot be sent|not the ARN|No events can be sent"),
        ("arn:aws:sns:eu-west-1:1:x", "not the ARN"),
        ("arn:aws-cn:sns:eu-west-1:111122223333:x", "not in the partition"),
        ("http://bot.example.com/hook", "WHAUL_EVENT_HOSTS"),
        ("https://localhost/hook", "private|loopback|WHAUL_EVENT_HOSTS"),
        ("https://10.0.0.7/hook", "private|WHAUL_EVENT_HOSTS"),
        ("https://[::1]/hook", "private|WHAUL_EVENT_HOSTS"),
        ("https://169.254.169.254/latest", "private|WHAUL_EVENT_HOSTS"),
        ("https://bot.example.com/a b", "white space"),
    ],
)
def test_a_target_that_cannot_be_is_one_line(to: str, said: str) -> None:
    result = run("add", "a", "--account", WABA, "--to", to)
    with pytest.raises(CommandError, match=said):
        raise result.exception or AssertionError(result.output)
    assert document("list") == {"destinations": []}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--account", "1", "--to", TOPIC), "1 is not linked"),
        (("--account", WABA, "--to", TOPIC, "--phone-number", "1"), "1 is no linked phone number"),
        (("--account", WABA, "--to", TOPIC, "--kind", "letter"), "letter is none of message, status"),
        (("--account", WABA, "--to", TOPIC, "--kind", "unparsed"), "unparsed events are sent to nobody"),
        (("--account", WABA, "--to", TOPIC, "--kind", "media"), "only sent with --field whaul_media"),
        (("--account", WABA, "--to", TOPIC, "--format", "meta"), "Only an HTTPS destination"),
        (("--account", WABA, "--to", TOPIC, "--secret-file", "x"), "only what is sent by HTTPS is signed"),
        (("--account", WABA, "--to", URL, "--attributes"), "only SNS and SQS have message attributes"),
        (("--account", WABA, "--to", URL, "--headers-file", "/none"), "--headers-file: cannot read the file"),
        (("--account", WABA, "--to", URL, "--secret-file", "/none"), "--secret-file: cannot read the file"),
        (("--account", WABA, "--to", TOPIC, "--headers-file", "/none"), "only HTTPS has headers"),
        (("--account", WABA, "--to", URL, "--credentials-file", "/none"), "only NATS and Kafka are logged in to"),
        (("--account", WABA, "--to", STREAM, "--credentials-file", "/none"), "--credentials-file: cannot read"),
        (("--account", WABA, "--to", URL, "--headers-file", "x", "--credentials-file", "x"), "only NATS and Kafka"),
        (("--account", WABA, "--to", STREAM, "--headers-file", "x", "--credentials-file", "x"), "only HTTPS has"),
        (("--account", WABA, "--to", STREAM, "--format", "meta"), "Only an HTTPS destination"),
        (("--account", WABA, "--to", "tls://u:p@nats.example.com/whatsapp"), "give --credentials-file"),
    ],
)
def test_options_that_cannot_be_used_are_named(options: tuple[str, ...], said: str) -> None:
    assert said in refused("add", "a", *options)
    assert document("list") == {"destinations": []}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no header", "line 2 is not `Name: value`"),
        ("Host: s3cret", "'Host' cannot be set"),
        ("webhook-id: s3cret", "'webhook-id' cannot be set"),
        ("Content-Length: s3cret", "'Content-Length' cannot be set"),
        ("X-Key: s3cret\x01", "The value of the header X-Key cannot be sent"),
    ],
)
def test_a_headers_file_that_cannot_be_used_is_named_without_its_values(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "headers"
    file.write_text(f"X-Token: s3cret\n{line}\n")
    problem = refused("add", "a", "--account", WABA, "--to", URL, "--headers-file", str(file))
    assert said in problem
    assert "s3cret" not in problem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("user=whaul\nno property\n", "line 2 is not `name=value`"),
        ("username=s3cret", "'username' is none of the credentials"),
        ("password=s3cret", "NATS wants user and password"),
        ("-----BEGIN NATS USER JWT-----\ns3cret", "no seed"),
    ],
)
def test_credentials_that_cannot_be_used_are_named_without_their_values(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "credentials"
    file.write_text(text)
    problem = refused("add", "a", "--account", WABA, "--to", STREAM, "--credentials-file", str(file))
    assert said in problem
    assert "s3cret" not in problem


def test_credentials_are_used_and_replaced_and_never_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WHAUL_EVENT_HOSTS", "127.0.0.1")
    file = tmp_path / "credentials"
    user = 'authorization { user: whaul, password: "n3w=s3cret" }'
    with nats_server(tmp_path, user) as broker:
        file.write_text("# of last year\nuser = whaul\npassword: 0ld-s3cret\n")
        shown = add("--credentials-file", str(file), to=f"nats://127.0.0.1:{broker.port}/whatsapp")
        assert "s3cret" not in json.dumps(shown)
        denied = run("test", "orders", "--json")
        assert denied.exit_code == 1
        assert json.loads(denied.stdout)["detail"] == "Authorization Violation"
        file.write_text("user=whaul\npassword=n3w=s3cret\n")
        replaced = document("rotate", "orders", "--credentials-file", str(file))
        assert "s3cret" not in json.dumps(replaced)
        assert "No stream takes this subject" in json.loads(run("test", "orders", "--json").stdout)["detail"]
        assert "only HTTPS has headers" in refused("rotate", "orders", "--headers-file", str(file))


def test_headers_are_replaced_and_the_secret_stays(receiver: Receiver, tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("Authorization: old")
    secret = add("--headers-file", str(file), to=receiver.url)["secret"]
    file.write_text("Authorization: new")
    assert "secret" not in document("rotate", "orders", "--headers-file", str(file))
    document("test", "orders")
    [post] = receiver.posts
    assert post.headers["authorization"] == "new"
    assert documented_check()(secret, post.headers, post.body)
    file.write_text("Host: x")
    assert "'Host' cannot be set" in refused("rotate", "orders", "--headers-file", str(file))


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("WHAUL_EVENT_HOSTS", "127.0.0.1")
    with receiving() as found:
        yield found


def test_a_sample_goes_straight_to_the_target(receiver: Receiver, tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("Authorization: Bearer s3cret\n\nX-Tenant:7\n")
    add("--headers-file", str(file), to=receiver.url)
    document("pause", "orders")
    answer = document("test", "orders")
    assert (answer["accepted"], answer["detail"]) == (True, "HTTP 200")
    assert 0 <= answer["seconds"] < 15
    [post] = receiver.posts
    assert post.headers["authorization"] == "Bearer s3cret"
    assert post.headers["x-tenant"] == "7"
    envelope = post.json()
    entry = json.loads(envelope["whatsAppWebhookEntry"])
    assert (entry["id"], entry["changes"][0]["field"]) == (WABA, "whaul_test")
    assert post.headers["webhook-id"] == envelope["messageId"]


def test_a_sample_that_is_refused_is_an_exit_code(receiver: Receiver) -> None:
    add(to=receiver.url)
    receiver.answers = [503, 410]
    result = run("test", "orders", "--json")
    assert (result.exit_code, json.loads(result.stdout)["accepted"]) == (1, False)
    result = run("test", "orders")
    assert result.exit_code == 1
    assert "orders did not take the sample" in result.stdout
    assert "HTTP 410" in result.stdout
    assert document("show", "orders")["state"] == "active"  # a sample changes nothing


def test_a_target_that_a_setting_forbids_now_is_one_line(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    add(to=receiver.url)
    monkeypatch.delenv("WHAUL_EVENT_HOSTS")
    assert "WHAUL_EVENT_HOSTS" in refused("test", "orders")


def documented_check() -> Any:
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "events.md").read_text(encoding="utf-8"), re.DOTALL)
    found: dict[str, Any] = {}
    exec(code[0], found)  # noqa: S102 - our own page
    return found["is_genuine"]


def test_the_documented_check_of_signatures_works(receiver: Receiver) -> None:
    is_genuine = documented_check()
    old = add(to=receiver.url)["secret"]
    new = document("rotate", "orders")["secret"]
    document("test", "orders")
    [post] = receiver.posts
    for secret in (old, new):  # both sign for a day
        assert is_genuine(secret, post.headers, post.body)
        assert not is_genuine(secret, post.headers, post.body + b" ")
    assert not is_genuine(SECRET, post.headers, post.body)


async def _set_by_api(name: str) -> None:
    settings = Settings.load()
    async with event_store(settings) as store:
        new = NewDestination(name=name, target=TOPIC, account_ids=[ACCOUNT], by_api=True)
        await Destinations(store, cipher(settings), OWNER).add(new)


def test_what_the_api_set_is_removed_by_it_alone() -> None:
    name = "api-" + "0f" * 16
    asyncio.run(_set_by_api(name))
    assert "was set through the API" in refused("remove", name, "--yes")
    assert document("pause", name)["state"] == "paused"
    assert [each["name"] for each in document("list")["destinations"]] == [name]
