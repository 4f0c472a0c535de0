"""The one outbound HTTP client: a thin, safe face on pyreqwest.

It never follows a redirect, never decompresses, bounds what it reads of an answer, gives up on a peer that falls
silent, and turns every failure into `HttpFailure`, whose text holds no URL (pyreqwest's own errors do).
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from pyreqwest.bytes import Bytes
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import (
    ClientClosedError,
    ConnectError,
    DecodeError,
    DetailedPyreqwestError,
    NetworkError,
    PyreqwestError,
    RequestError,
    RequestPanicError,
    RequestTimeoutError,
)
from pyreqwest.http import Url
from pyreqwest.response import Response

from whaul.errors import Retry
from whaul.outbound.circuit import Circuits

CONNECT_TIMEOUT = 10.0
"""Seconds to open a connection, TLS included."""
SILENCE_TIMEOUT = 20.0
"""Seconds without a byte from the peer while one is expected."""
LONGEST_EXCHANGE = 3600.0
"""Seconds until an exchange is over, whoever waits for it: the longest deadline that a call can be given."""
LOOKS = 8
"""How often within the time of a silence an upload is looked at while its next part is waited for."""
READ_AHEAD = 64 * 1024
"""Bytes of an answer that are taken from the connection before anyone reads them, if nothing else is said."""
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

FAILURES: tuple[tuple[type[PyreqwestError], str], ...] = (
    (RequestTimeoutError, "timed out"),
    (ConnectError, "the connection could not be made, or broke"),  # until the answer's head is here, it is either
    (NetworkError, "the connection broke"),
    (DecodeError, "the connection broke"),  # the body ended before its length
    (ClientClosedError, "the client was closed"),
    (RequestPanicError, "the HTTP exchange failed"),
    (RequestError, "the connection broke"),  # a body that ends early comes as this, too
    (PyreqwestError, "the HTTP exchange failed"),
)
"""The first class that fits names the failure."""

NOT_CONNECTED = "client error (Connect)"
"""The cause that hyper-util gives to a failure before the connection is made: DNS, TCP or TLS."""

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class HttpFailure(Exception):  # noqa: N818 - a failure is what it is
    """No usable answer came; the text says how it failed, and holds nothing of the request."""

    retry = Retry.YES

    def __init__(self, message: str, *, arrived: bool = True) -> None:
        """`arrived` is false when the peer cannot have got any of the request."""
        super().__init__(message)
        self.arrived = arrived


class HttpTimeout(HttpFailure):
    """The peer fell silent."""


class HostRefused(HttpFailure):
    """The host fell silent too often of late, and was not called."""

    retry = Retry.NO


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. Header names are lower-case; of a repeated header the first counts, if it is ASCII."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Download:
    """A file on its way: the head of the answer, and its bytes on demand."""

    def __init__(self, response: Response) -> None:
        self.status = response.status
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
            return await self._reader.read(amount)
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
        ca_files: tuple[Path, ...] = (),
        silence: float = SILENCE_TIMEOUT,
        longest: float = LONGEST_EXCHANGE,
        on_open_circuits: Callable[[int], None] = lambda _open: None,
    ) -> None:
        """`ca_files` are PEM bundles to trust besides the system's; `silence` and `longest` are in seconds.

        `longest` is no less than the time in which callers give up. The client does not end an exchange that they
        have given up, so that without it a peer that never answers would keep its connection for good.
        `on_open_circuits` is told how many hosts are not called for a while.
        """
        certificates = [found for path in ca_files for found in _CERTIFICATE.findall(path.read_bytes())]
        self._silence = silence
        # The read timeout counts from the start of a request, so a long upload needs a client without one.
        self._getter = _builder(certificates, longest).read_timeout(timedelta(seconds=silence)).build()
        self._putter = _builder(certificates, longest).build()
        self._circuits: Circuits[HttpTimeout] = Circuits(MOST_SILENCES, HOST_REST, time.monotonic, on_open_circuits)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._getter.close()
        await self._putter.close()

    async def get(self, url: Url, headers: Mapping[str, str]) -> Answer:
        """GET an answer that is not a file. Raises `HttpFailure`."""
        async with self.download(url, headers) as download:
            return await download.answer()

    async def call(self, method: str, url: Url, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send a small body, and read an answer that is not a file. Raises `HttpFailure`."""
        request = self._getter.request(method, url).headers(headers).body_bytes(body).build_streamed()
        with self._circuit(url):
            try:
                async with request as response:
                    return await Download(response).answer()
            except (TimeoutError, PyreqwestError) as error:
                raise _translated(error) from error

    @asynccontextmanager
    async def download(self, url: Url, headers: Mapping[str, str], ahead: int = READ_AHEAD) -> AsyncGenerator[Download]:
        """GET a file: its bytes are read as they are wanted, but for `ahead` bytes that come at a time.

        So many bytes, or the whole of a smaller file, are here with the head: each wait for bytes costs the event
        loop a turn. Raises `HttpFailure`.
        """
        request = self._getter.get(url).headers(headers).streamed_read_buffer_limit(ahead).build_streamed()
        with self._circuit(url):
            try:
                response = await request.__aenter__()
            except (TimeoutError, PyreqwestError) as error:
                raise _translated(error) from error
        try:
            yield Download(response)
        finally:
            await request.__aexit__(None, None, None)

    async def send(self, method: str, url: Url, headers: Mapping[str, str], body: Body, length: int) -> Answer:
        """PUT or POST `length` bytes, with exactly that Content-Length.

        When `body` raises, the exchange is broken off before its last byte and the exception comes out as it is.
        How long the whole may take is the caller's to bound. Raises `HttpFailure`.
        """
        builder = self._putter.request(method, url).headers(headers).header("content-length", str(length))
        with self._circuit(url):
            try:
                if isinstance(body, bytes | Bytes):
                    builder = builder.timeout(timedelta(seconds=self._silence))
                    request = builder.body_bytes(body).build_streamed()  # type: ignore[arg-type]  # any buffer will do
                    async with request as response:
                        return await Download(response).answer()
                async with (
                    asyncio.timeout(None) as timer,
                    _Upload(body, timer, self._silence) as upload,
                    builder.body_stream(upload).build_streamed() as response,  # type: ignore[arg-type]
                ):
                    return await Download(response).answer()
            except (TimeoutError, PyreqwestError) as error:
                raise _translated(error) from error

    @contextmanager
    def _circuit(self, url: Url) -> Iterator[None]:
        """Refuse a host that falls silent again and again, so that calls to it hold no slots of others."""
        host = f"{url.host_str}:{url.port_or_known_default}"
        if self._circuits.refusal(host):
            message = f"its host fell silent {MOST_SILENCES} times in a row and is left alone for a while"
            raise HostRefused(message, arrived=False)
        try:
            yield
        except HttpTimeout as timeout:
            self._circuits.failed(host, timeout)
            raise
        self._circuits.succeeded(host)


