"""An HTTP client for hosts that users name: each connection goes to an address that was judged before.

A name may lead anywhere, and to another address with each look-up. So we look it up, judge all of its addresses, and
give the HTTP client the very one to connect to: it has no resolver of its own here. Through a proxy, which resolves
names by itself, only addresses that are written out can be judged.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import timedelta

from pyreqwest.client import Client
from pyreqwest.exceptions import PyreqwestError
from pyreqwest.http import Url

from whaul.errors import Retry
from whaul.outbound.errors import HttpError, translated
from whaul.outbound.http import client_builder, with_headers
from whaul.outbound.netguard import HostPort, is_address
from whaul.outbound.proxies import Proxies
from whaul.outbound.public_names import PublicNames
from whaul.outbound.response import Download, Response
from whaul.timeouts import Timeouts

TIMEOUT = 15.0
"""Seconds for look-up, connection, TLS, request and answer together."""
MAX_BODY = 64 * 1024
"""Bytes of an answer that are read."""
MAX_CLIENTS = 256
"""Addresses to which connections are kept."""


class PublicClient:
    """The client, one for each process. Close it."""

    def __init__(
        self,
        names: PublicNames,
        *,
        certificates: Sequence[bytes] = (),
        proxies: Proxies | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        """`timeout` is in seconds; `certificates` (DER) are trusted in addition to the system's."""
        self._names = names
        self._certificates = certificates
        self._proxies = proxies or Proxies()
        self._timeout = timeout
        self._timeouts = Timeouts()
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
            async with self._timeouts.after(self._timeout):
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
                return await Download(response).beginning(MAX_BODY)
        except PyreqwestError as error:
            raise translated(error) from error

    async def _addresses(self, url: Url) -> tuple[str | None, ...]:
        """Return the addresses to try in turn; None leaves it to the client, which has no name to look up."""
        if is_address(url.host_str or "") or self._proxies.is_used_for(url):
            return (None,)  # judged when the destination was set
        return await self._names.addresses(HostPort.of(url))

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
