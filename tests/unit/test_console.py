"""Parts of the console without a browser, a server or a database."""

import asyncio
import json
import re
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.requests import Request

from harness.console import allow
from whaul import documentation
from whaul.arns import Arns
from whaul.auth.policy import Policy
from whaul.console import manual
from whaul.console.bodies import bounded
from whaul.console.content import MAX_TEXT, Summary, summary
from whaul.console.filters import Filters
from whaul.console.listener import base_url, check_listener
from whaul.console.pages import PAGES, navigation_of
from whaul.console.recent import MAX_LIVE, MAX_OWN_LIVE, Recent
from whaul.console.rendering import ago, pretty, seconds, size
from whaul.console.safety import HEADERS, Guard
from whaul.console.sign_in import ATTEMPTS, CHALLENGE_LIFE, MINUTE, Attempts, Challenges
from whaul.errors import SerializationException, ThrottledRequestException
from whaul.events.journal import Journal
from whaul.operations.actions import CONSOLE, actions
from whaul.server.asgi import Message, Receive, Scope, Send
from whaul.settings import Settings, SettingsError
from whaul.telemetry.clients import ClientAddress

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


# Safety


async def page(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"immutable")]})
    await send({"type": "http.response.body", "body": b""})


def answered(
    *headers: tuple[str, str], method: str = "GET", peer: str = "127.0.0.1", only_proxies: bool = False
) -> tuple[int, dict[str, str]]:
    guard = Guard(page, ["console.example"], ClientAddress(["10.0.0.0/8"]), only_proxies=only_proxies)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError

    encoded = [(name.encode(), value.encode()) for name, value in headers]
    scope = {"type": "http", "method": method, "path": "/", "headers": encoded, "client": (peer, 1)}
    asyncio.run(guard(scope, receive, send))
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


@pytest.mark.parametrize(
    ("hosts", "status"),
    [
        (["console.example"], 200),
        (["CONSOLE.example:8443"], 200),
        (["localhost:8082"], 200),
        (["127.0.0.1:1"], 200),
        (["[::1]:8082"], 200),
        ([], 421),
        ([""], 421),
        (["console.example", "console.example"], 421),
        (["console.example.evil.example"], 421),
        (["evil.example#console.example"], 421),
        (["evil.example@console.example:x"], 421),
        (["[::1"], 421),
        (["192.0.2.1"], 421),
    ],
)
def test_the_console_answers_to_its_names_only(hosts: list[str], status: int) -> None:
    found, headers = answered(*[("host", host) for host in hosts])
    assert found == status
    assert headers["content-security-policy"] == HEADERS["content-security-policy"]


def test_an_answer_keeps_headers_of_its_own() -> None:
    assert answered(("host", "localhost"))[1]["cache-control"] == "immutable"


@pytest.mark.parametrize(("peer", "status"), [("10.0.0.7", 200), ("192.0.2.7", 403), ("127.0.0.1", 403)])
def test_without_tls_only_trusted_proxies_connect(peer: str, status: int) -> None:
    assert answered(("host", "console.example"), peer=peer, only_proxies=True)[0] == status


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("https://console.example", "console.example", 200),
        ("https://console.example:8443", "console.example:8443", 200),
        ("http://console.example", "console.example", 403),
        ("https://console.example:8443", "console.example", 403),
        ("http://localhost:8082", "localhost:8082", 200),
        ("ftp://localhost:8082", "localhost:8082", 403),
        ("http://[::1", "localhost:8082", 403),
    ],
)
def test_a_page_that_came_in_the_clear_posts_nothing(origin: str, host: str, status: int) -> None:
    assert answered(("host", host), ("origin", origin), method="POST")[0] == status


def test_a_form_that_does_not_come_is_not_waited_for() -> None:
    async def read() -> None:
        scope = {"type": "http", "method": "POST", "headers": [(b"content-length", b"9")]}
        await bounded(Request(scope, asyncio.Event().wait), 10, seconds=0).body()  # type: ignore[arg-type]

    with pytest.raises(SerializationException, match="in time"):
        asyncio.run(read())


