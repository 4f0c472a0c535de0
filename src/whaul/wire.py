"""rest-json: bytes to model and back, error bodies and headers.

The shapes are those of botocore's `socialmessaging` model (2024-01-01), which a test compares them with.
https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html
"""

import math
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote

import msgspec

from whaul.errors import (
    ApiError,
    InvalidParametersException,
    SerializationException,
    ThrottledRequestException,
    ValidationException,
)
from whaul.model import GetMedia, MediaInfo, PresignedUrl, S3File, StoredObject

LARGEST_REQUEST = 256 * 1024
"""Bytes of a request body."""
LONGEST_ECHO = 128
"""Characters of a value that a validation message repeats."""

Headers = list[tuple[str, str]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Constraint:
    """What the model asks of a string member."""

    required: bool = False
    least: int = 0
    most: int | None = None
    pattern: str | None = None
    sensitive: bool = False
    """The value is never repeated in a message."""

    def violation(self, path: str, value: str | None) -> str | None:
        """Name the first rule that the value breaks, in the wording that AWS's own services use."""
        if value is None:
            return (
                f"Value null at '{path}' failed to satisfy constraint: Member must not be null"
                if self.required
                else None
            )
        if self.most is not None and len(value) > self.most:
            rule = f"Member must have length less than or equal to {self.most}"
        elif len(value) < self.least:
            rule = f"Member must have length greater than or equal to {self.least}"
        elif self.pattern is not None and not re.fullmatch(self.pattern, value):
            rule = f"Member must satisfy regular expression pattern: {self.pattern}"
        else:
            return None
        echo = "" if self.sensitive or len(value) > LONGEST_ECHO else f" '{value}'"
        return f"Value{echo} at '{path}' failed to satisfy constraint: {rule}"


MEDIA_ID = Constraint(required=True, least=1, most=100, pattern="[A-Za-z0-9]+")
PHONE_NUMBER_ID = Constraint(
    required=True, least=1, most=115, pattern=r".*(^phone-number-id-.*$)|(^arn:.*:phone-number-id/[0-9a-zA-Z]+$).*"
)
BUCKET_NAME = Constraint(required=True, least=3, most=63, pattern="[a-z0-9][a-z0-9.-]*[a-z0-9]", sensitive=True)
KEY = Constraint(required=True, most=1024, sensitive=True)
URL = Constraint(required=True, least=1, most=2000, sensitive=True)


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
_encoder = msgspec.json.Encoder()


def get_media(body: bytes) -> GetMedia:
    """Read the input of GetWhatsAppMessageMedia.

    Raises `SerializationException` for what is not JSON of these types, `ValidationException` with every
    constraint that is broken, `InvalidParametersException` for both or no destination.
    """
    request = _decoded(_get_media_decoder, body)
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
    _check(members)
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
    return _encoder.encode(_GetMediaAnswer(file_size=info.file_size, mime_type=info.mime_type))


def stored_headers(stored: StoredObject, file: S3File | None) -> Headers:
    """Say where the file went; `file` holds the final key, None for a presigned URL."""
    headers = [("x-whaul-etag", stored.etag), ("x-whaul-sha256", stored.sha256.hex())]
    if file is not None:
        headers += [("x-whaul-bucket", file.bucket_name), ("x-whaul-key", quote(file.key, safe="/~"))]
    return headers


def error_answer(error: ApiError) -> tuple[bytes, Headers]:
    """Write an error: its body, and its own headers."""
    headers = [("x-amzn-ErrorType", error.code)]
    if isinstance(error, ThrottledRequestException) and error.retry_after is not None:
        headers.append(("Retry-After", str(max(1, math.ceil(error.retry_after)))))
    return _encoder.encode({"__type": error.code, "message": error.message}), headers


def request_id() -> str:
    """Make the id that an answer carries as `x-amzn-RequestId` and every log line repeats."""
    return str(uuid.uuid4())


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body or b"{}")
    except msgspec.ValidationError as error:
        # The library names types and the place, never a value; a map's key shows as [...].
        raise SerializationException(f"The request body does not fit the operation: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise SerializationException("The request body is not JSON.") from None


def _check(members: list[tuple[Constraint, str, str | None]]) -> None:
    violations = list(_violations(members))
    if violations:
        noun = "validation error" if len(violations) == 1 else "validation errors"
        raise ValidationException(f"{len(violations)} {noun} detected: {'; '.join(violations)}")


def _violations(members: list[tuple[Constraint, str, str | None]]) -> Iterator[str]:
    for constraint, path, value in members:
        violation = constraint.violation(path, value)
        if violation is not None:
            yield violation
