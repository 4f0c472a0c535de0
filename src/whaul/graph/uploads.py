"""Media to Meta: a file uploaded as it streams in, and deleted again.

https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/media
"""

import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

import msgspec
from pyreqwest.bytes import Bytes

from whaul.errors import DependencyException, Retry
from whaul.graph.calls import GraphCalls, decoded, not_documented
from whaul.graph.errors import CallKind, call_error
from whaul.model import GraphToken
from whaul.outbound.http import HttpFailure

UPLOADING: Final = CallKind(names_object=False)
"""Repeatable: what is uploaded twice is kept by Meta for 30 days, and harms nobody."""


class _Uploaded(msgspec.Struct):
    id: str


class _Deleted(msgspec.Struct):
    success: bool


class UploadCalls(GraphCalls):
    """The calls about media that are sent."""

    async def upload(
        self, token: GraphToken, meta_id: str, parts: AsyncIterator[Bytes], *, size: int, mime_type: str, file_name: str
    ) -> str:
        """Upload `size` bytes for a phone number; return the id that Meta gives them.

        `mime_type` and `file_name` are printable ASCII, the latter without quotes. What `parts` raises comes out
        as it is, and Meta has got no whole file then.
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
        headers = self._headers(token) | {"content-type": f"multipart/form-data; boundary={boundary}"}
        length = len(first) + size + len(last)
        try:
            url = self._url(token, f"{meta_id}/media")
            answer = await self._http.send("POST", url, headers, _framed(first, parts, last), length)
        except HttpFailure as failure:
            raise call_error(failure, doing, UPLOADING) from failure
        self._check(answer, doing, UPLOADING)
        uploaded = decoded(answer, _Uploaded, doing)
        if not uploaded.id.isalnum():
            raise not_documented(doing)
        return uploaded.id

    async def delete_media(self, token: GraphToken, media_id: str) -> None:
        """Delete a media. `phone_number_id` is not sent, as with a media that is read."""
        doing = "deleting the media"
        answer = await self._call("DELETE", self._url(token, media_id), token, doing)
        if not decoded(answer, _Deleted, doing).success:
            raise DependencyException("Meta did not delete the media, and gave no reason.", retry=Retry.NO)


async def _framed(first: bytes, parts: AsyncIterator[Bytes], last: bytes) -> AsyncGenerator[Bytes]:
    yield Bytes(first)
    async for part in parts:
        yield part
    yield Bytes(last)
