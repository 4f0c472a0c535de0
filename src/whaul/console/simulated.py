"""The simulator of `whaul dev`, asked by its control endpoint; docs/simulator.md says what it takes."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec
from pyreqwest.http import Url
from starlette.datastructures import UploadFile

from whaul.console.uploads import parts_of
from whaul.console.visit import PageError
from whaul.outbound.errors import HttpError
from whaul.outbound.http import HttpClient
from whaul.outbound.response import Response

CONTROL: Final = "/_simulator"
MAX_ANSWER: Final = 32 * 1024 * 1024
"""Bytes: it keeps 10,000 requests, with their headers."""


class Simulated:
    """What can be seen and changed there. Everything raises PageError when it refuses, or does not answer."""

    def __init__(self, http: HttpClient, graph_url: str) -> None:
        parts = urlsplit(graph_url)
        self._http = http
        self.url = f"{parts.scheme}://{parts.netloc}{CONTROL}"

    async def ask(self, path: str) -> Any:
        """Read something."""
        try:
            async with self._http.download(Url(self.url + path), {}, MAX_ANSWER) as answer:
                body = await answer.read(MAX_ANSWER)
        except HttpError as error:
            raise _away(error) from error
        return _read(answer.status, b"" if body is None else body.to_bytes())

    async def tell(self, method: str, path: str, members: Mapping[str, Any] | None = None) -> Any:
        """Change something."""
        body = b"" if members is None else msgspec.json.encode(members)
        try:
            answer = await self._http.call(method, Url(self.url + path), {}, body)
        except HttpError as error:
            raise _away(error) from error
        return _read(answer.status, answer.body)

    async def add_media(self, file: UploadFile, mime_type: str, **members: str) -> str:
        """Put a file where people's files are; return its media id."""
        url, headers = Url(f"{self.url}/media?{urlencode(members)}"), {"content-type": mime_type}
        try:
            answer: Response = await self._http.send("POST", url, headers, parts_of(file), file.size or 0)
        except HttpError as error:
            raise _away(error) from error
        return str(_read(answer.status, answer.body)["id"])


def _read(status: int, body: bytes) -> Any:
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise PageError("What answers at WHAUL_GRAPH_URL is no simulator.", 502) from error
    if status < 400:
        return found
    allowed = found.get("allowed")
    right = f" Right is: {', '.join(map(str, allowed))}." if isinstance(allowed, list) else ""
    raise PageError(f"The simulator says: {found.get('error')}{right}", 404 if status == 404 else 400)


def _away(error: HttpError) -> PageError:
    return PageError(f"The simulator does not answer: {error}. Does `whaul dev` still run?", 502)
