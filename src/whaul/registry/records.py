"""Frozen values that go into and come out of the registry, beside those of `whaul.model`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydantic import SecretStr

REGISTERED: Final = frozenset({"CONNECTED", "FLAGGED", "RATE_LIMITED", "RESTRICTED", "BANNED"})
"""Statuses of a phone number that is registered for the Cloud API, limited or not; the others are of one that is not.
https://developers.facebook.com/documentation/business-messaging/whatsapp/reference/whatsapp-business-phone-number"""

Tags = dict[str, str]
"""The tags of a resource: values by key."""


@dataclass(frozen=True, slots=True)
class NewPhoneNumber:
    """A phone number of an account to link, as Meta describes it."""

    meta_id: str
    display_phone_number: str
    """As Meta writes it, `+1 555-010-0100` say; its digits are the number in E.164."""
    verified_name: str
    quality_rating: str = "UNKNOWN"
    """Meta's word: GREEN, YELLOW, RED or UNKNOWN."""
    status: str = "CONNECTED"
    """Meta's word; see `REGISTERED`."""
    data_localization_region: str | None = None
    """Where Meta keeps the number's data, as a country code; None leaves what is known."""


@dataclass(frozen=True, slots=True)
class NewAccount:
    """A WhatsApp Business Account to link, with all of its phone numbers."""

    meta_waba_id: str
    name: str
    access_token: SecretStr
    app_secret: SecretStr | None
    phone_numbers: tuple[NewPhoneNumber, ...]
    verified: bool = True
    """Whether Meta was asked; what was not is refreshed soon."""
    token_expires_at: datetime | None = None
    """When the token ends; None for never, or if Meta did not say."""


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
    status: str = "CONNECTED"
    """Meta's word; see `REGISTERED`."""
    data_localization_region: str | None = None

    @property
    def is_registered(self) -> bool:
        """Whether the number is registered for the Cloud API."""
        return self.status in REGISTERED


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
    refreshed_at: datetime | None = None
    """When Meta was last asked about the account, UTC."""
    token_expires_at: datetime | None = None
    """When the token ends, UTC; None for never, or if Meta did not say."""

    @property
    def is_complete(self) -> bool:
        """Whether there are phone numbers, all of them registered."""
        return bool(self.phone_numbers) and all(number.is_registered for number in self.phone_numbers)


@dataclass(frozen=True, slots=True)
class AccountPage:
    """Some of the linked accounts, in order, and the token that continues after them."""

    accounts: tuple[LinkedAccount, ...]
    next_token: str | None


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
