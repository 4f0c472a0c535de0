"""The shapes of the media operations."""

from urllib.parse import quote

import msgspec

from whaul.errors import InvalidParametersException
from whaul.model import GetMedia, MediaInfo, PresignedUrl, S3File, StoredObject
from whaul.wire.constraints import BUCKET_NAME, KEY, MEDIA_ID, PHONE_NUMBER_ID, URL, Constraint, check
from whaul.wire.protocol import Headers, decoded, encoded


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


_get_media_decoder = msgspec.json.Decoder(_GetMedia)


def get_media(body: bytes) -> GetMedia:
    """Read the input of GetWhatsAppMessageMedia.

    Raises `SerializationException` for what is not JSON of these types, `ValidationException` with every
    constraint that is broken, `InvalidParametersException` for both or no destination.
    """
    request = decoded(_get_media_decoder, body)
    file, presigned = request.destination_s3_file, request.destination_s3_presigned_url
    members: list[tuple[Constraint, str, str | None]] = [
        (MEDIA_ID, "mediaId", request.media_id),
        (PHONE_NUMBER_ID, "originationPhoneNumberId", request.origination_phone_number_id),
    ]
    if file is not None:
        members.append((BUCKET_NAME, "destinationS3File.bucketName", file.bucket_name))
        members.append((KEY, "destinationS3File.key", file.key))
    if presigned is not None:
        members.append((URL, "destinationS3PresignedUrl.url", presigned.url))
        no_headers = None if presigned.headers is None else ""
        members.append((Constraint(required=True), "destinationS3PresignedUrl.headers", no_headers))
    check(members)
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
        s3_file=S3File(file.bucket_name or "", file.key or "") if file else None,
        presigned_url=PresignedUrl(presigned.url or "", presigned.headers or {}) if presigned else None,
    )


def get_media_answer(info: MediaInfo) -> bytes:
    """Write the output of GetWhatsAppMessageMedia; `fileSize` is in bytes."""
    return encoded(_GetMediaAnswer(file_size=info.file_size, mime_type=info.mime_type))


def stored_headers(stored: StoredObject, file: S3File | None) -> Headers:
    """Say where the file went; `file` holds the final key, None for a presigned URL."""
    headers = [("x-whaul-etag", stored.etag), ("x-whaul-sha256", stored.sha256.hex())]
    if file is not None:
        headers += [("x-whaul-bucket", file.bucket_name), ("x-whaul-key", quote(file.key, safe="/~"))]
    return headers
