"""A soak: full concurrency, mixed sizes, a share of faults on every link; what leaks shows when it is calm again."""

import itertools
import json
import random
import statistics
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from tools.faults.bench import Lane, Media, Result, Seen, client_proxy, draw, final_key
from tools.faults.fault_proxy import Fault, Kind
from tools.faults.fault_table import DESTINATIONS, LARGE, Destination
from tools.faults.matrix import loss_of
from tools.faults.servers import Gateway

CALLERS = 72
"""More than the 64 transfers that a gateway has at once, so that some always wait."""
SHARE = 0.05
"""Of the requests on each link that meet a fault."""
SIZES = ((20_000, 40), (200_000, 30), (1_100_000, 20), (8_000_000, 9.7), (LARGE, 0.3))
"""Bytes, and how many of a hundred files have them."""
READERS = 6
"""Objects that are read back at the same time."""
MIB = 1024 * 1024
CALM_PATIENCE = 60.0
LOOKS = 2
"""Descriptors that looking costs: the question for the tasks, and that for the gauges."""
LONG = 60.0
"""Seconds: a soak as long as that has stalls among its faults, each of which lasts 20 s."""
SOAK_CLIENT = {"connect_timeout": 10, "read_timeout": 60, "retries": {"total_max_attempts": 10}}
MAX_GROWTH = {"rss_mib": 48.0, "descriptors": 6, "sockets": 6, "threads": 6, "tasks": 2}
"""How much more of each there may be after the load than after the warm-up, both times idle."""


@dataclass(frozen=True)
class Sample:
    """What a gateway's processes hold."""

    rss_mib: float
    descriptors: int
    sockets: int
    threads: int
    tasks: int


@dataclass
class Soak:
    """What came of it."""

    seconds: float
    calls: int = 0
    bytes: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    before: Sample | None = None
    after: Sample | None = None
    highest: Sample | None = None
    load_rss_mib: list[float] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    misses: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.losses and not self.misses


@dataclass
class _Bucket:
    """The calls of some seconds: they store here, and are judged together later."""

    name: str
    made: list[tuple[str, Media, Result]] = field(default_factory=list)
    under_way: int = 0