def test_a_listener_in_the_clear_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHAUL_CONSOLE_LISTEN", "0.0.0.0:8082")
    with pytest.raises(SettingsError, match="WHAUL_TRUSTED_PROXIES"):
        check_listener(Settings.load())
    monkeypatch.setenv("WHAUL_TRUSTED_PROXIES", "10.0.0.1")
    check_listener(Settings.load())


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "http://127.0.0.1:8082"),
        ({"WHAUL_CONSOLE_LISTEN": "[::1]:9"}, "http://[::1]:9"),
        ({"WHAUL_CONSOLE_LISTEN": "0.0.0.0:9"}, "http://127.0.0.1:9"),
        ({"WHAUL_CONSOLE_HOSTS": "a.example,b.example"}, "https://a.example"),
    ],
)
def test_a_link_leads_where_browsers_find_the_console(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], url: str
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert base_url(Settings.load()) == url


@pytest.mark.parametrize(
    ("name", "value"),
    [("LISTEN", text) for text in ("8082", "127.0.0.1", "127.0.0.1:65536", "::1:8082", "http://127.0.0.1:1", "a b:1")]
    + [("HOSTS", text) for text in ("https://a.example", "a.example:8082", "a.example/", "*.example", "a b")],
)
def test_what_is_no_place_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"WHAUL_CONSOLE_{name}", value)
    with pytest.raises(SettingsError, match="expected"):
        Settings.load()


# Signing in


def test_a_challenge_is_good_once_and_for_two_minutes() -> None:
    clock = Clock()
    challenges = Challenges(clock)
    first, second = challenges.make(), challenges.make()
    assert first != second
    assert not Challenges(clock).use(first)
    for wrong in ("", ".", "x", f"9{first}", first[:-1], first.replace(".", "", 1), "\udcff.x"):
        assert not challenges.use(wrong)
    assert challenges.use(first)
    assert not challenges.use(first)
    clock.now += CHALLENGE_LIFE
    assert not challenges.use(second)


def test_who_fails_too_often_waits_a_minute_and_others_do_not() -> None:
    clock = Clock()
    attempts = Attempts(clock)
    for _ in range(ATTEMPTS):
        attempts.check("192.0.2.1")
        attempts.fail("192.0.2.1")
    attempts.check("192.0.2.2")
    attempts.check(None)
    with pytest.raises(ThrottledRequestException) as refused:
        attempts.check("192.0.2.1")
    assert refused.value.retry_after == MINUTE
    clock.now += MINUTE
    attempts.check("192.0.2.1")


@pytest.mark.parametrize(
    ("policy", "allowed"),
    [
        (allow("whaul:ViewMessages"), True),
        (allow("*"), True),
        (allow("WHAUL:view*", resource="arn:aws:social-messaging:us-east-1:000000000000:waba/1"), True),
        (allow("social-messaging:*"), False),
        (allow("whaul:ViewContent"), False),
    ],
)
def test_a_page_is_there_for_who_may_see_something_of_it(policy: str, allowed: bool) -> None:
    assert Policy.parse(policy).allows_somewhere("whaul:ViewMessages") is allowed


@pytest.mark.parametrize(("resource", "allowed"), [("*", False), ("arn:aws:social-messaging:*:*:waba/1", True)])
def test_what_is_denied_everywhere_has_no_page(resource: str, allowed: bool) -> None:
    statements = [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "whaul:View*", "Resource": resource},
    ]
    assert Policy.parse(json.dumps({"Statement": statements})).allows_somewhere("whaul:ViewMessages") is allowed


# Content


def entry(value: Any) -> bytes:
    return json.dumps({"id": "1", "changes": [{"value": value, "field": "messages"}]}).encode()


def message(**members: Any) -> bytes:
    return entry({"messages": [{"from": "4915", "type": next(iter(members)), **members}]})


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (message(text={"body": "good\n morning"}), "good morning"),
        (message(text={"body": "x" * 500}), "x" * (MAX_TEXT - 1) + "…"),
        (message(image={"id": "1", "caption": "the sea"}), "the sea"),
        (message(document={"id": "1", "caption": "for you", "filename": "bill.pdf"}), "for you bill.pdf"),
        (message(location={"name": "Kiosk", "address": "Main 1", "latitude": 1}), "Kiosk Main 1"),
        (message(interactive={"type": "button_reply", "button_reply": {"id": "1", "title": "Yes"}}), "Yes"),
        (message(audio={"id": "1"}), ""),
        (message(text={"body": 7}), ""),
        (message(text=["body"]), ""),
        (message(unsupported={}, errors=[{"title": "cannot be shown"}, 7]), "cannot be shown"),
    ],
)
def test_a_line_says_what_a_message_does(written: bytes, text: str) -> None:
    assert summary(written) == Summary("4915", "", text)


