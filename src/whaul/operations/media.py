"""The media operations: a media id to a file in the caller's bucket, a file to Meta, and a media deleted there."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Hashable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import msgspec
from pyreqwest.bytes import Bytes

from whaul.api.request import Members
from whaul.api.response import Document, Headers, request_id
from whaul.errors import DependencyException, InvalidParametersException, Retry
from whaul.graph.media import NAMING_MEDIA, MediaSource, upload
from whaul.graph.media_types import check_size, media_kind
from whaul.model import MediaInfo, PhoneNumber, PresignedUrl, S3File, StoredObject
from whaul.operations.actions import GET_OBJECT, PUT_OBJECT, object_arn
from whaul.operations.call import NumberCall, OperationCall, Row, on_number
from whaul.operations.components import Components
from whaul.operations.repeats import gone, moved
from whaul.storage import Open, Put
from whaul.storage.naming import EXTENSIONS, checked_key, extension, object_key
from whaul.storage.presigned import Presigned
from whaul.telemetry.call import Call
from whaul.transfer.attempts import Attempts
from whaul.transfer.download import Transfer
from whaul.transfer.upload import Upload


class _Deleted(msgspec.Struct):
    success: bool


async def get_media(call: NumberCall) -> Document:
    """GetWhatsAppMessageMedia: one call takes a media id to a file in the caller's bucket."""
    media_id, components = call.members["mediaId"], call.components
    is_fetched = not call.members.get("metadataOnly")
    prefix, presigned = _file(call.members, "destinationS3File"), _url(call.members, "destinationS3PresignedUrl")
    chosen = Presigned(components.http, components.presigned_hosts, presigned) if presigned else None
    put: Put | None = chosen.put if chosen else None
    file: S3File | None = None
    max_file_size = components.rules.max_file_size if is_fetched else None
    source = MediaSource(components.graph, call.target.token, media_id, max_file_size)
    attempts = call.attempts
    slot = components.slots.slot(attempts.deadline, call.record, chosen.host if chosen else None)
    with call.circuit():
        async with slot, attempts.bounded():
            with call.record.hops.timed("describe"):
                info = await attempts.run(source.describe)
            if prefix is not None and is_fetched:
                file = _authorized_file(call, prefix, info)
                put = partial(components.store.put, file)
            if put is None or not is_fetched:
                return _described(info)
            transfer = Transfer(source, put, info, attempts, call.record.hops)
            # Shared by identical calls, so bounded by a deadline of its own, too: it outlives the call that began it.
            stored = await components.transfers.run(_identity(call, prefix, presigned), transfer.run)
    call.record.bytes = stored.file_size
    if stored.file_size != info.file_size:  # Meta corrected its description on the way
        info = replace(info, file_size=stored.file_size)
    call.headers += stored_headers(stored, file)
    return _described(info)


async def post_media(call: NumberCall) -> Document:
    """PostWhatsAppMessageMedia: a file from the caller's bucket to Meta."""
    components, attempts = call.components, call.attempts
    source, host = _source(call)
    take = partial(_upload, components, call.target)
    work = Upload(source, take, components.rules.max_file_size, attempts, call.record.hops)
    with call.circuit():
        async with components.slots.slot(attempts.deadline, call.record, host), attempts.bounded():
            call.record.media_id = await work.run()
    call.record.bytes = work.size
    return {"mediaId": call.record.media_id}


async def delete_media(call: NumberCall) -> Document:
    """DeleteWhatsAppMessageMedia. `phone_number_id` is not sent, as with a media that is read."""

    async def attempt() -> None:
        graph, media_id = call.components.graph, call.members["mediaId"]
        found = await graph.delete(call.target.token, media_id, _Deleted, "deleting the media", call=NAMING_MEDIA)
        if not found.success:
            raise DependencyException("Meta did not delete the media, and gave no reason.", retry=Retry.NO)

    await moved(call, attempt, gone, hop="delete")
    return {"success": True}


async def post_content(
    components: Components,
    number: PhoneNumber,
    mime_type: str,
    size: int,
    parts: Callable[[], AsyncGenerator[Bytes]],
) -> str:
    """Upload a file that is here already, with the checks of one that is not; return Meta's id of it."""
    check_size(media_kind(mime_type), size)
    loop = asyncio.get_running_loop()
    attempts = Attempts(loop.time() + components.rules.deadline)
    record = Call(request_id(), "PostWhatsAppMessageMedia", phone_number_id=number.id)

    async def attempt() -> str:
        return await _upload(components, number, mime_type, size, parts())

    async with components.slots.slot(attempts.deadline, record), attempts.bounded():
        return await attempts.run(attempt)


