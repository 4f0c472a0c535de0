"""Faults of processes and of the machine: kills, stops, full disks, clocks that jump, descriptors that run out."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tools.faults.bench import PATIENT_CLIENT, SINGLE_CLIENT, Lane, Media, Result, Seen, draw, final_key
from tools.faults.fault_proxy import Fault, Struck
from tools.faults.fault_table import DESTINATIONS, LARGE, PUT, SMALL
from tools.faults.matrix import OLD_SIZE, loss_of
from tools.faults.servers import PROBE, Gateway

PATIENCE = 60.0
"""Seconds until the bench gives up waiting for what must happen."""
HOUR = 3600


@dataclass
class Story:
    """What was done to the processes, and what came of it."""

    name: str
    injected: int = 0
    stored: int = 0
    refused: int = 0
    duplicates: int = 0
    skipped: str = ""
    """Why it could not be told on this machine."""
    notes: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    misses: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.losses and not self.misses

    def expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.misses.append(otherwise)


@dataclass
class Call:
    """A call under way."""

    key: str
    media: Media
    old: Seen
    done: "Future[Result]"


class Teller:
    """Makes the calls of a story, and judges them."""

    def __init__(self, ready: Lane, story: Story, repeats: int, large: int) -> None:
        self.ready = ready
        self.story = story
        self.repeats = repeats
        self.sizes = (SMALL, large)
        self.rng = draw(ready.world.seed, story.name)
        self._pool = ThreadPoolExecutor(200)
        self._calls: list[Call] = []
        self._number = 0
        self.kept: list[tuple[str, Seen]] = []

    def call(
        self, gateway: Gateway, size: int, destination: str = "S3 file", *, taken: bool = False, patient: bool = True
    ) -> Call:
        """Begin a call to a name of its own, which is taken already or free."""
        self._number += 1
        ready = self.ready
        media = ready.media(size, self._number % 2)
        prefix = f"{self.story.name.replace(' ', '-')}/{self._number}/"
        key = final_key(prefix, media)
        old = ready.world.keep(key, self.rng.randbytes(OLD_SIZE)) if taken else Seen()
        client = ready.client(f"http://127.0.0.1:{gateway.port}", PATIENT_CLIENT if patient else SINGLE_CLIENT)
        member = ready.destination(destination, prefix, media)  # type: ignore[arg-type]
        made = Call(key, media, old, self._pool.submit(ready.call, client, media, member))
        self._calls.append(made)
        return made

    def still_old(self, calls: Sequence[Call]) -> None:
        """The store must have what it had before these calls, or all of the new."""
        for call in calls:
            seen = self.ready.world.look(call.key)
            if seen != call.old and not seen.is_of(call.media):
                self.story.losses.append(f"{call.key} is an object of {seen.size} bytes in the middle of it")

    def judge(self, calls: Sequence[Call], expected: str | None = "") -> None:
        """Wait for the calls; each must end with that error code (empty: stored; None: either), and lose nothing."""
        for call in calls:
            result = call.done.result(PATIENCE * 2)
            seen = self.ready.world.look(call.key)
            said = f"{call.key}: {result.error or 'stored'} {result.message}"
            loss = loss_of(result, call.media, call.old, seen)
            if loss:
                self.story.losses.append(f"{loss}; {said}")
            if expected is not None and result.error != expected:
                self.story.misses.append(f"should have been {expected or 'stored'}; {said}")
            self.story.stored += result.stored
            self.story.refused += not result.stored
            self.kept.append((call.key, seen))

    def holding(self, size: int) -> Struck:
        """Hold the next PUT after a number of its body's bytes that the seed chooses."""
        at = self.rng.randrange(1, size)
        return self.ready.proxies["store", "plain"].script(Fault(kind="hold", way="up", match=PUT, at=at))

    def reached(self, struck: Struck) -> None:
        if not struck.reached.wait(PATIENCE):
            raise TimeoutError("the PUT did not begin")

    def close(self) -> None:
        """Look at everything once more."""
        self._pool.shutdown()
        for key, seen in self.kept:
            if self.ready.world.look(key) != seen:
                self.story.losses.append(f"{key} changed after its call had ended")


