"""Frozen values that go into and come out of the registry, beside those of `whaul.model`."""

from dataclasses import dataclass
from datetime import datetime

from pydantic import SecretStr


@dataclass(frozen=True, slots=True)
class NewPhoneNumber:
    """A phone number of an account to link, as Meta describes it."""

    meta_id: str
    display_phone_number: str
    """As Meta writes it, `+1 555-010-0100` say; its digits are the number in E.164."""
    verified_name: str
    quality_rating: str = "UNKNOWN"
    """Meta's word: GREEN, YELLOW, RED or UNKNOWN."""


@dataclass(frozen=True, slots=True)
class NewAccount:
    """A WhatsApp Business Account to link, with all of its phone numbers."""

    meta_waba_id: str
    name: str
    access_token: SecretStr
    app_secret: SecretStr | None
    phone_numbers: tuple[NewPhoneNumber, ...]


@dataclass(frozen=True, slots=True)
class LinkedPhoneNumber:
    """A phone number of a linked account, without secrets."""

    id: str
    """`phone-number-id-<32 hex>`."""
    arn: str
    meta_id: str
    display_phone_number: str
    verified_name: str
    quality_rating: str


@dataclass(frozen=True, slots=True)
class LinkedAccount:
    """A linked WhatsApp Business Account, without secrets."""

    id: str
    """`waba-<32 hex>`."""
    arn: str
    meta_waba_id: str
    name: str
    linked_at: datetime
    """When it was first linked, UTC."""
    has_app_secret: bool
    phone_numbers: tuple[LinkedPhoneNumber, ...]
    """Ordered by Meta's id."""


@dataclass(frozen=True, slots=True)
class AccountCredentials:
    """What calls to Meta about an account itself need."""

    access_token: SecretStr
    app_secret: SecretStr | None


@dataclass(frozen=True, slots=True)
class AccessKeyRecord:
    """An access key, without its secret."""

    access_key_id: str
    name: str
    policy: str
    """The IAM policy document, JSON text."""
    created_at: datetime
    """UTC."""
    disabled_at: datetime | None
    """UTC; None while the key is enabled."""
    expires_at: datetime | None
    """UTC; None for a key without an end."""
    rate_limit: float | None
    """Calls per second; None for the server's `WHAUL_RATE_LIMIT`, 0 for no limit."""
    rate_burst: int | None
    """Calls at once; None for one second's worth."""
