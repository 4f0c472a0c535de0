"""The console in a real browser, over a whole stack: simulated Meta, S3 server, gateway, receivers of events."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Response, expect

from harness.browser import chromium, window
from harness.console import RunningConsole, allow, console
from harness.openid import OpenIdProvider, openid_provider
from harness.receiver import Receiver, receiving
from harness.world import Key
from tools.certificates import make_certificates
from whaul.console.pages import PAGES
from whaul.stack.customer import send_events_to
from whaul.stack.local import Stack, stack

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'`--></textarea><svg onload=alert(3)>{{7*7}}"
NOWHERE = "/nowhere"
SIZES = {"wide": {"width": 1440, "height": 900}, "narrow": {"width": 360, "height": 740}}


@dataclass
class Site:
    """Everything that runs."""

    stack: Stack
    console: RunningConsole
    orders: Receiver
    provider: OpenIdProvider
    browser: Browser
    ids: dict[str, str]
    """Events by what they are."""

    def link(self, key: str = "root") -> str:
        return str(json.loads(self.console.do("console", "link", "--key", key, "--json"))["url"])

    @contextmanager
    def signed_in(self, key: str = "root", **options: Any) -> Iterator[Page]:
        with window(self.browser, **options) as page:
            page.goto(self.link(key))
            page.wait_for_url("**/messages")
            yield page

    def open(self, page: Page, path: str) -> Response | None:
        return page.goto(f"{self.console.url}{path}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as parts:
        running = parts.enter_context(stack(bucket="inbox"))
        orders = parts.enter_context(receiving())
        send_events_to(orders.url, "orders", running.account_id, running.installation)
        environ = os.environ | running.environment()
        environ |= {"WHAUL_ROOT_ACCESS_KEY_ID": running.access_key_id}
        environ |= {"WHAUL_ROOT_SECRET_ACCESS_KEY": running.secret_access_key}
        provider = parts.enter_context(openid_provider("localhost"))
        environ |= provider.environ | {"WHAUL_OIDC_ACCESS_KEYS": f"admins={running.access_key_id}"}
        found = parts.enter_context(console(environ, tmp_path_factory.mktemp("browser")))
        ids = _written(running, orders)
        # Playwright runs an event loop in this thread from here on.
        yield Site(running, found, orders, provider, parts.enter_context(chromium()), ids)


def _written(running: Stack, orders: Receiver) -> dict[str, str]:
    media = {media.mime_type.split("/")[0]: media.id for media in running.simulator.media.values()}
    orders.answers = [413]
    ids = {"dead": running.receive(text="Where is my order?", sender="447700900123").event_id}
    for kind in ("image", "audio", "application"):
        ids[kind] = running.receive(media[kind]).event_id
    ids["hostile"] = running.receive(text=HOSTILE, sender="4915112345670").event_id
    answer = {"messaging_product": "whatsapp", "to": "4915112345670", "type": "text", "text": {"body": HOSTILE}}
    running.client().send_whatsapp_message(
        originationPhoneNumberId=running.phone_number_id, metaApiVersion="v23.0", message=json.dumps(answer).encode()
    )
    for media_id in ("*", media["audio"]):  # calls that no page makes
        running.simulator.fault(media_id, kind="status", status=503, hop="delete", body=HOSTILE)
    return ids


def pages(site: Site) -> list[str]:
    """Every page that can be opened, and some of each kind that takes a parameter."""
    whole = [page.path for page in PAGES if page.title is not None]
    messages = [f"/messages/{id_}" for id_ in site.ids.values()]
    of_orders = [f"/deliveries/orders{rest}" for rest in ("", "/dead", "/dead/retry", "/dead/drop", "/replay")]
    of_orders += ["/deliveries/orders?outcome=failed", "/deliveries/orders/replay?since=1h&count=1"]
    account = f"/accounts/{site.stack.account_id}"
    of_accounts = [account, f"{account}/unlink", "/accounts/link", "/accounts?text=nothing"]
    of_archive = [f"/archive/{site.stack.account_id}/{rest}" for rest in ("backfill", "off")]
    key = site.console.key("--role", "viewer")
    of_keys = [f"/keys/{key}{rest}" for rest in ("", "/disable", "/delete", "/policy", "/limit")]
    of_keys += ["/keys/new?role=application", "/keys/simulator", f"/keys/simulator?key={key}"]
    of_keys += [f"/keys/simulator?key={key}&action=whaul:{action}" for action in ("ViewMessages", "ManageKeys")]
    sends = f"/send?number={site.stack.phone_number_id}&kind="
    of_sends = [f"{sends}{kind}" for kind in ("text", "template", "document", "json")]
    rest = ["/simulator", "/simulator?fault=error", "/docs/events", "/messages?type=nothing", "/sign-in", NOWHERE]
    return [*whole, *messages, *of_orders, *of_accounts, *of_archive, *of_keys, *of_sends, *rest]


@pytest.mark.parametrize(("scheme", "size"), [("light", "wide"), ("dark", "narrow")])
def test_every_page_is_accessible_and_fits(site: Site, scheme: str, size: str) -> None:
    with site.signed_in(color_scheme=scheme, viewport=SIZES[size]) as page:
        page.expected = ("404",)
        for path in pages(site):
            reply = site.open(page, path)
            assert reply is not None
            assert reply.ok is (path != NOWHERE), path
            check(page)


def check(page: Page) -> None:
    """Check that a page is accessible, and fits into its window."""
    found = Axe().run(page)
    assert found.violations_count == 0, f"{page.url}: {found.generate_report()}"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), page.url
    assert page.locator("h1").count() == 1, page.url


def test_a_link_signs_in_and_leaves_the_address(site: Site) -> None:
    url = site.link()
    with window(site.browser) as page:
        page.expected = ("403",)
        page.goto(url)
        page.wait_for_url("**/messages")
        assert url.partition("#")[2] not in page.evaluate("JSON.stringify(performance.getEntries())")
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/sign-in")
        page.goto(url)
        expect(page.get_by_role("alert").first).to_contain_text("used already")


def test_an_access_key_signs_in_and_its_secret_stays_in_the_browser(site: Site) -> None:
    make = ("keys", "create", "--name", "typed", "--allow-all", "--expires-in", "1h", "--json")
    made = json.loads(site.console.do(*make))
    key = Key(made["accessKeyId"], made["secretAccessKey"], made["sessionToken"])
    sent: list[str] = []
    with window(site.browser) as page:
        page.expected = ("403",)
        page.on("request", lambda request: sent.append(f"{request.url} {request.all_headers()} {request.post_data}"))
        site.open(page, "/sign-in")
        page.get_by_label("Access key id").fill(key.id)
        page.get_by_label("Secret access key").fill("x" * 40)
        page.get_by_label("Session token").fill(key.token or "")
        button = page.locator("[data-by-key] button")
        button.click()
        expect(page.locator(".problem")).to_contain_text("signature")
        page.get_by_label("Secret access key").fill(key.secret)
        button.click()
        page.wait_for_url("**/messages")
    assert not [request for request in sent if key.secret in request]
    assert [request for request in sent if f"Credential={key.id}/" in request]


@pytest.mark.parametrize("asks", [False, True])
def test_a_provider_at_another_site_signs_in(site: Site, *, asks: bool) -> None:
    site.provider.reset()
    site.provider.asks = asks
    with window(site.browser) as page:
        page.expected = ("404",)  # the provider's page has no icon
        site.open(page, "/sign-in")
        page.get_by_role("link", name="Sign in with Example").click()
        if asks:
            page.get_by_role("button", name="Sign in as Ada").click()
        page.wait_for_url("**/messages")
        expect(page.locator(".session")).to_contain_text("root")
        assert [cookie["sameSite"] for cookie in page.context.cookies()] == ["Strict"]
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("link", name="Sign out of Example, too").wait_for()
        assert Axe().run(page).violations_count == 0
        page.get_by_role("link", name="Sign out of Example, too").click()
        page.wait_for_url("**/sign-in")
        assert page.context.cookies() == []


def test_a_provider_that_turns_somebody_away_is_understood(site: Site) -> None:
    site.provider.reset()
    site.provider.groups = ["marketing"]
    with window(site.browser) as page:
        page.expected = ("403",)
        site.open(page, "/sign-in")
        page.get_by_role("link", name="Sign in with Example").click()
        expect(page.get_by_role("alert").first).to_contain_text("none of your groups")
        assert Axe().run(page).violations_count == 0
        assert page.context.cookies() == []


def test_messages_come_by_themselves_and_do_not_move_what_is_read(site: Site) -> None:
    with site.signed_in() as page:
        expect(page.get_by_role("status")).to_contain_text("Live")
        site.stack.receive(text="Here I am", sender="15550100888")
        row = page.locator("tr", has_text="Here I am")
        expect(row).to_contain_text("delivered 1/1")
        first = page.locator("tbody tr").first
        first.hover()
        site.stack.receive(text="And again", sender="15550100888")
        expect(page.get_by_role("button", name="Show 1 new")).to_be_visible()
        assert "And again" not in page.locator("tbody").inner_text()
        page.mouse.move(5, 5)
        expect(page.locator("tbody tr").first).to_contain_text("And again")


def test_transfers_are_live_and_do_not_move_what_is_read(site: Site) -> None:
    with site.signed_in() as page:
        site.open(page, "/transfers")
        expect(page.get_by_role("status")).to_contain_text("Live")
        expect(page.locator("tbody tr").first).to_contain_text("ready")
        expect(page.locator("td[data-label='Calls/s']")).to_have_text(re.compile(r"\d"))
        page.locator("tbody tr").first.hover()
        expect(page.get_by_role("status")).to_contain_text("Paused")
        page.mouse.move(5, 5)
        expect(page.get_by_role("status")).to_contain_text("Live")


def test_the_checks_are_made_by_a_button_and_are_accessible(site: Site) -> None:
    with site.signed_in(viewport=SIZES["narrow"]) as page:
        site.open(page, "/doctor")
        page.get_by_label("Bucket").fill("inbox")
        page.get_by_role("button", name="Run the checks").click()
        expect(page.locator("tr", has_text="bucket inbox")).to_contain_text("a write succeeded")
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.locator("tr", has_text="bucket inbox").get_by_role("link").click()
        page.wait_for_url("**/docs/security#where-files-go")


def test_deliveries_and_files_come_by_themselves(site: Site) -> None:
    with site.signed_in() as page:
        site.open(page, "/deliveries/orders")
        expect(page.get_by_role("status")).to_have_text("Live")
        event = site.stack.receive(text="Are you there?", sender="15550100888").event_id
        expect(page.locator("tr", has_text=event[:8])).to_contain_text("delivered")
        site.open(page, "/archive")
        media = site.stack.simulator.add_media(b"a picture that comes later", "image/png")
        site.stack.receive(media, sender="15550100888")
        expect(page.locator("tr", has_text=media)).to_contain_text("archived")


def test_a_key_is_made_and_its_policy_changed(site: Site) -> None:
    with site.signed_in(viewport=SIZES["narrow"]) as page:
        page.get_by_role("link", name="Keys").click()
        page.get_by_role("link", name="Make a key").click()
        page.get_by_label("Name").fill("desk")
        page.get_by_role("button", name="Make the key").click()
        expect(page.locator("pre")).to_contain_text("AWS_SECRET_ACCESS_KEY=")
        check(page)
        page.get_by_role("link", name="look at what it may do").click()
        page.get_by_role("link", name="Change the policy").click()
        page.get_by_role("link", name="operator").click()
        page.get_by_role("button", name="Show what changes").click()
        expect(page.locator("tr", has_text="whaul:ViewContent")).to_contain_text("allowed")
        check(page)
        page.get_by_role("button", name="Change the policy").click()
        expect(page.locator(".notice")).to_contain_text("desk has another policy")


def test_a_dead_letter_is_tried_again_to_the_end(site: Site) -> None:
    with site.signed_in() as page:
        page.get_by_role("link", name="Deliveries").click()
        page.locator("tr", has_text="orders").get_by_role("link", name="1", exact=True).click()
        page.get_by_role("link", name="Try all again").click()
        page.get_by_role("button", name="Try again").click()
        expect(page.locator(".notice")).to_be_visible()
        site.open(page, f"/messages/{site.ids['dead']}")
        delivered = page.locator(".timeline li", has_text="orders: delivered")
        for _ in range(600):
            if delivered.count():
                break
            page.wait_for_timeout(100)
            page.reload()
        expect(delivered).to_be_visible()


def test_a_message_is_sent_once_more(site: Site) -> None:
    with site.signed_in() as page:
        site.open(page, f"/messages/{site.ids['audio']}")
        page.get_by_role("button", name="Replay").click()
        expect(page.locator(".notice")).to_contain_text("Sent to orders once more")


def test_files_are_shown_and_played_but_do_nothing(site: Site) -> None:
    with site.signed_in() as page:
        site.open(page, f"/messages/{site.ids['image']}")
        image = page.locator("img.media")
        expect(image).to_have_js_property("complete", value=True)
        assert image.evaluate("image => image.naturalWidth") > 100
        site.open(page, f"/messages/{site.ids['audio']}")
        page.locator("audio").evaluate("audio => { audio.muted = true; return audio.play(); }")
        site.open(page, f"/messages/{site.ids['application']}")
        with page.expect_download() as download:
            page.get_by_role("link", name="Download").click()
        assert Path(download.value.path()).read_bytes().startswith(b"%PDF")


def hear(page: Page, sender: str) -> None:
    """Play what somebody sent, once it is archived."""
    row = page.locator("tbody tr", has_text=sender)
    expect(row).to_contain_text("archived")
    row.get_by_role("link").click()
    page.locator("audio").evaluate("audio => { audio.muted = true; return audio.play(); }")


def test_a_voice_note_of_the_developer_is_heard_in_the_console(site: Site) -> None:
    sound = next(media for media in site.stack.simulator.media.values() if media.mime_type.startswith("audio/"))
    with site.signed_in() as page:
        page.get_by_role("link", name="Simulator").click()
        page.get_by_label("From: a number").fill("4915199999999")
        note = {"name": "my note.ogg", "mimeType": "video/ogg", "buffer": sound.read()}
        page.get_by_label("File").set_input_files(note)
        page.get_by_role("button", name="Send", exact=True).click()
        hear(page, "4915199999999")


def test_a_voice_note_is_recorded_on_the_simulator_s_page_and_no_other(site: Site) -> None:
    with site.signed_in() as page:
        ask = "navigator.mediaDevices.getUserMedia({audio: true}).then(() => 'given', (error) => error.name)"
        page.expected = ("Permissions policy violation",)
        assert page.evaluate(ask) == "NotAllowedError"
        site.open(page, "/simulator?from=4915188888888")
        page.get_by_role("button", name="Record a voice note").click()
        page.get_by_role("button", name="Stop recording, 1 s").click()
        page.get_by_role("button", name="Record it again").wait_for()
        page.get_by_role("button", name="Send", exact=True).click()
        hear(page, "4915188888888")


def test_a_hostile_message_stays_text(site: Site) -> None:
    with site.signed_in() as page:
        expect(page.locator("tr", has_text="alert(1)")).to_contain_text("<script>alert(1)</script>")
        site.open(page, f"/messages/{site.ids['hostile']}")
        expect(page.locator("blockquote")).to_have_text(HOSTILE)
        for summary in page.locator("summary").all():
            summary.click()
        assert page.evaluate("document.scripts.length") == 1
    with window(site.browser) as stranger:  # whose text is in the address
        stranger.expected = ("404", "403")
        site.open(stranger, f"/{HOSTILE}")
        site.open(stranger, f"/sign-in?{HOSTILE}#{HOSTILE}")


def test_without_the_right_content_is_masked(site: Site) -> None:
    policy = site.console.log.with_name("masked.json")
    policy.write_text(allow("whaul:ViewMessages"))
    made = json.loads(site.console.do("keys", "create", "--name", "masked", "--policy", str(policy), "--json"))
    with site.signed_in(made["accessKeyId"]) as page:
        expect(page.locator("tbody tr").first).to_contain_text("•••")
        site.open(page, f"/messages/{site.ids['image']}")
        assert page.locator("img").count() == 0
        shown = page.content()
        for secret in ("15550100099", "wamid.", "inbox/archive"):
            assert secret not in shown


def test_the_keyboard_is_enough(site: Site) -> None:
    with site.signed_in() as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        for _ in range(60):
            page.keyboard.press("Tab")
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", page.evaluate("document.activeElement.outerHTML")
            if "alert(1)" in page.evaluate("document.activeElement.textContent"):
                break
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/messages/{site.ids['hostile']}")
        page.get_by_role("button", name="Replay").focus()
        page.keyboard.press("Enter")
        expect(page.locator(".notice")).to_contain_text("orders")


def test_pages_work_without_scripts(site: Site) -> None:
    with window(site.browser, java_script_enabled=False) as page:
        site.open(page, "/sign-in")
        page.get_by_label("The link").fill(site.link())
        page.locator("[data-by-link] button").click()
        page.wait_for_url("**/messages")
        page.get_by_label("Type").fill("audio")
        page.get_by_role("button", name="Filter").click()
        expect(page.locator("tbody tr").filter(has_not_text="audio")).to_have_count(0)
        page.locator(f"tbody a[href='/messages/{site.ids['audio']}']").click()
        page.wait_for_url(f"**/messages/{site.ids['audio']}")


class Evil(BaseHTTPRequestHandler):
    """A page of another origin that posts to the console as soon as it is opened."""

    def do_GET(self) -> None:
        body = f"""<form method=post action="{self.server.target}/sign-out"></form>
            <script>
              fetch("{self.server.target}/sign-out", {{method: "POST", mode: "no-cors", credentials: "include"}})
                .finally(() => document.forms[0].submit())
            </script>""".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def test_a_page_of_another_origin_changes_nothing(site: Site) -> None:
    with HTTPServer(("127.0.0.1", 0), Evil) as server, site.signed_in() as page:
        server.target = site.console.url
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        page.expected = ("403", "a popup")
        with page.context.expect_page() as opened:
            page.evaluate(f"window.open('http://localhost:{server.server_port}/')")
        other = opened.value
        other.wait_for_url("**/sign-out")
        expect(other.locator("body")).to_contain_text("not made by a page of the console")
        server.shutdown()
        page.reload()
        assert page.url.endswith("/messages")


def test_with_tls_the_cookie_is_bound_to_the_host(site: Site, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    files = {"WHAUL_TLS_CERT_FILE": str(certificates.chain), "WHAUL_TLS_KEY_FILE": str(certificates.key)}
    with (
        console({**site.console.environ, **files}, tmp_path, certificates.authority) as secured,
        window(site.browser, ignore_https_errors=True) as page,
    ):
        page.goto(json.loads(secured.do("console", "link", "--key", "root", "--json"))["url"])
        page.wait_for_url("**/messages")
        [cookie] = page.context.cookies()
        assert (cookie["name"], cookie["secure"], cookie["sameSite"]) == ("__Host-whaul", True, "Strict")
