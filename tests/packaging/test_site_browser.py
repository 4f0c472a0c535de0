"""The documentation site in a real browser: it fits, can be read and searched, and asks nobody else for anything."""

import functools
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from harness.browser import chromium, window
from harness.waiting import PATIENCE
from tools.site.__main__ import build

WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 360, "height": 740}
PAGES = ("settings.html", "simulator.html", "benchmarks/index.html", "receive.html", "index.html")
RULES = {"runOnly": ["color-contrast", "image-alt", "heading-order", "link-name", "button-name", "list", "listitem"]}
"""Of accessibility, those that our pages and colours decide; the rest is Zensical's."""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the site, built and served."""
    folder = tmp_path_factory.mktemp("site") / "site"
    assert build(folder) == []
    handler = functools.partial(Quiet, directory=folder / "html")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(site: str) -> Iterator[Browser]:  # noqa: ARG001 - Playwright's event loop begins when all else runs
    with ExitStack() as parts:
        yield parts.enter_context(chromium())


@pytest.mark.parametrize(("scheme", "size"), [("light", WIDE), ("dark", NARROW)])
def test_pages_fit_can_be_read_and_load_nothing_from_elsewhere(
    site: str, browser: Browser, scheme: str, size: dict[str, int]
) -> None:
    with window(browser, color_scheme=scheme, viewport=size) as page:
        for name in PAGES:
            page.goto(f"{site}/{name}")
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], name
        found = Axe().run(page, options=RULES).response["violations"]
        assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found] == []


def test_the_first_screen_says_what_whaul_is_and_how_to_try_it(site: str, browser: Browser) -> None:
    with window(browser, viewport=WIDE) as page:
        page.goto(f"{site}/index.html")
        for shown in ("a server between WhatsApp and your programs", "./run demo", "in Kubernetes"):
            box = page.get_by_text(shown).first.bounding_box()
            assert box is not None
            assert box["y"] + box["height"] <= WIDE["height"]


def test_a_setting_is_found_by_its_words(site: str, browser: Browser) -> None:
    with window(browser, viewport=WIDE) as page:
        page.set_default_timeout(PATIENCE * 1000)
        page.goto(f"{site}/index.html")
        page.get_by_role("button", name="Search").click()
        page.get_by_role("combobox").fill("rate limit")
        page.locator("a[href$='#whaul_rate_limit']").click()
        page.wait_for_url("**/settings.html*#whaul_rate_limit")
        page.get_by_role("heading", name="WHAUL_RATE_LIMIT").wait_for()
