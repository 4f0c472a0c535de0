"""The one outbound HTTP client: a thin, safe face on pyreqwest.

What it promises. It calls the host that it is given and no other: it follows no redirect, and which hosts may be
called is decided before, in `netguard`. It passes bytes on as they are: nothing is compressed or decompressed, and
no header is added but what HTTP needs. It reads at most `LARGEST_ANSWER` bytes of an answer that is not a file. And
every failure leaves it as an `HttpFailure` whose text holds nothing of the request; pyreqwest's own errors hold the
URL, and a presigned URL is a secret.

Who ends an exchange. Usually the caller: a call has a deadline, and cancels what runs. pyreqwest then drops the
request, but not one that has been sent and is waiting for its answer, so each exchange has a bound of its own
(`longest`), later than any deadline. Before the deadline only silence ends an exchange, since a peer that is slow may
still be in time. Silence is measured by the bytes that move, and three clocks are needed to see them:

- Bytes from the peer: pyreqwest's read timeout starts again with each byte. But it also counts while a request is
  being sent, and while nobody reads. So it serves what has no body and is read at once (`_Clients.getter`); who reads
  a file as it is wanted gets a timeout for each read.
- Bytes to the peer that it has not acknowledged: only the kernel sees them, and ends a connection on which none gets
  through (TCP_USER_TIMEOUT).
- The answer to a body. The kernel takes megabytes at once and sends them when it can, so that after the last byte
  left us nobody here knows whether the line is slow or the peer silent. The wait for the answer therefore grows with
  the body, as if the line were the slowest that we serve (`SLOWEST_LINE`).

A body that comes in parts is watched by `WatchedBody`, because the peer is not to blame for the time in which we wait
for the next part ourselves.

Hosts that fall silent again and again are not called for a while (`circuit`), so that calls to them hold no transfer
that others could use.
"""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

from pyreqwest.bytes import Bytes
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import BuilderError, PyreqwestError
from pyreqwest.http import Url
from pyreqwest.proxy import ProxyBuilder
from pyreqwest.request import RequestBuilder
from pyreqwest.response import Response

from whaul.errors import Retry
from whaul.outbound.certificates import CertificatesError
from whaul.outbound.circuit import Circuits
from whaul.outbound.failures import PROXY_REFUSAL, described, is_unconnected
from whaul.outbound.proxies import Proxies
from whaul.outbound.sending import SLOWEST_LINE, WatchedBody

CONNECT_TIMEOUT = 10.0
"""Seconds to open a connection, TLS included."""
SILENCE_TIMEOUT = 20.0
"""Seconds without a byte from the peer while one is expected."""
LONGEST_EXCHANGE = 3700.0
"""Seconds until an exchange is over, whoever waits for it: more than the longest deadline that a call can be given."""
READ_AHEAD = 64 * 1024
"""Bytes of an answer that are taken from the connection before anyone reads them, if nothing else is said."""
STEP = 64 * 1024
"""Bytes of a file that must come before the peer counts as silent."""
LARGEST_ANSWER = 1024 * 1024
"""Bytes read of an answer that is not a file: Graph JSON, S3's error XML."""
MOST_SILENCES = 5
"""A host that fell silent so often in a row is left alone for `HOST_REST`."""
HOST_REST = 10.0
"""Seconds that a host is not called after it fell silent too often."""
POOL_IDLE_TIMEOUT = 30.0
"""Seconds that an unused connection is kept: less than the servers' own limits, so that fewer break when reused."""

Body = bytes | Bytes | AsyncIterator[Bytes]
"""What a PUT or POST sends: all of it, or its parts as they come."""


class HttpFailure(Exception):  # noqa: N818 - a failure is what it is
    """No usable answer came; the text says how it failed, and holds nothing of the request."""

    def __init__(self, message: str, *, arrived: bool = True, retry: Retry = Retry.YES) -> None:
        """`arrived` is false when the peer cannot have got any of the request."""
        super().__init__(message)
        self.arrived = arrived
        self.retry = retry


class HttpTimeout(HttpFailure):
    """The peer fell silent."""


