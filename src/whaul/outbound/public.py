"""An HTTP client for hosts that users name: each connection goes to an address that was judged before.

A name may lead anywhere, and to another address with each look-up. So we look it up, judge all of its addresses, and
give the HTTP client the very one to connect to: it has no resolver of its own here. Through a proxy, which resolves
names by itself, only addresses that are written out can be judged.

Look-ups have threads of their own, since the system's resolver may take as long as it likes; one for each host.
"""

import asyncio
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pyreqwest.bytes import Bytes
from pyreqwest.client import Client
from pyreqwest.exceptions import PyreqwestError
from pyreqwest.http import Url

from whaul.errors import Retry
from whaul.outbound.errors import HttpError, translated
from whaul.outbound.http import Download, Response, client_builder, with_headers
from whaul.outbound.netguard import PRIVATE, EventHosts, ForbiddenUrlError, is_address, is_public
from whaul.outbound.proxies import Proxies
from whaul.threads import in_daemon_thread

TIMEOUT = 15.0
"""Seconds for look-up, connection, TLS, request and answer together."""
LOOK_UP_LIFE = 30.0
"""Seconds for which the addresses of a name are kept."""
MAX_BODY = 64 * 1024
"""Bytes of an answer that are read."""
MAX_CLIENTS = 256
"""Addresses to which connections are kept."""


@dataclass(frozen=True, slots=True)
class _Found:
    addresses: tuple[str, ...]
    until: float


class PublicClient:
    """The client, one for each process. Close it."""

    def __init__(
        self,
        hosts: EventHosts,
        *,
        certificates: Sequence[bytes] = (),
        proxies: Proxies | None = None,
        timeout: float = TIMEOUT,
        look_up: Callable[..., Sequence[Any]] = socket.getaddrinfo,
    ) -> None:
        """`timeout` is in seconds; `certificates` (DER) are trusted in addition to the system's."""
        self._hosts = hosts
        self._certificates = certificates
        self._proxies = proxies or Proxies()
        self._timeout = timeout
        self._look_up = look_up
        self._found: dict[str, _Found] = {}
        self._looking: dict[str, asyncio.Future[tuple[str, ...]]] = {}
        self._clients: OrderedDict[tuple[str, int, str | None], Client] = OrderedDict()

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.close()
        self._clients.clear()

    async def post(self, url: Url, headers: Mapping[str, str], body: bytes) -> Response:
        """POST to a URL that `EventHosts.check` returned. Redirects are answers like any other.

        Raises `HttpError`, and `ForbiddenUrlError` when the name leads to an address that may not be called.
        """
        failure = HttpError("its host has no address", arrived=False)
        try:
            async with asyncio.timeout(self._timeout):
                for address in await self._addresses(url):
                    try:
                        return await self._post(self._client(url, address), url, headers, body)
                    except HttpError as error:
                        failure = error
                        if error.arrived or error.retry is Retry.NO:
                            break
        except TimeoutError as error:
            raise translated(error) from None
        raise failure

    async def _post(self, client: Client, url: Url, headers: Mapping[str, str], body: bytes) -> Response:
        builder = with_headers(client.post(url), {"accept-encoding": "identity"} | dict(headers))
        builder = builder.timeout(timedelta(seconds=self._timeout))  # a request that is cancelled goes on until then
        try:
            async with builder.body_bytes(body).build_streamed() as response:
                download = Download(response)
                found = {name.lower(): download.header(name) for name in response.headers}
                content = await download.read(MAX_BODY) or Bytes()
                known = {name: value for name, value in found.items() if value is not None}
                return Response(response.status, known, content.to_bytes())
        except PyreqwestError as error:
            raise translated(error) from error

    async def _addresses(self, url: Url) -> tuple[str | None, ...]:
        """Return the addresses to try in turn; None leaves it to the client, which has no name to look up."""
        host = (url.host_str or "").strip("[]")
        if is_address(host) or self._proxies.is_used_for(url):
            return (None,)  # judged when the destination was set
        addresses = await self._resolved(host)
        if not self._hosts.is_listed(url) and not all(is_public(address) for address in addresses):
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

    def _client(self, url: Url, address: str | None) -> Client:
        host, port = url.host_str or "", url.port_or_known_default or 0
        key = (host, port, address)
        client = self._clients.pop(key, None)
        if client is None:
            proxies = self._proxies if self._proxies.is_used_for(url) else None
            builder = client_builder(self._certificates, self._timeout, self._timeout, proxies)
            if address is not None:
                builder = builder.resolve(host, address, port)
            client = builder.build()
        self._clients[key] = client
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)  # closed when its last request is over
        return client
