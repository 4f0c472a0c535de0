"""Debian's Chromium, steered by Playwright. What a page complains of, such as breaking its policy, fails the test."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tools.debian import MachineError, install

CHROMIUM = "/usr/bin/chromium"
# Nothing of a browser's own goes to the network, and root has no sandbox.
FLAGS = ("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run")
MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser, installed if need be."""
    with ExitStack() as stack:
        try:
            install("chromium")
        except MachineError as missing:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"NOT TESTED: PAGES IN A BROWSER. {missing}")
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *MICROPHONE])
        stack.callback(browser.close)
        yield browser


@contextmanager
def window(browser: Browser, **options: Any) -> Iterator[Page]:
    """Open a page that no other one shares anything with, and look at the end at what it complained of."""
    context: BrowserContext = browser.new_context(**options)
    complaints: list[str] = []
    requests: list[str] = []

    def said(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(message.text)

    page = context.new_page()
    page.on("console", said)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.on("dialog", lambda dialog: complaints.append(f"a dialog: {dialog.message}"))
    page.on("popup", lambda popup: complaints.append(f"a popup: {popup.url}"))
    yield page
    expected = getattr(page, "expected", ())
    found = [text for text in complaints if not any(part in text for part in expected)]
    context.close()
    assert not found, found
    hosts = {urlsplit(url).hostname for url in requests}
    assert hosts <= {"127.0.0.1", "localhost", None}, "a page asked somebody else for something"
