"""Events as pages show them: in rows, and live.

A list that is live asks again every second for the newest events of its selection, and sends the rows that are new or
have changed: an event goes on to be archived and delivered, and one with an earlier number may come later. Whoever
looks at the same selection shares one query.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from whaul.console.content import Summary, summary
from whaul.console.recent import LOOK, Recent
from whaul.console.visit import Visit
from whaul.events.journal import EventRecord, FileRecord
from whaul.events.selecting import Selection
from whaul.operations.actions import VIEW_CONTENT, VIEW_MESSAGES
from whaul.registry.errors import RegistryUnavailableError

BEAT: Final = 15.0
"""Seconds after which a stream says something, if there is nothing to say: proxies end what is silent."""


class State(NamedTuple):
    """A word for what became of something, and how good that is: `good`, `wait`, `bad` or `plain`."""

    word: str
    mood: str


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event in a list."""

    seq: int
    id: str
    at: datetime
    number: str
    what: str
    says: Summary | None
    """None without the right to see it."""
    file: FileRecord | None
    """One that can be shown."""
    states: tuple[State, ...]


class EventRows:
    """Makes rows of events, for one visit."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._numbers: dict[str, str] = {}
        """As Meta writes them, by Meta's ids; empty for one that is not linked."""

    async def of(self, events: Sequence[EventRecord]) -> list[EventRow]:
        """Make the rows of those events that the visitor may see."""
        visit = self._visit
        seen = [event for event in events if visit.may_on_account(VIEW_MESSAGES, event.waba_id)]
        readable = [event.seq for event in seen if visit.may_on_account(VIEW_CONTENT, event.waba_id)]
        contents = await visit.console.journal.contents(readable) if readable else {}
        says = {seq: summary(event.entry) for seq, event in contents.items()}
        unknown = {event.meta_phone_number_id for event in seen if event.meta_phone_number_id} - self._numbers.keys()
        if unknown:
            self._numbers |= dict.fromkeys(unknown, "") | await visit.console.registry.accounts.displayed(unknown)
        return [self._row(event, says.get(event.seq)) for event in seen]

    def _row(self, event: EventRecord, says: Summary | None) -> EventRow:
        number = event.meta_phone_number_id or ""
        stored = next((file for file in event.files if file.state == "stored"), None)
        return EventRow(
            seq=event.seq,
            id=event.message_id,
            at=event.received_at,
            number=self._numbers.get(number) or number or event.waba_id,
            what=" ".join(
                part for part in (event.type or event.field, "" if event.kind == "message" else event.kind) if part
            ),
            says=says,
            file=stored if says is not None else None,
            states=tuple(states(event)),
        )


def states(event: EventRecord) -> list[State]:
    """Say what became of an event."""
    if event.state != "routed":
        return [State(event.state, "bad")]
    found = [FILE_STATES[file.state] for file in event.files]
    total = len(event.deliveries)
    delivered = sum(each.state == "delivered" for each in event.deliveries)
    dead = sum(each.state == "dead" for each in event.deliveries)
    if total:
        mood = "bad" if dead else "good" if delivered == total else "wait"
        words = [f"delivered {delivered}/{total}" if total > 1 or not dead else "", f"{dead} dead" if dead else ""]
        found.append(State(", ".join(filter(None, words)), mood))
    return found or [State("kept", "plain")]


FILE_STATES: Final = {
    "stored": State("archived", "good"),
    "pending": State("archiving", "wait"),
    "parked": State("parked", "wait"),
    "failed": State("not archived", "bad"),
}


OUTCOMES: Final = {
    "delivered": "delivered",
    "down": "no answer that counts",
    "refused": "refused, as perhaps everything",
    "closed": "refused, as everything",
    "gone": "gone for good",
    "rejected": "refused this event",
    "impossible": "can never take this event",
}
"""What came of an attempt to deliver; see `events.model.Reason`."""


async def stream(visit: Visit, recent: Recent, rows: EventRows, selection: Selection) -> AsyncIterator[str]:
    """Write rows that are new or have changed, as server-sent events, as long as the visitor is signed in.

    https://html.spec.whatwg.org/multipage/server-sent-events.html
    """

    async def look() -> dict[int, str] | None:
        if not await visit.renew():
            return None
        found = await rows.of((await recent.page(selection)).events)
        return {row.seq: visit.part("message_row.html", "row", row) for row in reversed(found)}

    shown: dict[int, str] = {}
    spoke = time.monotonic()
    with recent.counted(visit.session):
        yield "retry: 2000\n\n"
        while not visit.is_over():
            try:
                # A visitor who leaves ends this, but no query: a connection to the database would be lost with it.
                written = await asyncio.shield(asyncio.create_task(look()))
            except RegistryUnavailableError:
                written = shown
            if written is None:
                yield "event: end\ndata:\n\n"
                return
            for seq, html in written.items():
                if shown.get(seq) != html:
                    yield f"event: row\ndata: {msgspec.json.encode({'seq': seq, 'html': html}).decode()}\n\n"
                    spoke = time.monotonic()
            shown = written
            if time.monotonic() - spoke > BEAT:
                yield ": still here\n\n"
                spoke = time.monotonic()
            await asyncio.sleep(LOOK)
