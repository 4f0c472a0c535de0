"""The one outbound HTTP client: a thin, safe face on pyreqwest.

What it promises. It calls the URL that it is given and no other: it follows no redirect, and `netguard` decides
beforehand which hosts may be called. It passes bytes on as they are, neither compressed nor decompressed, and adds no
header but those that HTTP needs. It reads at most `MAX_RESPONSE_SIZE` bytes of a response that is not a file. Every
failure leaves it as an `HttpError` whose text holds nothing of the request. pyreqwest's own errors hold the URL, and a
presigned URL is a secret.

Who ends an exchange. Usually the caller: a call has a deadline, and cancels what still runs. pyreqwest then drops the
request, but not one that is sent and waits for its response. So each exchange also has a bound of its own
(`max_exchange`), which comes after any deadline.

Before the deadline only silence ends an exchange, because a slow peer may still be in time. Silence is measured by the
bytes that move. Three clocks are needed to see them:

- Bytes from the peer. pyreqwest's read timeout starts again with each byte. But it also runs while a request is being
  sent, and while nobody reads. So it serves requests without a body whose response is read at once
  (`_Clients.getter`). Who reads a file bit by bit gets a timeout for each read, in small steps if the line is slow
  (`Download`).
- Bytes to the peer that it has not acknowledged. Only the kernel sees them. It ends a connection on which none gets
  through (TCP_USER_TIMEOUT).
- The response to a body. The kernel takes megabytes at once and sends them when it can. After the last byte has left
  us, nobody here knows whether the line is slow or the peer silent. The wait for the response therefore grows with the
  body, as if the line were the slowest that we serve (`SLOWEST_LINE`).

A body that comes in parts is watched by `WatchedBody`: the peer is not to blame for the time that we ourselves wait
for the next part.

Hosts that fall silent again and again are not called for a while (`circuit`), so that they do not hold transfers that
others could use.
"""

import asyncio
import math
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Self

from pyreqwest.bytes import Bytes
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import BuilderError, PyreqwestError
from pyreqwest.http import Url
from pyreqwest.proxy import ProxyBuilder
from pyreqwest.request import RequestBuilder
from pyreqwest.response import Response as RawResponse

from whaul import __version__
from whaul.errors import Retry
from whaul.outbound.certificates import CertificatesError
from whaul.outbound.circuit import Circuits, OnChange, ignore
from whaul.outbound.errors import PROXY_REFUSAL, HostRefusedError, HttpError, HttpTimeoutError, translated
from whaul.outbound.proxies import Proxies
from whaul.outbound.response import MAX_RESPONSE_SIZE, Download, Response
from whaul.outbound.sending import SLOWEST_LINE, WatchedBody
from whaul.timeouts import Timeouts

CONNECT_TIMEOUT = 10.0
"""Seconds to open a connection, TLS included."""
SILENCE_TIMEOUT = 20.0
"""Seconds without a byte that moves, while one should."""
MAX_EXCHANGE = 3700.0
"""Seconds after which an exchange is ended, whoever waits for it: more than the longest deadline of a call."""
READ_AHEAD = 64 * 1024
"""Bytes of a response that are taken from the connection before anyone reads them, unless the caller asks for more."""
MAX_SILENCES = 5
"""Silences in a row after which a host is left alone for `HOST_REST`."""
HOST_REST = 10.0
"""Seconds for which a host is not called after too many silences."""
POOL_IDLE_TIMEOUT = 30.0
"""Seconds for which an idle connection is kept: fewer than servers keep theirs, so that fewer break when used again."""

Body = bytes | Bytes | AsyncIterator[Bytes]
"""What a PUT or POST sends: all of it, or its parts as they come."""


