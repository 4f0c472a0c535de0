"""The shapes of the media operations."""

from urllib.parse import quote

import msgspec

from whaul.errors import InvalidParametersException
from whaul.model import DeleteMedia, GetMedia, MediaInfo, PostMedia, PresignedUrl, S3File, StoredObject
from whaul.wire.constraints import BUCKET_NAME, KEY, MEDIA_ID, PHONE_NUMBER_ID, URL, Constraint, Member, check
from whaul.wire.protocol import Headers, decoded, encoded, query_members


class _S3File(msgspec.Struct, rename="camel"):
    bucket_name: str | None = None
    key: str | None = None


class _S3PresignedUrl(msgspec.Struct, rename="camel"):
    url: str | None = None
    headers: dict[str, str] | None = None


class _GetMedia(msgspec.Struct, rename="camel"):
    media_id: str | None = None
    origination_phone_number_id: str | None = None
    metadata_only: bool | None = None
    destination_s3_file: _S3File | None = msgspec.field(name="destinationS3File", default=None)
    destination_s3_presigned_url: _S3PresignedUrl | None = msgspec.field(name="destinationS3PresignedUrl", default=None)


class _GetMediaAnswer(msgspec.Struct, rename="camel"):
    file_size: int
    mime_type: str


class _PostMedia(msgspec.Struct, rename="camel"):
    origination_phone_number_id: str | None = None
    source_s3_file: _S3File | None = msgspec.field(name="sourceS3File", default=None)
    source_s3_presigned_url: _S3PresignedUrl | None = msgspec.field(name="sourceS3PresignedUrl", default=None)


class _PostMediaAnswer(msgspec.Struct, rename="camel"):
    media_id: str


class _DeleteMediaAnswer(msgspec.Struct, rename="camel"):
    success: bool


_post_media_decoder = msgspec.json.Decoder(_PostMedia)
_get_media_decoder = msgspec.json.Decoder(_GetMedia)


def get_media(body: bytes) -> GetMedia:
    """Read the input of GetWhatsAppMessageMedia.

    Raises `SerializationException` for what is not JSON of these types, `ValidationException` with every
    constraint that is broken, `InvalidParametersException` for both or no destination.
    """
    request = decoded(_get_media_decoder, body)
    file, presigned = request.destination_s3_file, request.destination_s3_presigned_url
    check(
        [
            (MEDIA_ID, "mediaId", request.media_id),
            (PHONE_NUMBER_ID, "originationPhoneNumberId", request.origination_phone_number_id),
            *_file_members("destinationS3File", file),
            *_presigned_members("destinationS3PresignedUrl", presigned),
        ]
    )
    if file is not None and presigned is not None:
        raise InvalidParametersException("Give either destinationS3File or destinationS3PresignedUrl, not both.")
    if file is None and presigned is None and not request.metadata_only:
        raise InvalidParametersException(
            "Give a destination: destinationS3File or destinationS3PresignedUrl (or set metadataOnly)."
        )
    return GetMedia(
        media_id=request.media_id or "",
        phone_number_id=request.origination_phone_number_id or "",
        metadata_only=bool(request.metadata_only),
        s3_file=_s3_file(file),
        presigned_url=_presigned_url(presigned),
    )


def get_media_answer(info: MediaInfo) -> bytes:
    """Write the output of GetWhatsAppMessageMedia; `fileSize` is in bytes."""
    return encoded(_GetMediaAnswer(file_size=info.file_size, mime_type=info.mime_type))


def post_media(body: bytes) -> PostMedia:
    """Read the input of PostWhatsAppMessageMedia. Raises as `get_media` does, for both or no source too."""
    request = decoded(_post_media_decoder, body)
    file, presigned = request.source_s3_file, request.source_s3_presigned_url
    check(
        [
            (PHONE_NUMBER_ID, "originationPhoneNumberId", request.origination_phone_number_id),
            *_file_members("sourceS3File", file),
            *_presigned_members("sourceS3PresignedUrl", presigned),
        ]
    )
    if (file is None) == (presigned is None):
        raise InvalidParametersException("Give one source: either sourceS3File or sourceS3PresignedUrl.")
    return PostMedia(request.origination_phone_number_id or "", _s3_file(file), _presigned_url(presigned))


def post_media_answer(media_id: str) -> bytes:
    """Write the output of PostWhatsAppMessageMedia."""
    return encoded(_PostMediaAnswer(media_id))


def delete_media(query: bytes) -> DeleteMedia:
    """Read the input of DeleteWhatsAppMessageMedia, which is in the query string. Raises as `get_media` does."""
    members = query_members(query)
    media_id, phone_number_id = members.get("mediaId"), members.get("originationPhoneNumberId")
    check([(MEDIA_ID, "mediaId", media_id), (PHONE_NUMBER_ID, "originationPhoneNumberId", phone_number_id)])
    return DeleteMedia(media_id or "", phone_number_id or "")


def delete_media_answer() -> bytes:
    """Write the output of DeleteWhatsAppMessageMedia."""
    return encoded(_DeleteMediaAnswer(success=True))


def _file_members(path: str, file: _S3File | None) -> list[Member]:
    if file is None:
        return []
    return [(BUCKET_NAME, f"{path}.bucketName", file.bucket_name), (KEY, f"{path}.key", file.key)]


def _presigned_members(path: str, presigned: _S3PresignedUrl | None) -> list[Member]:
    if presigned is None:
        return []
    no_headers = None if presigned.headers is None else ""
    return [(URL, f"{path}.url", presigned.url), (Constraint(required=True), f"{path}.headers", no_headers)]


def _s3_file(file: _S3File | None) -> S3File | None:
    return S3File(file.bucket_name or "", file.key or "") if file else None


def _presigned_url(presigned: _S3PresignedUrl | None) -> PresignedUrl | None:
    return PresignedUrl(presigned.url or "", presigned.headers or {}) if presigned else None


def stored_headers(stored: StoredObject, file: S3File | None) -> Headers:
    """Say where the file went; `file` holds the final key, None for a presigned URL."""
    headers = [("x-whaul-etag", stored.etag), ("x-whaul-sha256", stored.sha256.hex())]
    if file is not None:
        headers += [("x-whaul-bucket", file.bucket_name), ("x-whaul-key", quote(file.key, safe="/~"))]
    return headers
