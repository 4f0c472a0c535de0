"""Which items are the same: the key by which a second copy is dropped, and the event's id made of it.

Ids are stored, and consumers keep them as idempotency keys: never change what they are made of.
"""

import hashlib
import json
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID, uuid5

from whaul.events.model import Item

NAMESPACE: Final = UUID("6d1c1a2e-6f1f-5b0e-9c38-5f0f6f5a6b2d")
"""Of the ids of events."""
KEY_SIZE: Final = 16
"""Bytes."""
_written = json.JSONEncoder(separators=(",", ":")).encode


class Identity(NamedTuple):
    """What an item is known by."""

    key: bytes
    message_id: str


def identify(item: Item, owner: str, received_at: datetime, app: str | None = None) -> Identity:
    """Identify an item of the account number `owner`.

    `app` is that of an item that no linked account takes; when it is routed it is identified again without it.
    """
    parts = [owner, app or "", item.waba_id, item.field, item.kind]
    if not item.has_time:
        parts.append(f"{received_at:%Y-%m-%dT%H}")
    # JSON keeps the parts apart whatever they hold.
    text = _written(parts).encode() + item.sameness
    digest = hashlib.sha256(text)
    return Identity(digest.digest()[:KEY_SIZE], str(uuid5(NAMESPACE, digest.hexdigest())))
