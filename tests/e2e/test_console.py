"""The console: a real process over a real console_database, visited without scripts."""

import json
import re
from http.client import HTTPConnection
from pathlib import Path

import pytest

from harness.client import send
from harness.console import OTHER_NUMBER, OTHER_WABA, RunningConsole, Visitor, allow, console, inside, put, words
from harness.inbox import (
    ACCOUNT_ID,
    NUMBER,
    OWNER,
    REGION,
    WABA,
    AnySpeaker,
    Installation,
    image,
    text,
    webhook,
)
from harness.waiting import PATIENCE
from harness.world import ZYGOTE, Key, signed
from whaul.arns import Arns
from whaul.console.safety import HEADERS
from whaul.console.sign_in import ATTEMPTS, SERVICE

ACCOUNT = Arns(OWNER, REGION).arn(ACCOUNT_ID)
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>'\"`{{7*7}}"
SENDER = "15550100777"


# Signing in


def test_nobody_sees_a_page_without_signing_in(running_console: RunningConsole) -> None:
    stranger = running_console.visitor()
    for target in ("/messages", "/messages/x", "/messages/live", "/media/x"):
        reply = stranger.get(target)
        assert (reply.status, reply.headers["location"]) == (303, "/sign-in")
    assert stranger.get("/messages", Accept="text/event-stream").status == 401
    assert stranger.post("/messages/x/replay").status == 401
    stranger.cookies[f"whaul-{running_console.port}"] = "x" * 43
    assert stranger.get("/messages").status == 303


def test_a_link_signs_in_once(running_console: RunningConsole) -> None:
    key = running_console.key("--allow-all")
    url = json.loads(running_console.do("console", "link", "--key", key, "--json"))["url"]
    assert url.startswith(f"{running_console.url}/sign-in#")
    visitor, late = running_console.visitor(), running_console.visitor()
    reply = visitor.post("/sign-in/link", {"token": f" {url} "})  # the whole link may be pasted
    assert (reply.status, reply.headers["location"]) == (303, "/messages")
    cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert visitor.get("/messages").status == 200
    assert late.post("/sign-in/link", {"token": url.partition("#")[2]}).status == 403
    assert late.cookies == {}
    again = visitor.post("/sign-in/link", {"token": url})
    assert (again.status, again.headers["location"]) == (303, "/messages"), "who is in already need not see a refusal"
    visitor.post("/sign-out")
    assert visitor.get("/messages").status == 303


def test_a_link_is_for_one_usable_key(running_console: RunningConsole) -> None:
    running_console.key("--allow-all")
    several = problem(running_console, "--key", "operator")
    assert several.startswith("whaul: which access key? Name one of these: --key AKIA")
    assert problem(running_console, "--key", "nobody").startswith("whaul: There is no usable access key nobody")


def problem(running_console: RunningConsole, *arguments: str) -> str:
    result = ZYGOTE.run(["console", "link", *arguments], dict(running_console.environ))
    assert result.returncode == 1
    return result.stderr


def made_key(running_console: RunningConsole, *arguments: str) -> Key:
    made = json.loads(running_console.do("keys", "create", "--name", "signer", "--allow-all", *arguments, "--json"))
    return Key(made["accessKeyId"], made["secretAccessKey"], made.get("sessionToken"))


def by_key(running_console: RunningConsole, key: Key, challenge: bytes, service: str = SERVICE) -> tuple[int, Visitor]:
    visitor = running_console.visitor()
    headers = signed(f"{running_console.url}/sign-in/key", "POST", challenge, {}, key, region=REGION, service=service)
    headers |= {"Origin": running_console.url}
    reply = send(running_console.port, "POST", "/sign-in/key", challenge, headers)
    if reply.status == 204:
        name, _, value = reply.headers["set-cookie"].partition(";")[0].partition("=")
        visitor.cookies[name] = value
    return reply.status, visitor


@pytest.mark.parametrize("arguments", [[], ["--expires-in", "1h"]])
def test_an_access_key_signs_in_with_a_challenge_once(running_console: RunningConsole, arguments: list[str]) -> None:
    key = made_key(running_console, *arguments)
    challenge = running_console.visitor().get("/sign-in/challenge").body
    assert by_key(running_console, key, challenge, "social-messaging")[0] == 403
    assert by_key(running_console, Key(key.id, "x" * 40, key.token), challenge)[0] == 403
    assert by_key(running_console, key, b"1.x.y")[0] == 403
    status, visitor = by_key(running_console, key, challenge)
    assert status == 204
    assert visitor.get("/messages").status == 200
    assert by_key(running_console, key, challenge)[0] == 403


def test_who_tries_too_often_has_to_wait(running_console: RunningConsole, console_database: Path) -> None:
    with console(dict(running_console.environ), console_database.parent) as fresh:
        stranger = fresh.visitor()
        for _ in range(ATTEMPTS):
            assert stranger.post("/sign-in/link", {"token": "x"}).status == 403
        reply = stranger.post("/sign-in/link", {"token": "x"})
        assert reply.status == 429
        assert int(reply.headers["retry-after"]) >= 1


