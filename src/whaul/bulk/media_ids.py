"""The media ids of a run: those of the command line, then the lines of a file or of standard input.

One id a line; blank lines and lines that begin with `#` are skipped. The file is read as ids are asked for, and at
most one piece of it is held. A pipe or a terminal may keep its reader waiting forever, so it is read in a thread that
a run can leave behind.
"""

import asyncio
import os
import select
import stat
from collections import deque
from collections.abc import Iterable
from functools import partial

from whaul.threads import in_daemon_thread

PIECE = 64 * 1024
"""Bytes read at a time, at most."""
MAX_LINE = 256
"""Bytes of a line that are kept; no media id is that long."""


class MediaIds:
    """The ids, in order, for any number of readers."""

    def __init__(self, ids: Iterable[str], file: int | None) -> None:
        """`file` is the descriptor of an open file; the caller closes it."""
        self._ids = [os.fsencode(text).decode("utf-8", "replace") for text in ids]  # as the lines of a file
        self._file = file
        self._waiting: deque[str] = deque(self._ids)
        self._piece: asyncio.Future[bytes] | None = None
        self._rest = b""
        self._begun = False
        self._is_over = file is None
        self._lock = asyncio.Lock()

    async def total(self) -> int | None:
        """How many there are, found without reading on; None for what can be read only once."""
        if self._file is None:
            return len(self._ids)
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            return None
        return len(self._ids) + await asyncio.to_thread(self._count, self._file)

    async def next(self) -> str | None:
        """Return the next id, or None if there are no more. Raises `OSError` when the file cannot be read."""
        async with self._lock:
            while not self._waiting and self._file is not None and not self._is_over:
                self._piece = in_daemon_thread(partial(_read, self._file))
                self._take(await self._piece)
            return self._waiting.popleft() if self._waiting else None

    def close(self) -> None:
        """Give no more ids, not even to readers that wait for one."""
        self._is_over = True
        self._waiting.clear()
        if self._piece is not None and not self._piece.done():
            self._piece.set_result(b"")

    def _take(self, piece: bytes) -> None:
        if self._is_over:
            return
        if not self._begun:
            self._begun = True
            piece = piece.removeprefix(b"\xef\xbb\xbf")  # the byte order mark of editors on Windows
        if piece:
            *lines, rest = (self._rest + piece).split(b"\n")
            self._rest = rest[:MAX_LINE]
        else:
            self._is_over = True
            lines, self._rest = [self._rest], b""
        self._waiting.extend(_ids(lines))

    def _count(self, file: int) -> int:
        position, rest, found = os.lseek(file, 0, os.SEEK_CUR), b"", 0
        while piece := os.pread(file, PIECE, position):
            position += len(piece)
            *lines, rest = (rest + piece).split(b"\n")
            found += len(_ids(lines))
            rest = rest[:MAX_LINE]
        return found + len(_ids([rest]))


def _ids(lines: Iterable[bytes]) -> list[str]:
    texts = [line[:MAX_LINE].decode("utf-8", "replace").strip() for line in lines]
    return [text for text in texts if text and not text.startswith("#")]


def _read(file: int) -> bytes:
    """Read what is there, after waiting for some; empty at the end."""
    poll = select.poll()
    poll.register(file, select.POLLIN)
    poll.poll()  # the descriptor may be set not to block, by another program that shares it
    return os.read(file, PIECE)
