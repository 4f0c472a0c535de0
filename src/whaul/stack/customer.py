"""A customer writes: the message goes in at the simulator, and is waited for in the gateway's journal.

Also what the stack itself sets in the gateway's database: the archive, and a destination.

The database is used by a thread of its own, so that async tests can call this as well, and not by a process: it takes
milliseconds then.
"""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from whaul.secrets import Cipher, load_or_create_key_file
from whaul.stack.processes import StackError

if TYPE_CHECKING:
    from whaul.events.database.store import Store
    from whaul.events.journal import EventRecord, FileRecord, Journal
    from whaul.simulator import Simulator

T = TypeVar("T")

LOOK = 0.05
"""Seconds between two looks."""
PATIENCE = 30.0
"""Seconds for a transaction."""
MOST = 1000
DONE = frozenset({"stored", "failed"})
"""States of a file that nothing is done about any more."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a message, and where it is."""

    media_id: str
    state: str
    """`stored` or `failed`."""
    bucket: str
    key: str
    sha256: str | None
    """Hexadecimal."""
    size: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Received:
    """A customer's message, as whaul has it."""

    event_id: str
    """The event's `messageId`, by which `whaul events show` finds it."""
    envelope: dict[str, Any] = field(repr=False)
    """What destinations get."""
    files: tuple[StoredFile, ...]
    """Empty without a file, or without an archive."""

    @property
    def message(self) -> dict[str, Any]:
        """The message itself, as Meta has it."""
        entry = json.loads(self.envelope["whatsAppWebhookEntry"])
        found: dict[str, Any] = entry["changes"][0]["value"]["messages"][0]
        return found


class Installation(NamedTuple):
    """A database, and whose it is."""

    database_url: str
    account_number: str
    region: str


def receive(
    simulator: "Simulator",
    here: Installation,
    media_id: str | None,
    *,
    text: str,
    sender: str | None,
    seconds: float,
) -> Received:
    """Let a customer write, and wait for what becomes of it. Raises `StackError` and `KeyError`."""

    def write() -> str:
        named = {} if sender is None else {"sender": sender}
        webhook = simulator.receive(media_id, text=text, **named)
        return str(webhook["entry"][0]["changes"][0]["value"]["messages"][0]["id"])

    async def work(store: "Store", cipher: Cipher) -> Received:
        from whaul.arns import Arns  # noqa: PLC0415 - only who receives needs these
        from whaul.events.envelope import Envelopes  # noqa: PLC0415
        from whaul.events.journal import Journal  # noqa: PLC0415

        journal = Journal(store, cipher, here.account_number)
        before = await journal.newest()
        event = await _settled(journal, write(), before, time.monotonic() + seconds)
        whole = await journal.event(event.seq)
        if whole is None:
            raise StackError("The event of the message has been removed.")
        envelope = json.loads(Envelopes(Arns(here.account_number, here.region)).aws(whole))
        return Received(event.message_id, envelope, tuple(map(_file, event.files)))

    return _with_database(here, work)


def send_events_to(url: str, name: str, account_id: str, here: Installation) -> None:
    """Have the events of an account sent to a program on this machine."""

    async def work(store: "Store", cipher: Cipher) -> None:
        from whaul.events.delivery.destinations import Destinations, NewDestination  # noqa: PLC0415
        from whaul.events.receiving.signatures import new_secret  # noqa: PLC0415

        new = NewDestination(name=name, target=url, account_ids=[account_id], secret=new_secret())
        await Destinations(store, cipher, here.account_number).add(new)

    _with_database(here, work)


def archive_in(bucket: str, prefix: str, account_id: str, here: Installation) -> None:
    """Have the files of an account archived in a bucket of SeaweedFS, which honours `If-None-Match`."""

    async def work(store: "Store", cipher: Cipher) -> None:
        from whaul.events.archive.archives import Archives  # noqa: PLC0415
        from whaul.events.archive.file_keys import DEFAULT_TEMPLATE  # noqa: PLC0415
        from whaul.events.routing import Archive  # noqa: PLC0415

        archive = Archive(account_id, bucket, prefix, DEFAULT_TEMPLATE, frozenset())
        await Archives(store, cipher, here.account_number).set(archive, is_conditional=True)

    _with_database(here, work)


def _with_database(here: Installation, work: "Callable[[Store, Cipher], Coroutine[Any, Any, T]]") -> T:
    async def run() -> T:
        from whaul.events.database import open_store  # noqa: PLC0415
        from whaul.registry.database import key_file  # noqa: PLC0415

        store = open_store(here.database_url, connections=1, timeout=PATIENCE)
        try:
            return await work(store, Cipher(load_or_create_key_file(key_file(here.database_url))))
        finally:
            await store.aclose()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, run()).result()


async def _settled(journal: "Journal", wamid: str, before: int, end: float) -> "EventRecord":
    """Wait for the event of a message, and for its files."""
    from whaul.events.selecting import Selection  # noqa: PLC0415

    found: EventRecord | None = None
    while time.monotonic() < end:
        selection = Selection(kind="message") if found is None else Selection(seqs=(found.seq,))
        events = await journal.after(selection, before, MOST)
        found = next((event for event in events if event.wamid == wamid), None)
        if found is not None and all(file.state in DONE for file in found.files):
            return found
        await asyncio.sleep(LOOK)
    what = "took no webhook of the message" if found is None else "did not store the files of the message"
    raise StackError(f"The gateway {what} in time; its log says why, and `whaul events list` what came.")


def _file(file: "FileRecord") -> StoredFile:
    return StoredFile(
        media_id=file.media_id,
        state=file.state,
        bucket=file.bucket,
        key=file.key,
        sha256=None if file.sha256 is None else file.sha256.hex(),
        size=file.size,
        error=file.last_error,
    )
