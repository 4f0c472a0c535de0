"""Frozen values that travel between the modules. Imports nothing of ours, does nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

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
class KeyUse:
    """A call that an access key signed."""

    at: datetime
    """UTC."""
    operation: str | None
    """None if the call named no operation."""


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


REGISTERED: Final = frozenset({"CONNECTED", "FLAGGED", "RATE_LIMITED", "RESTRICTED", "BANNED"})
"""Statuses of a phone number that is registered for the Cloud API, limited or not; the others are of one that is not.
https://developers.facebook.com/documentation/business-messaging/whatsapp/reference/whatsapp-business-phone-number"""


@dataclass(frozen=True, slots=True)
class MetaPhoneNumber:
    """A phone number, as Meta describes it."""

    meta_id: str
    display_phone_number: str
    """As Meta writes it, `+1 555-010-0100` say; its digits are the number in E.164."""
    verified_name: str
    quality_rating: str = "UNKNOWN"
    """Meta's word: GREEN, YELLOW, RED or UNKNOWN."""
    status: str = "CONNECTED"
    """Meta's word; see `REGISTERED`."""
    data_localization_region: str | None = None
    """Where Meta keeps the number's data, as a country code; None if that was not said."""

    @property
    def is_registered(self) -> bool:
        """Whether the number is registered for the Cloud API."""
        return self.status in REGISTERED


@dataclass(frozen=True, slots=True)
class MetaAccount:
    """A WhatsApp Business Account with all of its phone numbers, as Meta describes it."""

    meta_waba_id: str
    name: str
    phone_numbers: Sequence[MetaPhoneNumber]
    token_expires_at: datetime | None = None
    """When the token that it was read with ends, UTC; None for never, or if Meta did not say."""
    app_id: str | None = None
    """Meta's id of the app that the token is of; None if Meta did not say."""

    @property
    def is_complete(self) -> bool:
        """Whether there are phone numbers, all of them registered."""
        return bool(self.phone_numbers) and all(number.is_registered for number in self.phone_numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedPhoneNumber(MetaPhoneNumber):
    """A phone number of a linked account, without secrets."""

    id: str
    """`phone-number-id-<32 hex>`."""
    arn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedAccount(MetaAccount):
    """A linked WhatsApp Business Account, without secrets."""

    phone_numbers: Sequence[LinkedPhoneNumber]
    """Ordered by Meta's id."""
    id: str
    """`waba-<32 hex>`."""
    arn: str
    linked_at: datetime
    """When it was first linked, UTC."""
    refreshed_at: datetime | None = None
    """When Meta was last asked about the account, UTC."""
    has_app_secret: bool = False


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
