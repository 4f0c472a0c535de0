"""CPU and memory of a process tree, from /proc: user and system time of every process in it, ended ones included."""

import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

TICK = 1 / os.sysconf("SC_CLK_TCK")
SAMPLE_EVERY = 0.05
"""Seconds between two looks at the memory."""
LOOKING_SHARE = 9
"""Times the duration of a look that pass between two, at the least."""


@dataclass(frozen=True)
class Stat:
    """A process as /proc/PID/stat has it."""

    parent: int
    own: float
    """CPU seconds of its own, user and system."""
    reaped: float
    """CPU seconds of its children that have ended, and theirs."""


def stat(pid: int) -> Stat | None:
    """Look at a process; None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    user, system, child_user, child_system = (int(field) * TICK for field in fields[11:15])
    return Stat(int(fields[1]), user + system, child_user + child_system)


def tree(*roots: int) -> dict[int, Stat]:
    """Processes and all their descendants that live."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    everyone = {pid: found for pid in pids if (found := stat(pid))}
    members: dict[int, Stat] = {}
    fresh = [root for root in roots if root in everyone]
    while fresh:
        members |= {pid: everyone[pid] for pid in fresh}
        fresh = [pid for pid, found in everyone.items() if found.parent in members and pid not in members]
    return members


def cpu_seconds(*roots: int, children_only: bool = False) -> float:
    """CPU of the whole trees so far; without the roots' own, when those are only drivers."""
    members = tree(*roots)
    total = sum(found.own + found.reaped for found in members.values())
    return total - sum(members[root].own for root in roots if children_only and root in members)


def threads(*roots: int) -> dict[tuple[int, int], float]:
    """CPU seconds so far of each thread of whole trees."""
    found = {}
    for pid in tree(*roots):
        with suppress(OSError):
            for path in Path(f"/proc/{pid}/task").iterdir():
                fields = (path / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
                found[pid, int(path.name)] = (int(fields[11]) + int(fields[12])) * TICK
    return found


def idle_seconds() -> float:
    """Seconds so far in which cores of this machine had nothing to do, or only waited for a disk."""
    fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()
    return (int(fields[4]) + int(fields[5])) * TICK


def memory(pid: int) -> int:
    """Bytes of resident memory; pages that several processes share count for each of them in part (PSS)."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


class Peak:
    """The most resident memory of trees while the block runs, seen by looking often."""

    def __init__(self, *roots: int, children_only: bool = False) -> None:
        self._roots = roots
        self._children_only = children_only
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            started = time.monotonic()
            members = [pid for pid in tree(*self._roots) if not (self._children_only and pid in self._roots)]
            self.bytes = max(self.bytes, sum(memory(pid) for pid in members))
            took = time.monotonic() - started
            if self._ended.wait(max(SAMPLE_EVERY, LOOKING_SHARE * took)):  # many processes take long to look at
                return