Scenario = Callable[[Teller], None]


def gateway_killed(teller: Teller) -> None:
    """SIGKILL of the gateway in the middle of a PUT; it is started again on its port, and the SDK tries again."""
    gateway = teller.ready.new_gateway("killed")
    for destination in DESTINATIONS[: teller.repeats]:
        for size in teller.sizes:
            for taken in (False, True)[: teller.repeats]:
                teller.ready.forget_client()  # an SDK's allowance of retries is for one outage
                struck = teller.holding(size)
                call = teller.call(gateway, size, destination, taken=taken or teller.repeats == 1)
                teller.reached(struck)
                gateway.kill()
                teller.story.injected += 1
                struck.release()
                teller.ready.calm()
                teller.still_old([call])
                gateway.start()
                teller.judge([call])


def worker_killed(teller: Teller) -> None:
    """SIGKILL of one worker process, which the gateway replaces."""
    gateway = teller.ready.new_gateway("workers", WHAUL_WORKERS="2")
    for size in teller.sizes[: teller.repeats]:
        struck = teller.holding(size)
        call = teller.call(gateway, size, taken=True)
        teller.reached(struck)
        main, *workers = gateway.processes()
        for worker in workers:
            if b"resource_tracker" not in _command_line(worker):
                os.kill(worker, signal.SIGKILL)
        teller.story.injected += 1
        struck.release()
        teller.ready.calm()
        teller.still_old([call])
        teller.judge([call])
        teller.story.expect(gateway.process is not None and gateway.process.poll() is None, f"{main} ended, too")


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def store_killed(teller: Teller) -> None:
    """SIGKILL of the S3 server in the middle of a PUT; it is started again on its ports."""
    gateway = teller.ready.gateway()
    server = teller.ready.world.store.server
    for destination in DESTINATIONS:
        for size in teller.sizes[: teller.repeats]:
            for taken in (False, True)[: teller.repeats]:
                struck = teller.holding(size)
                call = teller.call(gateway, size, destination, taken=taken, patient=False)
                teller.reached(struck)
                server.kill()
                teller.story.injected += 1
                struck.release()
                server.start()
                teller.judge([call])


def key_creation_killed(teller: Teller) -> None:
    """SIGKILL of a command that writes to the database, at moments that the seed chooses."""
    ready, story = teller.ready, teller.story
    gateway = ready.gateway()
    environ = ready.environment("plain")
    command = [sys.executable, "-P", "-m", "whaul", "keys", "create", "--name", "killed", "--allow-all", "--json"]
    started = time.monotonic()
    subprocess.run(command, env=environ, capture_output=True, check=True)
    usual = time.monotonic() - started
    printed = []
    for number in range(4 * teller.repeats):
        # The first dies young whatever the machine is doing, so that never all of them end before they are struck.
        share = teller.rng.uniform(0.4, 1.0) if number else 0.05
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            try:
                process.wait(usual * share)
            except subprocess.TimeoutExpired:
                process.kill()
                story.injected += 1
            assert process.stdout is not None
            text = process.stdout.read()
            if text.endswith(b"}\n"):
                printed.append(json.loads(text))
    story.notes.append(f"{len(printed)} of {4 * teller.repeats} commands had shown their key by then")
    _check_database(teller)
    listed = _keys(environ)
    for key in printed:
        story.expect(key["accessKeyId"] in listed, f"the key {key['accessKeyId']} was shown, and is not there")
    teller.judge([teller.call(gateway, SMALL)])