class _Upload:
    """The parts of a body on their way, with two cares that the client does not take.

    The peer may not be silent for too long, but only the time that it is waited for counts, not the time that the
    next part is. And once the exchange is over no part is waited for or given any more: the client would keep the
    connection open for it, and go on sending to a peer that has answered.
    """

    def __init__(self, parts: AsyncIterator[Bytes], timer: asyncio.Timeout, silence: float) -> None:
        self._parts = parts
        self._timer = timer
        self._silence = silence
        self._loop = asyncio.get_running_loop()
        self._waiting_since: float | None = self._loop.time()
        self._step: asyncio.Task[object] | None = None
        self._is_over = False

    async def __aenter__(self) -> Self:
        # One look now and then, since moving the timer for every part costs more than the part's own work.
        self._next_look = self._loop.call_later(self._silence, self._look)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_over = True
        self._next_look.cancel()
        if self._step is not None and not self._step.done():
            self._step.cancel()
            await asyncio.wait({self._step})  # until then nobody may close the parts

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Bytes:
        if self._is_over:
            raise HttpFailure("the exchange is over")
        self._step = asyncio.current_task()
        self._waiting_since = None
        try:
            return await anext(self._parts)
        finally:
            self._waiting_since = self._loop.time()

    def _look(self) -> None:
        """End the exchange if the peer has been silent for too long, else look again when it may have been."""
        now = self._loop.time()
        since = self._waiting_since
        if since is not None and since + self._silence <= now:
            self._timer.reschedule(now)
            return
        again = now + self._silence / LOOKS if since is None else since + self._silence
        self._next_look = self._loop.call_at(again, self._look)


def _builder(certificates: list[bytes], longest: float) -> ClientBuilder:
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
    )
    for certificate in certificates:
        builder = builder.add_root_certificate_pem(certificate)
    return builder


def _translated(error: TimeoutError | PyreqwestError) -> HttpFailure:
    """Make the client's error, or a silence, an `HttpFailure`."""
    arrived = not _is_unconnected(error)
    if isinstance(error, TimeoutError):  # the client's own is one too
        return HttpTimeout("timed out", arrived=arrived)
    return HttpFailure(_failure(error), arrived=arrived)


def _failure(error: PyreqwestError) -> str:
    """Name the failure without the library's own text; only that a certificate is the cause is read out of it."""
    if any("certificate" in cause for cause in _causes(error)):
        return "its TLS certificate is not trusted (SSL_CERT_FILE names further authorities)"
    return next(text for kind, text in FAILURES if isinstance(error, kind))


def _is_unconnected(error: BaseException) -> bool:
    """Whether there was never a connection; the classes do not tell, since `ConnectError` comes later, too."""
    return NOT_CONNECTED in _causes(error)


def _causes(error: BaseException) -> list[str]:
    causes = error.details["causes"] if isinstance(error, DetailedPyreqwestError) else None
    return [cause["message"] for cause in causes or ()]
