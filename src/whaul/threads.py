"""Work in a thread that may never come to an end, and then keeps nobody waiting, not even the end of the program."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

T = TypeVar("T")


def in_daemon_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """Start the work; return a future of its result or exception, which may be settled or cancelled before.

    Unlike a thread of `asyncio.to_thread`, this one is not waited for when the event loop is closed.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(set_it: Callable[[], None]) -> None:
        if not future.done():
            set_it()

    def do() -> None:
        set_it: Callable[[], None]
        try:
            set_it = partial(future.set_result, work())
        except Exception as error:  # noqa: BLE001 - it is raised where the future is awaited
            set_it = partial(future.set_exception, error)
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, set_it)

    threading.Thread(target=do, name="whaul-daemon", daemon=True).start()
    return future
