"""The simulator for code that is not async: it runs on an event loop of its own, in a thread."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from whaul.simulator.server import Simulator


@contextmanager
def simulator_in_thread(**options: Any) -> Iterator[Simulator]:
    """Run a simulator while the block runs; `options` are those of `Simulator`.

    Its methods may be called from this thread, except `start`, `stop` and `settled`.
    """
    started: Future[tuple[Simulator, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        stop = asyncio.Event()
        async with Simulator(**options) as simulator:
            started.set_result((simulator, asyncio.get_running_loop(), stop))
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as exc:
            if started.done():
                raise
            started.set_exception(exc)

    thread = threading.Thread(target=run, name="whaul-simulator", daemon=True)
    thread.start()
    simulator, loop, stop = started.result()
    try:
        yield simulator
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
