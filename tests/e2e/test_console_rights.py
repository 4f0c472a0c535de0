"""Every page of the console, and every form, as people ask for it who may not: a page without its check fails here."""

import json
import re
import shlex
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

import pytest

from harness.client import Reply
from harness.console import NUMBER, OTHER_NUMBER, OTHER_WABA, RunningConsole, Visitor, allow, inside, put, words
from harness.inbox import ACCOUNT_ID, OWNER, REGION, WABA, image
from whaul.arns import Arns
from whaul.console.page import Page
from whaul.console.pages import PAGES

ARNS = Arns(OWNER, REGION)
PHONE = ARNS.phone_number_id(NUMBER)
DESTINATION = "guarded"
PERSON, CAPTION, WAMID, MEDIA = "15550107777", "what nobody else is to read", "wamid.guarded", "7701"
CONTENT = (PERSON, CAPTION, WAMID, f"/{MEDIA}.jpeg", f"/{MEDIA}.jpg")
NAMED = (ACCOUNT_ID, WABA, NUMBER, PHONE, OTHER_WABA, OTHER_NUMBER, "+1555010", "Shop", MEDIA)
ELSEWHERE = [ARNS.arn(f"{kind}-{'0' * 32}") for kind in ("waba", "phone-number-id")] + [ARNS.event_destination("none")]
OPEN = {"/docs/{name:path}"}
"""Pages for whoever is signed in."""


@pytest.fixture(scope="module")
def there(console_database: Path, running_console: RunningConsole) -> Iterator[dict[str, str]]:
    """What addresses and forms may name; all of it is there."""
    inside(console_database, lambda here: here.add_destination(DESTINATION))
    inside(console_database, lambda here: here.add_archive())
    message = image(WAMID, MEDIA) | {"from": PERSON}
    message["image"] = message["image"] | {"caption": CAPTION}
    [event] = put(console_database, message)
    stored = "UPDATE files SET state = 'stored', size = 1, sha256 = $1, done_at = created_at WHERE media_id = $2"
    inside(console_database, lambda here: here.rows(stored, bytes(32), MEDIA))
    file = inside(console_database, lambda here: here.value("SELECT id FROM files WHERE media_id = $1", MEDIA))
    yield {"event": event, "file": str(file), "key": running_console.key("--allow-all")}
    inside(console_database, lambda here: here.rows("DELETE FROM archives"))
    inside(console_database, lambda here: here.rows("DELETE FROM files WHERE media_id = $1", MEDIA))
    inside(console_database, lambda here: here.rows("DELETE FROM destinations WHERE name = $1", DESTINATION))


def address(page: Page, there: dict[str, str]) -> str:
    """Write a page's address, about things that are there."""
    id_ = there["key"] if page.path.startswith("/keys") else there["event"]
    given = {"id": id_, "file": there["file"], "account": ACCOUNT_ID, "name": DESTINATION, "job": "1"}
    path = page.path.replace("{name:path}", "{name}")
    return path.format(**given)


def form(there: dict[str, str]) -> dict[str, str]:
    """What the forms take, in one."""
    return {
        "destination": DESTINATION,
        "file": there["file"],
        "number": PHONE,
        "kind": "text",
        "to": PERSON,
        "text": "hello",
        "resource": ACCOUNT_ID,
        "key": "k",
        "value": "v",
        "arn": ARNS.event_destination(DESTINATION),
        "waba_id": WABA,
        "token": "token",
        "policy": allow("*"),
        "name": "made",
        "bucket": "bucket",
    }


def asked(visitor: Visitor, page: Page, there: dict[str, str]) -> Reply:
    """Ask for a page, or send its form. Of a list that is live, only the head comes."""
    target = address(page, there)
    if page.posts:
        return visitor.post(target, form(there))
    return visitor.head(target) if page.path.endswith("/live") else visitor.get(target)


@pytest.fixture(scope="module")
def nobody(running_console: RunningConsole) -> Visitor:
    """Somebody with a key for calls only."""
    return running_console.with_policy(allow("s3:GetObject"))[1]


@pytest.fixture(scope="module")
def stranger(running_console: RunningConsole) -> Visitor:
    """Somebody who may do everything, with other things than those that are there."""
    policy = {"Statement": {"Effect": "Allow", "Action": "*", "Resource": ELSEWHERE}}
    return running_console.with_policy(json.dumps(policy))[1]


