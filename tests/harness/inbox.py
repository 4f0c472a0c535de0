"""An inbox over a real database, and what tests need around it."""

import base64
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from harness.waiting import PATIENCE
from whaul.arns import Arns
from whaul.events.backlog import Backlog
from whaul.events.database import open_store
from whaul.events.database.store import Store
from whaul.events.filters import Filter
from whaul.events.people import Hashes
from whaul.events.receiving.drafts import Drafting, NewDeliveryJob, NewFileJob, Post
from whaul.events.receiving.inbox import Inbox
from whaul.events.receiving.items import split
from whaul.events.routing import Account, Routing, raise_generation, write_filter
from whaul.model import GraphToken, MetaAccount, MetaPhoneNumber
from whaul.registry.registry import open_registry
from whaul.secrets import Cipher

OWNER = "111122223333"
REGION = "eu-west-1"
WABA = "102290129340398"
NUMBER = "106540352242922"
ACCOUNT_ID = Arns(OWNER, REGION).waba_id(WABA)
KEY = SecretStr(base64.urlsafe_b64encode(b"k" * 32).decode())
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
NEVER = 10**12


@dataclass(frozen=True)
class AnySpeaker:
    """One that may tell of some accounts; of all by default."""

    app_id: str | None = "900"
    account_ids: frozenset[str] | None = None

    def may_speak_for(self, account: Account | None) -> bool:
        return account is None or self.account_ids is None or account.id in self.account_ids


@dataclass
class Recorder:
    """An intake that does nothing with its jobs. It has places for so many."""

    places: int = 0
    reserved: int = 0
    jobs: list[Any] = field(default_factory=list)
    woken: set[Any] = field(default_factory=set)

    def reserve(self, _lane: object) -> bool:
        if self.reserved >= self.places:
            return False
        self.reserved += 1
        return True

    def cancel(self, _lane: object) -> None:
        self.reserved -= 1

    def take(self, job: NewDeliveryJob | NewFileJob) -> None:
        self.jobs.append(job)

    def wake(self, _lane: object) -> None:
        self.woken.add(_lane)


@dataclass
class Installation:
    """An account number with an inbox."""

    url: str
    store: Store
    routing: Routing
    inbox: Inbox
    backlog: Backlog
    deliveries: Recorder
    files: Recorder
    cipher: Cipher
    drafting: Drafting
    process: str

    def connect(self, **intakes: Any) -> None:
        """Give new `deliveries` to an outbox, new `files` to an archive."""
        self.drafting = replace(self.drafting, **intakes)
        self.inbox = self.inbox_within(PATIENCE)

    def inbox_within(self, seconds: float) -> Inbox:
        """Another one, in which a webhook may take so long."""
        return Inbox(self.store, self.routing, self.drafting, process=self.process, timeout=seconds)

    async def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        [rows] = await self.store.run((statement, parameters))
        return [tuple(row) for row in rows]

    async def value(self, statement: str, *parameters: Any) -> Any:
        [(value,)] = await self.rows(statement, *parameters)
        return value

    async def link(self, waba: str = WABA, numbers: Iterable[str] = (NUMBER,)) -> str:
        account = MetaAccount(waba, "Shrub", [MetaPhoneNumber(number, f"+1 555 {number}", "S") for number in numbers])
        async with open_registry(self.url, self.cipher, account_id=OWNER, region=REGION) as registry:
            return (await registry.accounts.link(account, GraphToken(SecretStr("token")))).id

    async def add_destination(self, name: str = "orders", account_id: str = ACCOUNT_ID, **columns: Any) -> int:
        row = {
            "owner": OWNER,
            "name": name,
            "target": "https://127.0.0.1:1/hook",
            "format": "aws",
            "ordered": False,
            "concurrency": 16,
            "filter": write_filter(Filter()),
            "attributes": False,
            "media_wait": 0,
            "created_at": 0,
            "state": "active",
            "stopped_for": 0,
        } | columns
        marks = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        insert = f"INSERT INTO destinations ({', '.join(row)}) VALUES ({marks}) RETURNING number"  # noqa: S608
        [[(number,)], _] = await self.store.run((insert, list(row.values())), raise_generation(OWNER))
        attach = "INSERT INTO destination_accounts (destination, account_id, by_api) VALUES ($1, $2, false)"
        await self.store.run((attach, (number, account_id)), raise_generation(OWNER))
        return int(number)

    async def add_archive(self, account_id: str = ACCOUNT_ID) -> None:
        insert = (
            "INSERT INTO archives (account_id, owner, bucket, prefix, key, meta_phone_number_ids, set_at) "
            "VALUES ($1, $2, 'bucket', '', '{media}{ext}', '[]', 0)"
        )
        await self.store.run((insert, (account_id, OWNER)), raise_generation(OWNER))


@asynccontextmanager
async def installation(
    url: str, *, places: int = 0, max_events: int = NEVER, max_bytes: int = NEVER, process: str = "p1"
) -> AsyncIterator[Installation]:
    """Open one over a migrated database."""
    store = open_store(url, connections=2, timeout=PATIENCE)
    cipher = Cipher(KEY)
    routing = Routing(store, cipher, OWNER)
    backlog = Backlog(store, OWNER, max_events=max_events, max_bytes=max_bytes)
    deliveries, files = Recorder(places), Recorder(places)
    hashes = Hashes(store, cipher, OWNER)
    await hashes.load()
    drafting = Drafting(
        owner=OWNER,
        cipher=cipher,
        hashes=hashes,
        backlog=backlog,
        deliveries=deliveries,
        files=files,
        name_file=lambda archive, _item, media, _received_at: f"{archive.prefix}{media.media_id}",
    )
    inbox = Inbox(store, routing, drafting, process=process, timeout=PATIENCE)
    here = Installation(url, store, routing, inbox, backlog, deliveries, files, cipher, drafting, process)
    try:
        yield here
    finally:
        await here.inbox.aclose()
        await store.aclose()


def post(*messages: Any, waba: str = WABA, speaker: AnySpeaker | None = None, number: str = NUMBER) -> Post:
    """Make a webhook with these messages."""
    metadata = {"display_phone_number": "15550100100", "phone_number_id": number}
    value = {"messaging_product": "whatsapp", "metadata": metadata, "messages": list(messages)}
    entry = {"id": waba, "changes": [{"value": value, "field": "messages"}]}
    return webhook(json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode(), speaker)


def webhook(body: bytes, speaker: AnySpeaker | None = None, received_at: datetime = NOON) -> Post:
    return Post(body, split(body), speaker or AnySpeaker(), received_at)


def text(wamid: str, sender: str = "15550100101", at: datetime = NOON, body: str = "hello") -> dict[str, Any]:
    timestamp = str(int(at.timestamp()))
    return {"from": sender, "id": wamid, "timestamp": timestamp, "type": "text", "text": {"body": body}}


def image(wamid: str, media: str) -> dict[str, Any]:
    return text(wamid) | {"type": "image", "image": {"id": media, "mime_type": "image/jpeg", "sha256": "x"}}
