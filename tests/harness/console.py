"""A running console, and somebody with a browser that has no scripts."""

import asyncio
import json
import os
import re
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from harness.client import Reply, send
from harness.commands import steered
from harness.inbox import KEY, NUMBER, OWNER, REGION, WABA, Installation, installation, post
from harness.waiting import PATIENCE, eventually
from harness.world import ZYGOTE, World
from harness.zygote import Forked
from whaul.cli.console import checked
from whaul.settings import Settings
from whaul.simulator import Simulator
from whaul.stack.local import clean_environment
from whaul.stack.processes import answers, free_ports, wait_until

OTHER_WABA, OTHER_NUMBER = "102290129349999", "106540352249999"
T = TypeVar("T")


@dataclass
class Visitor:
    """Somebody at the console, signed in or not."""

    port: int
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, target: str, **headers: str) -> Reply:
        return self.request("GET", target, b"", {"Accept": "text/html"} | headers)

    def head(self, target: str) -> Reply:
        return self.request("HEAD", target, b"", {"Accept": "text/html"})

    def post(self, target: str, members: Mapping[str, str] | None = None, **headers: str) -> Reply:
        """Send a form, as one of the console's own pages does."""
        given = {
            "Accept": "text/html",
            "Content-Type": "application/x-www-form-urlencoded",
            "Origin": f"http://127.0.0.1:{self.port}",
        }
        return self.request("POST", target, urlencode(members or {}).encode(), given | headers)

    def post_file(
        self, target: str, members: Mapping[str, str], name: str, content: bytes, type_: str | None = None
    ) -> Reply:
        """Send a form with a file."""
        head = 'Content-Disposition: form-data; name="{}"'
        parts = [f"{head.format(member)}\r\n\r\n{value}".encode() for member, value in members.items()]
        type_line = f"\r\nContent-Type: {type_}" if type_ else ""
        parts.append(f'{head.format("file")}; filename="{name}"{type_line}\r\n\r\n'.encode() + content)
        body = b"".join(b"--parts\r\n" + part + b"\r\n" for part in parts) + b"--parts--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=parts", "Origin": f"http://127.0.0.1:{self.port}"}
        return self.request("POST", target, body, {"Accept": "text/html"} | headers)

    def upload(self, target: str, members: Mapping[str, str], name: str, content: bytes) -> Reply:
        """Send a form with a file, and go where that leads."""
        reply = self.post_file(target, members, name, content)
        assert reply.status == 303, reply.text
        return self.get(reply.headers["location"])

    def submit(self, target: str, members: Mapping[str, str] | None = None) -> Reply:
        """Send a form, and go where that leads."""
        reply = self.post(target, members)
        assert reply.status == 303, reply.text
        return self.get(reply.headers["location"])

    def request(self, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> Reply:
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
        url = json.loads(self.do("console", "link", "--key", key, "--json"))["url"]
        visitor = self.visitor()
        reply = visitor.post("/sign-in/link", {"token": url.partition("#")[2]})
        assert reply.status == 303, reply.text
        return visitor

    def key(self, *arguments: str) -> str:
        """Make an access key; return its id."""
        made = json.loads(self.do("keys", "create", "--name", "operator", *arguments, "--json"))
        return str(made["accessKeyId"])

    def with_policy(self, policy: str) -> tuple[str, Visitor]:
        """Make an access key with a policy, and sign in as it; return its id, too."""
        path = self.log.with_name("policy.json")
        path.write_text(policy)
        key = self.key("--policy", str(path))
        return key, self.sign_in(key)

    def audited(self, **members: object) -> list[dict[str, Any]]:
        """Wait for records of the audit log with these members, such as `eventName`; return them."""
        found: list[dict[str, Any]] = []

        def are_written() -> bool:
            path = Path(self.environ["WHAUL_AUDIT_LOG"])
            lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
            records = [json.loads(line) for line in lines if line[-1:] == b"\n"]  # the last one may be half there
            found[:] = [record for record in records if members.items() <= record.items()]
            return bool(found)

        eventually(are_written)
        return found

    def do(self, *arguments: str) -> str:
        """Run a command in a process of its own; return what it printed."""
        result = ZYGOTE.run(list(arguments), self.environ)
        assert result.returncode == 0, result.stderr
        return result.stdout


@contextmanager
def console(environ: Mapping[str, str], folder: Path, ca_file: Path | None = None) -> Iterator[RunningConsole]:
    """Run a console; with `ca_file` it speaks TLS, with a certificate that this authority signed."""
    with free_ports(1) as [port]:
        environ = {**os.environ, **environ, "WHAUL_CONSOLE_LISTEN": f"127.0.0.1:{port}"}
        with steered(environ), ThreadPoolExecutor(1) as thread:  # Playwright has an event loop in this one
            settings = Settings.load()
            plan = thread.submit(asyncio.run, checked(settings)).result()
        log = folder / f"console-{port}.log"
        with ZYGOTE.server(plan, environ, log) as process:
            tls = None if ca_file is None else ssl.create_default_context(cafile=ca_file)
            url = f"{'http' if tls is None else 'https'}://127.0.0.1:{port}/healthz"
            wait_until(lambda: answers(url, (200,), tls), process, "The console", log, PATIENCE)
            yield RunningConsole(port, environ, log, process)


@contextmanager
def console_over(database: Path, settings: Mapping[str, str] | None = None) -> Iterator[RunningConsole]:
    """Run a console over a SQLite database that is made for it, with two linked accounts."""
    environ = {**_over(database), "WHATSAPP_ACCESS_TOKEN": "token", **(settings or {})}
    with console(environ, database.parent) as found:
        link = ["link", "--no-verify", "--name", "Shop"]
        found.do(*link, "--waba-id", WABA, f"--phone-number={NUMBER}=+15550100100")
        found.do(*link, "--waba-id", OTHER_WABA, f"--phone-number={OTHER_NUMBER}=+15550100200")
        yield found


def unlinked(simulator: Simulator, folder: Path) -> World:
    """A simulated Meta, and a database of its own in which nothing is linked."""
    meta = {"WHAUL_GRAPH_URL": simulator.url, "WHATSAPP_ACCESS_TOKEN": simulator.token}
    return World(simulator, clean_environment() | _over(folder / "whaul.db") | meta, folder)


def _over(database: Path) -> dict[str, str]:
    return {
        "WHAUL_DATABASE_URL": f"sqlite:///{database}",
        "WHAUL_SECRET_KEY": KEY.get_secret_value(),
        "WHAUL_ACCOUNT_ID": OWNER,
        "AWS_REGION": REGION,
        "WHAUL_AUDIT_LOG": str(database.with_name("audit.log")),
    }


def allow(*actions: str, resource: str = "*") -> str:
    """Write a policy."""
    return json.dumps({"Statement": {"Effect": "Allow", "Action": list(actions), "Resource": resource}})


def inside(database: Path, work: Callable[[Installation], Awaitable[T]]) -> T:
    """Do something with the tables of events."""

    async def do() -> T:
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
            ids.append(str(await here.value("SELECT message_id FROM events ORDER BY seq DESC LIMIT 1")))
        return ids

    return inside(database, work)


def words(reply: Reply) -> str:
    """What a page says, without its tags."""
    text = re.sub(r"<(script|style).*?</\1>", " ", reply.body.decode(), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())
