"""Runs the matrix: each fault of the network, destination and size, and compares what the store has afterwards."""

import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from tools.faults.bench import (
    DEADLINE,
    PATIENT_CLIENT,
    SINGLE_CLIENT,
    Lane,
    Media,
    Result,
    Seen,
    World,
    client_proxy,
    draw,
    final_key,
    lane,
)
from tools.faults.fault_proxy import Fault, FaultProxy, Struck
from tools.faults.fault_table import BRIEF_DEADLINE, Destination, Row

OLD_SIZE = 50_000
"""Bytes of the object that is there before an overwrite."""
RECORDS = 40_000
"""Bytes of a TLS connection after which a body has surely begun: handshake, head, and some records."""
KEPT_CELLS = 2
"""Cells of a lane whose objects are still there, to be looked at again."""
_numbers = itertools.count(1)


@dataclass
class Run:
    """One call under a fault."""

    key: str
    media: Media
    old: Seen
    destination: dict[str, Any]
    result: Result = field(default_factory=Result)
    seconds: float = 0.0
    seen: Seen = field(default_factory=Seen)


@dataclass
class Cell:
    """One square of the matrix: a fault, a destination, a size; and what happened."""

    row: Row
    destination: Destination
    size_name: str
    size: int
    runs: list[Run] = field(default_factory=list)
    hits: int = 0
    losses: list[str] = field(default_factory=list)
    misses: list[str] = field(default_factory=list)
    brief_deadline: float = BRIEF_DEADLINE
    """Seconds that calls which cannot succeed have."""
    bucket: str = field(default_factory=lambda: f"cell-{next(_numbers)}")

    @property
    def name(self) -> str:
        return f"{self.row.link}/{self.row.name}/{self.destination}/{self.size_name}"

    @property
    def good(self) -> bool:
        return not self.losses and not self.misses


def cells(rows: Iterable[Row], sizes: dict[str, int]) -> list[Cell]:
    return [
        Cell(row, destination, name, size)
        for row in rows
        for destination in row.destinations
        for name, size in sizes.items()
    ]


def run_matrix(
    world: World, todo: Sequence[Cell], *, lanes: int, repeats: int, told: Callable[[Cell], None] = lambda _cell: None
) -> None:
    """Run the cells, several at a time on lanes of their own; look twice at what each stored, the second time later."""
    waiting: queue.SimpleQueue[Cell] = queue.SimpleQueue()
    for cell in sorted(todo, key=lambda cell: cell.row.slow, reverse=True):  # the long ones first
        waiting.put(cell)

    def work(ready: Lane) -> None:
        done: deque[Cell] = deque()
        while not waiting.empty():
            try:
                cell = waiting.get_nowait()
            except queue.Empty:
                break
            try:
                world.store.client.create_bucket(Bucket=cell.bucket)
                run_cell(ready, cell, repeats)
            except Exception as error:  # noqa: BLE001 - the other cells go on
                cell.misses.append(f"the bench failed: {type(error).__name__}: {error}")
            finally:
                ready.calm()
            told(cell)
            done.append(cell)
            if len(done) > KEPT_CELLS:
                look_again(world, done.popleft())
        for cell in done:
            look_again(world, cell)

    with ExitStack() as stack:
        ready = [stack.enter_context(lane(world, f"lane{number}")) for number in range(lanes)]
        with ThreadPoolExecutor(lanes) as pool:
            for done in [pool.submit(work, one) for one in ready]:
                done.result()


def look_again(world: World, cell: Cell) -> None:
    """Read everything of a cell once more: nothing may have changed, or come, after its calls were judged."""
    present = world.keys(cell.bucket)
    for run in cell.runs:
        seen = world.look(run.key, cell.bucket) if run.key in present else Seen()
        if seen != run.seen:
            cell.losses.append(f"{run.key} changed after its call had ended")
    for key in present - {run.key for run in cell.runs}:
        cell.losses.append(f"{key} was stored, and nothing asked for it")
    world.drop_bucket(cell.bucket)


def run_cell(ready: Lane, cell: Cell, repeats: int) -> None:
    """Run the calls of a cell, each onto a name that is free and onto one that is taken."""
    row = cell.row
    runs = [_prepared(ready, cell, number, taken) for number in range(repeats) for taken in (False, True)]
    if row.always or row.slow:
        _strike(ready, cell, runs, draw(ready.world.seed, cell.name, 0).random())
    else:
        for number, run in enumerate(runs):
            _strike(ready, cell, [run], draw(ready.world.seed, cell.name, number).random())
            ready.calm()
    ready.calm()
    cell.runs = runs
    for run in runs:
        run.seen = ready.world.look(run.key, cell.bucket)
        judge(cell, run)
    if cell.hits < len(runs):
        cell.misses.append(f"the fault struck {cell.hits} times in {len(runs)} calls")


