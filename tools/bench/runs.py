"""One run: a contestant at a workload, measured, and checked against what the stage has seen."""

import itertools
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from typing import TextIO

from tools.bench.contestants import Contestant, Ground
from tools.bench.measure import Peak, cpu_seconds
from tools.bench.stage import BUCKET
from tools.bench.workloads import Workload
from whaul.stack.local import REGION
from whaul.stack.processes import StackError

READY_TIMEOUT = 60.0
"""Seconds until a contestant has warmed up."""
RUN_TIMEOUT = 240.0
"""Seconds until a contestant has finished the files that it has begun."""
END_TIMEOUT = 5.0
"""Seconds that a contestant has to end by itself, after it has been measured."""

_numbers = itertools.count(os.getpid() % 1000 * 1000 + 1_000_000)


@dataclass(frozen=True)
class Run:
    """What one run gave."""

    files: int
    bytes: int
    seconds: float
    cpu: float
    """Seconds of CPU, user and system, of the whole process tree."""
    peak: int
    """The most bytes of resident memory, of the whole process tree."""
    p50_ms: float | None
    """Milliseconds of a file at the median; None when the contestant does not tell."""
    p99_ms: float | None
    requests_per_file: float | None = None


class Failed(Exception):  # noqa: N818 - what happened
    """A contestant did not do its job; the message says why."""


Watch = Callable[..., AbstractContextManager[None]]
"""Wraps the measured part of a run; it is given the roots of the measured trees."""


def run(
    contestant: Contestant, workload: Workload, ground: Ground, watch: Watch = lambda *_roots: nullcontext()
) -> Run:
    """Run it once. Raises `Failed`, or `NotThere` for a contestant that this machine cannot run."""
    try:
        return _run(contestant, workload, ground, watch)
    except (StackError, OSError, subprocess.SubprocessError, ValueError) as error:
        raise Failed(_one_line(str(error)) or repr(error)) from error


def _run(contestant: Contestant, workload: Workload, ground: Ground, watch: Watch) -> Run:
    with contestant.prepare(ground, workload) as prepared:
        job = {
            "url": ground.stage.url,
            "ca_file": str(ground.stage.ca_file),
            "bucket": BUCKET,
            "run": next(_numbers),
            "kinds": list(workload.kinds),
            "concurrency": workload.concurrency,
            "seconds": workload.seconds,
            "metadata_only": workload.metadata_only,
            "folder": str(ground.stage.folder),
            "region": REGION,
            "options": prepared.options,
        }
        before = ground.stage.counted()
        with _process([*prepared.command, json.dumps(job)], prepared.environ) as spoken:
            spoken.line(READY_TIMEOUT, "did not get ready")
            warmed = ground.stage.counted()
            roots = prepared.measured or (spoken.process.pid,)
            with watch(*roots), Peak(*roots, children_only=prepared.children_only) as peak:
                used = cpu_seconds(*roots, children_only=prepared.children_only)
                spoken.tell()
                done = json.loads(spoken.line(RUN_TIMEOUT, "did not finish"))
                used = cpu_seconds(*roots, children_only=prepared.children_only) - used
            seen = ground.stage.counted()
            spoken.tell()
        if not workload.metadata_only:
            _check(done, seen.since(before).puts, seen.since(before).bytes)
        requests = seen.since(warmed).requests
        return Run(
            files=done["files"],
            bytes=done["bytes"],
            seconds=round(done["seconds"], 4),
            cpu=round(used - done.get("start_cpu", 0.0), 2),
            peak=peak.bytes,
            p50_ms=done["p50_ms"],
            p99_ms=done["p99_ms"],
            requests_per_file=None if requests is None else round(requests / done["files"], 3),
        )


def _check(done: dict[str, int], puts: int, stored: int) -> None:
    files, size = done["files"] + done["warm_files"], done["bytes"] + done["warm_bytes"]
    if puts < files or stored < size:
        raise Failed(f"it says that it stored {files} files of {size} bytes; {puts} files of {stored} bytes arrived")


class Spoken:
    """A contestant's process, spoken with line by line."""

    def __init__(self, process: "subprocess.Popen[str]", told: TextIO) -> None:
        self.process = process
        self._told = told

    def tell(self) -> None:
        """Send it a line. Raises `Failed` when it is gone."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Failed(self._last_words() or "it ended before its time") from None

    def line(self, seconds: float, otherwise: str) -> str:
        """Read a line, but not for ever."""
        assert self.process.stdout is not None
        timer = threading.Timer(seconds, _kill, [self.process])
        timer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            late = not timer.is_alive()
            timer.cancel()
        if late:
            raise Failed(f"{otherwise} within {seconds:.0f} s")
        if not line:
            raise Failed(self._last_words() or f"{otherwise}, and said nothing")
        return line

    def _last_words(self) -> str:
        self._told.seek(0)
        return _one_line(self._told.read())


@contextmanager
def _process(command: list[str], environ: dict[str, str]) -> Iterator[Spoken]:
    with tempfile.TemporaryFile("w+") as told:  # a file takes whatever is told, where a pipe would fill
        process = subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=told,
            text=True,
            start_new_session=True,
        )
        try:
            yield Spoken(process, told)
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_TIMEOUT)
        finally:
            _kill(process)
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()


def _kill(process: "subprocess.Popen[str]") -> None:
    """Kill it with all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _one_line(text: str) -> str:
    """The last line that holds words: what a traceback or an error box has to say."""
    lines = [line.strip(" │|") for line in text.splitlines() if any(letter.isalpha() for letter in line)]
    return lines[-1][:300].replace("|", "/") if lines else ""


def as_json(found: Run) -> dict[str, object]:
    """For the results file."""
    return asdict(found)
