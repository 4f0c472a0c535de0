"""Access keys, read and written in transactions."""

import re
import string
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pydantic import SecretStr
from sqlalchemy import ColumnElement, Update, delete, func, or_, select, update

from whaul.model import AccessKey, KeyUse
from whaul.registry.database import Database
from whaul.registry.tables import AccessKeyRow

# The prefix tells permanent keys from temporary ones, as at AWS.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids
_PERMANENT: Final = "AKIA"
_TEMPORARY: Final = "ASIA"
_ID_ALPHABET: Final = string.ascii_uppercase + "234567"
_SECRET_ALPHABET: Final = string.ascii_letters + string.digits + "+/"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
MAX_LIFE: Final = timedelta(days=365)
"""Of a temporary key."""
LATELY: Final = timedelta(days=7)
"""A key that was used since then may still be in use."""


def check_name(name: str) -> None:
    """Check the name of an access key. Raises ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError("expected up to 64 letters, digits, '-', '_' or '.'")


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
    last_use: KeyUse | None
    """Some minutes old at most; None if none is known."""

    def is_usable(self, now: datetime) -> bool:
        """Whether calls can be signed with it: it is neither disabled nor expired."""
        return self.disabled_at is None and (self.expires_at is None or self.expires_at > now)

    def is_in_use(self, now: datetime) -> bool:
        """Whether somebody may still call with it: it can be used, and lately was."""
        return self.is_usable(now) and self.last_use is not None and now - self.last_use.at < LATELY


class AccessKeys:
    """The access keys of one account number."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self,
        name: str,
        policy: str,
        *,
        expires_at: datetime | None = None,
        rate_limit: float | None = None,
        rate_burst: int | None = None,
    ) -> AccessKey:
        """Make an access key, with its secret, which can be shown only now.

        `policy` is an IAM policy document that its owner has checked. A key with `expires_at` (with a time zone)
        is a temporary one: its id begins with ASIA and it comes with a session token.
        """
        key = AccessKey(
            access_key_id=(_TEMPORARY if expires_at else _PERMANENT) + self._pick(_ID_ALPHABET, 16),
            name=name,
            secret_access_key=SecretStr(self._pick(_SECRET_ALPHABET, 40)),
            policy=policy,
            session_token=SecretStr(self._pick(_SECRET_ALPHABET, 64)) if expires_at else None,
            expires_at=expires_at,
            rate_limit=rate_limit,
            rate_burst=rate_burst,
        )
        async with self._database.writing() as session:
            session.add(
                AccessKeyRow(
                    access_key_id=key.access_key_id,
                    owner=self._database.account_id,
                    name=name,
                    secret_access_key=self._database.cipher.encrypt(key.secret_access_key),
                    session_token=self._database.encrypt(key.session_token),
                    policy=policy,
                    created_at=self._database.clock(),
                    expires_at=expires_at,
                    rate_limit=rate_limit,
                    rate_burst=rate_burst,
                )
            )
        return key

    async def all(self) -> tuple[AccessKeyRecord, ...]:
        """List all access keys, also disabled and expired ones, the oldest first."""
        statement = (
            select(AccessKeyRow)
            .where(AccessKeyRow.owner == self._database.account_id)
            .order_by(AccessKeyRow.created_at, AccessKeyRow.access_key_id)
        )
        async with self._database.reading() as session:
            return tuple(_record(row) for row in await session.scalars(statement))

    async def record(self, access_key_id: str) -> AccessKeyRecord | None:
        """Return one of them, also a disabled or expired one; None if it is unknown."""
        statement = select(AccessKeyRow).where(*self._named(access_key_id))
        async with self._database.reading() as session:
            row = await session.scalar(statement)
        return None if row is None else _record(row)

    async def find(self, access_key_id: str) -> AccessKey | None:
        """Return the key with its secret, expired or not, or None if it is unknown or disabled."""
        statement = select(AccessKeyRow).where(*self._named(access_key_id), AccessKeyRow.disabled_at.is_(None))
        async with self._database.reading() as session:
            row = await session.scalar(statement)
        if row is None:
            return None
        return AccessKey(
            access_key_id=row.access_key_id,
            name=row.name,
            secret_access_key=self._database.cipher.decrypt(row.secret_access_key),
            policy=row.policy,
            session_token=self._database.decrypt(row.session_token),
            expires_at=row.expires_at,
            rate_limit=row.rate_limit,
            rate_burst=row.rate_burst,
        )

    async def usable(self, access_key_ids: Collection[str]) -> set[str]:
        """Return those of the ids that are access keys and not disabled."""
        statement = select(AccessKeyRow.access_key_id).where(
            AccessKeyRow.access_key_id.in_(access_key_ids),
            AccessKeyRow.owner == self._database.account_id,
            AccessKeyRow.disabled_at.is_(None),
        )
        async with self._database.reading() as session:
            return set(await session.scalars(statement))

    async def disable(self, access_key_id: str) -> bool:
        """Disable an access key; False if it is unknown. A key that was disabled before keeps that date."""
        return await self._change_key(
            access_key_id,
            update(AccessKeyRow).values(disabled_at=func.coalesce(AccessKeyRow.disabled_at, self._database.clock())),
        )

    async def enable(self, access_key_id: str) -> bool:
        """Enable an access key again; False if it is unknown."""
        return await self._change_key(access_key_id, update(AccessKeyRow).values(disabled_at=None))

    async def delete(self, access_key_id: str) -> bool:
        """Delete an access key; False if it is unknown."""
        statement = delete(AccessKeyRow).where(*self._named(access_key_id)).returning(AccessKeyRow.access_key_id)
        async with self._database.writing() as session:
            return await session.scalar(statement) is not None

    async def record_uses(self, uses: Mapping[str, KeyUse]) -> None:
        """Record the latest uses, by access key id, unless later ones are recorded; unknown ids are passed over."""
        async with self._database.writing() as session:
            for access_key_id, use in uses.items():
                is_older = or_(AccessKeyRow.last_used_at.is_(None), AccessKeyRow.last_used_at < use.at)
                change = update(AccessKeyRow).values(last_used_at=use.at, last_operation=use.operation)
                await session.execute(change.where(*self._named(access_key_id), is_older))

    async def set_policy(self, access_key_id: str, policy: str) -> bool:
        """Replace an access key's policy document, which its owner has checked; False if the key is unknown."""
        return await self._change_key(access_key_id, update(AccessKeyRow).values(policy=policy))

    async def set_rate_limit(self, access_key_id: str, rate_limit: float | None, rate_burst: int | None = None) -> bool:
        """Give an access key its own limits, or the server's if None; False if the key is unknown."""
        return await self._change_key(
            access_key_id, update(AccessKeyRow).values(rate_limit=rate_limit, rate_burst=rate_burst)
        )

    async def _change_key(self, access_key_id: str, change: Update) -> bool:
        statement = change.where(*self._named(access_key_id)).returning(AccessKeyRow.access_key_id)
        async with self._database.writing() as session:
            return await session.scalar(statement) is not None

    def _named(self, access_key_id: str) -> tuple[ColumnElement[bool], ...]:
        return AccessKeyRow.access_key_id == access_key_id, AccessKeyRow.owner == self._database.account_id

    def _pick(self, alphabet: str, length: int) -> str:
        return "".join(self._database.rng.choice(alphabet) for _ in range(length))


def _record(row: AccessKeyRow) -> AccessKeyRecord:
    return AccessKeyRecord(
        access_key_id=row.access_key_id,
        name=row.name,
        policy=row.policy,
        created_at=row.created_at,
        disabled_at=row.disabled_at,
        expires_at=row.expires_at,
        rate_limit=row.rate_limit,
        rate_burst=row.rate_burst,
        last_use=KeyUse(row.last_used_at, row.last_operation) if row.last_used_at else None,
    )
