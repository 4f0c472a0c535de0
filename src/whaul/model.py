"""Frozen values that travel between the modules. Imports nothing of ours, does nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time

from pydantic import SecretStr


@dataclass(frozen=True, slots=True)
class S3File:
    """An S3 object named by the caller: the bucket, and its key; for a destination, perhaps the key's prefix."""

    bucket_name: str
    key: str


@dataclass(frozen=True, slots=True)
class PresignedUrl:
    """A request that the caller signed: where to PUT or GET, and the headers to send along."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class GetMedia:
    """The input of GetWhatsAppMessageMedia, after its members passed their constraints."""

    media_id: str
    phone_number_id: str
    metadata_only: bool
    s3_file: S3File | None = field(repr=False)
    presigned_url: PresignedUrl | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class PostMedia:
    """The input of PostWhatsAppMessageMedia, after its members passed their constraints; one source of the two."""

    phone_number_id: str
    s3_file: S3File | None = field(repr=False)
    presigned_url: PresignedUrl | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeleteMedia:
    """The input of DeleteWhatsAppMessageMedia."""

    media_id: str
    phone_number_id: str


@dataclass(frozen=True, slots=True)
class SendMessage:
    """The input of SendWhatsAppMessage."""

    phone_number_id: str
    message: bytes = field(repr=False)
    """A message object of Meta's API, JSON, as the caller wrote it."""
    api_version: str
    """`v25.0`, say."""


@dataclass(frozen=True, slots=True)
class OpenHours:
    """A time in which a business takes calls."""

    day: str
    """A day of the week, `MONDAY`, or a date, `2026-12-24`."""
    start: time
    end: time


@dataclass(frozen=True, slots=True)
class CallHours:
    """When a business takes calls."""

    enabled: bool
    """If not, it takes them at any time."""
    timezone: str
    """`America/New_York`, say."""
    weekly: tuple[OpenHours, ...]
    holidays: tuple[OpenHours, ...]
    """Dates on which other hours hold than those of the week."""


@dataclass(frozen=True, slots=True)
class CallSettings:
    """How a phone number takes calls. What is None stays as it is at Meta."""

    enabled: bool
    hours: CallHours | None
    icon_visibility: str | None
    callback_permission_status: str | None


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What Meta says of a media id: where its bytes are (for five minutes), and how to prove them."""

    mime_type: str
    file_size: int
    """Bytes."""
    sha256: bytes
    """The 32-byte digest."""
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A file that is in its place: what the store answered, and the hash that was proven."""

    etag: str
    """As the store gave it, quotes included; empty when it gave none."""
    sha256: bytes
    file_size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class GraphToken:
    """What calls to Meta about an account and its phone numbers are made with."""

    access_token: SecretStr
    app_secret: SecretStr | None = None


@dataclass(frozen=True, slots=True)
class PhoneNumber:
    """A linked phone number with what a call to Meta on its behalf needs."""

    id: str
    """`phone-number-id-<32 hex>`."""
    arn: str
    meta_id: str
    token: GraphToken


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An access key of this gateway, as the registry keeps it."""

    access_key_id: str
    name: str
    secret_access_key: SecretStr
    policy: str
    """The IAM policy document, JSON text."""
    session_token: SecretStr | None = None
    """That of a temporary key."""
    expires_at: datetime | None = None
    """UTC; None for a key without an end."""
    rate_limit: float | None = None
    """Calls per second; None for the server's `WHAUL_RATE_LIMIT`, 0 for no limit."""
    rate_burst: int | None = None
    """Calls at once; None for one second's worth."""
