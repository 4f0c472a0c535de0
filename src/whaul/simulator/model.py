"""What an account has, as plain values: its numbers, messages, calls, keys, data sets and uploads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from msgspec import Struct

PermissionStatus = Literal["no_permission", "temporary", "permanent"]
CallState = Literal["RINGING", "ACCEPTED", "ENDED"]


@dataclass(frozen=True, slots=True)
class PhoneNumber:
    """A business phone number of the simulated account."""

    id: str
    display_phone_number: str
    verified_name: str
    quality_rating: str = "GREEN"
    status: str = "CONNECTED"
    calling: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Its call settings, as they were set; empty before."""


class ShownMessage(TypedDict):
    """A message that a business has sent, or marked as read."""

    id: str | None
    phone_number_id: str
    version: str
    contact: Mapping[str, str]
    message: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """A message that a business has sent, or marked as read."""

    id: str | None
    """None for a message that was marked as read."""
    phone_number_id: str
    version: str
    """Of the API that was called."""
    content: dict[str, Any] = field(repr=False)
    """The message object."""
    raw: bytes = field(repr=False)
    """The message object as it came."""
    contact: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    """Whom it goes to, as the response says it: `input`, and `wa_id` or `user_id`."""

    def describe(self) -> ShownMessage:
        """The message as JSON members."""
        return {
            "id": self.id,
            "phone_number_id": self.phone_number_id,
            "version": self.version,
            "contact": self.contact,
            "message": self.content,
        }


class PublicKey(Struct):
    """The key that flows with an endpoint use to encrypt what a person fills in, of a phone number."""

    pem: str
    status: Literal["VALID", "MISMATCH"] = "VALID"


class Permission(Struct):
    """What a person permits a number."""

    status: PermissionStatus
    expires_at: int | None = None


class VoiceCall(Struct):
    """A call between a number and a person."""

    id: str
    phone_number_id: str
    user: str
    direction: Literal["BUSINESS_INITIATED", "USER_INITIATED"]
    begun_at: int
    state: CallState = "RINGING"


class Dataset(Struct):
    """The data set of an account."""

    id: str
    waba_id: str


class UploadSession(Struct):
    """An upload that is under way."""

    id: str
    signature: str
    app_id: str
    length: int
    offset: int = 0
