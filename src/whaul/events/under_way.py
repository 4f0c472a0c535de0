"""What all processes work on now, and which destinations wait. Only reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from whaul.events.database.columns import moment
from whaul.events.database.store import Store
from whaul.secrets import Cipher

MAX_FILES: Final = 100
"""Files that are listed."""


@dataclass(frozen=True, slots=True)
class FileUnderWay:
    """A file that a server archives at this moment."""

    media_id: str
    mime_type: str
    account_id: str
    waba_id: str
    message_id: str
    """Of the event that named it first."""
    attempts: int
    """Those before."""
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StoppedDestination:
    """A destination that is sent nothing for now."""

    name: str
    state: str
    """`paused`, `open` or `disabled`."""
    since: datetime | None
    probe_at: datetime | None
    """When it is tried again; None until somebody resumes it."""
    reason: str | None


async def files_under_way(store: Store, owner: str) -> Sequence[FileUnderWay]:
    """List the files that servers hold a lease of, at most `MAX_FILES`. Raises RegistryUnavailableError."""
    rows = await store.read(
        f"""
        SELECT f.media_id, f.mime_type, f.account_id, e.waba_id, e.message_id, f.attempts, f.created_at
        FROM files f JOIN events e ON e.seq = f.seq
        WHERE f.owner = $1 AND f.state = 'pending' AND f.lease_owner IS NOT NULL
          AND f.due_at > {store.now} AND f.due_at <= {store.lease_end}
        ORDER BY f.created_at LIMIT {MAX_FILES}""",
        owner,
    )
    return [
        FileUnderWay(media_id, mime_type, account_id, waba_id, message_id, attempts, moment(created_at))
        for media_id, mime_type, account_id, waba_id, message_id, attempts, created_at in rows
    ]


async def stopped_destinations(store: Store, cipher: Cipher, owner: str) -> Sequence[StoppedDestination]:
    """List the destinations that are sent nothing. Raises RegistryUnavailableError and SecretKeyError."""
    rows = await store.read(
        """
        SELECT name, state, stopped_at, CASE WHEN state = 'open' THEN probe_at END, last_error FROM destinations
        WHERE owner = $1 AND removed_at IS NULL AND state <> 'active' ORDER BY name""",
        owner,
    )
    return [
        StoppedDestination(
            name=name,
            state=state,
            since=_moment(since),
            probe_at=_moment(probe_at),
            reason=None if error is None else cipher.decrypt(error).get_secret_value(),
        )
        for name, state, since, probe_at, error in rows
    ]


def _moment(value: Any) -> datetime | None:
    return None if value is None else moment(value)