class HttpClient:
    """The client, one for each process. Close it, or use it as an async context manager."""

    def __init__(
        self,
        *,
        certificates: Sequence[bytes] = (),
        proxies: Proxies | None = None,
        silence: float = SILENCE_TIMEOUT,
        max_exchange: float = MAX_EXCHANGE,
        on_circuit: OnChange = ignore,
    ) -> None:
        """`silence` and `max_exchange` are in seconds; `max_exchange` must be longer than any caller waits.

        `certificates` (DER) are trusted in addition to the system's; raises `CertificatesError` if they cannot be.
        `on_circuit` is told of hosts that are left alone.
        """
        self._silence = silence
        self._max_exchange = max_exchange
        self._proxies = proxies or Proxies()
        self._timeouts = Timeouts()
        self._direct = _Clients(certificates, silence, max_exchange, None)
        is_proxied = self._proxies.http or self._proxies.https
        self._proxied = _Clients(certificates, silence, max_exchange, self._proxies) if is_proxied else None
        self._circuits: Circuits[HttpTimeoutError] = Circuits(MAX_SILENCES, HOST_REST, time.monotonic, on_circuit)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._direct.close()
        if self._proxied is not None:
            await self._proxied.close()

    async def get(self, url: Url, headers: Mapping[str, str]) -> Response:
        """GET a response that is not a file. Raises `HttpError`."""
        async with self.download(url, headers, MAX_RESPONSE_SIZE) as download:
            return await download.response()

    async def call(self, method: str, url: Url, headers: Mapping[str, str], body: bytes) -> Response:
        """Send a small body, or none, and read a response that is not a file. Raises `HttpError`."""
        return await self._sent(url, self._request(method, url, headers, body), body)

    @asynccontextmanager
    async def download(self, url: Url, headers: Mapping[str, str], ahead: int = READ_AHEAD) -> AsyncGenerator[Download]:
        """GET a file and read it bit by bit. Raises `HttpError`.

        `ahead` bytes, or the whole of a smaller file, come together with the head, because each wait for bytes costs
        the event loop a turn. Ask for more than `READ_AHEAD` only to read without a pause.
        """
        clients = self._clients(url)
        silence = self._silence if ahead <= READ_AHEAD else None
        client = clients.getter if silence is None else clients.putter
        builder = with_headers(client.get(url), headers)
        request = builder.streamed_read_buffer_limit(ahead).build_streamed()
        started = time.monotonic()
        with self._circuit(url):
            try:
                async with self._timeouts.after(silence or math.inf):
                    response = await request.__aenter__()
            except (TimeoutError, PyreqwestError) as error:
                raise translated(error) from error
        try:
            yield self._opened(response, url, silence, started)
        finally:
            await request.__aexit__(None, None, None)

    async def send(self, method: str, url: Url, headers: Mapping[str, str], body: Body, length: int) -> Response:
        """PUT or POST `length` bytes, with exactly that Content-Length. Raises `HttpError`.

        When `body` raises, the request ends before its last byte, and the exception comes out as it is. The caller
        bounds how long the whole may take.
        """
        builder = self._request(method, url, headers, body).header("content-length", str(length))
        if isinstance(body, bytes | Bytes):
            return await self._sent(url, builder, body)
        upload = WatchedBody(body, self._silence)
        request = builder.body_stream(upload).build_streamed()  # type: ignore[arg-type]
        with self._circuit(url, upload):
            try:
                async with upload, request as response:
                    return await self._opened(response, url).response()
            except (TimeoutError, PyreqwestError) as error:
                raise translated(error) from error

    def _request(self, method: str, url: Url, headers: Mapping[str, str], body: Body) -> RequestBuilder:
        clients = self._clients(url)
        client = clients.putter if body else clients.getter  # the module's docstring tells why
        return with_headers(client.request(method, url), headers)

    async def _sent(self, url: Url, builder: RequestBuilder, body: bytes | Bytes) -> Response:
        """Send a request whose whole body is here, and read the response."""
        if body:
            bound = self._silence + len(body) / SLOWEST_LINE
            builder = builder.timeout(timedelta(seconds=min(bound, self._max_exchange)))  # replaces the client's
        request = builder.body_bytes(body).build_streamed()  # type: ignore[arg-type]  # any buffer will do
        with self._circuit(url):
            try:
                async with request as response:
                    return await self._opened(response, url).response()
            except (TimeoutError, PyreqwestError) as error:
                raise translated(error) from error

    def _opened(self, response: RawResponse, url: Url, silence: float | None = None, started: float = 0.0) -> Download:
        if response.status == 407 and self._clients(url) is self._proxied:
            raise HttpError(PROXY_REFUSAL, retry=Retry.NO)
        return Download(response, silence, started)

    def _clients(self, url: Url) -> "_Clients":
        if self._proxied is not None and self._proxies.is_used_for(url):
            return self._proxied
        return self._direct

    @contextmanager
    def _circuit(self, url: Url, upload: WatchedBody | None = None) -> Iterator[None]:
        """Refuse a host that falls silent again and again."""
        host = f"{url.host_str}:{url.port_or_known_default}"
        if self._circuits.refusal(host):
            message = f"its host fell silent {MAX_SILENCES} times in a row and is left alone for a while"
            raise HostRefusedError(message, arrived=False, retry=Retry.NO)
        started = time.monotonic()
        try:
            yield
        except HttpTimeoutError as timeout:
            self._circuits.failed(host, timeout)
            raise
        except asyncio.CancelledError:
            waiting_since = started if upload is None else upload.waiting_since
            if waiting_since is not None and time.monotonic() - waiting_since >= self._silence:
                self._circuits.failed(host, HttpTimeoutError("timed out"))  # the deadline came first
            raise
        self._circuits.succeeded(host)


