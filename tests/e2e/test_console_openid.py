"""Signing in to a real console at a real provider, both on loopback."""

import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from harness.client import Reply, send
from harness.console import RunningConsole, Visitor, allow, console, console_over, words
from harness.inbox import OWNER
from harness.openid import OpenIdProvider, openid_provider

ADA = {"sourceIdentity": "ada@example.com (248289761001)"}


@pytest.fixture(scope="module")
def shared_provider() -> Iterator[OpenIdProvider]:
    with openid_provider() as running:
        yield running


@pytest.fixture(scope="module")
def site(shared_provider: OpenIdProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:
    rules = {"WHAUL_OIDC_ACCESS_KEYS": "admins=root,support=reader", "WHAUL_OIDC_SESSION": "1h"}
    root = {"WHAUL_ROOT_ACCESS_KEY_ID": "root", "WHAUL_ROOT_SECRET_ACCESS_KEY": "x" * 20}
    database = tmp_path_factory.mktemp("openid") / "whaul.db"
    with console_over(database, shared_provider.environ | rules | root) as running:
        yield running


@pytest.fixture
def provider(shared_provider: OpenIdProvider) -> OpenIdProvider:
    shared_provider.reset()
    return shared_provider


def follow(visitor: Visitor, provider: OpenIdProvider) -> str:
    """Press the button, and let the provider send the browser back; return where to."""
    reply = visitor.get("/sign-in/oidc")
    assert reply.status == 303, reply.text
    place = urlsplit(reply.headers["location"])
    assert place.port == provider.port
    back = send(provider.port, "GET", f"{place.path}?{place.query}", b"", {}).headers["location"]
    assert back.startswith(f"http://127.0.0.1:{visitor.port}/sign-in/oidc/callback?")
    return back.partition(str(visitor.port))[2]


def sign_in(visitor: Visitor, provider: OpenIdProvider) -> Reply:
    return visitor.get(follow(visitor, provider))


def test_somebody_signs_in_and_the_audit_log_says_who(site: RunningConsole, provider: OpenIdProvider) -> None:
    visitor = site.visitor()
    assert "Sign in with Example" in words(visitor.get("/sign-in"))
    begun = visitor.get("/sign-in/oidc").headers["set-cookie"]
    assert "HttpOnly" in begun
    assert "SameSite=lax" in begun
    assert "Max-Age=600" in begun
    reply = sign_in(visitor, provider)
    assert reply.status == 200
    assert 'content="0; url=/messages"' in reply.text
    cookies = [value for name, value in reply.lines if name.lower() == "set-cookie"]
    assert any("SameSite=strict" in cookie and "HttpOnly" in cookie for cookie in cookies)
    page = visitor.get("/messages")
    assert page.status == 200
    assert "ada@example.com" in page.text
    out = visitor.post("/sign-out")
    assert visitor.get("/messages").status == 303
    [place] = re.findall(r'href="([^"]*/logout[^"]*)"', unescape(out.text))
    assert place.startswith(f"{provider.issuer}/logout?theme=plain&client_id=whaul+console&post_logout_redirect_uri=")
    back = send(provider.port, "GET", place.partition(str(provider.port))[2], b"", {}).headers["location"]
    assert back == f"http://127.0.0.1:{visitor.port}/sign-in/oidc/callback"
    assert visitor.get("/sign-in/oidc/callback").headers["location"] == "/sign-in"
    key = {"principalId": "root", "accessKeyId": "root", "userName": "root", "accountId": OWNER}
    identity = {"type": "IAMUser", "arn": f"arn:aws:iam::{OWNER}:user/root", "sessionContext": ADA} | key
    for name in ("SignIn", "ViewMessages", "SignOut"):
        site.audited(eventName=name, userIdentity=identity)


def test_an_answer_is_good_once_and_for_who_asked(site: RunningConsole, provider: OpenIdProvider) -> None:
    visitor, thief = site.visitor(), site.visitor()
    back = follow(visitor, provider)
    assert thief.get(back).status == 403
    cookies = dict(visitor.cookies)
    assert visitor.get(back).status == 200
    again = Visitor(site.port, cookies)
    assert "used before" in words(again.get(back))
    assert again.get("/messages").status == 303
    for wrong in ("?state=", "?state=x", "?error=access_denied", "?code=x&state=%00"):
        assert site.visitor().get(f"/sign-in/oidc/callback{wrong}").status in {403, 429}


def test_without_the_provider_its_people_are_out(
    site: RunningConsole, provider: OpenIdProvider, tmp_path: Path
) -> None:
    ada, operator = site.visitor(), site.sign_in("root")
    assert sign_in(ada, provider).status == 200
    kept = {name: value for name, value in site.environ.items() if not name.startswith("WHAUL_OIDC_")}
    with console(kept, tmp_path) as other:
        for visitor, status in ((ada, 303), (operator, 200)):
            cookies = {f"whaul-{other.port}": visitor.cookies[f"whaul-{site.port}"]}
            assert Visitor(other.port, cookies).get("/messages").status == status


def test_to_disable_the_access_key_ends_the_session(site: RunningConsole, provider: OpenIdProvider) -> None:
    policy = site.log.with_name("reader.json")
    policy.write_text(allow("whaul:View*"))
    made = json.loads(site.do("keys", "create", "--name", "reader", "--policy", str(policy), "--json"))
    provider.groups = ["support"]
    visitor = site.visitor()
    assert sign_in(visitor, provider).status == 200
    assert visitor.get("/messages").status == 200
    site.do("keys", "disable", made["accessKeyId"])
    assert visitor.get("/messages").status == 303
    refused = sign_in(site.visitor(), provider)
    assert refused.status == 403
    assert "reader, which cannot be used" in words(refused)


def test_the_key_of_a_group_is_told_apart_and_keeps_its_name_for_itself(
    site: RunningConsole, provider: OpenIdProvider
) -> None:
    visitor = site.visitor()
    sign_in(visitor, provider)
    [once] = re.findall(r'name="once" value="([^"]+)"', visitor.get("/keys/new").body.decode())
    reply = visitor.post("/keys/new", {"name": "root", "policy": allow("whaul:ViewMessages"), "once": once})
    assert reply.status == 400
    assert "Groups sign in as root" in words(reply)
    made = json.loads(site.do("keys", "create", "--name", "reader", "--role", "viewer", "--json"))
    page = f"/keys/{made['accessKeyId']}/delete"
    assert "nobody in them can any more" in words(visitor.get(page))
    visitor.submit(page)


def test_who_has_no_group_is_told_so_and_named(site: RunningConsole, provider: OpenIdProvider) -> None:
    provider.groups = ["marketing"]
    visitor = site.visitor()
    reply = sign_in(visitor, provider)
    assert reply.status == 403
    assert "knows you as ada@example.com (248289761001), but none of your groups" in words(reply)
    assert visitor.get("/messages").status == 303
    site.audited(eventName="SignIn", errorCode="Failure", userIdentity={"type": "Unknown", "sessionContext": ADA})


def test_only_its_own_page_sends_people_away_and_only_to_the_provider(
    site: RunningConsole, provider: OpenIdProvider
) -> None:
    for other in ("cross-site", "same-site"):
        reply = site.visitor().get("/sign-in/oidc", **{"Sec-Fetch-Site": other})
        assert (reply.status, reply.headers["location"]) == (303, "/sign-in")
    reply = site.visitor().get("/sign-in/oidc?next=//evil.example&redirect_uri=https://evil.example")
    assert "evil" not in reply.headers["location"]
    assert site.visitor().get("/sign-in/oidc", Host="evil.example").status == 421
    assert provider.requests == []


def test_a_provider_that_is_away_is_told_and_nothing_secret_is_logged(
    site: RunningConsole, provider: OpenIdProvider
) -> None:
    visitor = site.visitor()
    back = follow(visitor, provider)
    provider.fails = 503
    reply = visitor.get(back)
    assert reply.status == 503
    assert "answers 503" in words(reply)
    log = site.log.read_text()
    assert "the sign-in provider cannot be used" in log
    records = Path(site.environ["WHAUL_AUDIT_LOG"]).read_text()
    for secret in (*provider.given, *visitor.cookies.values()):
        assert not secret or (secret not in log and secret not in records and secret not in reply.text)


def test_without_a_provider_there_is_no_button(running_console: RunningConsole) -> None:
    visitor = running_console.visitor()
    assert "/sign-in/oidc" not in visitor.get("/sign-in").text
    for path in ("/sign-in/oidc", "/sign-in/oidc/callback?code=x"):
        assert visitor.get(path).headers["location"] == "/sign-in"
