"""CPU and memory of a process tree, from /proc: user and system time of every process in it, ended ones included."""

import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

TICK = 1 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
SAMPLE_EVERY = 0.05
"""Seconds between two looks at the memory."""


@dataclass(frozen=True)
class Stat:
    """A process as /proc/PID/stat has it."""

    parent: int
    own: float
    """CPU seconds of its own, user and system."""
    reaped: float
    """CPU seconds of its children that have ended, and theirs."""
    resident: int


def stat(pid: int) -> Stat | None:
    """Look at a process; None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    user, system, child_user, child_system = (int(field) * TICK for field in fields[11:15])
    return Stat(int(fields[1]), user + system, child_user + child_system, int(fields[21]) * PAGE)


def tree(root: int) -> dict[int, Stat]:
    """A process and all its descendants that live."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    everyone = {pid: found for pid in pids if (found := stat(pid))}
    members: dict[int, Stat] = {}
    fresh = [root] if root in everyone else []
    while fresh:
        members |= {pid: everyone[pid] for pid in fresh}
        fresh = [pid for pid, found in everyone.items() if found.parent in members and pid not in members]
    return members


def cpu_seconds(root: int, *, children_only: bool = False) -> float:
    """CPU of the whole tree so far; without the root's own, when that is only the driver."""
    members = tree(root)
    total = sum(found.own + found.reaped for found in members.values())
    return total - (members[root].own if children_only and root in members else 0.0)


def forget_peaks(root: int) -> None:
    """Make the kernel count the peak of each process from here (proc(5), clear_refs)."""
    for pid in tree(root):
        with suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def _peak_of(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


class Peak:
    """The most resident memory of a tree while the block runs.

    The larger of two figures: the sum of the processes' own peaks, as the kernel keeps them, and the largest sum seen
    by looking often, which also sees those that come and go. Pages that processes share count for each of them.
    """

    def __init__(self, root: int, *, children_only: bool = False) -> None:
        self._root = root
        self._children_only = children_only
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.bytes = 0

    def __enter__(self) -> Self:
        forget_peaks(self._root)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        kept = sum(_peak_of(pid) for pid in tree(self._root) if self._counts(pid))
        self.bytes = max(self.bytes, kept)

    def _counts(self, pid: int) -> bool:
        return not (self._children_only and pid == self._root)

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_EVERY):
            now = sum(found.resident for pid, found in tree(self._root).items() if self._counts(pid))
            self.bytes = max(self.bytes, now)
