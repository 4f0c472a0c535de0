"""Where events are sent: one module for each kind of target, behind one small protocol.

A target knows how to speak to one address, and nothing of retries, order or the database.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from pydantic import SecretStr

from whaul.events.model import Event, Outcomes

REPLAY: Final = "whaul-replay"
"""The header or attribute of an event that is sent again by command; its value is 1."""
MAX_KEPT: Final = 1024
"""Bytes of what a target answered that are kept."""


class TargetError(ValueError):
    """No destination can be made of this; the message says what to give instead, and holds no secret."""


@dataclass(frozen=True, slots=True)
class Options:
    """How an address is sent events."""

    format: str = "aws"
    """`aws`, `meta` or `cloudevents`."""
    attributes: bool = False
    """Whether SNS and SQS get message attributes to filter by."""
    secrets: Sequence[SecretStr] = ()
    """What events are signed with, for HTTPS; two during a rotation."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Headers of the operator's, for HTTPS; for a broker what to log in with."""


class Target(Protocol):
    """One address."""

    max_batch: int
    """Events that may be sent together."""

    async def send(self, events: Sequence[Event]) -> Outcomes:
        """Send events; the outcome of each, in their order. Raises nothing for what the target did."""
        ...

    async def close(self) -> None:
        """Close the connections that are this target's own."""
        ...


def attributes(event: Event, *, described: bool) -> dict[str, str]:
    """Name an event outside its body, for targets with attributes or headers; those without a value are left out.

    The names of its trace are the same for all of them. https://www.w3.org/TR/trace-context/
    """
    traceparent, _, tracestate = (event.trace or "").partition(" ")
    named = {REPLAY: "1" if event.replay else None, "traceparent": traceparent, "tracestate": tracestate}
    if described:
        named |= {
            "field": event.field,
            "kind": event.kind,
            "type": event.type,
            "wabaId": event.waba_id,
            "phoneNumberId": event.meta_phone_number_id,
            "messageId": event.message_id,
        }
    return {name: value for name, value in named.items() if value}


def delivery_id(event: Event) -> str:
    """Return what a target that drops duplicates may know a delivery by; a replay has an id of its own."""
    return f"{event.message_id}.{event.delivery}" if event.replay else event.message_id


def sentence(error: Exception) -> str:
    """Write an error's text as a sentence."""
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."
