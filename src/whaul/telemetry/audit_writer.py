"""Writes audit records to a file or to standard output. No call waits for it.

Records wait in memory, up to a number of bytes, until a thread writes them in whole lines. What finds no room is
dropped and counted; the log says so, and the audit log itself once it can be written again.
"""

import asyncio
import fcntl
import os
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import structlog

from whaul.terminal import visible_json

if TYPE_CHECKING:
    from whaul.telemetry.metrics import Metrics  # see there why it is not loaded early


MAX_WAITING = 16 * 1024 * 1024
"""Bytes of records waiting to be written, per process: about 16,000 records."""
MAX_BLOCK = 1024 * 1024
"""Bytes of one write."""
GATHERING = 0.05
"""Seconds that records are collected before they are written together. A killed process loses these."""
RETRY_PAUSE = 1.0
"""Seconds until a failed write is tried again."""
STOP_PATIENCE = 5.0
"""Seconds that a stop waits for the last records."""
QUIET = 60.0
"""Seconds between two log lines about the same problem."""

log = structlog.get_logger()


class Sink(Protocol):
    """Where lines go. Its methods may block; those that fail raise OSError."""

    max_block: int
    """Bytes of one write."""

    def open(self) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102

    def write(self, block: bytes) -> None:
        """Append whole lines: all of them, or none when it raises."""
        ...


class AuditFile:
    """A file that several processes append to, rotated by size: `audit.log`, `audit.log.1`, … with the oldest last.

    Each write locks the file and then checks that it still has its name. Rotation happens under the same lock, so no
    line is torn or goes to a file that was rotated away. Other programs may rename the file too. A named pipe works
    in place of a file and is not rotated.
    """

    def __init__(self, path: Path, max_size: int, files: int) -> None:
        """`max_size` is in bytes; `files` is how many rotated files are kept."""
        self._path = path
        self._max_size = max_size
        self._files = files
        self._descriptor: int | None = None
        self.max_block = min(max_size, MAX_BLOCK)

    def open(self) -> None:
        """See `Sink`. A new file is for its owner only (mode 0600)."""
        self._opened()

    def close(self) -> None:
        """See `Sink`."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def write(self, block: bytes) -> None:
        """See `Sink`."""
        try:
            while not self._written(block):
                self.close()  # it was rotated: open the new one
        except OSError:
            self.close()
            raise

    def _opened(self) -> int:
        if self._descriptor is None:
            # Do not wait for a pipe's reader, which may never come: without one, this fails.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            self._descriptor = os.open(self._path, flags, 0o600)
            os.set_blocking(self._descriptor, True)
        return self._descriptor

    def _written(self, block: bytes) -> bool:
        """Append the block. False, with nothing written, if the file no longer has its name."""
        descriptor = self._opened()
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            found = os.fstat(descriptor)
            if not self._is_current(found):
                return False
            is_file = stat.S_ISREG(found.st_mode)
            if is_file and found.st_size and found.st_size + len(block) > self._max_size:
                self._rotate()
                return False
            try:
                _write_all(descriptor, block)
            except OSError:
                if is_file:
                    os.ftruncate(descriptor, found.st_size)
                raise
            return True
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)

    def _is_current(self, found: os.stat_result) -> bool:
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return False
        return (named.st_dev, named.st_ino) == (found.st_dev, found.st_ino)

    def _rotate(self) -> None:
        for number in range(self._files - 1, 0, -1):
            with suppress(FileNotFoundError):
                self._numbered(number).replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


class StandardOutput:
    """This process's standard output, shared with the log."""

    max_block = MAX_BLOCK

    def open(self) -> None:
        """See `Sink`."""

    def close(self) -> None:
        """See `Sink`."""

    def write(self, block: bytes) -> None:
        """See `Sink`. Writes single lines: up to the size of a pipe's buffer they stay whole among other processes'."""
        for line in block.splitlines():
            _write_all(sys.stdout.fileno(), f"{visible_json(line.decode())}\n".encode())


class AuditWriter:
    """The queue and the thread that empties it. Call `has_room` and `put` from one thread only, the event loop's."""

    def __init__(self, sink: Sink, metrics: "Metrics", *, max_waiting: int = MAX_WAITING) -> None:
        self.gap: Callable[[int], bytes]
        """Builds the record that stands for a number of dropped ones."""
        self._sink = sink
        self._metrics = metrics
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        self._lines: deque[bytes] = deque()
        """Includes those being written. Changed under `_changed`, like their total size."""
        self._waiting = 0
        self._dropped = self._dropped_told = 0
        self._stopping = threading.Event()
        self._told: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Write records while the block runs, and the rest at its end. Raises OSError."""
        self._sink.open()
        self._thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._stopping.set()
                self._changed.notify()
            await asyncio.to_thread(self._thread.join, STOP_PATIENCE)
            if self._lines:
                self._metrics.audit_dropped.inc(len(self._lines))
                reason = "they could not be written before the stop"
                log.error("audit_dropped", records=len(self._lines), reason=reason)

    def has_room(self) -> bool:
        """Whether there is room for a record. If not, it counts as dropped."""
        stopping = self._stopping.is_set()
        if self._waiting < self._max_waiting and not stopping:
            return True
        self._dropped += 1
        self._metrics.audit_dropped.inc()
        reason = "the server is stopping" if stopping else "they wait for a log that cannot be written"
        self._tell("audit_dropped", records_so_far=self._dropped, reason=reason)
        return False

    def put(self, line: bytes) -> None:
        """Queue a line, without its line end."""
        with self._changed:
            self._lines.append(line)
            self._waiting += len(line)
            self._changed.notify()

    def _run(self) -> None:
        ends = False
        while not ends:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._stopping.is_set())
            ends = self._stopping.wait(GATHERING)  # then one last time: no more lines come
            try:
                while self._lines or self._dropped > self._dropped_told:
                    self._write_some()
                    if self._told.pop("audit_unwritable", None) is not None:
                        log.warning("audit_writable")
            except OSError as error:
                self._metrics.audit_failures.inc()
                self._tell("audit_unwritable", reason=os.strerror(error.errno or 0), waiting=len(self._lines))
                self._stopping.wait(RETRY_PAUSE)
        self._sink.close()

    def _write_some(self) -> None:
        """Write a block of lines, or if there are none, the record of dropped ones. Raises OSError."""
        block: list[bytes] = []
        size = 0
        with self._changed:
            for line in self._lines:
                size += len(line) + 1
                if block and size > self._sink.max_block:
                    break
                block.append(line)
        missing = self._dropped - self._dropped_told
        self._sink.write(b"\n".join(block or [self.gap(missing)]) + b"\n")
        if not block:
            self._dropped_told += missing
        with self._changed:
            for _ in block:
                self._waiting -= len(self._lines.popleft())

    def _tell(self, event: str, **fields: object) -> None:
        """Log an event at most once a minute: the same problem comes with every record."""
        now = time.monotonic()
        if now - self._told.get(event, float("-inf")) >= QUIET:
            self._told[event] = now
            log.error(event, **fields)


def _write_all(descriptor: int, block: bytes) -> None:
    rest = memoryview(block)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
