"""The media ids of a run: those given, then the lines of a file or of standard input, read as they are wanted.

One id to a line; blank lines and lines that begin with `#` are passed over. Never more than a piece of the file is
held, whatever its size.
"""

import asyncio
import os
import stat
from collections import deque
from collections.abc import Iterable

PIECE = 64 * 1024
"""Bytes read at a time, at the most."""
LONGEST_LINE = 256
"""Bytes of a line that are kept; no media id is so long."""


class MediaIds:
    """The ids, in order; an async iterator for any number of readers."""

    def __init__(self, given: Iterable[str], file: int | None) -> None:
        """`file` is the descriptor of an open file; closing it is the caller's."""
        self._given = [os.fsencode(text).decode("utf-8", "replace") for text in given]  # as the lines of a file
        self._file = file
        self._waiting: deque[str] = deque(self._given)
        self._rest = b""
        self._begun = False
        self._is_over = file is None
        self._reading = asyncio.Lock()
        self._readable = asyncio.Event()

    async def total(self) -> int | None:
        """How many there are, found without reading on; None for what can be read only once."""
        if self._file is None:
            return len(self._given)
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            return None
        return len(self._given) + await asyncio.to_thread(self._count, self._file)

    async def next(self) -> str | None:
        """The next id; None when there are no more. Raises `OSError` when the file cannot be read."""
        async with self._reading:
            while not self._waiting:
                if self._is_over:
                    return None
                await self._read()
            return self._waiting.popleft()

    def close(self) -> None:
        """Give no more ids, also to readers that wait for one."""
        self._is_over = True
        self._waiting.clear()
        self._readable.set()

    async def _read(self) -> None:
        piece = await self._piece()
        if self._is_over:
            return
        if not self._begun:
            self._begun = True
            piece = piece.removeprefix(b"\xef\xbb\xbf")  # the byte order mark of editors on Windows
        if piece:
            *lines, rest = (self._rest + piece).split(b"\n")
            self._rest = rest[:LONGEST_LINE]
        else:
            self._is_over = True
            lines, self._rest = [self._rest], b""
        self._waiting.extend(_ids(lines))

    async def _piece(self) -> bytes:
        """Read what is there, waiting for some if need be; empty at the end."""
        file = self._file
        assert file is not None  # noqa: S101 - there is nothing to read without one
        if not _can_be_waited_for(file):
            return await asyncio.to_thread(os.read, file, PIECE)
        loop = asyncio.get_running_loop()
        loop.add_reader(file, self._readable.set)
        try:
            await self._readable.wait()
        finally:
            loop.remove_reader(file)
        if self._is_over:
            return b""
        self._readable.clear()
        return os.read(file, PIECE)

    def _count(self, file: int) -> int:
        position, rest, found = os.lseek(file, 0, os.SEEK_CUR), b"", 0
        while piece := os.pread(file, PIECE, position):
            position += len(piece)
            *lines, rest = (rest + piece).split(b"\n")
            found += len(_ids(lines))
            rest = rest[:LONGEST_LINE]
        return found + len(_ids([rest]))


def _ids(lines: Iterable[bytes]) -> list[str]:
    texts = [line[:LONGEST_LINE].decode("utf-8", "replace").strip() for line in lines]
    return [text for text in texts if text and not text.startswith("#")]


def _can_be_waited_for(file: int) -> bool:
    """Whether reading may take long, and the event loop can say when not: a pipe, a socket, a terminal."""
    mode = os.fstat(file).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(file)
