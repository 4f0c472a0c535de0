"""How a rival is run: it gets ready, waits for the start, moves files until the time is up, and says what it did.

Only the standard library, since each rival runs in an environment of its own. A rival is called as
`rival.py JOB`, JOB being JSON. It prints a line `ready` after its warm-up, reads a line, and prints one JSON document.
"""

import asyncio
import itertools
import json
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

WARM_UP_KIND = "k100"
"""The warm-up opens the connections with small files, whatever the workload moves."""


@dataclass(frozen=True)
class Job:
    """What a rival is asked to do."""

    url: str
    """The site: `https://127.0.0.1:PORT`, Graph API, media host and S3 endpoint in one."""
    ca_file: str
    bucket: str
    run: int
    """A number that no other run has: media ids begin with it."""
    kinds: list[str]
    concurrency: int
    seconds: float
    metadata_only: bool
    folder: str
    """For temporary files."""
    graph: str = "v25.0"
    token: str = "bench-token"
    region: str = "us-east-1"
    options: dict[str, Any] | None = None

    def media_id(self, number: int, kind: str | None = None) -> str:
        """The id of the run's n-th file; the site reads the kind out of it."""
        return f"{self.run}{number:07d}f{kind or self.kinds[number % len(self.kinds)]}"


def job() -> Job:
    """Read what the command line asks for."""
    return Job(**json.loads(sys.argv[1]))


class Score:
    """What was done: latencies in seconds, and bytes."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.bytes = 0
        self.warm_files = 0
        self.warm_bytes = 0

    def document(self, seconds: float) -> dict[str, Any]:
        """What is printed."""
        ordered = sorted(self.latencies)

        def rank(share: float) -> float:
            return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 3)

        return {
            "files": len(ordered),
            "bytes": self.bytes,
            "warm_files": self.warm_files,
            "warm_bytes": self.warm_bytes,
            "seconds": seconds,
            "p50_ms": rank(0.5),
            "p99_ms": rank(0.99),
        }


def _start_line() -> None:
    print("ready", flush=True)
    if not sys.stdin.readline():
        raise SystemExit("the start never came")


def _finish_line(score: Score, started: float) -> None:
    print(json.dumps(score.document(time.monotonic() - started)), flush=True)
    sys.stdin.readline()  # alive until it has been measured


def with_threads(asked: Job, make_worker: Callable[[], Callable[[str], int]]) -> None:
    """Run with a thread for each file under way; a worker moves the file of a media id and returns its size."""
    score = Score()
    numbers, warm_numbers = itertools.count(), itertools.count(9_000_000)
    lock, failures = threading.Lock(), []
    warm, go = threading.Barrier(asked.concurrency + 1), threading.Event()
    end = 0.0

    def loop() -> None:
        try:
            work = make_worker()
            moved = work(asked.media_id(next(warm_numbers), WARM_UP_KIND))
            with lock:
                score.warm_files += 1
                score.warm_bytes += moved
            warm.wait()
            go.wait()
            first = True
            while first or time.monotonic() < end:
                first = False
                begun = time.monotonic()
                moved = work(asked.media_id(next(numbers)))
                with lock:
                    score.latencies.append(time.monotonic() - begun)
                    score.bytes += moved
        except BaseException as failure:  # noqa: BLE001 - told on the main thread
            failures.append(failure)
            warm.abort()

    threads = [threading.Thread(target=loop, daemon=True) for _ in range(asked.concurrency)]
    for thread in threads:
        thread.start()
    try:
        warm.wait()
    except threading.BrokenBarrierError:
        raise SystemExit(f"the warm-up failed: {failures[0]!r}") from failures[0]
    _start_line()
    started = time.monotonic()
    end = started + asked.seconds
    go.set()
    for thread in threads:
        thread.join()
    if failures:
        raise SystemExit(f"a file failed: {failures[0]!r}") from failures[0]
    _finish_line(score, started)


async def with_tasks(asked: Job, make_worker: Callable[[], Awaitable[Callable[[str], Awaitable[int]]]]) -> None:
    """Run with a task for each file under way."""
    score = Score()
    numbers, warm_numbers = itertools.count(), itertools.count(9_000_000)

    async def warm() -> Callable[[str], Awaitable[int]]:
        work = await make_worker()
        score.warm_bytes += await work(asked.media_id(next(warm_numbers), WARM_UP_KIND))
        score.warm_files += 1
        return work

    async def loop(work: Callable[[str], Awaitable[int]], end: float) -> None:
        first = True
        while first or time.monotonic() < end:
            first = False
            begun = time.monotonic()
            moved = await work(asked.media_id(next(numbers)))
            score.latencies.append(time.monotonic() - begun)
            score.bytes += moved

    workers = await asyncio.gather(*(warm() for _ in range(asked.concurrency)))
    _start_line()
    started = time.monotonic()
    await asyncio.gather(*(loop(work, started + asked.seconds) for work in workers))
    _finish_line(score, started)
