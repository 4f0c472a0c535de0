"""The media of a run: those of the command line, then those of a list in a file or on standard input.

The file is read as media are asked for, and at most one piece of it, or one record, is held. A pipe or a terminal may
keep its reader waiting forever, so it is read in a thread that a run can leave behind.
"""

import asyncio
import os
import select
import stat
from collections import deque
from collections.abc import Iterable
from functools import partial

from whaul.bulk.lists import MAX_RECORD, Lines
from whaul.bulk.wanted import Wanted
from whaul.threads import in_daemon_thread

PIECE = 64 * 1024
"""Bytes read at a time, at most."""


class MediaIds:
    """The media that are wanted, in order, for any number of readers."""

    def __init__(self, ids: Iterable[str], file: int | None, form: str | None = None) -> None:
        """`file` is the descriptor of an open file; the caller closes it. `form` is its form; see `lists.Lines`."""
        # As the lines of a file.
        self._waiting = deque(Wanted(os.fsencode(text).decode("utf-8", "replace")) for text in ids)
        self._of_arguments = len(self._waiting)
        self._file = file
        self._form = form
        self._list = _Pieces(form)
        self._piece: asyncio.Future[bytes] | None = None
        self._is_over = file is None
        self._lock = asyncio.Lock()

    async def total(self) -> int | None:
        """How many there are, found without reading on; None for what can be read only once."""
        if self._file is None:
            return self._of_arguments
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            return None
        try:
            return self._of_arguments + await asyncio.to_thread(self._count, self._file)
        except OSError:
            return None  # `next` says that it cannot be read

    async def next(self) -> Wanted | None:
        """Return the next, or None if there are no more. Raises `OSError` when the file cannot be read."""
        async with self._lock:
            while not self._waiting and self._file is not None and not self._is_over:
                self._piece = in_daemon_thread(partial(_read, self._file))
                piece = await self._piece
                if not self._is_over:
                    self._is_over = not piece
                    self._waiting.extend(self._list.take(piece))
            return self._waiting.popleft() if self._waiting else None

    def close(self) -> None:
        """Give no more, not even to readers that wait for one."""
        self._is_over = True
        self._waiting.clear()
        if self._piece is not None and not self._piece.done():
            self._piece.set_result(b"")

    def _count(self, file: int) -> int:
        position, pieces, found = os.lseek(file, 0, os.SEEK_CUR), _Pieces(self._form), 0
        while piece := os.pread(file, PIECE, position):
            position += len(piece)
            found += len(pieces.take(piece))
        return found + len(pieces.take(b""))


class _Pieces:
    """A list that comes in pieces, which end anywhere."""

    def __init__(self, form: str | None) -> None:
        self._lines = Lines(form)
        self._rest: list[bytes] = []
        """The last line, as far as it has come."""
        self._size = 0
        self._has_begun = False

    def take(self, piece: bytes) -> list[Wanted]:
        """Take a piece, the last of which is empty; return what it completes."""
        if not self._has_begun:
            self._has_begun = True
            piece = piece.removeprefix(b"\xef\xbb\xbf")  # the byte order mark of editors on Windows
        if not piece:
            return [*self._lines.take(b"".join(self._rest)), *self._lines.end()]
        head, *lines = piece.split(b"\n")
        if self._size < MAX_RECORD:
            self._rest.append(head)
            self._size += len(head)
        if not lines:
            return []
        first, last = b"".join(self._rest), lines.pop()
        self._rest, self._size = [last], len(last)
        return [wanted for line in (first, *lines) for wanted in self._lines.take(line)]


def _read(file: int) -> bytes:
    """Read what is there, after waiting for some; empty at the end."""
    poll = select.poll()
    poll.register(file, select.POLLIN)
    poll.poll()  # the descriptor may be set not to block, by another program that shares it
    return os.read(file, PIECE)