@pytest.fixture(scope="module")
def masked(running_console: RunningConsole) -> Visitor:
    """Somebody who may do everything but read."""
    deny = {"Effect": "Deny", "Action": "whaul:ViewContent", "Resource": "*"}
    policy = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}, deny]}
    return running_console.with_policy(json.dumps(policy))[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{'POST' if page.posts else 'GET'} {page.path}")
def test_a_page_and_a_form_are_for_those_who_may(
    page: Page, there: dict[str, str], running_console: RunningConsole, nobody: Visitor, stranger: Visitor
) -> None:
    target = address(page, there)
    assert asked(running_console.visitor(), page, there).status in {303, 401}, "not signed in"
    if page.path in OPEN:
        return
    assert asked(nobody, page, there).status == 403
    reply = asked(stranger, page, there)
    if page.posts or "{" in page.path:
        assert reply.status in {403, 404}, reply.text
    else:
        assert reply.status in {200, 403}, reply.text
    for named in (*CONTENT, *NAMED, there["key"]):
        assert named not in reply.body.decode().replace(target, "")
    if DESTINATION not in target:
        assert DESTINATION not in reply.body.decode()


def test_a_form_of_another_page_changes_nothing(there: dict[str, str], operator: Visitor) -> None:
    targets = [address(page, there) for page in PAGES if page.posts]
    for target in [*targets, "/sign-in/link", "/sign-in/key", "/sign-out"]:
        for headers in ({}, {"Origin": "http://127.0.0.1:1"}, {"Sec-Fetch-Site": "same-site"}):
            given = {"Content-Type": "application/x-www-form-urlencoded"} | headers
            reply = operator.request("POST", target, urlencode(form(there)).encode(), given)
            assert reply.status == 403, target
            assert "was not made by a page of the console" in reply.text


def test_what_somebody_may_not_read_is_on_no_page(
    there: dict[str, str], masked: Visitor, running_console: RunningConsole
) -> None:
    for page in PAGES:
        if not page.posts:
            reply = asked(masked, page, there)
            for written in CONTENT:
                assert written not in reply.text, page.path
    found = [masked.get(f"/messages?{name}={value}") for name, value in (("sender", PERSON), ("wamid", WAMID))]
    assert [reply.status for reply in found] == [403, 403], "whether something is found would tell"
    for log in (running_console.log, running_console.log.with_name("audit.log")):
        assert not any(written in log.read_text() for written in CONTENT)


@pytest.mark.usefixtures("there")
def test_to_find_somebody_takes_the_right_to_see_the_message(running_console: RunningConsole) -> None:
    policy = {
        "Statement": [
            {"Effect": "Allow", "Action": "whaul:ViewContent", "Resource": "*"},
            {"Effect": "Allow", "Action": "whaul:ViewMessages", "Resource": ELSEWHERE},
            {"Effect": "Allow", "Action": "whaul:ReplayDelivery", "Resource": "*"},
        ]
    }
    _, visitor = running_console.with_policy(json.dumps(policy))
    page = visitor.get(f"/deliveries/{DESTINATION}/replay?count=1&kind=all&sender={PERSON}")
    assert page.status == 200
    assert "0 events" in words(page)
    assert "+15550100100" not in page.text


def test_what_could_not_be_done_is_recorded_so(operator: Visitor, running_console: RunningConsole) -> None:
    operator.get(f"/messages?state={PERSON}")
    [record, *_] = running_console.audited(eventName="ViewMessages", errorCode="ValidationException")
    assert PERSON not in json.dumps(record)
    operator.post("/deliveries/unknown/pause")
    assert running_console.audited(eventName="ManageDestinations", errorCode="ResourceNotFoundException")


@pytest.mark.usefixtures("there")
def test_an_address_puts_no_command_into_a_command(operator: Visitor) -> None:
    text = "$(id);`id`"
    for target in (
        f"/deliveries/{DESTINATION}/dead/retry?{urlencode({'id': text})}",
        f"/deliveries/{DESTINATION}/dead/drop?{urlencode({'cause': text})}",
        f"/messages?{urlencode({'type': text, 'sender': text})}",
        f"/accounts/link?{urlencode({'waba_id': text})}",
    ):
        page = unescape(operator.get(target).body.decode())
        commands = [each for each in re.findall(r"<code>(whaul .*?)</code>", page, re.DOTALL) if "$(" in each]
        assert commands, target
        assert all(shlex.split(text_of) and f"'{text}'" in text_of for text_of in commands), commands
