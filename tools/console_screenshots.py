"""Takes the pictures of docs/console.md; run it when pages change, and look at them.

    .venv/bin/python -m tools.console_screenshots

They are of a whole stack on this machine: simulated Meta, S3 server, gateway, two receivers of events, the console. It
wants Debian's `chromium`, and `fonts-noto-color-emoji` for what customers write.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlencode

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from whaul.stack.customer import send_events_to
from whaul.stack.local import HOST, ITSELF, Stack, stack
from whaul.stack.processes import answers, free_ports, program, wait_until

FOLDER = Path(__file__).parents[1] / "docs" / "images"
WIDE, NARROW = {"width": 1280, "height": 760}, {"width": 390, "height": 760}
COLOURS = 256
SAID = (
    ("4915112345670", "Hi! Is the blue one still available in size 42?"),
    ("4915112345671", "Thank you, that was quick 🙏"),
    ("447700900123", "Where is my order 88412?"),
    ("15550100777", "Can I come by tomorrow at 10?"),
    ("9715550100", "مرحبا، هل يمكنكم المساعدة؟"),
    ("4915112345670", "Ich hätte gern zwei davon, bitte mit Rechnung an die Firma."),
)
QUESTION = {
    "policy": """{
  "Version": "2012-10-17",
  "Statement": [
    {"Sid": "See", "Effect": "Allow", "Action": "whaul:View*", "Resource": "*"},
    {"Sid": "NotTheirWords", "Effect": "Deny", "Action": "whaul:ViewContent", "Resource": "*"}
  ]
}""",
    "action": "whaul:ViewContent",
    "resource": "arn:aws:social-messaging:us-east-1:000000000000:waba/baf4a97fbde57e99fe2d1e93db2efd48",
}
REFUSED = b"88412"
"""In a body that one of the receivers does not take."""


class Receiver(BaseHTTPRequestHandler):
    """A program of the business."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(413 if self.path == "/crm" and REFUSED in body else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def receivers() -> Iterator[str]:
    with ThreadingHTTPServer((HOST, 0), Receiver) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{HOST}:{server.server_port}"
        server.shutdown()


@contextmanager
def console(running: Stack) -> Iterator[str]:
    """Run a console over the stack; yield a link that signs in."""
    with free_ports(1) as [port]:
        environ = os.environ | running.environment() | {"WHAUL_CONSOLE_LISTEN": f"{HOST}:{port}"}
        environ |= {"WHAUL_ROOT_ACCESS_KEY_ID": running.access_key_id}
        environ |= {"WHAUL_ROOT_SECRET_ACCESS_KEY": running.secret_access_key}
        log = Path(os.devnull)
        with program([*ITSELF, "console"], environ, log) as process:
            wait_until(lambda: answers(f"http://{HOST}:{port}/healthz"), process, "The console", log, 60)
            link = [*ITSELF, "console", "link"]
            yield subprocess.run(link, env=environ, check=True, capture_output=True, text=True).stdout.strip()


def write(running: Stack) -> dict[str, str]:
    """Let customers write; return the ids of some events."""
    for sender, text in SAID:
        running.simulator.receive(text=text, sender=sender)
    media = {media.mime_type.split("/")[0]: media.id for media in running.simulator.media.values()}
    return {kind: running.receive(media[kind], sender="447700900123").event_id for kind in ("audio", "image")}


def take(browser: Browser, link: str, pictures: dict[str, tuple[str, dict[str, int], str]]) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(link)
    page.wait_for_url("**/messages")
    origin = link.partition("/sign-in")[0]
    state: Any = context.storage_state()
    for name, (path, size, scheme) in pictures.items():
        options: dict[str, Any] = {"viewport": size, "color_scheme": scheme, "storage_state": state}
        page = browser.new_context(**options).new_page()
        page.goto(f"{origin}{path}")
        page.locator("img.media").evaluate_all("images => Promise.all(images.map((image) => image.decode()))")
        page.wait_for_timeout(2500)  # until the page has been live for a while
        with Image.open(BytesIO(page.screenshot())) as picture:
            picture.convert("RGB").quantize(COLOURS).save(FOLDER / f"{name}.png", optimize=True)


def main() -> None:
    with ExitStack() as parts:
        running = parts.enter_context(stack())
        url = parts.enter_context(receivers())
        for name in ("orders", "crm"):
            send_events_to(f"{url}/{name}", name, running.account_id, running.installation)
        link = parts.enter_context(console(running))
        ids = write(running)
        playwright = parts.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        parts.callback(browser.close)
        FOLDER.mkdir(exist_ok=True)
        pictures = {
            "console-messages": ("/messages", WIDE, "light"),
            "console-message": (f"/messages/{ids['image']}", WIDE, "dark"),
            "console-delivery": ("/deliveries/crm", WIDE, "light"),
            "console-account": (f"/accounts/{running.account_id}", WIDE, "light"),
            "console-simulator": ("/simulator", {**WIDE, "height": 860}, "light"),
            "console-transfers": ("/transfers", WIDE, "light"),
            "console-policy": (f"/keys/simulator?{urlencode(QUESTION)}", {**WIDE, "height": 860}, "light"),
            "console-messages-narrow": ("/messages", NARROW, "light"),
            "console-message-narrow": (f"/messages/{ids['audio']}", NARROW, "dark"),
        }
        take(browser, link, pictures)
    sys.stdout.write(f"{len(pictures)} pictures are in {FOLDER}; look at them\n")


if __name__ == "__main__":
    main()