def test_a_disabled_key_is_out_at_once(running_console: RunningConsole) -> None:
    key, visitor = running_console.with_policy(allow("whaul:*"))
    assert visitor.get("/messages").status == 200
    running_console.do("keys", "disable", key)
    assert visitor.get("/messages").status == 303


# Safety


def test_every_answer_has_the_headers(running_console: RunningConsole, operator: Visitor) -> None:
    for visitor, target in ((running_console.visitor(), "/sign-in"), (operator, "/messages"), (operator, "/nowhere")):
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
def test_no_other_page_can_post(running_console: RunningConsole, operator: Visitor, headers: dict[str, str]) -> None:
    cookies = "; ".join(f"{name}={value}" for name, value in operator.cookies.items())
    reply = send(running_console.port, "POST", "/sign-out", b"", {"Cookie": cookies} | headers)
    assert reply.status == 403
    assert operator.get("/messages").status == 200


def test_a_form_of_its_own_page_is_taken(running_console: RunningConsole) -> None:
    headers = {"Origin": "null", "Sec-Fetch-Site": "same-origin"}
    assert send(running_console.port, "POST", "/sign-out", b"", headers).status == 303


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8082", "127.0.0.1.evil.example", "", "127.0.0.1@evil"])
def test_another_name_is_refused(running_console: RunningConsole, host: str) -> None:
    assert send(running_console.port, "GET", "/sign-in", b"", {"Host": host}).status == 421


def test_a_large_form_is_refused(running_console: RunningConsole) -> None:
    assert running_console.visitor().post("/sign-in/link", {"token": "x" * 100_000}).status == 413


# Messages


def test_messages_are_listed_filtered_and_shown(operator: Visitor, console_database: Path) -> None:
    [id_, other] = put(console_database, text("wamid.list", SENDER, body="good morning"), image("wamid.image", "4411"))
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


def test_a_hostile_message_stays_text(operator: Visitor, console_database: Path) -> None:
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

    id_ = inside(console_database, work)
    for target in ("/messages?kind=all", f"/messages/{id_}"):
        page = operator.get(target).body.decode()
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "&lt;script&gt;alert(1)" in page
        assert "{{7*7}}" in page


def test_without_the_right_content_is_masked(running_console: RunningConsole, console_database: Path) -> None:
    [id_] = put(console_database, text("wamid.secretive", "15550100555", body="between us"))
    key, visitor = running_console.with_policy(allow("whaul:ViewMessages"))
    for target in ("/messages", f"/messages/{id_}"):
        page = visitor.get(target)
        assert page.status == 200
        for part in ("between us", "15550100555", "wamid.secretive", "whatsAppWebhookEntry"):
            assert part not in page.text
    refused = visitor.get("/messages?sender=15550100555")
    assert refused.status == 403
    records = running_console.audited(eventName="ViewMessages", errorCode="AccessDeniedException")
    assert {record["userIdentity"]["accessKeyId"] for record in records} == {key}


def test_a_key_sees_the_accounts_that_its_policy_names(running_console: RunningConsole, console_database: Path) -> None:
    [ours] = put(console_database, text("wamid.ours", body="ours alone"))
    [theirs] = put(console_database, text("wamid.theirs", body="theirs alone"), waba=OTHER_WABA, number=OTHER_NUMBER)
    _, visitor = running_console.with_policy(allow("whaul:View*", resource=ACCOUNT))
    page = words(visitor.get("/messages"))
    assert "ours alone" in page
    assert "theirs alone" not in page
    assert visitor.get(f"/messages/{ours}").status == 200
    assert visitor.get(f"/messages/{theirs}").status == 403


def test_a_key_without_rights_sees_no_page(running_console: RunningConsole) -> None:
    _, visitor = running_console.with_policy(allow("social-messaging:*"))
    reply = visitor.get("/messages")
    assert reply.status == 403
    assert "whaul:ViewMessages" in words(reply)


def test_a_key_begins_at_a_page_that_it_may_see(running_console: RunningConsole) -> None:
    _, visitor = running_console.with_policy(allow("whaul:ViewArchives"))
    refused = visitor.get("/messages")
    assert (refused.status, 'href="/archive"' in refused.text) == (403, True), "there has to be a way on"
    assert visitor.get("/").headers["location"] == "/archive"
    assert running_console.visitor().get("/").headers["location"] == "/sign-in"


