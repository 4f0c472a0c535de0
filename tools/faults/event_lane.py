"""Nodes that take the simulator's webhooks and deliver their events, and an independent count of what became of them.

The count compares three things that know nothing of each other: what the simulator was answered 200 for, what the
endpoint got, and what is in the database.
"""

import base64
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from tools.faults.event_target import Target, event_target, wamids
from tools.faults.fault_proxy import FaultProxy, Network
from tools.faults.process_faults import PATIENCE, Story
from tools.faults.servers import Gateway
from tools.postgresql import PostgresqlServer
from whaul.simulator import Simulator, simulator_in_thread
from whaul.simulator.apps import DEFAULT_APP_SECRET
from whaul.stack.local import REGION, clean_environment, whaul

KEY = base64.urlsafe_b64encode(b"f" * 32).decode()
OTHER_APP = ("2", "other-app-secret-of-the-bench")
DESTINATION = "bench"
DURABLE = "synchronous_commit = on\nlog_statement = 'none'\n"
"""PostgreSQL may be killed, though the machine may not."""


@dataclass
class EventLane:
    """A database of its own, an endpoint behind a proxy, and nodes."""

    story: Story
    folder: Path
    simulator: Simulator
    target: Target
    proxy: FaultProxy
    postgresql: PostgresqlServer | None
    database: str
    parts: ExitStack
    nodes: list[Gateway] = field(default_factory=list)

    @property
    def environ(self) -> dict[str, str]:
        return clean_environment() | {
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench-secret",
            "WHAUL_DATABASE_URL": self.database,
            "WHAUL_SECRET_KEY": KEY,
            "WHAUL_GRAPH_URL": self.simulator.url,
            "WHAUL_MEDIA_HOSTS": "127.0.0.1",
            "WHATSAPP_ACCESS_TOKEN": self.simulator.token,
            "WHAUL_EVENT_HOSTS": "127.0.0.1",
            "WHAUL_APP_SECRETS": "=".join(OTHER_APP),
            "WHAUL_SHUTDOWN_NOTICE": "0",
        }

    def set_up(self) -> None:
        secret = self.folder / "app-secret"
        secret.write_text(DEFAULT_APP_SECRET)
        whaul(["link", "--waba-id", self.simulator.waba_id, "--app-secret-file", str(secret)], self.environ)
        to = ["--account", self.simulator.waba_id, "--to", f"http://127.0.0.1:{self.proxy.port}/hook"]
        whaul(["destinations", "add", DESTINATION, *to], self.environ)

    def node(self, **settings: str) -> Gateway:
        """Start one; the simulator sends to the first."""
        gateway = Gateway(f"node-{len(self.nodes)}", self.environ | settings, self.folder)
        self.parts.callback(gateway.close)
        gateway.start()
        self.nodes.append(gateway)
        if len(self.nodes) == 1:
            self.point_at(gateway)
        return gateway

    def point_at(self, gateway: Gateway, app_id: str | None = None) -> None:
        self.simulator.set_webhook(f"http://127.0.0.1:{gateway.port}/webhooks/meta", app_id=app_id)

    def send(self, count: int) -> None:
        """Send so many webhooks, without waiting for their answers."""
        for _ in range(count):
            self.simulator.send_webhook("text")

    def answered(self, count: int) -> None:
        """Wait until so many are answered."""
        self.wait(lambda: self._answered() >= count)

    def taken(self, count: int) -> None:
        """Wait until the endpoint has so many messages."""
        self.wait(lambda: len(self.target.taken) >= count)

    def statuses(self) -> list[int | None]:
        """What the simulator was answered, attempt by attempt."""
        return [attempt.status for one in self.simulator.webhooks.deliveries for attempt in one.attempts]

    def _answered(self) -> int:
        return sum(delivery.state == "delivered" for delivery in self.simulator.webhooks.deliveries)

    def send_again(self) -> None:
        """Send again what was not answered 200, as Meta does for days, until all is."""

        def done() -> bool:
            left = [one for one in self.simulator.webhooks.deliveries if one.state != "delivered"]
            for delivery in left:
                if delivery.attempts and delivery.state == "due":
                    self.simulator.webhooks.redeliver(delivery.id)
            return not left

        self.wait(done, every=0.5)

    def end_leases(self) -> None:
        """End the leases of nodes that are gone: on PostgreSQL they last a minute, which nobody needs to wait for."""
        if self.postgresql is not None:
            statement = "UPDATE deliveries SET due_at = 0 WHERE lease_owner IS NOT NULL"
            self.postgresql.execute(statement, self.database.rpartition("/")[2])

    def settle(self) -> None:
        """Wait until nothing waits in the database."""
        self.wait(lambda: not self.rows("SELECT 1 FROM deliveries WHERE state = 'pending' LIMIT 1"), every=0.1)

    def rows(self, statement: str) -> list[Any]:
        """Ask the database, past whaul."""
        if self.postgresql is None:
            database = sqlite3.connect(self.database.removeprefix("sqlite:///"), timeout=30)
            try:
                return database.execute(statement).fetchall()
            finally:
                database.close()
        return self.postgresql.execute(statement, self.database.rpartition("/")[2])

    def check(self, *, most_duplicates: int, dead: int = 0) -> None:
        """Compare what was sent, what arrived, and what is kept."""
        story, taken = self.story, self.target.taken
        sent: set[str] = set()
        for delivery in self.simulator.webhooks.deliveries:
            if any(attempt.status == 200 for attempt in delivery.attempts):
                for entry in json.loads(delivery.body)["entry"]:
                    sent.update(wamids(entry))
        kept = Counter(row[0] for row in self.rows("SELECT wamid FROM events WHERE wamid IS NOT NULL"))
        (gone,) = self.rows("SELECT count(*) FROM deliveries WHERE state = 'dead'")
        story.stored += len(taken)
        story.refused += sum(status != 200 for status in self.statuses())
        story.duplicates += self.target.duplicates
        lost = len(sent - taken.keys()) - dead
        if lost > 0:
            story.losses.append(f"{lost} of {len(sent)} messages were answered and never delivered")
        if missing := sent - kept.keys():
            story.losses.append(f"{len(missing)} messages are not in the database")
        story.expect(max(kept.values(), default=1) == 1, "a message is in the database twice")
        story.expect(gone[0] == dead, f"{gone[0]} dead letters instead of {dead}")
        few = self.target.duplicates <= most_duplicates
        story.expect(few, f"{self.target.duplicates} duplicates, more than the {most_duplicates} of an interruption")

    def wait(self, happened: Callable[[], bool], every: float = 0.02) -> None:
        """Wait for something that tells nobody when it happens; a database may be away."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                if happened():
                    return
            except (TimeoutError, OSError, asyncpg.PostgresError, sqlite3.OperationalError):
                pass
            if time.monotonic() > end:
                raise TimeoutError("it did not happen")
            time.sleep(every)


@contextmanager
def event_lane(
    story: Story, folder: Path, network: Network, postgresql: PostgresqlServer | None
) -> Iterator[EventLane]:
    """Set one up, on PostgreSQL or on SQLite."""
    with ExitStack() as parts:
        simulator = parts.enter_context(simulator_in_thread())
        target = parts.enter_context(event_target())
        proxy = network.proxy(target.port, story.name)
        url = f"sqlite:///{folder / 'db' / 'whaul.db'}"
        (folder / "db").mkdir()
        if postgresql is not None:
            url = postgresql.url(postgresql.create_database())
        made = EventLane(story, folder, simulator, target, proxy, postgresql, url, parts)
        made.set_up()
        yield made