class _Load:
    def __init__(self, ready: Lane, gateway: Gateway, soak: Soak, rotate: float) -> None:
        self._ready = ready
        self._gateway = gateway
        self._soak = soak
        self._rotate = rotate
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._buckets = itertools.count(1)
        self._bucket = self._new_bucket()
        self._media = {size: ready.media(size) for size, _ in SIZES}

    def run(self, seconds: float, callers: int) -> None:
        """Load the gateway for so long, then wait for the last answers."""
        end = time.monotonic() + seconds
        stop = threading.Event()
        full: list[_Bucket] = []
        with ThreadPoolExecutor(callers + 2) as pool:
            sampling = pool.submit(self._sample, stop)
            work = [pool.submit(self._call_until, end, draw(self._ready.world.seed, "soak", n)) for n in range(callers)]
            while time.monotonic() < end:
                stop.wait(min(self._rotate, max(0.1, end - time.monotonic())))
                with self._lock:
                    full.append(self._bucket)
                    self._bucket = self._new_bucket()
                for bucket in [known for known in full if not known.under_way]:
                    full.remove(bucket)
                    self._judge(bucket)
            for done in work:
                done.result()
            stop.set()
            sampling.result()
        for bucket in [*full, self._bucket]:
            self._judge(bucket)
        self._bucket = self._new_bucket()

    def _new_bucket(self) -> _Bucket:
        bucket = _Bucket(f"soak-{next(self._buckets)}")
        self._ready.world.store.client.create_bucket(Bucket=bucket.name)
        return bucket

    def _sample(self, stop: threading.Event) -> None:
        for number in itertools.count():
            if stop.wait(0.5):
                return
            self._soak.load_rss_mib.append(_rss_mib(self._gateway))
            if number % 8 == 4:
                self._soak.highest = _highest(self._soak.highest, _sample_of(self._gateway))

    def _call_until(self, end: float, rng: random.Random) -> None:
        sizes, weights = [size for size, _ in SIZES], [weight for _, weight in SIZES]
        client = self._ready.client(self._ready.endpoint("client", "plain"), SOAK_CLIENT)
        while time.monotonic() < end:
            media = self._media[rng.choices(sizes, weights)[0]]
            destination: Destination = rng.choice(DESTINATIONS)
            with self._lock:
                bucket = self._bucket
                bucket.under_way += 1
                prefix = f"{next(self._numbers)}-"
                member = self._ready.destination(destination, prefix, media, "plain", bucket.name)
            result = self._ready.call(client, media, member)
            with self._lock:
                bucket.under_way -= 1
                bucket.made.append((final_key(prefix, media), media, result))
                self._soak.calls += 1
                self._soak.bytes += media.size if result.stored else 0
                if not result.stored:
                    self._soak.errors[result.error] += 1

    def _judge(self, bucket: _Bucket) -> None:
        world = self._ready.world
        present = world.keys(bucket.name)

        def look(made: tuple[str, Media, Result]) -> str:
            key, media, result = made
            seen = world.look(key, bucket.name) if key in present else Seen()
            loss = loss_of(result, media, Seen(), seen, may_cut_answer=True)
            return loss and f"{loss}; {bucket.name}/{key} {result.error} {result.message}"

        with ThreadPoolExecutor(READERS) as pool:
            self._soak.losses += filter(None, pool.map(look, bucket.made))
        for key in present - {key for key, _, _ in bucket.made}:
            self._soak.losses.append(f"{bucket.name}/{key} was stored, and nothing asked for it")
        world.drop_bucket(bucket.name)


def run_soak(ready: Lane, seconds: float, *, callers: int = CALLERS, warm_up: float | None = None) -> Soak:
    """Warm the gateway up, look at what it holds; load it for so long; look again once it is calm."""
    soak = Soak(seconds)
    gateway = ready.new_gateway("soak", WHAUL_LOG_LEVEL="warning")
    client_proxy(ready, gateway)
    load = _Load(ready, gateway, soak, rotate=min(20.0, seconds / 3))
    with _faults(ready, soak):
        load.run(warm_up if warm_up is not None else max(5.0, seconds / 10), callers)
    soak.before = _calm(ready, gateway)
    soak.load_rss_mib.clear()
    soak.highest = None
    with _faults(ready, soak):
        load.run(seconds, callers)
    soak.after = _calm(ready, gateway)
    _judge_growth(soak)
    return soak


def _highest(one: Sample | None, other: Sample) -> Sample:
    if one is None:
        return other
    return Sample(**{name: max(value, getattr(other, name)) for name, value in asdict(one).items()})


def _judge_growth(soak: Soak) -> None:
    assert soak.before is not None
    assert soak.after is not None
    before, after = asdict(soak.before), asdict(soak.after)
    for name, most in MAX_GROWTH.items():
        if after[name] > before[name] + most:
            soak.misses.append(f"{name} went from {before[name]:g} to {after[name]:g}")
    quarter = len(soak.load_rss_mib) // 4
    second, last = (statistics.median(soak.load_rss_mib[start : start + quarter]) for start in (quarter, -quarter - 1))
    if last > second * 1.15 + MAX_GROWTH["rss_mib"]:
        soak.misses.append(f"memory under load went from {second:.0f} to {last:.0f} MiB")
    if sum(soak.errors.values()) > soak.calls * 0.005:
        soak.misses.append(f"calls that could have been stored were not: {dict(soak.errors)}")


