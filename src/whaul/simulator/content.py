"""The bytes of a media file: held in memory, on disk, or made on the fly. All are read block by block."""

import random
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Protocol

BLOCK = 256 * 1024
"""Bytes per block; what one download holds in memory."""


class Content(Protocol):
    """A sequence of bytes of known size that can be read from the start, any number of times."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def blocks(self) -> Iterator[bytes]:
        """Yield all bytes in order, at most `BLOCK` at a time."""
        ...


class InMemory:
    """Bytes that the caller handed over."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self._data)

    def blocks(self) -> Iterator[bytes]:
        """Yield slices of the data."""
        for start in range(0, len(self._data), BLOCK):
            yield self._data[start : start + BLOCK]


class OnDisk:
    """A file, read again for every download. Its size is the size that it had when it was found."""

    def __init__(self, path: Path) -> None:
        self.path = path
        stat = path.stat()
        self.fingerprint = (stat.st_size, stat.st_mtime_ns)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.fingerprint[0]

    def blocks(self) -> Iterator[bytes]:
        """Yield the file's bytes. Local reads are quick enough for the event loop of a simulator."""
        with self.path.open("rb") as file:
            while block := file.read(BLOCK):
                yield block


class Generated:
    """Bytes made from a seed: the same size and seed always give the same bytes, and nothing is stored.

    Each block starts with its own number, so that swapped, doubled or missing blocks change the hash.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        self._size = size
        self.seed = seed

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    @cached_property
    def _pattern(self) -> bytes:
        length = max(0, min(BLOCK, self._size) - 8)
        return random.Random(self.seed).randbytes(length)  # noqa: S311 - reproducible, not secret

    def blocks(self) -> Iterator[bytes]:
        """Yield numbered copies of the seed's pattern."""
        for start in range(0, self._size, BLOCK):
            block = (start // BLOCK).to_bytes(8, "big") + self._pattern
            yield block[: self._size - start]
