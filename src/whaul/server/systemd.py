"""Tells systemd that the server is ready, alive and stopping, for services with `Type=notify` and a watchdog.

https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

import logging
import os
import socket
import threading
from collections.abc import Callable, MutableMapping

ASK_AGAIN = 0.1
"""Seconds between two looks whether the server answers, until it does."""

log = logging.getLogger("whaul.systemd")


class Systemd:
    """The service manager that started this process; without one, nothing is sent."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Read how to reach it from `environ`, and take it out there: it is not meant for our children."""
        self._address = environ.pop("NOTIFY_SOCKET", "")
        watchdog, watched = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        meant = watched in {"", str(os.getpid())}
        self.watchdog = int(watchdog) / 1e6 if watchdog.isdigit() and meant else 0.0
        """Seconds within which a sign of life must come; 0 when none is expected."""
        self._stopped = threading.Event()

    def tell(self, state: str) -> None:
        """Send a state, such as `READY=1`."""
        if self._address[:1] not in {"/", "@"}:
            return
        # A name that begins with @ is in Linux's abstract namespace, where it begins with a null byte.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.connect(address)
                sender.sendall(state.encode())
        except OSError as error:
            log.warning("systemd cannot be told %s: %s", state, error.strerror)

    def watch(self, answers: Callable[[], bool]) -> None:
        """Tell the manager when the server first answers, and again while it does; in a separate thread."""
        if self._address:
            threading.Thread(target=self._watch, args=(answers,), name="systemd", daemon=True).start()

    def stop(self) -> None:
        """Tell that the server is stopping."""
        self._stopped.set()
        self.tell("STOPPING=1")

    def _watch(self, answers: Callable[[], bool]) -> None:
        while not answers():
            if self._stopped.wait(ASK_AGAIN):
                return
        self.tell("READY=1")
        while self.watchdog and not self._stopped.wait(self.watchdog / 2):
            if answers():
                self.tell("WATCHDOG=1")
