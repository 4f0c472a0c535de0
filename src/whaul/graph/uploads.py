"""Resumable uploads for an app: a session, and the bytes.

https://developers.facebook.com/docs/graph-api/guides/upload
"""

import re
from collections.abc import AsyncIterator
from typing import Final

import msgspec
from pyreqwest.bytes import Bytes

from whaul.graph.client import GraphClient, not_documented
from whaul.graph.errors import CallKind
from whaul.model import GraphToken

UPLOADING: Final = CallKind(names_object=False)
_SESSION: Final = re.compile(r"upload:(?!.*/(?:\.|%2e))[!\"$-\[\]-~]{1,4000}", re.ASCII | re.IGNORECASE)
"""A session's id goes into a URL as it came: Meta does not know it percent-encoded. It is not to lead elsewhere."""


class _Session(msgspec.Struct):
    id: str


class _Handle(msgspec.Struct):
    h: str


async def upload_example(
    graph: GraphClient,
    token: GraphToken,
    app_id: str,
    parts: AsyncIterator[Bytes],
    *,
    size: int,
    mime_type: str,
    file_name: str,
) -> str:
    """Upload `size` bytes for an app; return the handle of the file. What `parts` raises comes out as it is."""
    doing = "opening the upload"
    about = {"file_name": file_name, "file_length": str(size), "file_type": mime_type}
    session = await graph.post(token, f"{app_id}/uploads", {}, _Session, doing, call=UPLOADING, **about)
    if not _SESSION.fullmatch(session.id):
        raise not_documented(doing)
    doing = "uploading the file"
    handle = await graph.send_to_session(token, session.id, parts, _Handle, doing, call=UPLOADING, length=size)
    if not handle.h:
        raise not_documented(doing)
    return handle.h
