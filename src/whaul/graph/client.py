"""The Graph API client: what a media id is, where its bytes are, and what an account holds.

The token goes to the configured Graph API and, for a download, to the allowed media hosts; nowhere else.
`phone_number_id` is not sent with a media id: Meta refuses it for inbound media
(https://github.com/chatwoot/chatwoot/pull/13319).
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote, urlencode, urljoin

import msgspec
from pydantic import SecretStr
from pyreqwest.http import Url

from whaul.errors import (
    AccessDeniedByMetaException,
    ApiError,
    DependencyException,
    ResourceNotFoundException,
    Retry,
)
from whaul.graph.errors import error_from
from whaul.graph.usage import usage_percent
from whaul.http import Answer, Download, HttpClient, HttpFailure
from whaul.model import MediaInfo
from whaul.netguard import ForbiddenUrl, MediaHosts

LARGEST_PAGE = 100
MOST_PAGES = 100
MOST_REDIRECTS = 3
T = TypeVar("T")

_MIME_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+( *;[\x20-\x7e]*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Access:
    """What a call to Meta is made with."""

    token: SecretStr
    app_secret: SecretStr | None = None


@dataclass(frozen=True, slots=True)
class MetaPhoneNumber:
    """A phone number of a WhatsApp Business Account, as Meta describes it."""

    meta_id: str
    display_phone_number: str
    verified_name: str
    quality_rating: str


@dataclass(frozen=True, slots=True)
class MetaAccount:
    """A WhatsApp Business Account, as Meta describes it."""

    waba_id: str
    name: str
    phone_numbers: tuple[MetaPhoneNumber, ...]


class _Media(msgspec.Struct):
    url: str
    mime_type: str
    sha256: str
    file_size: int | str  # documented as a string, seen as a number: github.com/chatwoot/chatwoot/issues/9809


class _Account(msgspec.Struct):
    id: str
    name: str = ""


class _Number(msgspec.Struct):
    id: str
    display_phone_number: str = ""
    verified_name: str = ""
    quality_rating: str = "UNKNOWN"


class _Cursors(msgspec.Struct):
    after: str | None = None


class _Paging(msgspec.Struct):
    cursors: _Cursors | None = None
    next: str | None = None


class _Numbers(msgspec.Struct):
    data: list[_Number]
    paging: _Paging | None = None


class GraphClient:
    """The Graph API over the shared HTTP client."""

    def __init__(
        self,
        http: HttpClient,
        *,
        url: str,
        version: str,
        user_agent: str,
        media_hosts: MediaHosts,
        on_usage: Callable[[Mapping[str, float]], None] = lambda _usage: None,
    ) -> None:
        """`url` is the API's base without version; `user_agent` is sent on every call.

        `on_usage` is told the percentages of Meta's usage headers whenever an answer has some.
        """
        self._http = http
        self._base = f"{url}/{version}"
        self._user_agent = user_agent
        self._media_hosts = media_hosts
        self._on_usage = on_usage

    async def media(self, access: Access, media_id: str) -> MediaInfo:
        """Resolve a media id (hop 1). Raises the errors of `graph.errors`."""
        doing = "reading the media's description"
        found = _decoded(await self._get(access, media_id, {}, doing), _Media, doing)
        size, sha256 = _size(found.file_size), _digest(found.sha256)
        if size is None or sha256 is None or not _MIME_TYPE.fullmatch(found.mime_type):
            raise _not_documented(doing)
        return MediaInfo(mime_type=found.mime_type, file_size=size, sha256=sha256, url=found.url)

    @asynccontextmanager
    async def download(self, access: Access, info: MediaInfo) -> AsyncGenerator[Download]:
        """Open a media's download URL (hop 2): a 200 with a file, or an error.

        A URL that Meta refuses (expired, or the token) may be resolved again once; redirects are followed to
        allowed hosts only.
        """
        location = info.url
        headers = self._headers(access) | {"accept-encoding": "identity"}
        for _ in range(MOST_REDIRECTS + 1):
            try:
                async with self._http.download(self._allowed(location), headers) as download:
                    if download.status not in {301, 302, 303, 307, 308}:
                        await _check_is_file(download, info)
                        yield download
                        return
                    location = _joined(location, download.header("location") or "")
            except HttpFailure as failure:
                raise DependencyException(f"Downloading from Meta failed: {failure}.", retry=failure.retry) from failure
        raise DependencyException("Downloading from Meta failed: too many redirects.")

    async def account(self, access: Access, waba_id: str) -> MetaAccount:
        """Read a WhatsApp Business Account and all its phone numbers: also the proof that the token is good."""
        doing = "reading the account"
        account = _decoded(await self._get(access, waba_id, {"fields": "id,name"}, doing), _Account, doing)
        doing = "listing the account's phone numbers"
        numbers: list[_Number] = []
        after: str | None = None
        fields = {"fields": "id,display_phone_number,verified_name,quality_rating", "limit": str(LARGEST_PAGE)}
        for _ in range(MOST_PAGES):
            query = fields | ({"after": after} if after else {})
            page = _decoded(await self._get(access, f"{waba_id}/phone_numbers", query, doing), _Numbers, doing)
            numbers += page.data
            cursors = page.paging.cursors if page.paging and page.paging.next else None
            after, before = cursors.after if cursors else None, after
            if not after or after == before:
                break
        else:
            raise _not_documented(doing)
        return MetaAccount(
            waba_id=account.id,
            name=account.name,
            phone_numbers=tuple(
                MetaPhoneNumber(n.id, n.display_phone_number, n.verified_name, n.quality_rating) for n in numbers
            ),
        )

    async def _get(self, access: Access, path: str, query: dict[str, str], doing: str) -> Answer:
        if access.app_secret is not None:
            query = query | {"appsecret_proof": appsecret_proof(access.token, access.app_secret)}
        url = f"{self._base}/{quote(path)}" + (f"?{urlencode(query)}" if query else "")
        try:
            answer = await self._http.get(Url(url), self._headers(access))
        except HttpFailure as failure:
            raise DependencyException(
                f"The call to Meta for {doing} failed: {failure}.", retry=failure.retry
            ) from failure
        usage = usage_percent(answer.headers)
        if usage:
            self._on_usage(usage)
        if answer.status != 200:
            raise error_from(answer, doing)
        return answer

    def _headers(self, access: Access) -> dict[str, str]:
        return {"authorization": f"Bearer {access.token.get_secret_value()}", "user-agent": self._user_agent}

    def _allowed(self, location: str) -> Url:
        try:
            return self._media_hosts.check(location)
        except ForbiddenUrl as forbidden:
            raise DependencyException(
                f"Meta named a download URL that may not be sent the token: {forbidden}.", retry=Retry.NO
            ) from None


def _joined(base: str, location: str) -> str:
    """Resolve a redirect's target; one that is no URL is returned as it is, and refused with its host."""
    try:
        return urljoin(base, location)
    except ValueError:
        return location


