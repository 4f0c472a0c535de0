"""Loaded by Python itself in every process of a gateway of the bench, before any other code.

It sets the resource limits, moves the wall clock as a file says, and tells how many asyncio tasks there are. What is
written in Rust keeps the real clock, as does everything monotonic.
"""

import asyncio
import contextlib
import datetime as dt
import gc
import json
import os
import resource
import socket
import threading
import time

_CLOCK = os.environ.get("BENCH_CLOCK", "")
_real_time = time.time
_RealDatetime = dt.datetime


def _moved() -> float:
    try:
        with open(_CLOCK, encoding="utf-8") as file:  # noqa: PTH123 - pathlib is not loaded here
            return float(file.read())
    except (OSError, ValueError):
        return 0.0


class _Kind(type):
    """Lets a real datetime pass for one of the moved class, since most are made by the real one."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _RealDatetime)


class _MovedDatetime(_RealDatetime, metaclass=_Kind):
    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]  # see _Kind
        return _RealDatetime.now(tz) + dt.timedelta(seconds=_moved())

    @classmethod
    def utcnow(cls) -> dt.datetime:  # type: ignore[override]
        return _RealDatetime.now(dt.UTC).replace(tzinfo=None) + dt.timedelta(seconds=_moved())


def _tasks() -> int:
    return sum(1 for thing in gc.get_objects() if isinstance(thing, asyncio.Task) and not thing.done())


def _answer(listener: socket.socket) -> None:
    while True:
        with contextlib.suppress(OSError):
            asking, _ = listener.accept()
            gc.collect()
            with asking:
                asking.sendall(str(_tasks()).encode())


def _listen() -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{os.environ['BENCH_PROBE']}.{os.getpid()}")
    listener.listen(4)
    threading.Thread(target=_answer, args=(listener,), daemon=True).start()


def _set_up() -> None:
    for name, limit in json.loads(os.environ.get("BENCH_LIMITS", "{}")).items():
        resource.setrlimit(getattr(resource, name), (limit, limit))
    time.time = lambda: _real_time() + _moved()
    dt.datetime = _MovedDatetime  # type: ignore[misc]
    _listen()
    os.register_at_fork(after_in_child=_listen)  # a worker begins without this one's threads


if os.environ.get("BENCH_PROBE"):
    _set_up()
