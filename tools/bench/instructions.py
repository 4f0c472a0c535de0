"""CPU instructions of a call, where `perf stat` can count them: steadier than CPU time on a busy machine."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tools.bench.contestants import CONTESTANTS, Ground
from tools.bench.figures import WHAUL
from tools.bench.measure import tree
from tools.bench.runs import Failed, run
from tools.bench.workloads import Workload

EVENT = "instructions:u"
"""Those of the program itself: the kernel's are counted for root only."""
TIMEOUT = 20.0


class Counter:
    """Counts an event of a process tree while a block runs."""

    def __init__(self, event: str = EVENT) -> None:
        self._event = event
        self.count: float | None = None

    def works(self) -> bool:
        """Whether this machine counts the event; virtual machines often do not."""
        if not shutil.which("perf"):
            return False
        command = ["perf", "stat", "-x,", "-e", self._event, "true"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)
        return done.returncode == 0 and counted(done.stderr) is not None

    @contextmanager
    def watch(self, *roots: int) -> Iterator[None]:
        """Count while the block runs."""
        pids = ",".join(str(pid) for pid in tree(*roots))
        command = ["perf", "stat", "-x,", "-e", self._event, "-p", pids]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=TIMEOUT)
            self.count = counted(told)


def counted(told: str) -> float | None:
    """The number that `perf stat -x,` tells; None for `<not supported>`."""
    for line in told.splitlines():
        first = line.partition(",")[0]
        if first.replace(".", "", 1).isdigit():
            return float(first)
    return None


def per_file(ground: Ground, workload: Workload) -> str:
    """The figure of whaul, or why there is none."""
    counter = Counter()
    if not counter.works():
        return "not available (`perf stat` counts no instructions on this machine)"
    try:
        done = run(CONTESTANTS[WHAUL], workload, ground, counter.watch)
    except Failed as failure:
        return f"not available ({failure})"
    return f"{counter.count / done.files:,.0f}" if counter.count else "not available (perf was silent)"
