"""A bound for the bytes that a run fetches per second, over all of its transfers.

Bytes are paid for with time before they are read, so the sum never runs ahead of the clock. A transfer that is held
back must not seem dead to the place that it writes to, so only as many run at once as have some pace each.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self

from pyreqwest.bytes import Bytes

from whaul.model import MediaInfo
from whaul.transfer.download import Readable, Source

MIN_RATE = 16 * 1024
"""Bytes per second; with fewer, stores give up waiting for the next part of a file."""
PACE = 64 * 1024
"""Bytes per second that each transfer has at least, unless it is the only one."""
UNITS = {"": 1024, "B": 1, "K": 1024, "M": 1024**2, "G": 1024**3}
"""As rclone reads them: a number alone is KiB. https://rclone.org/docs/#bwlimit-bandwidth-spec"""


def bytes_per_second(text: str) -> float:
    """Read a rate: `10M`, `512k`, `1.5G`. Raises ValueError."""
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)([BKMG]?)(?:i?B?(?:/s)?)", text.strip(), re.IGNORECASE)
    rate = float(found[1]) * UNITS[found[2].upper()] if found else 0.0
    if rate < MIN_RATE:
        raise ValueError("expected bytes per second, such as 10M, 512k or 1.5G, at least 16k")
    return rate


class Bandwidth:
    """The bound, shared by all transfers of a run."""

    def __init__(
        self,
        rate: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`rate` is in bytes per second."""
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._free_at = 0.0
        self.transfers = asyncio.Semaphore(max(1, int(rate / PACE)))

    @classmethod
    def read(cls, text: str) -> Self:
        """Read a bound from its text; see `bytes_per_second`. Raises ValueError."""
        return cls(bytes_per_second(text))

    async def pay(self, amount: int) -> None:
        """Wait until `amount` more bytes may be read."""
        now = self._clock()
        self._free_at = max(self._free_at, now) + amount / self._rate
        await self._sleep(self._free_at - now)


class SlowSource:
    """A source that keeps to the bandwidth. See `whaul.transfer.download.Source`."""

    def __init__(self, source: Source, bandwidth: Bandwidth) -> None:
        self._source = source
        self._bandwidth = bandwidth

    async def describe(self) -> MediaInfo:
        """Resolve the media id, which costs next to nothing."""
        return await self._source.describe()

    @asynccontextmanager
    async def download(self, info: MediaInfo, ahead: int) -> AsyncGenerator[Readable]:
        """Open the file; what may come before it is read is paid for at once."""
        async with self._bandwidth.transfers:
            paid = min(info.file_size, ahead)
            await self._bandwidth.pay(paid)
            async with self._source.download(info, ahead) as download:
                yield _Slow(download, self._bandwidth, info.file_size, paid)


class _Slow:
    def __init__(self, download: Readable, bandwidth: Bandwidth, size: int, paid: int) -> None:
        self._download = download
        self._bandwidth = bandwidth
        self._size = size
        self._paid = paid
        self._asked = 0

    async def read(self, amount: int) -> Bytes | None:
        self._asked = min(self._asked + amount, self._size)
        if self._asked > self._paid:
            due, self._paid = self._asked - self._paid, self._asked
            await self._bandwidth.pay(due)
        return await self._download.read(amount)

    async def part(self, amount: int) -> Bytes | None:
        return await self.read(amount)  # no more than is paid for