@pytest.mark.parametrize(
    "value", [None, [], {"messages": {}}, {"messages": [7]}, {"contacts": [7]}, {"contacts": [{"profile": 7}]}, {}]
)
def test_what_is_not_as_expected_says_nothing(value: Any) -> None:
    assert summary(entry(value)) == Summary()


def test_who_wrote_is_named_with_what_they_call_themselves() -> None:
    contact = {"profile": {"name": "Ada"}, "wa_id": "1"}
    status = {"recipient_id": "4916", "status": "failed", "errors": [{"title": "undeliverable"}]}
    assert summary(entry({"contacts": [contact], "statuses": [status]})) == Summary("4916", "Ada", "undeliverable")
    assert summary(entry({"standby": {"messages": [{"from": "4917", "type": "text", "text": {"body": "a"}}]}})) == (
        Summary("4917", "", "a")
    )


@pytest.mark.parametrize("content", [b"", b"no JSON", b"{}", b"[" * 100_000, b"\xff\xfe"])
def test_what_was_not_understood_is_shown_as_it_is(content: bytes) -> None:
    assert len(summary(content).text) <= MAX_TEXT


# Pages


def test_filters_are_the_same_in_the_address_and_on_the_command_line() -> None:
    filters = Filters.of({"type": " audio ", "sender": "+49 15", "since": "", "kind": "message", "other": "x"})
    assert filters == Filters(type="audio", sender="+49 15")
    assert filters.query(before=7) == "type=audio&sender=%2B49+15&before=7"
    assert filters.command() == "whaul events list --kind message --type audio --sender '+49 15'"
    assert Filters.of({"kind": "all"}).command() == "whaul events list"
    assert Filters.of({}).is_anything
    assert not Filters.of({"kind": "all"}).is_anything


@pytest.mark.parametrize(
    ("difference", "text"),
    [
        (timedelta(seconds=4), "now"),
        (timedelta(seconds=59), "59 s ago"),
        (timedelta(minutes=61), "1 h ago"),
        (timedelta(days=400), "400 d ago"),
        (timedelta(minutes=-3), "in 3 min"),
    ],
)
def test_times_are_told_from_now(difference: timedelta, text: str) -> None:
    assert ago(NOW - difference, NOW) == text


def test_amounts_are_told_in_their_units() -> None:
    assert [seconds(value) for value in (0.0042, 1.25, 75)] == ["4 ms", "1.2 s", "1 min 15 s"]
    assert [size(count) for count in (7, 1500, 2_500_000, 3 * 10**13)] == ["7 B", "1.5 kB", "2.5 MB", "30.0 TB"]
    assert pretty(b'{"a":"\\u00e9"}') == '{\n  "a": "é"\n}'
    assert pretty(b"{\xff") == "{�"


@pytest.mark.parametrize(
    ("policy", "titles", "start"),
    [
        (
            allow("*"),
            [["Messages", "Deliveries", "Archive"], ["Accounts", "Send"], ["Transfers", "Doctor", "Keys"]],
            "/messages",
        ),
        (allow("whaul:ViewArchives"), [["Archive"]], "/archive"),
        (allow("whaul:ViewKeys"), [["Keys"]], "/keys"),
        (allow("social-messaging:Get*"), [], "/docs/console"),
    ],
)
def test_whoever_comes_begins_where_they_may_see_something(policy: str, titles: list[list[str]], start: str) -> None:
    navigation, parsed = navigation_of(Settings()), Policy.parse(policy)
    assert [[entry.title for entry in group] for group in navigation.of(parsed)] == titles
    assert navigation.start(parsed) == start


def test_every_page_needs_an_action_that_a_policy_can_name() -> None:
    known = actions(Arns("000000000000", "us-east-1"))
    assert {page.action for page in PAGES if page.action is not None} <= known.keys()
    assert all(page.action is not None for page in PAGES if page.posts)


def test_every_action_of_the_console_is_documented() -> None:
    policies = (documentation.folder() / "policies.md").read_text(encoding="utf-8")
    assert [action for action in CONSOLE if f"`{action}`" not in policies] == []


# The documentation


@pytest.mark.parametrize("path", sorted(documentation.folder().glob("*.md")), ids=lambda path: path.stem)
def test_every_page_of_the_documentation_can_be_shown(path: Path) -> None:
    found = manual.page(path.stem)
    assert found is not None
    title, content = found
    assert title
    for place in re.findall(r'href="([^"]*)"', content):
        page, _, anchor = place.removeprefix("/docs/").partition("#")
        linked = content if place.startswith("#") else (manual.page(page) or ("", ""))[1]
        assert place.startswith("https://") or (linked and (not anchor or f'id="{anchor}"' in linked)), place