class HostRefused(HttpFailure):
    """The host fell silent too often of late, and was not called."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. Header names are lower-case; of a repeated header the first counts, if it is ASCII."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Download:
    """A file on its way: the head of the answer, and its bytes on demand."""

    def __init__(self, response: Response, silence: float | None = None) -> None:
        """`silence` bounds each read, in seconds; None where the client does."""
        self.status = response.status
        self._silence = silence
        self._response = response
        self._reader = response.body_reader

    def header(self, name: str) -> str | None:
        """The first header of that name, if its value is ASCII; nobody can say what other bytes mean."""
        try:
            return self._response.get_header(name)
        except ValueError:
            return None

    async def read(self, amount: int) -> Bytes | None:
        """Read up to `amount` bytes, fewer only at the end; None when nothing is left."""
        try:
            if self._silence is None:
                return await self._reader.read(amount)
            parts: list[Bytes] = []
            while amount > 0:
                async with asyncio.timeout(self._silence):
                    part = await self._reader.read(min(amount, STEP))
                if not part:
                    break
                parts.append(part)
                amount -= len(part)
            return Bytes(b"".join(parts)) if len(parts) > 1 else parts[0] if parts else None
        except (TimeoutError, PyreqwestError) as error:
            raise _translated(error) from error

    async def answer(self) -> Answer:
        """Read it as an answer instead of a file, at most `LARGEST_ANSWER` bytes."""
        found = {name.lower(): self.header(name) for name in self._response.headers}
        headers = {name: value for name, value in found.items() if value is not None}
        body = None
        if headers.get("content-length") != "0":  # as S3 answers a PUT: nothing to wait for
            body = await self.read(LARGEST_ANSWER + 1)
        if body is not None and len(body) > LARGEST_ANSWER:
            raise HttpFailure("the answer is too long")
        return Answer(self.status, headers, body.to_bytes() if body is not None else b"")


class HttpClient:
    """The client; one for a process. Close it, or use it as an async context manager."""

    def __init__(
        self,
        *,
        certificates: Sequence[bytes] = (),
        proxies: Proxies | None = None,
        silence: float = SILENCE_TIMEOUT,
        longest: float = LONGEST_EXCHANGE,
        on_open_circuits: Callable[[int], None] = lambda _open: None,
    ) -> None:
        """`silence` and `longest` are in seconds; `longest` is more than the time in which callers give up.

        `certificates` (DER) are trusted besides the system's; `CertificatesError` if they cannot be.
        `on_open_circuits` is told how many hosts are not called for a while.
        """
        self._silence = silence
        self._longest = longest
        self._proxies = proxies or Proxies()
        self._direct = _Clients(certificates, silence, longest, None)
        is_proxied = self._proxies.http or self._proxies.https
        self._proxied = _Clients(certificates, silence, longest, self._proxies) if is_proxied else None
        self._circuits: Circuits[HttpTimeout] = Circuits(MOST_SILENCES, HOST_REST, time.monotonic, on_open_circuits)

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

    async def get(self, url: Url, headers: Mapping[str, str]) -> Answer:
        """GET an answer that is not a file. Raises `HttpFailure`."""
        async with self.download(url, headers, LARGEST_ANSWER) as download:
            return await download.answer()

    async def call(self, method: str, url: Url, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send a small body, or none, and read an answer that is not a file. Raises `HttpFailure`."""
        clients = self._clients(url)
        builder = _with_headers((clients.putter if body else clients.getter).request(method, url), headers)
        return await self._sent(url, builder, body)

    @asynccontextmanager
    async def download(self, url: Url, headers: Mapping[str, str], ahead: int = READ_AHEAD) -> AsyncGenerator[Download]:
        """GET a file: its bytes are read as they are wanted, but for `ahead` bytes that come at a time.

        So many bytes, or the whole of a smaller file, are here with the head: each wait for bytes costs the event
        loop a turn. More than `READ_AHEAD` is for those who read without a pause. Raises `HttpFailure`.
        """
        clients = self._clients(url)
        silence = self._silence if ahead <= READ_AHEAD else None
        client = clients.getter if silence is None else clients.putter
        builder = _with_headers(client.get(url), headers)
        request = builder.streamed_read_buffer_limit(ahead).build_streamed()
        with self._circuit(url):
            try:
                async with asyncio.timeout(silence):
                    response = await request.__aenter__()
            except (TimeoutError, PyreqwestError) as error:
                raise _translated(error) from error
        try:
            yield self._opened(response, url, silence)
        finally:
            await request.__aexit__(None, None, None)

    async def send(self, method: str, url: Url, headers: Mapping[str, str], body: Body, length: int) -> Answer:
        """PUT or POST `length` bytes, with exactly that Content-Length.

        When `body` raises, the exchange is broken off before its last byte and the exception comes out as it is.
        How long the whole may take is the caller's to bound. Raises `HttpFailure`.
        """
        builder = _with_headers(self._clients(url).putter.request(method, url), headers)
        builder = builder.header("content-length", str(length))
        if isinstance(body, bytes | Bytes):
            return await self._sent(url, builder, body)
        upload = WatchedBody(body, self._silence)
        request = builder.body_stream(upload).build_streamed()  # type: ignore[arg-type]
        with self._circuit(url, upload):
            try:
                async with upload, request as response:
                    return await self._opened(response, url).answer()
            except (TimeoutError, PyreqwestError) as error:
                raise _translated(error) from error

    async def _sent(self, url: Url, builder: RequestBuilder, body: bytes | Bytes) -> Answer:
        """Send a request whose body is here whole, and read its answer."""
        if body:
            bound = self._silence + len(body) / SLOWEST_LINE
            builder = builder.timeout(timedelta(seconds=min(bound, self._longest)))  # it takes the client's place
        request = builder.body_bytes(body).build_streamed()  # type: ignore[arg-type]  # any buffer will do
        with self._circuit(url):
            try:
                async with request as response:
                    return await self._opened(response, url).answer()
            except (TimeoutError, PyreqwestError) as error:
                raise _translated(error) from error

    def _opened(self, response: Response, url: Url, silence: float | None = None) -> Download:
        if response.status == 407 and self._clients(url) is self._proxied:
            raise HttpFailure(PROXY_REFUSAL, retry=Retry.NO)
        return Download(response, silence)

    def _clients(self, url: Url) -> "_Clients":
        if self._proxied is not None and self._proxies.is_used_for(url):
            return self._proxied
        return self._direct

    @contextmanager
    def _circuit(self, url: Url, upload: WatchedBody | None = None) -> Iterator[None]:
        """Refuse a host that falls silent again and again, so that calls to it hold no slots of others."""
        host = f"{url.host_str}:{url.port_or_known_default}"
        if self._circuits.refusal(host):
            message = f"its host fell silent {MOST_SILENCES} times in a row and is left alone for a while"
            raise HostRefused(message, arrived=False, retry=Retry.NO)
        started = time.monotonic()
        try:
            yield
        except HttpTimeout as timeout:
            self._circuits.failed(host, timeout)
            raise
        except asyncio.CancelledError:
            waiting_since = started if upload is None else upload.waiting_since
            if waiting_since is not None and time.monotonic() - waiting_since >= self._silence:
                self._circuits.failed(host, HttpTimeout("timed out"))  # the deadline came first
            raise
        self._circuits.succeeded(host)