class _Clients:
    """Two clients that differ in how they see silence; the module's docstring tells why."""

    def __init__(
        self, certificates: Sequence[bytes], silence: float, max_exchange: float, proxies: Proxies | None
    ) -> None:
        try:
            builder = client_builder(certificates, silence, max_exchange, proxies)
            self.getter = builder.read_timeout(timedelta(seconds=silence)).build()
            self.putter = client_builder(certificates, silence, max_exchange, proxies).build()
        except BuilderError:
            raise CertificatesError("a certificate cannot be used") from None

    async def close(self) -> None:
        await self.getter.close()
        await self.putter.close()


def client_builder(
    certificates: Sequence[bytes], silence: float, max_exchange: float, proxies: Proxies | None
) -> ClientBuilder:
    """Begin a client with what all of ours have in common; times are in seconds."""
    builder = (
        ClientBuilder()
        .user_agent(f"whaul/{__version__}")
        .follow_redirects(False)
        .referer(False)
        .gzip(False)
        .brotli(False)
        .zstd(False)
        .deflate(False)
        .connect_timeout(timedelta(seconds=CONNECT_TIMEOUT))
        .timeout(timedelta(seconds=max_exchange))
        .pool_idle_timeout(timedelta(seconds=POOL_IDLE_TIMEOUT))
        .no_proxy()  # else the library reads the environment by rules of its own
    )
    if sys.platform == "linux":
        builder = builder.tcp_user_timeout(timedelta(seconds=silence))
    if proxies is not None and proxies.http is not None:
        builder = builder.proxy(ProxyBuilder.http(proxies.http))
    if proxies is not None and proxies.https is not None:
        builder = builder.proxy(ProxyBuilder.https(proxies.https))
    for certificate in certificates:
        builder = builder.add_root_certificate_der(certificate)
    return builder


def with_headers(builder: RequestBuilder, headers: Mapping[str, str]) -> RequestBuilder:
    """Add headers. Raises `HttpError` for a value that cannot be sent."""
    try:
        return builder.headers(headers)
    except ValueError:  # its text repeats the value, which may be a secret
        message = "a header cannot be sent: it holds characters that HTTP does not allow"
        raise HttpError(message, arrived=False, retry=Retry.NO) from None