def test_pictures_of_the_documentation_are_there() -> None:
    pages = [manual.page(path.stem) for path in documentation.folder().glob("*.md")]
    places = [place for found in pages if found for place in re.findall(r'src="/docs/([^"]*)"', found[1])]
    assert places
    for place in places:
        assert (manual.picture(place) or b"").startswith(b"\x89PNG")
    for other in ("../x.png", "console.md", "/etc/x.png", "a/b/c.png"):
        assert manual.picture(other) is None


@pytest.mark.parametrize("name", ["nothing", "", "../README", "console.md", "benchmarks/README", "x" * 100])
def test_what_is_no_page_of_the_documentation_is_not_read(name: str) -> None:
    assert manual.page(name) is None


def test_errors_that_a_text_names_are_linked_and_the_rest_stays_text() -> None:
    told = "<b>ResourceNotFoundException</b>: see ForeignException & DependencyException"
    assert manual.explained(told) == (
        '&lt;b&gt;<a href="/docs/errors#resourcenotfoundexception">ResourceNotFoundException</a>&lt;/b&gt;: see '
        'ForeignException &amp; <a href="/docs/errors#dependencyexception">DependencyException</a>'
    )


@pytest.mark.parametrize(
    ("more", "everywhere"),
    [
        ([], True),
        ([{"Effect": "Deny", "Action": "whaul:ViewContent", "Resource": "*"}], True),
        ([{"Effect": "Deny", "Action": "whaul:View*", "Resource": "arn:aws:social-messaging:*:*:waba/1"}], False),
    ],
)
def test_what_is_allowed_everywhere_need_not_be_asked_of_each(more: list[dict[str, str]], everywhere: bool) -> None:
    statements = [{"Effect": "Allow", "Action": "whaul:ViewMessages", "Resource": "*"}, *more]
    policy = Policy.parse(json.dumps({"Statement": statements}))
    assert policy.allows_everywhere("whaul:ViewMessages") is everywhere
    assert not policy.allows_everywhere("whaul:ViewArchives")


def test_a_session_leaves_room_for_others_lists() -> None:
    recent = Recent(cast("Journal", None))
    with ExitStack() as lists:
        for _ in range(MAX_OWN_LIVE):
            assert recent.has_room("greedy")
            lists.enter_context(recent.counted("greedy"))
        assert not recent.has_room("greedy")
        assert recent.has_room("other")
        for number in range(MAX_LIVE - MAX_OWN_LIVE):
            lists.enter_context(recent.counted(str(number)))
        assert not recent.has_room("other")
    assert recent.has_room("greedy")


ONE = "arn:aws:social-messaging:eu-west-1:1:waba/12"


@pytest.mark.parametrize(
    ("allowed", "denied", "everywhere", "named"),
    [
        ("*", None, True, None),
        (ONE.replace("12", "*"), None, True, None),
        ("arn:aws:social-messaging:*:*:*", None, True, None),
        (ONE.replace("12", "*2"), None, False, None),
        (ONE.replace("12", "1*"), None, False, None),
        (ONE.replace("12", "?"), None, False, None),
        (ONE.replace("waba", "*"), None, False, None),
        (ONE, None, False, (ONE,)),
        (ONE, ONE, False, (ONE,)),
        ("*", ONE, False, None),
        ("*", "arn:aws:social-messaging:*:1:event-destination/x", False, None),
        ("*", ONE.replace("waba/12", "event-destination/x"), True, None),
    ],
)
def test_accounts_need_not_be_read_if_a_policy_has_all_of_them_or_names_them(
    allowed: str, denied: str | None, everywhere: bool, named: tuple[str, ...] | None
) -> None:
    given = [("Allow", allowed), *([] if denied is None else [("Deny", denied)])]
    statements = [{"Effect": effect, "Action": "whaul:View*", "Resource": arn} for effect, arn in given]
    policy = Policy.parse(json.dumps({"Statement": statements}))
    assert policy.allows_everywhere("whaul:ViewMessages", ONE.replace("12", "*")) is everywhere
    assert policy.resources_named("whaul:ViewMessages") == named
    assert policy.resources_named("whaul:ManageArchives") == ()
