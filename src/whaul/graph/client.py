"""The Graph API client: what a media id is and where its bytes are; accounts are in `graph.accounts`.

The token goes to the configured Graph API and, for a download, to the allowed media hosts; nowhere else.
`phone_number_id` is not sent with a media id: Meta refuses it for inbound media
(https://github.com/chatwoot/chatwoot/pull/13319).
"""

import base64
import binascii
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urljoin

import msgspec
from pyreqwest.http import Url

from whaul.errors import (
    AccessDeniedByMetaException,
    ApiError,
    DependencyException,
    ResourceNotFoundException,
    Retry,
)
from whaul.graph.accounts import AccountCalls
from whaul.graph.calling import CallingCalls
from whaul.graph.calls import decoded, not_documented
from whaul.graph.errors import error_from
from whaul.graph.media_types import MIME_TYPE
from whaul.graph.messages import MessageCalls
from whaul.graph.uploads import UploadCalls
from whaul.model import GraphToken, MediaInfo
from whaul.outbound.http import READ_AHEAD, Download, HttpFailure
from whaul.outbound.netguard import ForbiddenUrl

MOST_REDIRECTS = 3


class _Media(msgspec.Struct):
    url: str
    mime_type: str
    sha256: str
    file_size: int | str  # documented as a string, seen as a number: github.com/chatwoot/chatwoot/issues/9809


class GraphClient(AccountCalls, CallingCalls, MessageCalls, UploadCalls):
    """The Graph API over the shared HTTP client."""

    async def media(self, token: GraphToken, media_id: str) -> MediaInfo:
        """Resolve a media id (hop 1). Raises the errors of `graph.errors`."""
        doing = "reading the media's description"
        found = decoded(await self._get(token, media_id, {}, doing), _Media, doing)
        size, sha256 = _size(found.file_size), _digest(found.sha256)
        if size is None or sha256 is None or not MIME_TYPE.fullmatch(found.mime_type):
            raise not_documented(doing)
        return MediaInfo(mime_type=found.mime_type, file_size=size, sha256=sha256, url=found.url)

    @asynccontextmanager
    async def download(self, token: GraphToken, info: MediaInfo, ahead: int = READ_AHEAD) -> AsyncGenerator[Download]:
        """Open a media's download URL (hop 2): a 200 with a file, or an error.

        A URL that Meta refuses (expired, or the token) may be resolved again once; redirects are followed to
        allowed hosts only. `ahead` is how many bytes may come at a time before they are read.
        """
        location = info.url
        headers = self._headers(token) | {"accept-encoding": "identity"}
        for _ in range(MOST_REDIRECTS + 1):
            try:
                async with self._http.download(self._allowed(location), headers, ahead) as download:
                    if download.status not in {301, 302, 303, 307, 308}:
                        await _check_is_file(download, info)
                        yield download
                        return
                    location = _joined(location, download.header("location") or "")
            except HttpFailure as failure:
                raise DependencyException(f"Downloading from Meta failed: {failure}.", retry=failure.retry) from failure
        raise DependencyException("Downloading from Meta failed: too many redirects.")

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
