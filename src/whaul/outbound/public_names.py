"""The addresses of hosts that users name, looked up and judged.

Look-ups have threads of their own, since the system's resolver may take as long as it likes; one for each host.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from whaul.outbound.errors import HttpError
from whaul.outbound.netguard import PRIVATE, EventHosts, ForbiddenUrlError, HostPort, is_address, is_public
from whaul.threads import in_daemon_thread

LOOK_UP_LIFE = 30.0
"""Seconds for which the addresses of a name are kept."""


@dataclass(frozen=True, slots=True)
class _Found:
    addresses: tuple[str, ...]
    until: float


class PublicNames:
    """Looks names up."""

    def __init__(self, hosts: EventHosts, look_up: Callable[..., Sequence[Any]] = socket.getaddrinfo) -> None:
        self._hosts = hosts
        self._look_up = look_up
        self._found: dict[str, _Found] = {}
        self._looking: dict[str, asyncio.Future[tuple[str, ...]]] = {}

    async def addresses(self, place: HostPort) -> tuple[str, ...]:
        """Return the addresses of a host: all of them are public, or the operator lists the host.

        Raises `ForbiddenUrlError`, and `HttpError` when the name cannot be looked up.
        """
        host = place.host.strip("[]")
        addresses = (host,) if is_address(host) else await self._resolved(host)
        if not self._hosts.is_listed(place) and not all(is_public(address) for address in addresses):
            raise ForbiddenUrlError(PRIVATE)
        return addresses

    async def _resolved(self, host: str) -> tuple[str, ...]:
        found = self._found.get(host)
        if found is not None and time.monotonic() < found.until:
            return found.addresses
        if host not in self._looking:
            self._looking[host] = looking = in_daemon_thread(lambda: self._ask(host))
            looking.add_done_callback(lambda done: self._resolve(host, done))
        try:
            return await asyncio.shield(self._looking[host])
        except OSError:
            raise HttpError("its host name could not be looked up", arrived=False) from None

    def _resolve(self, host: str, done: "asyncio.Future[tuple[str, ...]]") -> None:
        del self._looking[host]
        if not done.cancelled() and done.exception() is None:
            now = time.monotonic()
            self._found = {name: found for name, found in self._found.items() if found.until > now}
            self._found[host] = _Found(done.result(), now + LOOK_UP_LIFE)

    def _ask(self, host: str) -> tuple[str, ...]:
        try:
            found = self._look_up(host, None, type=socket.SOCK_STREAM)
        except UnicodeError:
            raise OSError from None
        return tuple(dict.fromkeys(address[0] for *_, address in found))
