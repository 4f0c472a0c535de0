"""The Graph API: one call, its token and its proof, what it costs, and what is not a success.

The token goes to the configured Graph API and, for a download, to the allowed media hosts; nowhere else. What objects
and edges there are is the business of those who call: the families in `operations`, and `graph.media`.
"""

import hashlib
import hmac
import string
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import quote, urlencode, urljoin

import msgspec
from pydantic import SecretStr
from pyreqwest.bytes import Bytes
from pyreqwest.http import Url

from whaul.errors import AccessDeniedByMetaException, DependencyException, Retry
from whaul.graph.errors import READING, UNKNOWN_END, CallKind, call_error, error_from
from whaul.graph.usage import OnUsage, usage_percent
from whaul.model import GraphToken
from whaul.outbound.errors import HttpError
from whaul.outbound.http import READ_AHEAD, HttpClient
from whaul.outbound.netguard import ForbiddenUrlError, MediaHosts
from whaul.outbound.response import Download, Response
from whaul.secrets import secret_word

MAX_REDIRECTS = 3
PAGE_SIZE = 100
MAX_PAGES = 100
SESSION_CHARACTERS = string.ascii_letters + string.digits + string.punctuation
"""All that the id of an upload's session may have: it stays as it is, with its own query."""

T = TypeVar("T")


class _Cursors(msgspec.Struct):
    after: str | None = None


class _Paging(msgspec.Struct):
    cursors: _Cursors | None = None
    next: str | None = None


class _Page(msgspec.Struct, Generic[T]):
    data: list[T]
    paging: _Paging | None = None


class Page(NamedTuple, Generic[T]):
    """A page of an edge."""

    items: list[T]
    after: str | None
    """The cursor of the next one; None if this is the last. A page may be short, or empty, and not be the last."""


