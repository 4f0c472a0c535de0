"""Sign-ins to the console: links that are good for one, and sessions. Both name an access key, and hold no secret."""

import base64
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, NamedTuple

from pydantic import SecretStr
from sqlalchemy import ColumnElement, delete, select, update

from whaul.registry.database import Database
from whaul.registry.tables import ConsoleLinkRow, ConsoleSessionRow

LINK_LIFE: Final = timedelta(seconds=60)
"""How long a link is good, unless it was asked for otherwise."""
SESSION_LIFE: Final = timedelta(hours=8)
"""How long a session lasts at most."""
IDLE_LIFE: Final = timedelta(minutes=30)
"""How long a session lasts that nobody uses."""
_USED: Final = timedelta(minutes=1)
"""How old the time of a session's last use may be: a page need not write."""


class ConsoleSession(NamedTuple):
    """Who is signed in."""

    access_key_id: str
    person: str | None = None
    """Whom a sign-in provider named; None if an access key is all that is known."""


class ConsoleSignIns:
    """Those of one account number. Of tokens only hashes are kept."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def make_link(self, access_key_id: str, life: timedelta = LINK_LIFE) -> SecretStr:
        """Make a link for an access key; return its token."""
        token, now = self._token(), self._database.clock()
        async with self._database.writing() as session:
            await session.execute(delete(ConsoleLinkRow).where(ConsoleLinkRow.expires_at <= now))
            session.add(
                ConsoleLinkRow(
                    token_hash=_hash(token),
                    owner=self._database.account_id,
                    access_key_id=access_key_id,
                    expires_at=now + life,
                )
            )
        return SecretStr(token)

    async def use_link(self, token: str) -> str | None:
        """Use a link up; return its access key, or None if it is unknown, used or too old."""
        used = (
            delete(ConsoleLinkRow)
            .where(ConsoleLinkRow.token_hash == _hash(token), ConsoleLinkRow.owner == self._database.account_id)
            .returning(ConsoleLinkRow.access_key_id, ConsoleLinkRow.expires_at)
        )
        async with self._database.writing() as session:
            found = (await session.execute(used)).first()
        return found.access_key_id if found is not None and found.expires_at > self._database.clock() else None

    async def begin(self, access_key_id: str, until: datetime | None = None, person: str | None = None) -> SecretStr:
        """Begin a session, which ends at `until` at the latest; return its token."""
        token, now = self._token(), self._database.clock()
        end = min(now + SESSION_LIFE, until or now + SESSION_LIFE)
        async with self._database.writing() as session:
            await session.execute(delete(ConsoleSessionRow).where(ConsoleSessionRow.expires_at <= now))
            session.add(
                ConsoleSessionRow(
                    token_hash=_hash(token),
                    owner=self._database.account_id,
                    access_key_id=access_key_id,
                    begun_at=now,
                    used_at=now,
                    expires_at=end,
                    person=person,
                )
            )
        return SecretStr(token)

    async def find(self, token: str, *, uses: bool) -> ConsoleSession | None:
        """Return whose a session is; None if there is no such session, or it is over.

        `uses` says whether somebody uses it now, and it is not only looked at.
        """
        now = self._database.clock()
        row = ConsoleSessionRow
        statement = select(row.access_key_id, row.used_at, row.person).where(
            *self._named(token), row.expires_at > now, row.used_at > now - IDLE_LIFE
        )
        async with self._database.reading() as session:
            found = (await session.execute(statement)).first()
        if found is None:
            return None
        if uses and found.used_at <= now - _USED:
            async with self._database.writing() as session:
                await session.execute(update(row).where(*self._named(token)).values(used_at=now))
        return ConsoleSession(found.access_key_id, found.person)

    async def end(self, token: str) -> None:
        """End a session."""
        async with self._database.writing() as session:
            await session.execute(delete(ConsoleSessionRow).where(*self._named(token)))

    def _named(self, token: str) -> tuple[ColumnElement[bool], ...]:
        return ConsoleSessionRow.token_hash == _hash(token), ConsoleSessionRow.owner == self._database.account_id

    def _token(self) -> str:
        return base64.urlsafe_b64encode(self._database.rng.randbytes(32)).rstrip(b"=").decode()


def _hash(token: str) -> str:
    return sha256(token.encode(errors="surrogatepass")).hexdigest()