def appsecret_proof(token: SecretStr, app_secret: SecretStr) -> str:
    """Compute the proof that a call knows the app secret.

    https://developers.facebook.com/docs/facebook-login/security#proof
    """
    key, message = app_secret.get_secret_value().encode(), token.get_secret_value().encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()


async def _check_is_file(download: Download, info: MediaInfo) -> None:
    """Raise unless the answer can be the file that Meta described."""
    doing = "the download"
    if download.status in {401, 403, 404}:
        # Meta documents 404 for an expired URL and for a bad token alike: a fresh URL tells them apart.
        kind: type[ApiError] = ResourceNotFoundException if download.status == 404 else AccessDeniedByMetaException
        raise kind(
            f"Meta refused the download with HTTP status {download.status}, with a fresh download URL too.",
            retry=Retry.ONCE,
        )
    if download.status != 200:
        raise error_from(await download.answer(), doing)
    essence = (download.header("content-type") or "").partition(";")[0].strip().lower()
    if essence == "text/html" and not info.mime_type.lower().startswith("text/html"):
        raise DependencyException("Meta sent an HTML page instead of the file.", retry=Retry.FEW)
    length = download.header("content-length")
    if length is not None and length != str(info.file_size):
        message = "Meta announced another length for the download than for the media."
        raise DependencyException(message, retry=Retry.FEW)


def _decoded(answer: Answer, kind: type[T], doing: str) -> T:
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _not_documented(doing) from None


def _not_documented(doing: str) -> DependencyException:
    return DependencyException(f"Meta's answer to {doing} is not the documented JSON.")


def _size(value: int | str) -> int | None:
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdigit() and len(value) < 20 else -1
    return value if value >= 0 else None


def _digest(text: str) -> bytes | None:
    """Read a SHA-256 in hex (as seen in answers) or base64 (as in webhooks)."""
    try:
        digest = bytes.fromhex(text) if len(text) == 64 else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None
    return digest if len(digest) == 32 else None
