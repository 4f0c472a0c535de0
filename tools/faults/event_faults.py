"""Faults of webhooks and events: kills of nodes and databases, bad endpoints, copies, a full disk, clocks that jump."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.faults.event_lane import DESTINATION, DURABLE, OTHER_APP, EventLane, event_lane
from tools.faults.event_target import Answer
from tools.faults.fault_proxy import Fault, Network, network
from tools.faults.process_faults import HOUR, Story
from tools.postgresql import PostgresqlMissingError, PostgresqlServer, postgresql_server
from whaul.stack.local import whaul

AT_ONCE = 16
"""Deliveries of a process that are under way at once: as many may come twice when it is killed."""
UNWRITTEN = 200
"""Outcomes of a process, at most, that wait to be written down and are lost with it."""
DISK = 8 * 1024**2


@dataclass(frozen=True)
class Scale:
    """How much of it: the bench's is long, the suite's short."""

    webhooks: int
    kills: int


LONG, SHORT = Scale(200, 2), Scale(60, 1)


def node_killed(lane: EventLane, scale: Scale) -> None:
    """The only node is killed under load, again and again, and started again."""
    node = lane.node()
    for round_ in range(scale.kills):
        lane.send(scale.webhooks // scale.kills)
        lane.taken(len(lane.target.taken) + 3 + 5 * round_)
        node.kill()
        lane.story.injected += 1
        lane.end_leases()
        node.start()
    lane.send_again()
    lane.end_leases()
    lane.settle()
    lane.check(most_duplicates=scale.kills * (AT_ONCE + UNWRITTEN))


def worker_killed(lane: EventLane, scale: Scale) -> None:
    """The workers of a node are killed under load; the node starts others."""
    node = lane.node(WHAUL_WORKERS="2")
    for round_ in range(scale.kills):
        lane.send(scale.webhooks // scale.kills)
        lane.taken(len(lane.target.taken) + 3 + 5 * round_)
        for worker in node.processes()[1:]:
            try:
                os.kill(worker, signal.SIGKILL)
            except ProcessLookupError:  # a helper that has ended by itself
                continue
        lane.story.injected += 1
        lane.send_again()
        lane.end_leases()
    lane.settle()
    lane.check(most_duplicates=2 * scale.kills * (AT_ONCE + UNWRITTEN))


def one_of_two_killed(lane: EventLane, scale: Scale) -> None:
    """Two nodes on one database; the one that takes the webhooks is killed, and Meta goes to the other."""
    one, two = lane.node(), lane.node()
    lane.send(scale.webhooks)
    lane.taken(5)
    one.kill()
    lane.story.injected += 1
    lane.point_at(two)
    for delivery in lane.simulator.webhooks.deliveries:
        delivery.url = f"http://127.0.0.1:{two.port}/webhooks/meta"
    lane.send_again()
    lane.end_leases()
    lane.settle()
    lane.check(most_duplicates=AT_ONCE + UNWRITTEN)


def database_killed(lane: EventLane, scale: Scale) -> None:
    """PostgreSQL is killed under load and started again; the node goes on by itself."""
    server = lane.postgresql
    assert server is not None
    lane.node()
    for _ in range(scale.kills):
        lane.send(scale.webhooks // scale.kills)
        lane.taken(len(lane.target.taken) + 3)
        server.stop(signal.SIGKILL)
        lane.story.injected += 1
        end = time.monotonic() + 30
        while True:
            try:
                server.start()
                break
            except PostgresqlMissingError:  # the killed one's children are still there
                if time.monotonic() > end:
                    raise
    lane.send_again()
    lane.settle()
    lane.check(most_duplicates=scale.kills * (AT_ONCE + UNWRITTEN))


def endpoint_fails(lane: EventLane, scale: Scale) -> None:
    """The endpoint answers 500, 400, 404 and 429 with Retry-After to single events, and is slow."""
    lane.node()
    lane.target.answers = [
        *(Answer(status) for status in (500, 400, 404, 400, 502)),
        Answer(429, {"Retry-After": "1"}),
        *(Answer(200, seconds=0.5) for _ in range(4)),
    ]
    lane.story.injected += len(lane.target.answers)
    lane.send(scale.webhooks // 4)
    lane.answered(scale.webhooks // 4)
    lane.settle()
    lane.check(most_duplicates=0)


def endpoint_away(lane: EventLane, scale: Scale) -> None:
    """Nothing listens at the endpoint; then it is back."""
    lane.node()
    lane.send(3)
    lane.taken(3)
    lane.proxy.refuse()
    lane.story.injected += 1
    lane.send(scale.webhooks)
    lane.answered(3 + scale.webhooks)
    lane.story.expect(len(lane.target.taken) == 3, "something was delivered to an endpoint that is away")
    lane.proxy.accept()
    lane.settle()
    lane.check(most_duplicates=0)


def endpoint_cut(lane: EventLane, scale: Scale) -> None:
    """The answers of the endpoint are lost: events were taken that nobody knows of."""
    lane.node()
    struck = lane.proxy.script(Fault(kind="reset", way="down", match=b"POST", times=scale.kills))
    lane.send(scale.webhooks // 4)
    lane.answered(scale.webhooks // 4)
    lane.settle()
    lane.story.injected += struck.hits
    lane.check(most_duplicates=2 * AT_ONCE)
    lane.story.expect(struck.hits > 0, "no answer was lost")


def endpoint_half_open(lane: EventLane, scale: Scale) -> None:
    """The endpoint takes a request and falls silent; the attempt ends after 15 s, and is made again."""
    lane.node()
    struck = lane.proxy.script(Fault(kind="stall", way="down", match=b"POST", times=1))
    lane.send(scale.webhooks // 4)
    lane.answered(scale.webhooks // 4)
    lane.settle()
    lane.story.injected += struck.hits
    lane.check(most_duplicates=AT_ONCE)


def endpoint_gone(lane: EventLane, scale: Scale) -> None:
    """The endpoint answers 410: all waits until the destination is resumed."""
    lane.node()
    count = scale.webhooks // 4
    lane.target.answers = [Answer(410)] * AT_ONCE
    lane.story.injected += 1
    lane.send(count)
    lane.answered(count)
    lane.wait(lambda: lane.rows("SELECT 1 FROM destinations WHERE state = 'disabled'") != [])
    with lane.target.lock:
        lane.target.answers = []
    whaul(["destinations", "resume", DESTINATION], lane.environ)
    lane.settle()
    lane.check(most_duplicates=0)


def two_apps(lane: EventLane, scale: Scale) -> None:
    """Each webhook comes through two apps, three times each, at the same time."""
    node = lane.node()
    other = lane.simulator.add_app("other", OTHER_APP[1])
    lane.point_at(node, other.id)
    count = scale.webhooks // 4
    for _ in range(count):
        lane.simulator.send_webhook("text", copies=3)
    lane.story.injected += 5 * count
    lane.send_again()
    lane.settle()
    lane.check(most_duplicates=0)
    lane.story.expect(len(lane.target.taken) == count, f"{len(lane.target.taken)} events of {count} messages")


def bad_item(lane: EventLane, _scale: Scale) -> None:
    """One webhook of 1,000 items, one of which makes no sense: the others are events like any."""
    lane.node()
    now = int(time.time())
    messages: list[Any] = [
        {"from": "15550001", "id": f"wamid.B{n:04d}", "timestamp": f"{now}", "type": "text", "text": {"body": "x"}}
        for n in range(1000)
    ]
    messages[500] = ["no", {"message": None}]
    number = lane.simulator.phone_numbers[0]
    metadata = {"display_phone_number": "15550100", "phone_number_id": number.id}
    value = {"messaging_product": "whatsapp", "metadata": metadata, "messages": messages}
    lane.simulator.send_webhook(field="messages", value=value)
    lane.story.injected += 1
    lane.answered(1)
    lane.taken(999)
    lane.settle()
    lane.check(most_duplicates=0)
    (events,) = lane.rows("SELECT count(*) FROM events")
    lane.story.expect(events[0] == 1000, f"{events[0]} events instead of 1,000")


def disk_full(lane: EventLane, scale: Scale) -> None:
    """The disk under the database is full: webhooks are refused, none is lost, and all come in once there is room."""
    place, filler = Path(lane.database.removeprefix("sqlite:///")).parent, "filler"
    before = lane.folder / "before"
    shutil.move(place, before)
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        lane.story.skipped = "a small disk can only be mounted by root, where the system allows it"
        return
    lane.parts.callback(subprocess.run, ["umount", "--lazy", str(place)], check=True)
    shutil.copytree(before, place, dirs_exist_ok=True)
    lane.node()
    lane.send(3)
    lane.taken(3)
    with (place / filler).open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            lane.story.injected += 1
    lane.send(scale.webhooks)
    lane.wait(
        lambda: any(attempt.status == 503 for one in lane.simulator.webhooks.deliveries for attempt in one.attempts)
    )
    (place / filler).unlink()
    lane.send_again()
    lane.settle()
    lane.check(most_duplicates=AT_ONCE + UNWRITTEN)


def clock_jumps(lane: EventLane, scale: Scale) -> None:
    """The node's clock jumps by an hour and by days under load, there and back."""
    node = lane.node()
    for jump in (HOUR, -HOUR, 3 * 24 * HOUR, -3 * 24 * HOUR, 0):
        lane.send(scale.webhooks // 10)
        node.move_clock(jump)
        lane.story.injected += 1
        lane.send(scale.webhooks // 10)
    lane.send_again()
    lane.settle()
    lane.check(most_duplicates=0)


@dataclass(frozen=True)
class Scenario:
    name: str
    play: Callable[[EventLane, Scale], None]
    databases: tuple[str, ...] = ("SQLite", "PostgreSQL")
    short: tuple[str, ...] = ()
    """On which databases it is part of the suite."""
    alone: bool = False
    """Whether it disturbs others at the same time."""


SCENARIOS = [
    Scenario("the only node killed (SIGKILL) under load, restarted", node_killed, short=("SQLite",)),
    Scenario("a node's workers killed (SIGKILL) under load", worker_killed),
    Scenario("one of two nodes killed (SIGKILL) under load", one_of_two_killed),
    Scenario(
        "PostgreSQL killed (SIGKILL) under load, restarted",
        database_killed,
        ("PostgreSQL",),
        ("PostgreSQL",),
        alone=True,
    ),
    Scenario("endpoint: 500, 400, 404, 429 with Retry-After, slow", endpoint_fails),
    Scenario("endpoint: connections refused, then back", endpoint_away),
    Scenario("endpoint: answers lost by a reset", endpoint_cut),
    Scenario("endpoint: half-open", endpoint_half_open, ("SQLite",)),
    Scenario("endpoint: 410, then resumed", endpoint_gone, ("SQLite",)),
    Scenario("each webhook through two apps, three copies each", two_apps),
    Scenario("1,000 items in a webhook, one of them bad", bad_item, short=("SQLite",)),
    Scenario("disk full under the database", disk_full, ("SQLite",), ("SQLite",)),
    Scenario("clock jumps by an hour and by days", clock_jumps),
]


@dataclass
class EventWorld:
    """What all stories of events share."""

    folder: Path
    network: Network
    postgresql: PostgresqlServer


@contextmanager
def event_world(folder: Path) -> Iterator[EventWorld]:
    """Start a PostgreSQL that may be killed, and the network."""
    with network() as running, postgresql_server(DURABLE) as server:
        yield EventWorld(folder, running, server)


def tell_events(of: EventWorld, scenario: Scenario, database: str, scale: Scale) -> Story:
    """Play one scenario on one database."""
    story = Story(f"{scenario.name} ({database})")
    server = of.postgresql if database == "PostgreSQL" else None
    folder = Path(tempfile.mkdtemp(prefix="events-", dir=of.folder))
    try:
        with event_lane(story, folder, of.network, server) as lane:
            scenario.play(lane, scale)
    except Exception as error:  # noqa: BLE001 - the other stories go on
        story.misses.append(f"the bench failed: {type(error).__name__}: {error}")
    return story