def _keys(environ: dict[str, str]) -> set[str]:
    command = [sys.executable, "-P", "-m", "whaul", "keys", "list", "--json"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    document = json.loads(done.stdout)
    return {key["accessKeyId"] for key in (document if isinstance(document, list) else document["accessKeys"])}


def _check_database(teller: Teller) -> None:
    database = sqlite3.connect(teller.ready.folder / "whaul.db")
    try:
        (told,) = database.execute("PRAGMA integrity_check").fetchone()
    finally:
        database.close()
    teller.story.expect(told == "ok", f"the database is damaged: {told}")


def database_locked(teller: Teller) -> None:
    """Another program is writing to the database for 3 s: calls go on, and a command that writes waits its turn."""
    gateway = teller.ready.new_gateway("locked")
    environ = teller.ready.environment("plain")
    command = [sys.executable, "-P", "-m", "whaul", "keys", "create", "--name", "waits", "--allow-all", "--json"]
    database = sqlite3.connect(teller.ready.folder / "whaul.db", isolation_level=None)
    try:
        for _ in range(teller.repeats):
            database.execute("BEGIN EXCLUSIVE")
            teller.story.injected += 1
            with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) as waiting:
                teller.judge([teller.call(gateway, SMALL, taken=taken, patient=False) for taken in (False, True)])
                threading.Event().wait(3)  # how long the lock is held
                teller.story.expect(waiting.poll() is None, "the command did not wait for the lock")
                database.execute("ROLLBACK")
                text, _ = waiting.communicate(timeout=PATIENCE)
            teller.story.expect(waiting.returncode == 0, f"the command ended with {waiting.returncode}")
            teller.story.expect(json.loads(text)["accessKeyId"] in _keys(environ), "the key is not there")
    finally:
        database.close()


def terminated(teller: Teller) -> None:
    """SIGTERM with transfers under way: they are finished and answered, and the gateway ends with 0."""
    ready, story = teller.ready, teller.story
    for round_ in range(teller.repeats):
        gateway = ready.new_gateway(f"terminated-{round_}")
        slow = Fault(kind="bandwidth", way="up", match=PUT, times=None, bytes_per_second=SMALL / 2)
        proxy = ready.proxies["store", "plain"]
        struck = proxy.script(slow)
        calls = [
            teller.call(gateway, SMALL, destination, taken=taken, patient=False)
            for destination in DESTINATIONS
            for taken in (False, True)
        ]
        _wait(partial(_struck_at_least, struck, len(calls)))
        gateway.terminate()
        story.injected += 1
        teller.judge(calls)
        assert gateway.process is not None
        code = gateway.process.wait(PATIENCE)
        story.expect(code == 0, f"the gateway ended with {code}")
        ready.calm()


def _struck_at_least(struck: Struck, times: int) -> bool:
    return struck.hits >= times


def _wait(happened: Callable[[], bool]) -> None:
    """Wait for something that tells nobody when it happens."""
    end = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > end:
            raise TimeoutError("it did not happen")
        time.sleep(0.02)


def disk_full(teller: Teller) -> None:
    """Files may not grow (RLIMIT_FSIZE): commands that write fail in order, and calls go on."""
    ready, story = teller.ready, teller.story
    gateway = ready.gateway()
    environ = ready.environment("plain") | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PROBE), os.environ.get("PYTHONPATH")])),
        "BENCH_PROBE": str(ready.folder / "full"),
    }
    command = [sys.executable, "-P", "-m", "whaul", "keys", "create", "--name", "full", "--allow-all", "--json"]
    for limit in (0, 8192, 4096, 33_000)[: 2 * teller.repeats]:
        before = _keys(ready.environment("plain"))
        limited = environ | {"BENCH_LIMITS": json.dumps({"RLIMIT_FSIZE": limit})}
        done = subprocess.run(command, env=limited, capture_output=True, text=True, check=False)
        story.injected += 1
        story.notes.append(f"limit {limit}: exit code {done.returncode}")
        if done.returncode == 0:
            before.add(json.loads(done.stdout)["accessKeyId"])
        else:
            story.expect(done.returncode == 1, f"exit code {done.returncode} with a limit of {limit} bytes")
            story.expect("Traceback" not in done.stderr, f"a traceback with a limit of {limit} bytes: {done.stderr}")
        story.expect(_keys(ready.environment("plain")) == before, f"other keys than those shown, limit {limit}")
        _check_database(teller)
    teller.judge([teller.call(gateway, size, patient=False) for size in (SMALL, SMALL)])


def log_disk_full(teller: Teller) -> None:
    """The gateway's log is on a disk that is full: calls go on."""
    gateway = teller.ready.new_gateway("log-full", limits={"RLIMIT_FSIZE": 4096})
    log = teller.ready.folder / "log-full.1.log"
    for _ in range(12):
        teller.judge([teller.call(gateway, SMALL, patient=False)])
    teller.story.injected += 1
    teller.story.expect(log.stat().st_size == 4096, "the log was not full")