def _prepared(ready: Lane, cell: Cell, number: int, taken: bool) -> Run:
    row = cell.row
    media = ready.media(cell.size, number % 2, row.transport)
    prefix = f"{number}{'-taken' if taken else ''}/"
    key = final_key(prefix, media)
    old = Seen()
    if taken:
        old = ready.world.keep(key, draw(ready.world.seed, cell.name, key).randbytes(OLD_SIZE), cell.bucket)
    destination = ready.destination(cell.destination, prefix, media, row.transport, cell.bucket)
    return Run(key, media, old, destination)


def _strike(ready: Lane, cell: Cell, runs: list[Run], where: float) -> None:
    """Arm the fault, make the calls at once, and count how often it struck. `where` is from 0 to 1."""
    row = cell.row
    gateway = ready.gateway(row.transport, cell.brief_deadline if row.always else DEADLINE)
    if row.link == "client":
        proxy = client_proxy(ready, gateway)
        ready.forget_client()  # its allowance of retries is for one outage
        client = ready.client(ready.endpoint("client", row.transport), PATIENT_CLIENT)
    else:
        proxy = ready.proxies[row.link, row.transport]
        scheme, host = ("https", "localhost") if gateway.tls else ("http", "127.0.0.1")
        client = ready.client(f"{scheme}://{host}:{gateway.port}", SINGLE_CLIENT)

    def call(run: Run) -> None:
        started = time.monotonic()
        run.result = ready.call(client, run.media, run.destination)
        run.seconds = time.monotonic() - started

    struck = _armed(proxy, cell, where, None if row.always else len(runs))
    with ThreadPoolExecutor(len(runs)) as pool:
        calls = [pool.submit(call, run) for run in runs]
        if struck is None and not row.always:
            threading.Event().wait(row.seconds)  # how long the outage lasts
            proxy.accept()
        for done in calls:
            done.result()
    if struck is None:
        if row.always:
            proxy.accept()
        cell.hits += len(runs)
    else:
        cell.hits += struck.hits


def _armed(proxy: FaultProxy, cell: Cell, where: float, times: int | None) -> Struck | None:
    row = cell.row
    if row.kind == "refuse":
        proxy.refuse()
        return None
    at: int | None = None
    if row.place == "body":
        length = CALL_BODY if row.link == "client" else cell.size
        at = 1 + int(where * (length - 2))
    elif row.place == "gap":
        at = 0
    elif row.place == "stream":
        first, last = (20, 1200) if row.link == "client" else (RECORDS, cell.size - RECORDS)
        at = first + int(where * (last - first))
    return proxy.script(
        Fault(
            kind=row.kind,
            way=row.way,
            match=row.match,
            at=at,
            times=times,
            seconds=row.seconds,
            jitter=row.jitter,
            bytes_per_second=cell.size / row.slowness if row.slowness else 0.0,
        )
    )


CALL_BODY = 30
"""Bytes that the body of every call, and of every answer, has at least."""


def judge(cell: Cell, run: Run) -> None:
    """Compare what the store has with what the call said, and what the call said with what it had to say."""
    said = f"{run.key}: {run.result.error or 'stored'} ({run.seconds:.1f} s) {run.result.message}"
    loss = loss_of(run.result, run.media, run.old, run.seen, may_cut_answer=cell.row.may_cut_answer)
    if loss:
        cell.losses.append(f"{loss}; {said}")
    if cell.row.expected == "stored" and not run.result.stored:
        cell.misses.append(f"could have been stored; {said}")
    elif cell.row.expected == "refused" and (run.result.stored or run.seen.is_of(run.media)):
        cell.misses.append(f"cannot have been stored; {said}")
    elif cell.row.expected == "refused" and run.result.error not in cell.row.errors:
        cell.misses.append(f"refused with another error; {said}")


def loss_of(result: Result, media: Media, old: Seen, seen: Seen, *, may_cut_answer: bool = False) -> str:
    """What was lost, if anything: the rules that hold whatever happens."""
    whole = seen.is_of(media)
    if not result.stored:
        if whole or seen == old:
            return ""
        return f"{'the object that was there became one' if old.sha256 else 'a wrong object'} of {seen.size} bytes"
    if not seen.sha256:
        return "a 200 without an object"
    if not whole:
        wrong = "wrong bytes" if seen.sha256 != media.sha256 else "a wrong type"
        return f"a 200 with an object of {wrong}, {seen.size} bytes, {seen.content_type}"
    if (result.size, result.sha256) != (media.size, media.sha256) and not may_cut_answer:
        return "a 200 with a wrong answer"
    return ""
