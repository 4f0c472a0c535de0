"""Which processes of this machine live, for leases on SQLite.

Every process holds a lock on a file of its own beside the database. The kernel lets go of it when the process ends,
however it ends, and at no other time: so neither a clock that jumps nor a process that is stopped for a while gives
its jobs to another. What a process left behind becomes due as soon as somebody looks.
"""

import fcntl
import os
from collections.abc import Collection
from typing import Final

from whaul.database_url import database_file
from whaul.events.database.store import Store
from whaul.events.delivery.deliveries import Delivery
from whaul.folders import create_private_folder

_ACTIVE: Final = "state = 'pending' AND destination IN (SELECT number FROM destinations) AND replay IN (false, true)"
_LEASED: Final = {
    "deliveries": _ACTIVE,
    "conversation_turns": "destination IN (SELECT number FROM destinations)",
    "files": "state = 'pending' AND owner IN (SELECT owner FROM installation)",
}
"""For each table with jobs, what of its index of due rows is to be looked at."""


class Processes:
    """Those that use a database."""

    def __init__(self, url: str, process: str) -> None:
        path = database_file(url)
        self._folder = path.with_name(f"{path.name}.processes")
        self._process = process
        self._lock: int | None = None
        self._forgotten: set[tuple[int, int]] = set()

    def enter(self) -> None:
        """Say that this process lives."""
        create_private_folder(self._folder)
        path = self._folder / self._process
        while True:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists() and path.stat().st_ino == os.fstat(lock).st_ino:
                self._lock = lock
                return
            os.close(lock)  # another process took it for one that had been left

    def leave(self) -> None:
        """Say that this process is about to end."""
        if self._lock is not None:
            (self._folder / self._process).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    async def free(self, store: Store) -> None:
        """Make due what processes left that live no more."""
        leased = {table: f"{where} AND due_at = {store.lease_end}" for table, where in _LEASED.items()}
        looks = [(f"SELECT DISTINCT lease_owner FROM {table} WHERE {which}", ()) for table, which in leased.items()]
        found = await store.run(*looks)  # at once, since this happens every second
        for (table, which), rows in zip(leased.items(), found, strict=True):
            for process in self._dead({row[0] for row in rows}):
                free = f"UPDATE {table} SET due_at = {store.now} WHERE {which} AND lease_owner = $1"
                await store.run((free, (process,)))

    async def free_forgotten(self, store: Store, held: Collection[Delivery]) -> None:
        """Make due what is leased to this process, which knows nothing of it, now and the last time.

        An error may have come between. Elsewhere such a lease would end by itself.
        """
        leased = f"{_ACTIVE} AND due_at = {store.lease_end} AND lease_owner = $1"
        [rows] = await store.run((f"SELECT id, fence FROM deliveries WHERE {leased}", (self._process,)))
        forgotten = {(row[0], row[1]) for row in rows} - {(delivery.id, delivery.fence) for delivery in held}
        for id_, fence in forgotten & self._forgotten:
            free = f"UPDATE deliveries SET due_at = {store.now} WHERE id = $1 AND fence = $2 AND lease_owner = $3"
            await store.run((free, (id_, fence, self._process)))
        self._forgotten = forgotten

    def _dead(self, processes: Collection[str]) -> list[str]:
        return [process for process in processes if process != self._process and not self._lives(process)]

    def _lives(self, process: str) -> bool:
        path = self._folder / process
        try:
            lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            path.unlink(missing_ok=True)
            return False
        finally:
            os.close(lock)