def clock_jumps(teller: Teller) -> None:
    """The gateway's wall clock jumps in the middle of a PUT, and stays wrong for further calls."""
    story = teller.story
    gateway = teller.ready.new_gateway("clock")
    for jump in (HOUR, -HOUR, 600, -600):
        for destination in DESTINATIONS:
            struck = teller.holding(SMALL)
            call = teller.call(gateway, SMALL, destination, taken=True, patient=False)
            teller.reached(struck)
            gateway.move_clock(jump)
            story.injected += 1
            struck.release()
            teller.judge([call])
            wrong = abs(jump) == HOUR
            # More than 15 minutes off, no signature is believed; the object that is there stays.
            later = teller.call(gateway, SMALL, destination, taken=True, patient=False)
            teller.judge([later], "InvalidSignatureException" if wrong else "")
            gateway.move_clock(0)
            teller.judge([teller.call(gateway, SMALL, destination, patient=False)])


def clock_jumps_before_a_retry(teller: Teller) -> None:
    """The clock jumps by an hour and the PUT breaks: the retry is signed with the wrong time, if the gateway signs."""
    gateway = teller.ready.new_gateway("clock-retry")
    proxy = teller.ready.proxies["store", "plain"]
    for destination, expected in zip(DESTINATIONS, ("AccessDeniedException", ""), strict=True):
        struck = teller.holding(SMALL)
        call = teller.call(gateway, SMALL, destination, taken=True, patient=False)
        teller.reached(struck)
        gateway.move_clock(HOUR)
        teller.story.injected += 1
        proxy.drop()
        teller.judge([call], expected)
        gateway.move_clock(0)


def descriptors_run_out(teller: Teller) -> None:
    """The gateway may open few files: what it cannot serve fails in order, and once it is calm it serves again."""
    gateway = teller.ready.new_gateway("descriptors", limits={"RLIMIT_NOFILE": 60})
    for _ in range(teller.repeats):
        calls = [
            teller.call(gateway, SMALL, destination, taken=taken, patient=False)
            for _ in range(20)
            for destination in DESTINATIONS
            for taken in (False, True)
        ]
        teller.story.injected += 1
        teller.judge(calls, None)
        teller.ready.forget_client()
        teller.judge([teller.call(gateway, SMALL) for _ in range(3)])
        with urllib.request.urlopen(f"http://127.0.0.1:{gateway.port}/readyz") as answer:
            teller.story.expect(answer.status == 200, "not ready after it")


SCENARIOS: dict[str, Scenario] = {
    "gateway killed (SIGKILL) during a PUT, restarted": gateway_killed,
    "gateway's workers killed (SIGKILL) during a PUT": worker_killed,
    "S3 server killed (SIGKILL) during a PUT, restarted": store_killed,
    "command that writes the database killed (SIGKILL)": key_creation_killed,
    "database locked by another writer for 3 s": database_locked,
    "gateway stopped (SIGTERM) during PUTs": terminated,
    "disk full under the database": disk_full,
    "disk full under the log": log_disk_full,
    "clock jumps by 10 min and 1 h during a PUT": clock_jumps,
    "clock jumps by 1 h, and the PUT breaks": clock_jumps_before_a_retry,
    "file descriptors run out (60)": descriptors_run_out,
}


def tell(ready: Lane, name: str, repeats: int = 2, large: int = LARGE) -> Story:
    """Play one scenario."""
    story = Story(name)
    with _teller(ready, story, repeats, large) as teller:
        SCENARIOS[name](teller)
    return story


@contextmanager
def _teller(ready: Lane, story: Story, repeats: int, large: int) -> Iterator[Teller]:
    teller = Teller(ready, story, repeats, large)
    try:
        yield teller
    except Exception as error:  # noqa: BLE001 - the other stories go on
        story.misses.append(f"the bench failed: {type(error).__name__}: {error}")
    finally:
        ready.calm()
        ready.forget_client()
        teller.close()