def one_destination(members: Members) -> None:
    """Raise `InvalidParametersException` for both or no destination."""
    file, presigned = members.get("destinationS3File"), members.get("destinationS3PresignedUrl")
    if file is not None and presigned is not None:
        raise InvalidParametersException("Give either destinationS3File or destinationS3PresignedUrl, not both.")
    if file is None and presigned is None and not members.get("metadataOnly"):
        raise InvalidParametersException(
            "Give a destination: destinationS3File or destinationS3PresignedUrl (or set metadataOnly)."
        )


def one_source(members: Members) -> None:
    """Raise `InvalidParametersException` for both or no source."""
    if (members.get("sourceS3File") is None) == (members.get("sourceS3PresignedUrl") is None):
        raise InvalidParametersException("Give one source: either sourceS3File or sourceS3PresignedUrl.")


OPERATIONS: Final[Mapping[str, Row]] = {
    "GetWhatsAppMessageMedia": on_number(get_media, one_destination, guarded=False),
    "PostWhatsAppMessageMedia": on_number(post_media, one_source, guarded=False),
    "DeleteWhatsAppMessageMedia": on_number(delete_media),
}


def stored_headers(stored: StoredObject, file: S3File | None) -> Headers:
    """Say where the file went; `file` holds the final key, None for a presigned URL."""
    headers = [("x-whaul-etag", stored.etag), ("x-whaul-sha256", stored.sha256.hex())]
    if file is not None:
        headers += [("x-whaul-bucket", file.bucket_name), ("x-whaul-key", quote(file.key, safe="/~"))]
    return headers


def s3_source(call: OperationCall[Any], file: Members) -> Open:
    """Open an object of the caller's, a whole key, that the caller's policy allows to be read."""
    key = checked_key(file["key"])
    _authorize(call, GET_OBJECT, file["bucketName"], key, "the bucket and key of this request")
    return partial(call.components.store.open, S3File(file["bucketName"], key))


def _described(info: MediaInfo) -> Document:
    return {"fileSize": info.file_size, "mimeType": info.mime_type}


def _file(members: Members, name: str) -> S3File | None:
    file = members.get(name)
    return S3File(file["bucketName"], file["key"]) if file is not None else None


def _url(members: Members, name: str) -> PresignedUrl | None:
    presigned = members.get(name)
    return PresignedUrl(presigned["url"], presigned["headers"]) if presigned is not None else None


def _authorized_file(call: NumberCall, prefix: S3File, info: MediaInfo) -> S3File:
    """Name the object with its final key, and ask the policy for it."""
    rules = call.components.rules
    suffix = extension(info.mime_type, rules.extensions)
    key = object_key(prefix.key, call.members["mediaId"], suffix, exact=rules.exact_keys)
    _authorize(call, PUT_OBJECT, prefix.bucket_name, key, "the bucket and final key of this request")
    return S3File(prefix.bucket_name, key)


def _authorize(call: OperationCall[Any], action: str, bucket: str, key: str, shown_as: str) -> None:
    call.caller.authorize(action, object_arn(call.components.rules.arns, bucket, key), shown_as=shown_as)


def _identity(call: NumberCall, file: S3File | None, presigned: PresignedUrl | None) -> Hashable:
    """What makes two calls the same transfer."""
    url, headers = (presigned.url, frozenset(presigned.headers.items())) if presigned else (None, None)
    return call.target.id, call.members["mediaId"], file, url, headers


def _source(call: NumberCall) -> tuple[Open, str | None]:
    """Check the source as far as that goes without asking for it; name its host when the caller chose it."""
    presigned = _url(call.members, "sourceS3PresignedUrl")
    if presigned is not None:
        chosen = Presigned(call.components.http, call.components.presigned_hosts, presigned)
        media_kind(chosen.mime_type)
        return chosen.open, chosen.host
    return s3_source(call, call.members["sourceS3File"]), None


async def _upload(
    components: Components, number: PhoneNumber, mime_type: str, size: int, parts: AsyncGenerator[Bytes]
) -> str:
    """Take a file at Meta, under a neutral name: the source's may be private, and a message states its own."""
    name = "media" + EXTENSIONS.get(mime_type.partition(";")[0].strip().lower(), "")
    return await upload(
        components.graph, number.token, number.meta_id, parts, size=size, mime_type=mime_type, file_name=name
    )
