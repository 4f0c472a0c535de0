"""How a destination is sent events, and the sample by which it is tried out."""

import json
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import uuid4

from whaul.events.model import TEST_FIELD, Accepted, Event
from whaul.events.routing import Destination
from whaul.events.targets import Options, Target

if TYPE_CHECKING:
    from whaul.events.targets.addresses import Targets

_SAMPLE: Final = {"messaging_product": "whatsapp", "sample": "whaul destinations test"}


class Answer(NamedTuple):
    """What a target said to a sample."""

    accepted: bool
    detail: str
    seconds: float


def options_of(destination: Destination) -> Options:
    """Say how a destination is sent events, as its target has it."""
    now = datetime.now(UTC)
    is_rotating = destination.old_secret_until is not None and now < destination.old_secret_until
    signs = (destination.secret, destination.old_secret if is_rotating else None)
    return Options(
        format=destination.format,
        attributes=destination.attributes,
        secrets=[secret for secret in signs if secret is not None],
        headers={name: value.get_secret_value() for name, value in destination.headers.items()},
    )


def sample(waba_id: str, account_id: str | None) -> Event:
    """Make an event that no webhook brought; its field says so."""
    entry = {"id": waba_id, "changes": [{"value": _SAMPLE, "field": TEST_FIELD}]}
    return Event(
        message_id=str(uuid4()),
        received_at=datetime.now(UTC),
        kind="notification",
        type=None,
        field=TEST_FIELD,
        waba_id=waba_id,
        meta_phone_number_id=None,
        wamid=None,
        conversation=secrets.token_bytes(16),
        entry=json.dumps(entry, separators=(",", ":")).encode(),
        account_id=account_id,
    )


async def try_destination(targets: "Targets", destination: Destination, accounts: Mapping[str, str]) -> Answer:
    """Send a sample to a destination, as of its first account. Raises TargetError.

    `accounts` are Meta's ids of the linked accounts, by whaul's.
    """
    account_id = next((id_ for id_ in destination.account_ids if id_ in accounts), None)
    target = targets.make(destination.target, options_of(destination))
    try:
        return await try_out(target, sample(accounts.get(account_id or "", "0"), account_id))
    finally:
        await target.close()


async def try_out(target: Target, event: Event) -> Answer:
    """Send an event past everything else, and return what the target said."""
    begun = time.monotonic()
    [outcome] = await target.send([event])
    return Answer(isinstance(outcome, Accepted), outcome.detail, time.monotonic() - begun)
