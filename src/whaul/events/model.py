"""Values of the modules here. They do nothing."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, NamedTuple

Kind = Literal["message", "status", "echo", "call", "notification", "media", "unparsed"]
"""What an event is about; `notification` is everything of Meta's without a kind of its own, `media` is ours."""
MEDIA_FIELD: Final = "whaul_media"
"""The field of our own events about files."""
TEST_FIELD: Final = "whaul_test"
"""The field of samples."""


@dataclass(frozen=True, slots=True)
class MediaRef:
    """A file that an item names."""

    media_id: str
    mime_type: str
    sha256: str | None
    """As the webhook has it: base64, in some fields hexadecimal."""
    message_id: str | None
    """The wamid of the message that brought the file."""
    message_type: str
    """`audio`, `image`, …"""
    at: int | None
    """When that message was sent, Unix seconds."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that a webhook tells, cut out of its body."""

    kind: Kind
    type: str | None
    """A message's type, a status's status, a call's event."""
    field: str
    """Meta's word for what was subscribed to: `messages`, `account_update`, …"""
    waba_id: str
    """The entry's id, Meta's id of the account; empty when the entry has none."""
    meta_phone_number_id: str | None
    display_phone_number: str | None
    """Digits only; some fields name a number by nothing else."""
    wamid: str | None
    """Meta's id of the message or call."""
    at: int | None
    """The item's own time, Unix seconds."""
    conversation: str
    """Who talks to whom: the number, and the group or the other party; the account where nobody else is named."""
    parties: tuple[str, ...]
    """Phone numbers and business-scoped user ids of people in it."""
    entry: bytes = dataclasses.field(repr=False)
    """Compact JSON: Meta's entry with this one item. An unparsed item's own bytes."""
    media: tuple[MediaRef, ...] = ()
    revokes: str | None = None
    """The wamid of a message that this takes back."""
    sameness: bytes = dataclasses.field(default=b"", repr=False)
    """Equal for copies of one item, whatever their bytes. `identity.identify` makes the key of it."""
    has_time: bool = True
    """Whether Meta gave a time; without one the hour of arrival is part of the key."""


@dataclass(frozen=True, slots=True)
class Event:
    """An item that was taken in, as it is sent on."""

    message_id: str
    """A UUID: the same on every retry, replay and node."""
    received_at: datetime
    """UTC."""
    kind: Kind
    type: str | None
    field: str
    waba_id: str
    meta_phone_number_id: str | None
    wamid: str | None
    conversation: bytes
    """Opaque; equal within a conversation."""
    entry: bytes = dataclasses.field(repr=False)
    seq: int = 0
    """The order of arrival."""
    account_id: str | None = None
    """`waba-<32 hex>`; None while no account is linked for it."""
    outcome: bytes | None = dataclasses.field(default=None, repr=False)
    """What became of its files, JSON, for a destination that waited for them."""
    replay: bool = False
    delivery: int = 0
    """The number of this delivery, which a replay is told from the first one by."""
    arrival: str | None = None
    """The span of its webhook, as `telemetry.spans` writes it."""
    trace: str | None = None
    """The span of this attempt, which goes with it to the target."""


Reason = Literal["down", "refused", "closed", "gone", "rejected", "impossible"]
"""Why a delivery failed.

`down`: nothing is to be had there now (no connection, time-out, 429, 5xx). `refused`: it may refuse everything (401,
403, 404). `closed`: it does (unknown topic, no rights). `gone`: it does, for good (410). `rejected`: this event was
refused, others may pass. `impossible`: this event can never pass (too large, characters that the target does not take).
"""


class Accepted(NamedTuple):
    """The target has the event."""

    detail: str = ""


class Failed(NamedTuple):
    """The target does not have the event, or did not say so."""

    reason: Reason
    detail: str
    """What an operator may see; at most 1 KiB of what the target said."""
    retry_after: float | None = None
    """Seconds that the target asks to wait."""


Outcome = Accepted | Failed
Outcomes = Sequence[Outcome]
"""Those of a batch, in its order."""
