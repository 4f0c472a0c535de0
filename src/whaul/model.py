"""Frozen values that travel between the modules. Imports nothing of ours, does nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

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
class Account:
    """A linked WhatsApp Business Account with what a call to Meta on its behalf needs."""

    id: str
    """`waba-<32 hex>`."""
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
