"""The console: a real process over a real database, visited without scripts."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from harness.client import send
from harness.console import RunningConsole, Visitor, console, words
from harness.inbox import (
    ACCOUNT_ID,
    KEY,
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
from harness.waiting import PATIENCE, eventually
from harness.world import ZYGOTE, Key, signed
from whaul.arns import Arns
from whaul.console.safety import HEADERS
from whaul.console.sign_in import ATTEMPTS, SERVICE

ARNS = Arns(OWNER, REGION)
ACCOUNT = ARNS.arn(ACCOUNT_ID)
OTHER_WABA, OTHER_NUMBER = "102290129349999", "106540352249999"
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>'\"`{{7*7}}"
SENDER = "15550100777"


def document(*actions: str, resource: str = "*") -> str:
    return json.dumps({"Statement": {"Effect": "Allow", "Action": list(actions), "Resource": resource}})


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("console") / "whaul.db"


@pytest.fixture(scope="module")
def running(database: Path) -> Iterator[RunningConsole]:
    environ = {
        "WHAUL_DATABASE_URL": f"sqlite:///{database}",
        "WHAUL_SECRET_KEY": KEY.get_secret_value(),
        "WHAUL_ACCOUNT_ID": OWNER,
        "AWS_REGION": REGION,
        "WHATSAPP_ACCESS_TOKEN": "token",
        "WHAUL_AUDIT_LOG": str(database.with_name("audit.log")),
    }
    with console(environ, database.parent) as found:
        link = ["link", "--no-verify", "--name", "Shop"]
        found.do(*link, "--waba-id", WABA, f"--phone-number={NUMBER}=+15550100100")
        found.do(*link, "--waba-id", OTHER_WABA, f"--phone-number={OTHER_NUMBER}=+15550100200")
        yield found


@pytest.fixture(scope="module")
def operator(running: RunningConsole) -> Visitor:
    """Somebody who may do everything."""
    return running.sign_in(running.key("--allow-all"))


def with_policy(running: RunningConsole, policy: str) -> tuple[str, Visitor]:
    path = running.log.with_name("policy.json")
    path.write_text(policy)
    key = running.key("--policy", str(path))
    return key, running.sign_in(key)


def inside(database: Path, work: Callable[[Installation], Awaitable[Any]]) -> Any:
    async def do() -> Any:
        async with installation(f"sqlite:///{database}") as here:
            return await work(here)

    return asyncio.run(do())


def put(database: Path, *messages: dict[str, Any], waba: str = WABA, number: str = NUMBER) -> list[str]:
    """Have messages come; return the ids of their events."""

    async def work(here: Installation) -> list[str]:
        ids = []
        for message in messages:
            result = await here.inbox.put(post(message, waba=waba, number=number))
            assert result.events == 1
            ids.append(await here.value("SELECT message_id FROM events ORDER BY seq DESC LIMIT 1"))
        return ids

    found: list[str] = inside(database, work)
    return found


def audited(database: Path) -> list[dict[str, Any]]:
    path = database.with_name("audit.log")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# Signing in


def test_nobody_sees_a_page_without_signing_in(running: RunningConsole) -> None:
    stranger = running.visitor()
    for target in ("/messages", "/messages/x", "/messages/live", "/media/x"):
        reply = stranger.get(target)
        assert (reply.status, reply.headers["location"]) == (303, "/sign-in")
    assert stranger.get("/messages", Accept="text/event-stream").status == 401
    assert stranger.post("/messages/x/replay").status == 401
    stranger.cookies[f"whaul-{running.port}"] = "x" * 43
    assert stranger.get("/messages").status == 303


def test_a_link_signs_in_once(running: RunningConsole) -> None:
    key = running.key("--allow-all")
    url = json.loads(running.do("console", "link", "--key", key, "--json"))["url"]
    assert url.startswith(f"{running.url}/sign-in#")
    visitor, late = running.visitor(), running.visitor()
    reply = visitor.post("/sign-in/link", {"token": f" {url} "})  # the whole link may be pasted
    assert (reply.status, reply.headers["location"]) == (303, "/messages")
    cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert visitor.get("/messages").status == 200
    assert late.post("/sign-in/link", {"token": url.partition("#")[2]}).status == 403
    assert late.cookies == {}
    visitor.post("/sign-out")
    assert visitor.get("/messages").status == 303


def test_a_link_is_for_one_usable_key(running: RunningConsole) -> None:
    running.key("--allow-all")
    several = running_problem(running, "--key", "operator")
    assert several.startswith("whaul: which access key? Name one of these: --key AKIA")
    assert running_problem(running, "--key", "nobody").startswith("whaul: There is no usable access key nobody")


def running_problem(running: RunningConsole, *arguments: str) -> str:
    result = ZYGOTE.run(["console", "link", *arguments], dict(running.environ))
    assert result.returncode == 1
    return result.stderr


def made_key(running: RunningConsole, *arguments: str) -> Key:
    made = json.loads(running.do("keys", "create", "--name", "signer", "--allow-all", *arguments, "--json"))
    return Key(made["accessKeyId"], made["secretAccessKey"], made.get("sessionToken"))


def by_key(running: RunningConsole, key: Key, challenge: bytes, service: str = SERVICE) -> tuple[int, Visitor]:
    visitor = running.visitor()
    headers = signed(f"{running.url}/sign-in/key", "POST", challenge, {}, key, region=REGION, service=service)
    headers |= {"Origin": running.url}
    reply = send(running.port, "POST", "/sign-in/key", challenge, headers)
    if reply.status == 204:
        name, _, value = reply.headers["set-cookie"].partition(";")[0].partition("=")
        visitor.cookies[name] = value
    return reply.status, visitor


@pytest.mark.parametrize("arguments", [[], ["--expires-in", "1h"]])
def test_an_access_key_signs_in_with_a_challenge_once(running: RunningConsole, arguments: list[str]) -> None:
    key = made_key(running, *arguments)
    challenge = running.visitor().get("/sign-in/challenge").body
    assert by_key(running, key, challenge, "social-messaging")[0] == 403
    assert by_key(running, Key(key.id, "x" * 40, key.token), challenge)[0] == 403
    assert by_key(running, key, b"1.x.y")[0] == 403
    status, visitor = by_key(running, key, challenge)
    assert status == 204
    assert visitor.get("/messages").status == 200
    assert by_key(running, key, challenge)[0] == 403


def test_who_tries_too_often_has_to_wait(running: RunningConsole, database: Path) -> None:
    with console(dict(running.environ), database.parent) as fresh:
        stranger = fresh.visitor()
        for _ in range(ATTEMPTS):
            assert stranger.post("/sign-in/link", {"token": "x"}).status == 403
        reply = stranger.post("/sign-in/link", {"token": "x"})
        assert reply.status == 429
        assert int(reply.headers["retry-after"]) >= 1


def test_a_disabled_key_is_out_at_once(running: RunningConsole) -> None:
    key, visitor = with_policy(running, document("whaul:*"))
    assert visitor.get("/messages").status == 200
    running.do("keys", "disable", key)
    assert visitor.get("/messages").status == 303


# Safety


def test_every_answer_has_the_headers(running: RunningConsole, operator: Visitor) -> None:
    for visitor, target in ((running.visitor(), "/sign-in"), (operator, "/messages"), (operator, "/nowhere")):
        reply = visitor.get(target)
        assert {name: reply.headers.get(name) for name in HEADERS} == HEADERS
    page = operator.get("/messages").body.decode()
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=|https?://(?!…)", page)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
        {},
    ],
)
def test_no_other_page_can_post(running: RunningConsole, operator: Visitor, headers: dict[str, str]) -> None:
    cookies = "; ".join(f"{name}={value}" for name, value in operator.cookies.items())
    reply = send(running.port, "POST", "/sign-out", b"", {"Cookie": cookies} | headers)
    assert reply.status == 403
    assert operator.get("/messages").status == 200


def test_a_form_of_its_own_page_is_taken(running: RunningConsole) -> None:
    headers = {"Origin": "null", "Sec-Fetch-Site": "same-origin"}
    assert send(running.port, "POST", "/sign-out", b"", headers).status == 303


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8082", "127.0.0.1.evil.example", "", "127.0.0.1@evil"])
def test_another_name_is_refused(running: RunningConsole, host: str) -> None:
    assert send(running.port, "GET", "/sign-in", b"", {"Host": host}).status == 421


def test_a_large_form_is_refused(running: RunningConsole) -> None:
    assert running.visitor().post("/sign-in/link", {"token": "x" * 100_000}).status == 413


# Messages


def test_messages_are_listed_filtered_and_shown(operator: Visitor, database: Path) -> None:
    [id_, other] = put(database, text("wamid.list", SENDER, body="good morning"), image("wamid.image", "4411"))
    page = operator.get("/messages")
    assert "good morning" in words(page)
    assert SENDER in words(page)
    assert f"/messages/{other}" in operator.get("/messages?type=image").body.decode()
    assert f"/messages/{id_}" not in operator.get("/messages?type=image").body.decode()
    assert f"/messages/{id_}" in operator.get(f"/messages?sender=%2B{SENDER}").body.decode()
    assert "No message fits" in words(operator.get("/messages?sender=15559999999"))
    assert "whaul events list --kind message --type image" in words(operator.get("/messages?type=image"))
    for query in ("kind=x", "state=x", "destination=x", "since=x", "before=x"):
        assert operator.get(f"/messages?{query}").status == 400
    shown = words(operator.get(f"/messages/{id_}"))
    for part in ("Received and kept", "wamid.list", "good morning", "whatsAppWebhookEntry", id_):
        assert part in shown
    assert operator.get("/messages/nothing").status == 404


def test_a_hostile_message_stays_text(operator: Visitor, database: Path) -> None:
    hostile = text(HOSTILE, HOSTILE, body=HOSTILE) | {"type": HOSTILE, HOSTILE: {"body": HOSTILE}}
    value = {
        "metadata": {"phone_number_id": NUMBER, "display_phone_number": HOSTILE},
        "contacts": [{"profile": {"name": HOSTILE}, "wa_id": HOSTILE}],
        "messages": [hostile],
    }
    entry = {"id": WABA, "changes": [{"value": value, "field": HOSTILE}]}
    body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()

    async def work(here: Installation) -> str:
        await here.inbox.put(webhook(body, AnySpeaker()))
        return str(await here.value("SELECT message_id FROM events ORDER BY seq DESC LIMIT 1"))

    id_ = inside(database, work)
    for target in ("/messages?kind=all", f"/messages/{id_}"):
        page = operator.get(target).body.decode()
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "&lt;script&gt;alert(1)" in page
        assert "{{7*7}}" in page


def test_without_the_right_content_is_masked(running: RunningConsole, database: Path) -> None:
    [id_] = put(database, text("wamid.secretive", "15550100555", body="between us"))
    key, visitor = with_policy(running, document("whaul:ViewMessages"))
    for target in ("/messages", f"/messages/{id_}"):
        page = visitor.get(target)
        assert page.status == 200
        for part in ("between us", "15550100555", "wamid.secretive", "whatsAppWebhookEntry"):
            assert part not in page.text
    refused = visitor.get("/messages?sender=15550100555")
    assert refused.status == 403
    eventually(lambda: any(record.get("errorCode") == "AccessDeniedException" for record in audited(database)))
    assert key


def test_a_key_sees_the_accounts_that_its_policy_names(running: RunningConsole, database: Path) -> None:
    [ours] = put(database, text("wamid.ours", body="ours alone"))
    [theirs] = put(database, text("wamid.theirs", body="theirs alone"), waba=OTHER_WABA, number=OTHER_NUMBER)
    _, visitor = with_policy(running, document("whaul:View*", resource=ACCOUNT))
    page = words(visitor.get("/messages"))
    assert "ours alone" in page
    assert "theirs alone" not in page
    assert visitor.get(f"/messages/{ours}").status == 200
    assert visitor.get(f"/messages/{theirs}").status == 403


def test_a_key_without_rights_sees_no_page(running: RunningConsole) -> None:
    _, visitor = with_policy(running, document("social-messaging:*"))
    reply = visitor.get("/messages")
    assert reply.status == 403
    assert "whaul:ViewMessages" in words(reply)


def test_a_message_is_sent_once_more(running: RunningConsole, operator: Visitor, database: Path) -> None:
    inside(database, lambda here: here.add_destination("orders"))
    [id_] = put(database, text("wamid.replayed"))
    inside(database, lambda here: here.rows("DELETE FROM deliveries"))
    page = operator.submit(f"/messages/{id_}/replay", {"destination": "orders"})
    assert "Sent to orders once more" in words(page)
    assert "Sent to orders once more" not in words(operator.get(f"/messages/{id_}"))
    [job] = json.loads(running.do("events", "replay", "--list", "--json"))["replays"]
    assert (job["destination"], job["matched"]) == ("orders", 1)
    _, visitor = with_policy(running, document("whaul:View*"))
    assert visitor.post(f"/messages/{id_}/replay", {"destination": "orders"}).status == 403
    eventually(lambda: any(record["eventName"] == "ReplayDelivery" for record in audited(database)))
    record = next(record for record in audited(database) if record["eventName"] == "ReplayDelivery")
    assert record["requestParameters"]["job"] == job["job"]
    assert record["eventSource"] == "console.whaul"
    assert record["readOnly"] is False


def test_a_file_that_failed_is_fetched_again(operator: Visitor, database: Path) -> None:
    inside(database, lambda here: here.add_archive())
    [id_] = put(database, image("wamid.failed", "5511"))
    failed = "UPDATE files SET state = 'failed', expires_at = 9000000000000000 WHERE media_id = '5511'"
    inside(database, lambda here: here.rows(failed))
    page = operator.get(f"/messages/{id_}")
    [file] = set(re.findall(r'name="file" value="([^"]+)"', page.body.decode()))
    assert "fetched again" in words(operator.submit(f"/messages/{id_}/fetch", {"file": file}))
    state = inside(database, lambda here: here.value("SELECT state FROM files WHERE media_id = '5511'"))
    assert state == "pending"
    assert operator.post(f"/messages/{id_}/fetch", {"file": "other"}).status == 404
    assert f"/messages/{id_}" in operator.get("/messages?media_id=5511").body.decode()
    inside(database, lambda here: here.rows("DELETE FROM archives"))


# Live


def test_rows_come_as_messages_do_until_the_key_is_disabled(running: RunningConsole, database: Path) -> None:
    key, visitor = with_policy(running, document("whaul:View*"))
    connection = HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE)
    cookies = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    connection.request("GET", "/messages/live?type=text", headers={"Cookie": cookies, "Accept": "text/event-stream"})
    stream = connection.getresponse()
    assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    put(database, text("wamid.live", body="as it comes"))
    lines = iter(stream.readline, b"")
    line = next(line for line in lines if b"as it comes" in line)
    row = json.loads(line.removeprefix(b"data: "))
    assert row["html"].startswith(f'<tr id="e{row["seq"]}"')
    running.do("keys", "disable", key)
    assert next(line for line in lines if line == b"event: end\n")
    connection.close()