class _Clients:
    """Two clients with the same connections to the outside, but for the clock of silence; see above."""

    def __init__(self, certificates: Sequence[bytes], silence: float, longest: float, proxies: Proxies | None) -> None:
        try:
            self.getter = (
                _builder(certificates, silence, longest, proxies).read_timeout(timedelta(seconds=silence)).build()
            )
            self.putter = _builder(certificates, silence, longest, proxies).build()
        except BuilderError:
            raise CertificatesError("a certificate cannot be used") from None

    async def close(self) -> None:
        await self.getter.close()
        await self.putter.close()


def _builder(certificates: Sequence[bytes], silence: float, longest: float, proxies: Proxies | None) -> ClientBuilder:
    builder = (
        ClientBuilder()
        .follow_redirects(False)
        .referer(False)
        .gzip(False)
        .brotli(False)
        .zstd(False)
        .deflate(False)
        .connect_timeout(timedelta(seconds=CONNECT_TIMEOUT))
        .timeout(timedelta(seconds=longest))
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


def _with_headers(builder: RequestBuilder, headers: Mapping[str, str]) -> RequestBuilder:
    try:
        return builder.headers(headers)
    except ValueError:  # its text repeats the value, which may be a secret
        message = "a header cannot be sent: it holds characters that HTTP does not allow"
        raise HttpFailure(message, arrived=False, retry=Retry.NO) from None


def _translated(error: TimeoutError | PyreqwestError) -> HttpFailure:
    """Make the client's error, or a silence, an `HttpFailure`."""
    arrived = not is_unconnected(error)
    if isinstance(error, TimeoutError):  # the client's own is one too
        return HttpTimeout("timed out", arrived=arrived)
    text, retry = described(error)
    return HttpFailure(text, arrived=arrived, retry=retry)
