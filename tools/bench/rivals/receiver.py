"""What the rivals that receive webhooks share: the server, Meta's signature, items, and a signed POST for each."""

import asyncio
import base64
import hashlib
import hmac
import json
import multiprocessing
import os
import signal
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp
import uvloop
from aiohttp import web

MAX_BODY = 4 * 1024**2
AT_ONCE = 16
"""Deliveries of a process that are under way at once: whaul's default."""
TIMEOUT = aiohttp.ClientTimeout(total=15)


@dataclass(frozen=True)
class Options:
    """What the bench says."""

    port: int
    database: str
    target: str
    ca_file: str
    app_secret: str
    signing_secret: str
    processes: int


@dataclass(frozen=True)
class Item:
    key: str
    body: str


Keep = Callable[[list[Item]], Awaitable[None]]


def items(body: bytes) -> list[Item]:
    """Cut a webhook into one event for each message and each status."""
    document = json.loads(body)
    found = []
    for entry in document["entry"]:
        for change in entry["changes"]:
            value = change["value"]
            shared = {name: value[name] for name in ("messaging_product", "metadata") if name in value}
            contacts = {contact.get("wa_id"): contact for contact in value.get("contacts", ())}
            for name in ("messages", "statuses"):
                for item in value.get(name, ()):
                    who = contacts.get(item.get("from") or item.get("recipient_id"))
                    own = shared | ({"contacts": [who]} if who else {})
                    told = f"{name}/{item['id']}/{item.get('status', '')}/{item['timestamp']}"
                    alone = {"field": change["field"], "value": own | {name: [item]}}
                    event = {"object": document["object"], "entry": [{"id": entry["id"], "changes": [alone]}]}
                    found.append(Item(hashlib.sha256(told.encode()).hexdigest(), json.dumps(event)))
    return found


class Sender:
    """Delivers to the target, signed as Standard Webhooks are."""

    def __init__(self, options: Options) -> None:
        context = ssl.create_default_context(cafile=options.ca_file)
        self._target = options.target
        self._secret = base64.b64decode(options.signing_secret.removeprefix("whsec_"))
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE, ssl=context), timeout=TIMEOUT)

    async def send(self, key: str, body: str) -> bool:
        """Say whether the target has it."""
        now = str(int(time.time()))
        signature = hmac.digest(self._secret, f"{key}.{now}.{body}".encode(), "sha256")
        headers = {
            "content-type": "application/json",
            "webhook-id": key,
            "webhook-timestamp": now,
            "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
        }
        try:
            async with self._http.post(self._target, data=body, headers=headers) as answer:
                await answer.read()
                return answer.status // 100 == 2
        except (aiohttp.ClientError, TimeoutError):
            return False


async def serve(options: Options, keep: Keep) -> None:
    """Take webhooks until the process is stopped; each is kept before it is answered."""
    secret = options.app_secret.encode()

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        digest = "sha256=" + hmac.digest(secret, body, "sha256").hex()
        if not hmac.compare_digest(digest, request.headers.get("X-Hub-Signature-256", "")):
            return web.Response(status=401)
        await keep(items(body))
        return web.Response()

    async def ready(_request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_post("/webhooks/meta", receive)
    app.router.add_get("/readyz", ready)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", options.port, reuse_port=True).start()
    await asyncio.Event().wait()


def main(work: Callable[[Options, int], Awaitable[None]], prepare: Callable[[Options], Awaitable[None]]) -> None:
    """Prepare the database once, then work in so many processes."""
    options = Options(**json.loads(sys.argv[1]))
    uvloop.run(prepare(options))
    for number in range(1, options.processes):
        multiprocessing.get_context("spawn").Process(target=_run, args=(work, options, number), daemon=True).start()
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    _run(work, options, 0)


def _run(work: Callable[[Options, int], Awaitable[None]], options: Options, number: int) -> None:
    uvloop.run(work(options, number))
