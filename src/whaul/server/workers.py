"""The worker processes together: when they are started, replaced and told to stop.

Granian makes and watches them. What it does about them by itself is replaced here: it would end all when one cannot be
started, replace those that serve by others that perhaps cannot, and stop them by a signal that others send, too.
"""

import multiprocessing
import os
import signal
import ssl
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any

from granian.log import logger
from granian.server.mp import MPServer, WorkerProcess

from whaul.server import DRAIN_SIGNAL, STOP_SIGNAL

TICK = 1.0
"""Seconds between two looks at the workers; when one ends, the next look is at once."""
START_PAUSE = 5.0
"""Seconds from the start of a worker that could not serve to the next try."""


class Workers(MPServer):
    """The server's workers."""

    def __init__(self, *, notice: float, patience: float, **options: Any) -> None:
        """`patience` is how many seconds a worker has to finish its calls, after a notice or without one."""
        super().__init__(**options)
        self._notice = notice
        self._patience = patience
        self._serving: dict[WorkerProcess, tuple[Connection, Connection]] = {}
        """The pipe on which each says that it serves. We keep both ends: without the other it would also be readable
        once the worker is dead."""
        self._replaced: list[WorkerProcess] = []
        """Those that may still have calls to finish."""
        self.draining = False

    def drain(self) -> None:
        """Begin the notice; from another thread."""
        self.draining = True
        for worker in [*self.wrks, *self._replaced]:
            _signal(worker, DRAIN_SIGNAL)

    def stop(self) -> None:
        """End the server; from another thread."""
        self.interrupt_signal = True
        self.main_loop_interrupt.set()

    def reload(self) -> None:
        """Replace all workers by new ones, which read certificates and settings again; from another thread."""
        self.reload_signal = True
        self.main_loop_interrupt.set()

    def _spawn_worker(self, idx: int, target: Any, callback_loader: Any, _: object = None) -> WorkerProcess:
        pipe = multiprocessing.Pipe(duplex=False)
        worker = super()._spawn_worker(idx, target, partial(callback_loader, pipe[1]))
        self._serving[worker] = pipe
        return worker

    def _serve_loop(self, spawn_target: Any, target_loader: Any) -> None:
        def spawn(index: int) -> WorkerProcess:
            worker = self._spawn_worker(index, spawn_target, target_loader)
            worker.start()
            if self.draining:
                _signal(worker, DRAIN_SIGNAL)
            return worker

        while not self.interrupt_signal:
            self.main_loop_interrupt.wait(TICK)
            self.main_loop_interrupt.clear()
            if self.reload_signal:
                self.reload_signal = False
                self._replace(spawn)
            dead = [worker for worker in self.wrks if not worker.is_alive()]
            if len(dead) == len(self.wrks) and (self.draining or not any(map(self._could_serve, dead))):
                logger.error("no worker is left")
                break
            if not self.draining:
                self._start_again(dead, spawn)

    def _start_again(self, dead: list[WorkerProcess], spawn: Callable[[int], WorkerProcess]) -> None:
        """Replace workers that died; those that could not even serve not at once."""
        for worker in dead:
            if self._has_served(worker) or time.monotonic() - worker.birth >= START_PAUSE:
                self.wrks[worker.idx] = spawn(worker.idx)
                self._forget(worker)

    def _replace(self, spawn: Callable[[int], WorkerProcess]) -> None:
        """Replace each worker once its successor serves. If one cannot, or something else happens, the rest stays."""
        logger.info("replacing the workers")
        _, chain, key, *_ = self.ssl_ctx
        try:
            if chain and key:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key)
        except OSError as error:
            logger.error("the TLS files cannot be used (%s); the workers from before go on", error.strerror)
            return
        for old in list(self.wrks):
            new = spawn(old.idx)
            while not self._has_served(new) and new.is_alive() and not self.main_loop_interrupt.is_set():
                wait([self._serving[new][0], new.inner.sentinel], TICK)
            if not self._has_served(new):
                logger.error("a new worker does not serve; the workers from before go on")
                self._end(new)
                return
            self.wrks[old.idx] = new
            self._end(old)
        logger.info("all workers are replaced")

    def _could_serve(self, worker: WorkerProcess) -> bool:
        """Whether another one in its place might serve: it did, or it was killed, perhaps just before it would have."""
        return self._has_served(worker) or (worker.inner.exitcode or 0) < 0

    def _has_served(self, worker: WorkerProcess) -> bool:
        return self._serving[worker][0].poll()

    def _forget(self, worker: WorkerProcess) -> None:
        for end in self._serving.pop(worker):
            end.close()

    def _end(self, worker: WorkerProcess) -> None:
        """Tell a worker to stop, and kill it should it take too long."""
        worker.interrupt_by_parent = True
        self._forget(worker)
        self._replaced = [each for each in [*self._replaced, worker] if each.is_alive()]
        _signal(worker, STOP_SIGNAL)
        killing = threading.Timer(self._notice + self._patience, worker.kill)
        killing.daemon = True
        killing.start()

    def shutdown(self, exit_code: int = 0) -> None:
        """Stop all workers, wait for them, and end the process; with 1 if there was none left."""
        logger.info("Shutting down granian")
        failed = not any(worker.is_alive() for worker in self.wrks)
        self._drop_shared_socket()  # type: ignore[no-untyped-call]
        self.drain()
        for worker in self.wrks:
            self._end(worker)
        for worker in [*self.wrks, *self._replaced]:
            worker.join()
        self._stop_ipc()  # type: ignore[no-untyped-call]
        logger.info("Granian shutdown completed, see ya!")
        if failed or exit_code:
            sys.exit(exit_code or 1)


def _signal(worker: WorkerProcess, number: signal.Signals) -> None:
    if worker.is_alive():
        with suppress(ProcessLookupError):
            os.kill(worker.inner.pid, number)
