"""Media at Meta: what a media id is and where its bytes are, and a file uploaded as it streams in.

`phone_number_id` is not sent with a media id: Meta refuses it for inbound media
(https://github.com/chatwoot/chatwoot/pull/13319).
https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/media
"""

import base64
import binascii
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final

import msgspec
from pyreqwest.bytes import Bytes

from whaul.errors import (
    AccessDeniedByMetaException,
    ApiError,
    DependencyException,
    InvalidParametersException,
    ResourceNotFoundException,
    Retry,
)
from whaul.graph.client import GraphClient, not_documented
from whaul.graph.errors import CallKind, error_from
from whaul.graph.media_types import MIME_TYPE
from whaul.model import GraphToken, MediaInfo
from whaul.outbound.http import READ_AHEAD
from whaul.outbound.response import Download

UPLOADING: Final = CallKind(names_object=False)
"""Repeatable: what is uploaded twice is kept by Meta for 30 days, and harms nobody."""
NAMING_MEDIA: Final = CallKind(
    missing="The media id does not exist, has expired (it lives for 7 days after its webhook), or belongs to another "
    "account than the token's."
)


class _Media(msgspec.Struct):
    url: str
    mime_type: str
    sha256: str
    file_size: int | str  # documented as a string, seen as a number: github.com/chatwoot/chatwoot/issues/9809


class _Uploaded(msgspec.Struct):
    id: str


class MediaSource:
    """One media id, asked for with the token of one account. See `whaul.transfer.download.Source`."""

    def __init__(self, graph: GraphClient, token: GraphToken, media_id: str, max_file_size: int | None = None) -> None:
        """`max_file_size` is in bytes; None when nothing will be fetched."""
        self._graph = graph
        self._token = token
        self._media_id = media_id
        self._max_file_size = max_file_size

    async def describe(self) -> MediaInfo:
        """Resolve the media id (hop 1); refuses a file that is too large to be fetched."""
        doing = "reading the media's description"
        found = await self._graph.get(self._token, self._media_id, _Media, doing, call=NAMING_MEDIA)
        size, sha256 = _size(found.file_size), _digest(found.sha256)
        if size is None or sha256 is None or not MIME_TYPE.fullmatch(found.mime_type):
            raise not_documented(doing)
        if self._max_file_size is not None and size > self._max_file_size:
            raise InvalidParametersException(
                f"The file has {size} bytes; whaul fetches at most {self._max_file_size} (WHAUL_MAX_FILE_SIZE)."
            )
        return MediaInfo(mime_type=found.mime_type, file_size=size, sha256=sha256, url=found.url)

    def download(self, info: MediaInfo, ahead: int = READ_AHEAD) -> AbstractAsyncContextManager[Download]:
        """Open the file at `info.url` (hop 2): a 200 with a file, or an error.

        A URL that Meta refuses (expired, or the token) may be resolved again once.
        """
        return self._graph.download(self._token, info.url, partial(_check_is_file, info), ahead)


async def upload(
    graph: GraphClient,
    token: GraphToken,
    meta_id: str,
    parts: AsyncIterator[Bytes],
    *,
    size: int,
    mime_type: str,
    file_name: str,
) -> str:
    """Upload `size` bytes for a phone number; return the id that Meta gives them.

    `mime_type` and `file_name` are printable ASCII, the latter without quotes. What `parts` raises comes out as it
    is, and Meta has got no whole file then.
    """
    doing = "uploading the file"
    boundary = secrets.token_hex(16)
    fields = {"messaging_product": "whatsapp", "type": mime_type}
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    head += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{file_name}"\r\n'
    head += f"Content-Type: {mime_type}\r\n\r\n"
    first, last = head.encode("ascii"), f"\r\n--{boundary}--\r\n".encode("ascii")
    uploaded = await graph.send(
        token,
        f"{meta_id}/media",
        _framed(first, parts, last),
        _Uploaded,
        doing,
        call=UPLOADING,
        content_type=f"multipart/form-data; boundary={boundary}",
        length=len(first) + size + len(last),
    )
    if not uploaded.id.isalnum():
        raise not_documented(doing)
    return uploaded.id


async def _framed(first: bytes, parts: AsyncIterator[Bytes], last: bytes) -> AsyncGenerator[Bytes]:
    yield Bytes(first)
    async for part in parts:
        yield part
    yield Bytes(last)


async def _check_is_file(info: MediaInfo, download: Download) -> None:
    """Raise unless the answer can be the file that Meta described."""
    if download.status in {401, 403, 404}:
        # Meta documents 404 for an expired URL and for a bad token alike: a fresh URL tells them apart.
        kind: type[ApiError] = ResourceNotFoundException if download.status == 404 else AccessDeniedByMetaException
        raise kind(
            f"Meta refused the download with HTTP status {download.status}, with a fresh download URL too.",
            retry=Retry.ONCE,
        )
    if download.status != 200:
        raise error_from(await download.response(), "the download")
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
