"""Writes audit records to a file or to standard output, beside the calls: no call ever waits for it.

Records wait in memory, so many bytes at the most, until a thread writes them in whole lines. What finds no room is
dropped, counted, and told: in the log, and in the audit log itself once it can be written again.
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

if TYPE_CHECKING:
    from whaul.telemetry.metrics import Metrics  # see there why it is not loaded early


MOST_WAITING = 16 * 1024 * 1024
"""Bytes of records that wait to be written, per process; some 16,000 records."""
LARGEST_BLOCK = 1024 * 1024
"""Bytes of one write."""
GATHERING = 0.05
"""Seconds in which records gather, to be written together: how much a killed process may lose."""
RETRY_PAUSE = 1.0
"""Seconds until a write that failed is tried again."""
LAST_PATIENCE = 5.0
"""Seconds that a stop waits for the last records to be written."""
QUIET = 60.0
"""Seconds between two lines of log about the same trouble."""

log = structlog.get_logger()


class Sink(Protocol):
    """Where lines go. Its methods may block; those that fail raise OSError."""

    most: int
    """Bytes of a block."""

    def open(self) -> None:
        """Open it."""
        ...

    def write(self, block: bytes) -> None:
        """Append whole lines: all of them, or none when it raises."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class AuditFile:
    """A file that several processes append to, rotated by size: `audit.log`, `audit.log.1`, … the oldest last.

    Each write holds a lock on the file, and first makes sure that the file is still the one of that name: whoever
    rotates it holds the same lock. So no line is torn or goes to a file that was rotated away, and another program
    may rename the file as well. A named pipe takes the place of a file; it is not rotated.
    """

    def __init__(self, path: Path, most: int, files: int) -> None:
        """`most` is in bytes; `files` is how many rotated files are kept."""
        self._path = path
        self._limit = most
        self._files = files
        self._descriptor: int | None = None
        self.most = min(most, LARGEST_BLOCK)

    def open(self) -> None:
        """See `Sink`; a new file is made for its owner only (mode 0600)."""
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
                self.close()  # it was rotated: the next one of that name
        except OSError:
            self.close()
            raise

    def _opened(self) -> int:
        if self._descriptor is None:
            # Not waiting for a pipe's reader, which may never come: without one, this fails.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            self._descriptor = os.open(self._path, flags, 0o600)
            os.set_blocking(self._descriptor, True)
        return self._descriptor

    def _written(self, block: bytes) -> bool:
        """Append the block; False, with nothing written, when the file is no longer the one of its name."""
        descriptor = self._opened()
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            found = os.fstat(descriptor)
            if not self._is_current(found):
                return False
            is_file = stat.S_ISREG(found.st_mode)
            if is_file and found.st_size and found.st_size + len(block) > self._limit:
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
    """This process's standard output; its lines stand among those of the log."""

    most = LARGEST_BLOCK

    def open(self) -> None:
        """See `Sink`."""

    def close(self) -> None:
        """See `Sink`."""

    def write(self, block: bytes) -> None:
        """See `Sink`; line by line, since lines up to a pipe's buffer stay whole among those of other processes."""
        for line in block.splitlines(keepends=True):
            _write_all(sys.stdout.fileno(), line)


class AuditWriter:
    """The queue and the thread. `put` is for one thread only, the event loop's.

    Each counter is written by one thread, so that none needs a lock: those of what came and was dropped by the event
    loop's, those of what was written and told by the writer's.
    """

    def __init__(self, sink: Sink, metrics: "Metrics", *, most_waiting: int = MOST_WAITING) -> None:
        self.gap: Callable[[int], bytes]
        """Writes the record that stands for so many dropped ones."""
        self._sink = sink
        self._metrics = metrics
        self._most_waiting = most_waiting
        self._lines: deque[bytes] = deque()
        self._block: list[bytes] = []
        self._bytes_in = self._bytes_out = 0
        self._lines_in = self._lines_out = 0
        self._dropped = self._dropped_told = 0
        self._drop_logged = self._failure_logged = float("-inf")
        self._failing = False
        self._closed = False
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Write what is put while the block runs, and what is left at its end. Raises OSError."""
        self._sink.open()
        self._thread.start()
        try:
            yield
        finally:
            self._closed = True
            self._stop.set()
            self._wake.set()
            await asyncio.to_thread(self._thread.join, LAST_PATIENCE)
            lost = self._lines_in - self._lines_out
            if lost:
                self._metrics.audit_dropped.inc(lost)
                log.error("audit_dropped", records=lost, reason="they could not be written before the stop")

    def has_room(self) -> bool:
        """Whether a record can be put; if not, it counts as dropped."""
        if self._bytes_in - self._bytes_out < self._most_waiting and not self._closed:
            return True
        self._dropped += 1
        self._metrics.audit_dropped.inc()
        now = time.monotonic()
        if now - self._drop_logged >= QUIET:
            self._drop_logged = now
            reason = "the server is stopping" if self._closed else "they wait for a log that cannot be written"
            log.error("audit_dropped", records_so_far=self._dropped, reason=reason)
        return False

    def put(self, line: bytes) -> None:
        """Have a line (without its end) written soon."""
        self._lines.append(line)
        self._bytes_in += len(line)
        self._lines_in += 1
        if not self._wake.is_set():
            self._wake.set()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            self._wake.wait()
            self._stop.wait(GATHERING)
            self._wake.clear()
            stopping = self._stop.is_set()
            try:
                self._write_waiting()
            except OSError as error:
                self._failed(error)
                self._stop.wait(RETRY_PAUSE)
                self._wake.set()
        self._sink.close()

    def _write_waiting(self) -> None:
        while self._block or self._lines:
            size = sum(map(len, self._block)) + len(self._block)
            while self._lines and (not self._block or size + len(self._lines[0]) < self._sink.most):
                self._block.append(self._lines.popleft())
                size += len(self._block[-1]) + 1
            self._send(b"\n".join(self._block))
            self._lines_out += len(self._block)
            self._bytes_out += size - len(self._block)
            self._block = []
        missing = self._dropped - self._dropped_told
        if missing:
            self._send(self.gap(missing))
            self._dropped_told += missing

    def _failed(self, error: OSError) -> None:
        self._metrics.audit_failures.inc()
        now = time.monotonic()
        if not self._failing or now - self._failure_logged >= QUIET:
            self._failure_logged = now
            log.error(
                "audit_unwritable", reason=os.strerror(error.errno or 0), waiting=self._lines_in - self._lines_out
            )
        self._failing = True

    def _send(self, lines: bytes) -> None:
        self._sink.write(lines + b"\n")
        if self._failing:
            self._failing = False
            log.warning("audit_writable")


def _write_all(descriptor: int, block: bytes) -> None:
    rest = memoryview(block)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
