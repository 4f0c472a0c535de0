"""Resumable uploads: a session for an app, its bytes, and the handle of the file.

https://developers.facebook.com/docs/graph-api/guides/upload
"""

import secrets
from typing import Any, Final

from whaul.simulator.access import app_of
from whaul.simulator.calls import Call
from whaul.simulator.model import UploadSession
from whaul.simulator.responses import RefusedError, invalid, object_missing
from whaul.simulator.state import State

TYPES: Final = frozenset({"application/pdf", "image/jpeg", "image/jpg", "image/png", "video/mp4"})


def session(state: State, object_id: str) -> UploadSession | None:
    """Find a session by the id in the path, without its query: Meta does not know it percent-encoded."""
    return state.upload_sessions.get(object_id)


async def open_session(call: Call) -> Any:
    """`POST /{app-id}/uploads`."""
    about = await call.parameters()
    length = str(about.get("file_length", ""))
    if about.get("file_type") not in TYPES:
        raise invalid(f"Param file_type must be one of {{{', '.join(sorted(TYPES))}}}.")
    if not length.isdigit() or not int(length):
        raise invalid("Param file_length must be the bytes of the file.")
    if app_of(call).id != call.object.id:
        raise RefusedError(object_missing(call.object.id, "POST"))
    made = UploadSession(f"upload:{secrets.token_urlsafe(24)}", secrets.token_urlsafe(24), call.object.id, int(length))
    call.state.upload_sessions[made.id] = made
    return {"id": f"{made.id}?sig={made.signature}"}


async def receive_bytes(call: Call) -> Any:
    """`POST /upload:…?sig=…`: bytes from `file_offset` on; when all are there, the handle."""
    found: UploadSession = call.object
    _check(call)
    if call.request.headers.get("file_offset") != str(found.offset):
        raise invalid("The header file_offset must be where the upload goes on.")
    async for part in call.request.content.iter_any():
        found.offset += len(part)
        if found.offset > found.length:
            raise invalid("The file is longer than its file_length.")
    if found.offset < found.length:
        return {"file_offset": found.offset}
    handle = f"4::{secrets.token_urlsafe(48)}"
    call.state.handles[handle] = found.app_id
    return {"h": handle}


async def show_session(call: Call) -> Any:
    """`GET /upload:…?sig=…`: where the upload goes on."""
    _check(call)
    return {"id": f"{call.object.id}?sig={call.object.signature}", "file_offset": call.object.offset}


def _check(call: Call) -> None:
    found: UploadSession = call.object
    if call.request.query.get("sig") != found.signature or app_of(call).id != found.app_id:
        raise RefusedError(object_missing(found.id, call.request.method))
