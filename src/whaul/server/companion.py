"""A second server process beside this one: the listener of webhooks.

It is told by a pipe what to do, not by signals: those often go to a whole group of processes, and would reach it twice.
When the pipe ends, this process has died, and the other stops by itself. When the other ends, it is started again.
"""

import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from typing import Final

from granian.log import logger

RESTART_PAUSE: Final = 2.0
"""Seconds until a companion that ended is started again."""


class Order(bytes, Enum):
    """What it is told."""

    DRAIN = b"d"
    STOP = b"s"
    RELOAD = b"r"


class Companion:
    """The process, as long as the block of `kept` runs."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._ending = threading.Event()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Run it; at the end wait until it has finished what it does."""
        keeping = threading.Thread(target=self._keep, name="companion", daemon=True)
        keeping.start()
        try:
            yield
        finally:
            self._ending.set()
            self.tell(Order.STOP)
            keeping.join()

    def tell(self, order: Order) -> None:
        """Give an order; one that has just ended needs none."""
        process = self._process
        if process is not None and process.stdin is not None:
            with suppress(OSError, ValueError):
                process.stdin.write(order.value)
                process.stdin.flush()

    def _keep(self) -> None:
        while not self._ending.is_set():
            with subprocess.Popen(self._command, stdin=subprocess.PIPE) as process:  # noqa: S603 - our own program
                self._process = process
                process.wait()
            if not self._ending.is_set():
                logger.error("the listener of webhooks has ended; it is started again")
                self._ending.wait(RESTART_PAUSE)