@contextmanager
def _faults(ready: Lane, soak: Soak) -> Iterator[None]:
    """Let chance strike on every link."""
    stalls = 1 if soak.seconds >= LONG else 0
    links = {"meta": _at_meta, "store": _at_the_store, "client": _at_the_client}
    proxies = {ready.proxies[link, "plain"]: fault for link, fault in links.items()}  # type: ignore[index]
    for proxy, fault in proxies.items():
        proxy.strike_by_chance(SHARE, partial(fault, stalls=stalls))
    try:
        yield
    finally:
        for link in links:
            proxy = ready.proxies[link, "plain"]  # type: ignore[index]
            for struck in proxy.by_chance:
                if struck.hits:
                    soak.faults[f"{link}: {struck.fault.kind}"] += 1
            proxy.by_chance.clear()
        ready.calm()


def _at_meta(rng: random.Random, stalls: int) -> Fault:
    kinds: tuple[Kind, ...] = ("reset", "close", "corrupt", "latency", "stall")
    kind = rng.choices(kinds, (30, 30, 20, 19, stalls))[0]
    at = rng.choice((None, rng.randrange(1, 400), rng.randrange(400, 100_000)))
    if kind == "corrupt":
        at = rng.randrange(2000, 20_000)  # of a file: a description has nothing that proves it but TLS
    return Fault(kind=kind, match=b"GET", at=at, seconds=0.3, jitter=0.2)


def _at_the_store(rng: random.Random, stalls: int) -> Fault:
    kinds: tuple[Kind, ...] = ("reset", "close", "latency", "stall")
    kind = rng.choices(kinds, (35, 34, 30, stalls))[0]
    if rng.random() < 0.3:  # the answer is lost
        return Fault(kind=kind, match=b"PUT", seconds=0.3, jitter=0.2)
    return Fault(kind=kind, way="up", match=b"PUT", at=rng.randrange(1, 100_000), seconds=0.3, jitter=0.2)


def _at_the_client(rng: random.Random, stalls: int) -> Fault:  # noqa: ARG001 - the SDK would wait for a minute
    kinds: tuple[Kind, ...] = ("reset", "close", "latency")
    kind = rng.choices(kinds, (35, 35, 30))[0]
    if rng.random() < 0.5:
        return Fault(kind=kind, match=b"POST", at=rng.choice((None, 1, 20)), seconds=0.3, jitter=0.2)
    return Fault(kind=kind, way="up", match=b"POST", at=rng.randrange(1, 100), seconds=0.3, jitter=0.2)


def _calm(ready: Lane, gateway: Gateway) -> Sample:
    """Break all connections, wait until the gateway has noticed, and look."""
    ready.forget_client()
    ready.calm()
    end = time.monotonic() + CALM_PATIENCE
    last = _sample_of(gateway)
    steady = 0
    while steady < 4 and time.monotonic() < end:
        time.sleep(0.25)
        sample = _sample_of(gateway)
        busy = _gauge(gateway, "whaul_transfers") + _gauge(gateway, "whaul_waiting_calls")
        same = abs(sample.descriptors - last.descriptors) <= LOOKS and sample.tasks == last.tasks
        steady = steady + 1 if same and not busy else 0
        last = sample
    return last


def _gauge(gateway: Gateway, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{gateway.port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


def _sample_of(gateway: Gateway) -> Sample:
    tasks = gateway.tasks()  # collects garbage as well
    links: list[str] = []
    threads = 0
    for pid in gateway.processes():
        threads += len(list(Path(f"/proc/{pid}/task").iterdir()))
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                links.append(str(descriptor.readlink()))
            except OSError:
                continue  # closed meanwhile
    sockets = sum(link.startswith("socket:") for link in links)
    return Sample(_rss_mib(gateway), len(links), sockets, threads, tasks)


def _rss_mib(gateway: Gateway) -> float:
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in gateway.processes())
    return pages * 4096 / MIB


def as_json(soak: Soak) -> str:
    """The figures, for programs."""
    return json.dumps(asdict(soak), default=str)