class GraphClient:
    """Calls over the shared HTTP client, each with the token of the account that it is about.

    `doing` names the call in error messages, as in "reading the account". All raise the errors of `graph.errors`.
    """

    def __init__(
        self,
        http: HttpClient,
        *,
        url: str,
        version: str,
        user_agent: str,
        media_hosts: MediaHosts,
        on_usage: OnUsage = lambda _usage: None,
    ) -> None:
        """`url` is the API's base without version; `user_agent` is sent on every call.

        `on_usage` gets the percentages of Meta's usage headers whenever a response has some.
        """
        self._http = http
        self._base = url
        self._version = version
        self._user_agent = user_agent
        self._media_hosts = media_hosts
        self._on_usage = on_usage

    async def get(
        self, token: GraphToken, path: str, kind: type[T], doing: str, *, call: CallKind = READING, **query: str
    ) -> T:
        """Read an object or an edge."""
        response = await self._call("GET", self._url(token, path, query), token, doing, kind=call)
        return decoded(response, kind, doing)

    async def page(
        self, token: GraphToken, path: str, kind: type[T], doing: str, *, call: CallKind = READING, **query: str
    ) -> Page[T]:
        """Read a page of an edge; `kind` is that of one of its objects.

        https://developers.facebook.com/docs/graph-api/results
        """
        found = await self.get(token, path, _Page[kind], doing, call=call, **query)  # type: ignore[valid-type]
        after = found.paging.cursors.after if found.paging and found.paging.next and found.paging.cursors else None
        return Page(found.data, after or None)

    async def pages(
        self, token: GraphToken, path: str, kind: type[T], doing: str, *, call: CallKind = READING, **query: str
    ) -> list[T]:
        """Read an edge to its end; `kind` is that of one of its objects."""
        found: list[T] = []
        query["limit"] = str(PAGE_SIZE)
        for _ in range(MAX_PAGES):
            page = await self.page(token, path, kind, doing, call=call, **query)
            found += page.items
            if page.after is None or page.after == query.get("after"):
                return found
            query["after"] = page.after
        raise not_documented(doing)

    async def post(
        self,
        token: GraphToken,
        path: str,
        body: object,
        kind: type[T],
        doing: str,
        *,
        call: CallKind = READING,
        version: str | None = None,
        **query: str,
    ) -> T:
        """Send JSON, `body` as it is if it is bytes; `version` is of the API, the settings' if None."""
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        url = self._url(token, path, query, version=version)
        return decoded(await self._call("POST", url, token, doing, body=raw, kind=call), kind, doing, call)

    async def delete(
        self, token: GraphToken, path: str, kind: type[T], doing: str, *, call: CallKind = READING, **query: str
    ) -> T:
        """Delete an object, or from an edge."""
        response = await self._call("DELETE", self._url(token, path, query), token, doing, kind=call)
        return decoded(response, kind, doing)

    async def send(
        self,
        token: GraphToken,
        path: str,
        parts: AsyncIterator[Bytes],
        kind: type[T],
        doing: str,
        *,
        call: CallKind,
        content_type: str,
        length: int,
    ) -> T:
        """Send a body of `length` bytes as it comes. What `parts` raises comes out as it is."""
        headers = self._headers(token) | {"content-type": content_type}
        return await self._stream(self._url(token, path), headers, parts, kind, doing, call=call, length=length)

    async def send_to_session(
        self,
        token: GraphToken,
        session: str,
        parts: AsyncIterator[Bytes],
        kind: type[T],
        doing: str,
        *,
        call: CallKind,
        length: int,
    ) -> T:
        """Send the bytes of an upload's session, whose id goes into the URL as it is."""
        headers = self._headers(token) | {"content-type": "application/octet-stream", "file_offset": "0"}
        headers["authorization"] = headers["authorization"].replace("Bearer", "OAuth", 1)
        url = self._url(token, session, safe=SESSION_CHARACTERS)
        return await self._stream(url, headers, parts, kind, doing, call=call, length=length)

    async def _stream(
        self,
        url: Url,
        headers: dict[str, str],
        parts: AsyncIterator[Bytes],
        kind: type[T],
        doing: str,
        *,
        call: CallKind,
        length: int,
    ) -> T:
        try:
            response = await self._http.send("POST", url, headers, parts, length)
        except HttpError as error:
            raise call_error(error, doing, call) from error
        self._check(response, doing, call)
        return decoded(response, kind, doing, call)

    @asynccontextmanager
    async def download(
        self, token: GraphToken, location: str, check: Callable[[Download], Awaitable[None]], ahead: int = READ_AHEAD
    ) -> AsyncGenerator[Download]:
        """Open a file's URL, following redirects to allowed hosts only; `check` raises unless it is the file.

        `ahead` is how many bytes may come at a time before they are read.
        """
        headers = self._headers(token) | {"accept-encoding": "identity"}
        for _ in range(MAX_REDIRECTS + 1):
            try:
                async with self._http.download(self._allowed(location), headers, ahead) as download:
                    if download.status not in {301, 302, 303, 307, 308}:
                        await check(download)
                        yield download
                        return
                    location = _joined(location, download.header("location") or "")
            except HttpError as error:
                raise DependencyException(f"Downloading from Meta failed: {error}.", retry=error.retry) from error
        raise DependencyException("Downloading from Meta failed: too many redirects.")

    async def _call(
        self, method: str, url: Url, token: GraphToken, doing: str, *, body: bytes = b"", kind: CallKind = READING
    ) -> Response:
        headers = self._headers(token) | ({"content-type": "application/json"} if body else {})
        try:
            response = await self._http.call(method, url, headers, body)
        except HttpError as error:
            raise call_error(error, doing, kind) from error
        self._check(response, doing, kind)
        return response

    def _check(self, response: Response, doing: str, kind: CallKind) -> None:
        """Take note of Meta's usage headers; raise unless the answer is a success."""
        usage = usage_percent(response.headers)
        if usage:
            self._on_usage(usage)
        if response.status != 200:
            raise error_from(response, doing, kind)

    def _url(
        self,
        token: GraphToken,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        version: str | None = None,
        safe: str = "/",
    ) -> Url:
        """The URL of an object or edge, with the proof if need be; `safe` are characters of the path that stay."""
        members = dict(query or {})
        if token.app_secret is not None:
            members["appsecret_proof"] = appsecret_proof(token.access_token, token.app_secret)
        url = f"{self._base}/{version or self._version}/{quote(path, safe)}"
        return Url(url + (f"{'&' if '?' in url else '?'}{urlencode(members)}" if members else ""))

    def _headers(self, token: GraphToken) -> dict[str, str]:
        try:
            word = secret_word(token.access_token.get_secret_value())
        except ValueError as error:
            raise AccessDeniedByMetaException(
                f"The stored access token {error}. Link the account again (whaul link)."
            ) from None
        return {"authorization": f"Bearer {word}", "user-agent": self._user_agent}

    def _allowed(self, location: str) -> Url:
        try:
            return self._media_hosts.check(location)
        except ForbiddenUrlError as forbidden:
            raise DependencyException(
                f"Meta named a download URL that may not be sent the token: {forbidden}.", retry=Retry.NO
            ) from None


def appsecret_proof(token: SecretStr, app_secret: SecretStr) -> str:
    """Compute the proof that a call knows the app secret.

    https://developers.facebook.com/docs/facebook-login/security#proof
    """
    key, message = app_secret.get_secret_value().encode(), token.get_secret_value().encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def decoded(response: Response, kind: type[T], doing: str, call: CallKind = READING) -> T:
    """Read an answer's JSON. Raises `DependencyException` for what is not documented."""
    try:
        return msgspec.json.decode(response.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise not_documented(doing, call) from None


def not_documented(doing: str, call: CallKind = READING) -> DependencyException:
    """Build the error for an answer that is not what Meta documents."""
    message = f"Meta's answer to {doing} is not the documented JSON."
    if call.is_repeatable:
        return DependencyException(message)
    return DependencyException(f"{message} {UNKNOWN_END}", retry=Retry.NO)


def _joined(base: str, location: str) -> str:
    """Resolve a redirect's target; one that is no URL is returned as it is, and refused with its host."""
    try:
        return urljoin(base, location)
    except ValueError:
        return location
