"""A process with an inbox and an outbox that is killed at a step of its own choice."""

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.inbox import KEY, OWNER, post, text
from harness.waiting import PATIENCE
from whaul.events.database.store import Born, Group, Row, Statement, Store
from whaul.events.model import Accepted, Event, Outcomes
from whaul.events.receiving.inbox import Inbox
from whaul.events.routing import Destination
from whaul.events.running import Events, Limits, Surroundings, events_running
from whaul.secrets import Cipher

STEPS = ("before the commit", "after the commit", "before the send", "after the send", "after the settling", "idle")
LIMITS = Limits(
    max_events=10**6,
    max_bytes=10**12,
    delivery_period=3600,
    webhook_retention=3600,
    event_retention=3600,
    webhook_timeout=PATIENCE,
)
EVENTS = 5
UNDER_LOAD = 40
"""Deliveries after which a process dies that dies under load."""


class Silent:
    """An observer that does not listen."""

    def event(self, _field: str, _kind: str) -> None: ...
    def delivered(self, *_: object) -> None: ...
    def archived(self, _outcome: str) -> None: ...
    def taken_over(self, _count: int) -> None: ...
    def lost(self, _count: int) -> None: ...


class FileTarget:
    """Appends what it was sent to a file, one id a line."""

    max_batch = 1

    def __init__(self, file: Path, step: str = "") -> None:
        self._file = file
        self._step = step
        self._sent = 0

    async def send(self, events: Sequence[Event]) -> Outcomes:
        die_at("before the send", self._step)
        with self._file.open("a") as file:
            file.writelines(f"{event.wamid}\n" for event in events)
        die_at("after the send", self._step)
        self._sent += len(events)
        if self._sent >= UNDER_LOAD:
            die_at("under load", self._step)
            die_at("in a replay", self._step)
        return [Accepted()] * len(events)

    async def close(self) -> None: ...


class DeadlyStore:
    """A store during which the process dies."""

    def __init__(self, store: Store, step: str) -> None:
        self._store = store
        self._step = step

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def put(self, group: Group) -> Born:
        die_at("before the commit", self._step)
        born = await self._store.put(group)
        die_at("after the commit", self._step)
        return born

    async def run(self, *statements: Statement) -> list[list[Row]]:
        results = await self._store.run(*statements)
        if any("DELETE FROM deliveries" in statement for statement, _ in statements):
            die_at("after the settling", self._step)
        return results


def die_at(step: str, chosen: str) -> None:
    if step == chosen:
        os.kill(os.getpid(), signal.SIGKILL)


def surroundings(delivered: Path, step: str = "") -> Surroundings:
    def target(_destination: Destination) -> FileTarget:
        return FileTarget(delivered, step)

    return Surroundings(targets=target, observer=Silent())


def main(url: str, step: str, answered: str, delivered: str) -> None:
    """Put some webhooks; write down which were answered; die."""
    asyncio.run(_main(url, step, Path(answered), Path(delivered)))


async def _main(url: str, step: str, answered: Path, delivered: Path) -> None:
    async with events_running(url, Cipher(KEY), OWNER, LIMITS, surroundings(delivered, step)) as running:
        _make_deadly(running, step)
        if step == "in a replay":
            await asyncio.Event().wait()
        if step == "under load":
            await asyncio.gather(*(_put(running, f"load.{number}", answered) for number in range(200)))
        for number in range(EVENTS):
            await _put(running, f"wamid.{number}", answered)
        if step == "idle":
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.Event().wait()


async def _put(running: Events, wamid: str, answered: Path) -> None:
    await running.inbox.put(post(text(wamid)))
    with answered.open("a") as file:
        file.write(f"{wamid}\n")


def _make_deadly(running: Events, step: str) -> None:
    deadly: Any = DeadlyStore(running.store, step)
    inbox: Inbox = running.inbox
    inbox._store = deadly
    running.outbox._settler._store = deadly
