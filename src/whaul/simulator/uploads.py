"""`POST /{version}/{phone-number-id}/media`: a multipart upload, streamed to disk and bounded by kind.

Kinds, types and sizes: https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/media
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from aiohttp import BodyPartReader, web

from whaul.simulator.calls import Call
from whaul.simulator.content import BLOCK, OnDisk
from whaul.simulator.responses import RefusedError, graph_error, invalid
from whaul.simulator.state import State

KIB, MIB = 1024, 1024 * 1024
KINDS: dict[str, tuple[int, frozenset[str]]] = {
    "audio": (
        16 * MIB,
        frozenset({"audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg", "audio/opus"}),
    ),
    "image": (5 * MIB, frozenset({"image/jpeg", "image/png"})),
    "video": (16 * MIB, frozenset({"video/mp4", "video/3gpp"})),
    "document": (
        100 * MIB,
        frozenset(
            {
                "text/plain",
                "application/pdf",
                "application/msword",
                "application/vnd.ms-excel",
                "application/vnd.ms-powerpoint",
                "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
                "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
                "application/vnd.openxmlformats-officedocument.presentationml.presentation",
            }
        ),
    ),
    "sticker": (500 * KIB, frozenset({"image/webp"})),
}
STATIC_STICKER = 100 * KIB
MAX_FIELD = 1024


@dataclass
class Form:
    """What has been read of the multipart body."""

    fields: dict[str, str] = field(default_factory=dict)
    file_type: str | None = None
    file: OnDisk | None = None
    digest: bytes = b""
    head: bytes = b""
    """The first bytes of the file."""


async def receive(call: Call) -> Any:
    """Take in a file and answer with its new media id."""
    if call.request.content_type != "multipart/form-data":
        raise invalid("An upload is a multipart/form-data request.")
    form = Form()
    try:
        await _read(call.state, call.request, form)
        file, mime_type = _checked(form)
        media = call.state.add(file, mime_type, phone_number_id=call.object.id, origin="upload", digest=form.digest)
    except BaseException:
        if form.file is not None:
            form.file.path.unlink(missing_ok=True)
        raise
    return {"id": media.id}


async def _read(state: State, request: web.Request, form: Form) -> None:
    try:
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            if not isinstance(part, BodyPartReader):
                raise invalid("A part of the upload holds parts itself.")
            if part.name == "file":
                await _store(state, part, form)
            elif part.name:
                value = await part.read_chunk(MAX_FIELD)
                form.fields[part.name] = value.decode(errors="replace")
    except ValueError as exc:
        raise invalid("The multipart body is malformed.") from exc


async def _store(state: State, part: BodyPartReader, form: Form) -> None:
    """Write the file part to disk, up to the largest size that its type can have."""
    form.file_type = form.fields.get("type") or part.headers.get("Content-Type")
    limit, _ = KINDS[kind] if (kind := _kind(form.file_type)) else KINDS["document"]
    digest, size = hashlib.sha256(), 0
    path = state.store.new_file()
    try:
        with path.open("wb") as file:
            while block := await part.read_chunk(BLOCK):
                size += len(block)
                if size > limit:
                    raise _too_large(kind or "document", limit)
                form.head = form.head or block[:64]
                digest.update(block)
                file.write(block)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    form.file, form.digest = OnDisk(path), digest.digest()


def _checked(form: Form) -> tuple[OnDisk, str]:
    """The file and its type, if Meta would take them."""
    if form.fields.get("messaging_product") != "whatsapp":
        raise invalid("The parameter messaging_product is required and must be whatsapp.")
    if form.file is None:
        raise invalid("The parameter file is required.")
    mime_type = form.fields.get("type") or form.file_type or ""
    kind = _kind(mime_type)
    if kind is None:
        known = sorted(name for _, names in KINDS.values() for name in names)
        raise invalid(f"Param file must be of one of these types: {', '.join(known)}.")
    still = kind == "sticker" and not _is_animated(form.head)
    limit = STATIC_STICKER if still else KINDS[kind][0]
    if form.file.size > limit:
        raise _too_large(kind, limit)
    return form.file, mime_type


def _kind(mime_type: str | None) -> str | None:
    """Which row of the table a type belongs to; parameters such as `codecs=opus` do not matter."""
    name = (mime_type or "").partition(";")[0].strip().lower()
    return next((kind for kind, (_, names) in KINDS.items() if name in names), None)


def _is_animated(head: bytes) -> bool:
    """Whether a WebP file's extended header has the animation flag.

    https://developers.google.com/speed/webp/docs/riff_container#extended_file_format
    """
    return head[12:16] == b"VP8X" and len(head) > 20 and bool(head[20] & 0x02)


def _too_large(kind: str, limit: int) -> RefusedError:
    details = f"The file is larger than {limit} bytes, the limit of the kind {kind}."
    return RefusedError(graph_error(131053, "(#131053) The media could not be uploaded.", details=details))
