"""Waiting for what must happen."""

import os
import time
from collections.abc import Callable

PATIENCE = 120.0
"""Seconds until a test gives up: far more than a busy machine needs, so that only what never happens fails."""


def eventually(happened: Callable[[], bool]) -> None:
    """Wait until it has happened."""
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def is_running(process: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