def test_a_message_is_sent_once_more(
    running_console: RunningConsole, operator: Visitor, console_database: Path
) -> None:
    inside(console_database, lambda here: here.add_destination("orders"))
    [id_] = put(console_database, text("wamid.replayed"))
    delivered = "DELETE FROM deliveries WHERE seq = (SELECT seq FROM events WHERE message_id = $1)"
    inside(console_database, lambda here: here.rows(delivered, id_))
    page = operator.submit(f"/messages/{id_}/replay", {"destination": "orders"})
    assert "Sent to orders once more" in words(page)
    assert "Sent to orders once more" not in words(operator.get(f"/messages/{id_}"))
    job, *_ = json.loads(running_console.do("events", "replay", "--list", "--json"))["replays"]
    assert (job["destination"], job["matched"]) == ("orders", 1)
    _, visitor = running_console.with_policy(allow("whaul:View*"))
    assert visitor.post(f"/messages/{id_}/replay", {"destination": "orders"}).status == 403
    record, *_ = running_console.audited(eventName="ReplayDelivery", readOnly=False)
    assert record["requestParameters"]["job"] == job["job"]
    assert record["eventSource"] == "console.whaul"


def test_a_file_that_failed_is_fetched_again(operator: Visitor, console_database: Path) -> None:
    inside(console_database, lambda here: here.add_archive())
    [id_] = put(console_database, image("wamid.failed", "5511"))
    failed = "UPDATE files SET state = 'failed', expires_at = 9000000000000000 WHERE media_id = '5511'"
    inside(console_database, lambda here: here.rows(failed))
    page = operator.get(f"/messages/{id_}")
    [file] = set(re.findall(r'name="file" value="([^"]+)"', page.body.decode()))
    assert "fetched again" in words(operator.submit(f"/messages/{id_}/fetch", {"file": file}))
    state = inside(console_database, lambda here: here.value("SELECT state FROM files WHERE media_id = '5511'"))
    assert state == "pending"
    assert operator.post(f"/messages/{id_}/fetch", {"file": "other"}).status == 404
    assert f"/messages/{id_}" in operator.get("/messages?media_id=5511").body.decode()
    inside(console_database, lambda here: here.rows("DELETE FROM archives"))


def test_what_an_error_means_is_a_click_away(running_console: RunningConsole, console_database: Path) -> None:
    body = json.dumps({"object": "whatsapp_business_account", "entry": [{"id": WABA, "changes": 7}]}).encode()

    async def work(here: Installation) -> str:
        await here.inbox.put(webhook(body, AnySpeaker()))
        return str(await here.value("SELECT message_id FROM events ORDER BY seq DESC LIMIT 1"))

    id_ = inside(console_database, work)
    _, visitor = running_console.with_policy(allow("whaul:View*"))
    shown = visitor.get(f"/messages/{id_}")
    assert "Not understood" in words(shown)
    [place] = re.findall(r'href="(/docs/[^"]+)">What it means', shown.body.decode())
    page, _, anchor = place.partition("#")
    assert f'id="{anchor}"' in visitor.get(page).body.decode()
    assert visitor.get("/docs/nothing").status == 404


# Live


def test_rows_come_as_messages_do_until_the_key_changes_or_is_disabled(
    running_console: RunningConsole, console_database: Path
) -> None:
    key, visitor = running_console.with_policy(allow("whaul:View*"))
    connection = HTTPConnection("127.0.0.1", running_console.port, timeout=PATIENCE)
    cookies = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    connection.request("GET", "/messages/live?type=text", headers={"Cookie": cookies, "Accept": "text/event-stream"})
    stream = connection.getresponse()
    assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    put(console_database, text("wamid.live", body="as it comes"))
    lines = iter(stream.readline, b"")
    line = next(line for line in lines if b"as it comes" in line)
    row = json.loads(line.removeprefix(b"data: "))
    assert row["html"].startswith(f'<tr id="e{row["seq"]}"')
    policy = running_console.log.with_name("narrower.json")
    policy.write_text(allow("whaul:ViewMessages"))
    running_console.do("keys", "policy", key, str(policy))
    assert next(line for line in lines if line == b"event: end\n")  # the page is loaded again, masked
    connection.close()
    connection.request("GET", "/messages/live", headers={"Cookie": cookies, "Accept": "text/event-stream"})
    stream = connection.getresponse()
    assert b"event: row\n" in iter(stream.readline, b"")
    running_console.do("keys", "disable", key)
    assert b"event: end\n" in iter(stream.readline, b"")
    connection.close()


def test_who_leaves_a_live_list_takes_no_query_along(running_console: RunningConsole, operator: Visitor) -> None:
    cookies = "; ".join(f"{name}={value}" for name, value in operator.cookies.items())
    headers = {"Cookie": cookies, "Accept": "text/event-stream"}
    for _ in range(20):
        connection = HTTPConnection("127.0.0.1", running_console.port, timeout=PATIENCE)
        connection.request("GET", "/messages/live", headers=headers)
        stream = connection.getresponse()
        assert stream.readline() == b"retry: 2000\n"
        stream.close()
        connection.close()
    assert operator.get("/messages").status == 200
    assert '"level":"error"' not in running_console.log.read_text(encoding="utf-8")
