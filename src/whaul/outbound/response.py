"""What comes back: whole responses, and those that are read bit by bit."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from pyreqwest.bytes import Bytes
from pyreqwest.exceptions import PyreqwestError
from pyreqwest.response import Response as RawResponse

from whaul.outbound.errors import HttpError, translated

STEP = 64 * 1024
"""Bytes that are read at a time while a response comes slowly."""
MAX_RESPONSE_SIZE = 1024 * 1024
"""Bytes of a response that is not a file: Graph JSON, S3's XML."""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole response. Header names are lower-case; of a repeated header the first counts, if it is ASCII."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Download:
    """A response whose body is read on demand, such as a file."""

    def __init__(self, response: RawResponse, silence: float | None = None, started: float = 0.0) -> None:
        """`silence` bounds each read, in seconds; None where the client does. `started` is when it was asked for."""
        self.status = response.status
        self._silence = silence
        self._started = started
        self._received = 0
        self._raw = response
        self._reader = response.body_reader

    def header(self, name: str) -> str | None:
        """Return the first header of that name if its value is ASCII; nobody can say what other bytes mean."""
        try:
            return self._raw.get_header(name)
        except ValueError:
            return None

    async def read(self, amount: int) -> Bytes | None:
        """Read `amount` bytes, fewer only at the end; None when nothing is left. Raises `HttpError`."""
        try:
            if self._silence is None:
                return await self._reader.read(amount)
            parts: list[Bytes] = []
            while amount > 0:
                step = self._step(amount)
                async with asyncio.timeout(self._silence):
                    part = await self._reader.read(step)
                if part:
                    parts.append(part)
                    amount -= len(part)
                    self._received += len(part)
                if part is None or len(part) < step:
                    break
            return Bytes(b"".join(parts)) if len(parts) > 1 else parts[0] if parts else None
        except (TimeoutError, PyreqwestError) as error:
            raise translated(error) from error

    async def part(self, amount: int) -> Bytes | None:
        """Read what has come, at least half of `amount` bytes; fewer only at the end. Raises `HttpError`.

        The HTTP client reads up to 408 KiB at once from a fast line. They are not copied here, which saves 0.4 MB for
        each file under way.
        """
        try:
            async with asyncio.timeout(self._silence):
                part = await self._reader.read_chunk()
        except (TimeoutError, PyreqwestError) as error:
            raise translated(error) from error
        if part is None:
            return None
        self._received += len(part)
        if len(part) >= amount // 2:
            return part
        rest = await self.read(amount - len(part))
        return Bytes(b"".join((part, rest))) if rest else part

    def _step(self, amount: int) -> int:
        """Return how much to read at a time; at a slow pace, `amount` could take a silence although bytes move."""
        pace = self._received / (time.monotonic() - self._started)
        return amount if pace * (self._silence or 0) > 4 * amount else min(amount, STEP)

    async def response(self) -> Response:
        """Read the whole response, at most `MAX_RESPONSE_SIZE` bytes. Raises `HttpError`."""
        response = await self.beginning(MAX_RESPONSE_SIZE + 1)
        if len(response.body) > MAX_RESPONSE_SIZE:
            raise HttpError("the response is too long")
        return response

    async def beginning(self, amount: int) -> Response:
        """Read the response, at most `amount` bytes of its body. Raises `HttpError`."""
        headers = self._headers()
        body = None
        if headers.get("content-length") != "0":  # as S3 responds to a PUT: nothing to wait for
            body = await self.read(amount)
        return Response(self.status, headers, body.to_bytes() if body is not None else b"")

    def _headers(self) -> Mapping[str, str]:
        """Return the first header of each name, if its value is ASCII."""
        headers = self._raw.headers
        try:  # all at once: asking for each by its name took a tenth of the CPU time of an exchange
            return {
                name: value if isinstance(value, str) else value[0]
                for name, value in headers.dict_multi_value().items()
            }
        except ValueError:
            found = {name: self.header(name) for name in headers}
            return {name: value for name, value in found.items() if value is not None}
