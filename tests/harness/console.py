"""A running console, and somebody with a browser that has no scripts."""

import asyncio
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode

from harness.client import Reply, send
from harness.commands import done, steered, whaul
from harness.waiting import PATIENCE
from harness.zygote import Forked, Zygote
from whaul.cli.console import checked
from whaul.settings import Settings
from whaul.stack.processes import answers, free_ports, wait_until

ZYGOTE = Zygote()


@dataclass
class Visitor:
    """Somebody at the console, signed in or not."""

    port: int
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, target: str, **headers: str) -> Reply:
        return self._send("GET", target, b"", {"Accept": "text/html"} | headers)

    def post(self, target: str, members: Mapping[str, str] | None = None, **headers: str) -> Reply:
        """Send a form, as one of the console's own pages does."""
        given = {
            "Accept": "text/html",
            "Content-Type": "application/x-www-form-urlencoded",
            "Origin": f"http://127.0.0.1:{self.port}",
        }
        return self._send("POST", target, urlencode(members or {}).encode(), given | headers)

    def submit(self, target: str, members: Mapping[str, str] | None = None) -> Reply:
        """Send a form, and go where that leads."""
        reply = self.post(target, members)
        assert reply.status == 303, reply.text
        return self.get(reply.headers["location"])

    def _send(self, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        kept = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        reply = send(self.port, method, target, body, {**headers, **({"Cookie": kept} if kept else {})})
        for name, value in reply.lines:
            if name.lower() == "set-cookie":
                for morsel in SimpleCookie(value).values():
                    self.cookies[morsel.key] = morsel.value
        return reply


@dataclass
class RunningConsole:
    """A console, and the environment that it and its commands have."""

    port: int
    environ: Mapping[str, str]
    log: Path
    process: Forked

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def visitor(self) -> Visitor:
        """Somebody who is not signed in."""
        return Visitor(self.port)

    def sign_in(self, key: str) -> Visitor:
        """Somebody who has signed in with a link for an access key."""
        url = whaul(["console", "link", "--key", key], self.environ)["url"]
        visitor = self.visitor()
        reply = visitor.post("/sign-in/link", {"token": url.partition("#")[2]})
        assert reply.status == 303, reply.text
        return visitor

    def key(self, *arguments: str) -> str:
        """Make an access key; return its id."""
        return str(whaul(["keys", "create", "--name", "operator", *arguments], self.environ)["accessKeyId"])

    def do(self, *arguments: str) -> str:
        return done(list(arguments), self.environ)


@contextmanager
def console(environ: Mapping[str, str], folder: Path) -> Iterator[RunningConsole]:
    """Run a console."""
    with free_ports(1) as [port]:
        environ = {**os.environ, **environ, "WHAUL_CONSOLE_LISTEN": f"127.0.0.1:{port}"}
        with steered(environ):
            plan = asyncio.run(checked(Settings.load()))
        log = folder / f"console-{port}.log"
        with ZYGOTE.server(plan, environ, log) as process:
            url = f"http://127.0.0.1:{port}/healthz"
            wait_until(lambda: answers(url, (200,), None), process, "The console", log, PATIENCE)
            yield RunningConsole(port, environ, log, process)


def words(reply: Reply) -> str:
    """What a page says, without its tags."""
    text = re.sub(r"<(script|style).*?</\1>", " ", reply.body.decode(), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())
