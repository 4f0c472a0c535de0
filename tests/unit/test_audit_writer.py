"""The audit log's writer: whole lines, several processes, rotation, and what happens when it cannot write."""

import errno
import os
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import anyio.to_thread
import pytest

from harness.waiting import PATIENCE
from whaul.telemetry import audit_writer
from whaul.telemetry.audit_writer import AuditFile, AuditWriter, StandardOutput
from whaul.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio


def writer(sink: audit_writer.Sink, max_waiting: int = 1_000_000) -> AuditWriter:
    made = AuditWriter(sink, Metrics(), max_waiting=max_waiting)
    made.gap = lambda dropped: b"dropped %d" % dropped
    return made


def offer(to: AuditWriter, *lines: bytes) -> list[bytes]:
    """Put what there is room for; return it."""
    return [line for line in lines if to.has_room() and not to.put(line)]  # type: ignore[func-returns-value]


def dropped(by: AuditWriter) -> float:
    return float(by._metrics.audit_dropped._value.get())


def failures(of: AuditWriter) -> float:
    return float(of._metrics.audit_failures._value.get())


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def all_lines(folder: Path) -> list[bytes]:
    return [line for path in folder.iterdir() for line in path.read_bytes().splitlines(keepends=True)]


class ScriptedSink:
    """Fails or blocks as it is told, and keeps what it was given."""

    max_block = 1000

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.failing = threading.Event()
        self.free = threading.Event()
        self.free.set()
        self.tried, self.written = threading.Semaphore(0), threading.Semaphore(0)

    def open(self) -> None: ...

    def close(self) -> None: ...

    def write(self, block: bytes) -> None:
        self.tried.release()
        assert self.free.wait(PATIENCE)
        if self.failing.is_set():
            raise OSError(errno.ENOSPC, "/secret/path")
        self.lines += block.splitlines()
        self.written.release()


async def once_more(event: threading.Semaphore) -> None:
    assert await anyio.to_thread.run_sync(event.acquire, True, PATIENCE)


async def test_all_lines_are_written_in_their_order_by_the_end(tmp_path: Path) -> None:
    log = writer(AuditFile(tmp_path / "audit.log", 10_000_000, 1))
    lines = [b"line %d" % number for number in range(5000)]
    async with log.running():
        assert offer(log, *lines) == lines
    assert (tmp_path / "audit.log").read_bytes().splitlines() == lines
    assert dropped(log) == 0


async def test_a_new_file_is_for_its_owner_only_and_an_old_one_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    for line in (b"one", b"two"):
        log = writer(AuditFile(path, 1000, 1))
        async with log.running():
            offer(log, line)
    assert path.read_bytes() == b"one\ntwo\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_the_file_is_rotated_before_it_grows_too_large_and_the_oldest_go(tmp_path: Path) -> None:
    log = writer(AuditFile(tmp_path / "audit.log", 100, 3))
    async with log.running():
        offer(log, *(b"%039d" % number for number in range(11)))  # two lines to a file
    assert files(tmp_path) == ["audit.log", "audit.log.1", "audit.log.2", "audit.log.3"]
    kept = [(tmp_path / name).read_bytes().split() for name in reversed(files(tmp_path))]
    assert [int(line) for file in kept for line in file] == [4, 5, 6, 7, 8, 9, 10]
    assert all(stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600 for name in files(tmp_path))


async def test_a_line_longer_than_a_file_is_written_all_the_same(tmp_path: Path) -> None:
    log = writer(AuditFile(tmp_path / "audit.log", 100, 2))
    async with log.running():
        offer(log, b"a" * 500, b"b")
    assert (tmp_path / "audit.log.1").read_bytes() == b"a" * 500 + b"\n"
    assert (tmp_path / "audit.log").read_bytes() == b"b\n"


def test_a_file_that_another_program_renamed_or_removed_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    file = AuditFile(path, 1000, 1)
    file.write(b"one\n")
    path.rename(tmp_path / "moved")
    file.write(b"two\n")
    path.unlink()
    file.write(b"three\n")
    file.close()
    assert ((tmp_path / "moved").read_bytes(), path.read_bytes()) == (b"one\n", b"three\n")


WORKER = """
import sys
from pathlib import Path
from whaul.telemetry.audit_writer import AuditFile
file = AuditFile(Path(sys.argv[1]), 2000, 1000)
sys.stdin.read(1)  # all at once
for number in range(500):
    file.write(f"{sys.argv[2]} {number} {'x' * (number % 90)}.\\n".encode())
"""


def test_several_processes_lose_and_tear_no_line_while_they_rotate(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORKER, str(tmp_path / "audit.log")]
    workers = [subprocess.Popen([*command, str(number)], stdin=subprocess.PIPE) for number in range(3)]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.close()
    assert [worker.wait(PATIENCE) for worker in workers] == [0, 0, 0]
    expected = {f"{n} {number} {'x' * (number % 90)}.\n".encode() for n in range(3) for number in range(500)}
    found = all_lines(tmp_path)
    assert len(found) == len(expected)
    assert set(found) == expected
    assert len(files(tmp_path)) > 30
    assert all(path.stat().st_size <= 2000 for path in tmp_path.iterdir())


async def test_a_log_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    missing = writer(AuditFile(tmp_path / "missing" / "audit.log", 1000, 1))
    with pytest.raises(FileNotFoundError):
        async with missing.running():
            pytest.fail("it ran")
    assert not missing._thread.is_alive()


def test_a_folder_or_a_pipe_without_a_reader_can_not_be_opened(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        AuditFile(tmp_path, 1000, 1).open()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device or address"):
        AuditFile(tmp_path / "pipe", 1000, 1).open()


async def test_a_write_that_fails_is_tried_again_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit_writer, "RETRY_PAUSE", 0.01)
    sink = ScriptedSink()
    log = writer(sink)
    async with log.running():
        sink.failing.set()
        offer(log, b"one", b"two")
        for _ in range(3):
            await once_more(sink.tried)
        sink.failing.clear()
        offer(log, b"three")
    assert sink.lines == [b"one", b"two", b"three"]
    assert failures(log) >= 2
    assert dropped(log) == 0
    told = capsys.readouterr().out
    assert told.count("audit_unwritable") == 1, "the same trouble is told once a minute"
    assert "No space left on device" in told
    assert told.count("audit_writable") == 1
    assert "/secret/path" not in told


async def test_without_room_records_are_dropped_counted_told_and_marked_in_the_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sink = ScriptedSink()
    log = writer(sink, max_waiting=10)
    async with log.running():
        sink.free.clear()
        assert offer(log, b"12345") == [b"12345"]
        await once_more(sink.tried)
        assert offer(log, b"67890", b"lost", b"lost", b"lost") == [b"67890"], "none waits for the stuck writer"
        assert dropped(log) == 3
        sink.free.set()
    assert sink.lines == [b"12345", b"67890", b"dropped 3"]
    assert capsys.readouterr().out.count("audit_dropped") == 1


async def test_after_a_gap_records_are_written_again_and_a_second_gap_is_told_apart() -> None:
    sink = ScriptedSink()
    log = writer(sink, max_waiting=1)
    async with log.running():
        for _ in range(2):
            sink.free.clear()
            offer(log, b"a")
            await once_more(sink.tried)
            offer(log, b"lost", b"lost")
            sink.free.set()
            for _ in range(2):  # "a", and the gap's record
                await once_more(sink.written)
            await once_more(sink.tried)
    assert sink.lines == [b"a", b"dropped 2", b"a", b"dropped 2"]
    assert dropped(log) == 4


async def test_a_pipe_that_nobody_reads_holds_up_neither_calls_nor_the_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit_writer, "STOP_PATIENCE", 0.1)
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    log = writer(AuditFile(tmp_path / "pipe", 1000, 1), max_waiting=300_000)
    lines = [b"%0999d" % number for number in range(400)]
    async with log.running():
        kept = offer(log, *lines)
        assert len(kept) >= 301
        assert dropped(log) == 400 - len(kept) > 0, "the pipe itself takes few"
    assert "before the stop" in capsys.readouterr().out
    with suppress(BlockingIOError):  # let the thread go
        while log._thread.is_alive():
            os.set_blocking(reader, False)
            with suppress(BlockingIOError):
                os.read(reader, 65536)
            log._thread.join(0.01)
    os.close(reader)
    assert not log._thread.is_alive()


async def test_what_comes_after_the_stop_is_counted_as_dropped(tmp_path: Path) -> None:
    log = writer(AuditFile(tmp_path / "audit.log", 1000, 1))
    async with log.running():
        offer(log, b"one")
    assert offer(log, b"late") == []
    assert dropped(log) == 1
    assert (tmp_path / "audit.log").read_bytes() == b"one\n"


SHORT_OF_SPACE = """
import resource, signal, sys
from pathlib import Path
from whaul.telemetry.audit_writer import AuditFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
file = AuditFile(Path(sys.argv[1]), 100_000, 1)
file.write(b"a" * 599 + b"\\n")
try:
    file.write(b"b" * 599 + b"\\n")
except OSError as error:
    sys.exit(error.errno)
"""


def test_a_line_that_fits_on_the_disk_in_part_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    done = subprocess.run([sys.executable, "-c", SHORT_OF_SPACE, str(path)], check=False, timeout=PATIENCE)
    assert done.returncode == errno.EFBIG
    assert path.read_bytes() == b"a" * 599 + b"\n"


def test_standard_output_gets_lines(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", sys.__stdout__)
    sink = StandardOutput()
    sink.open()
    sink.write('{"userAgent":"\x9b31m\u202e"}\n{"userAgent":"متجر"}\n'.encode())
    sink.close()
    assert capfd.readouterr().out == '{"userAgent":"\\u009b31m\\u202e"}\n{"userAgent":"متجر"}\n'
