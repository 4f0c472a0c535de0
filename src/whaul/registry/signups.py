"""Sign-ups between their two steps: begun with a token of Meta's, finished by linking an account."""

import base64
from collections.abc import Mapping
from datetime import timedelta
from hashlib import sha256
from typing import Final, NamedTuple

from pydantic import SecretStr
from sqlalchemy import delete, select

from whaul.model import GraphToken, LinkedAccount, MetaAccount
from whaul.registry.accounts import Accounts
from whaul.registry.database import Database
from whaul.registry.tables import SignupRow
from whaul.registry.tags import Tags, TagValues

LIFETIME: Final = timedelta(hours=1)
"""How long a sign-up can be finished."""


class Signup(NamedTuple):
    """One that was begun."""

    access_token: SecretStr
    callback_url: str | None = None
    """Where the account's webhooks are to go."""


class Signups:
    """The sign-ups of one account number."""

    def __init__(self, database: Database, accounts: Accounts, tags: Tags) -> None:
        self._database = database
        self._accounts = accounts
        self._tags = tags

    async def begin(self, signup: Signup) -> SecretStr:
        """Keep it for the second step, and return the token that names it: 43 characters."""
        token = base64.urlsafe_b64encode(self._database.rng.randbytes(32)).rstrip(b"=").decode()
        now = self._database.clock()
        async with self._database.writing() as session:
            await session.execute(delete(SignupRow).where(SignupRow.expires_at <= now))
            session.add(
                SignupRow(
                    token_hash=_hash(token),
                    owner=self._database.account_id,
                    access_token=self._database.cipher.encrypt(_written(signup)),
                    expires_at=now + LIFETIME,
                )
            )
        return SecretStr(token)

    async def find(self, token: SecretStr) -> Signup | None:
        """Find a sign-up; None when it is unknown, finished or too old."""
        statement = select(SignupRow.access_token).where(
            SignupRow.token_hash == _hash(token.get_secret_value()),
            SignupRow.owner == self._database.account_id,
            SignupRow.expires_at > self._database.clock(),
        )
        async with self._database.reading() as session:
            stored = self._database.decrypt(await session.scalar(statement))
        return None if stored is None else _read(stored)

    async def finish(
        self, token: SecretStr, account: MetaAccount, access: GraphToken, tags: Mapping[str, TagValues]
    ) -> LinkedAccount | None:
        """Link the account, set tags by resource id, and end the sign-up; None if somebody else just did.

        Raises TooManyTagsError, and nothing is done then.
        """
        used = (
            delete(SignupRow)
            .where(
                SignupRow.token_hash == _hash(token.get_secret_value()), SignupRow.owner == self._database.account_id
            )
            .returning(SignupRow.token_hash)
        )
        async with self._database.writing() as session:
            if await session.scalar(used) is None:
                return None
            linked = await self._accounts.link_in(session, account, access)
            for resource_id, values in tags.items():
                await self._tags.set_in(session, resource_id, values)
            return linked


def _written(signup: Signup) -> SecretStr:
    """Write the URL, if there is one, as a second line: a token has no line end."""
    token = signup.access_token.get_secret_value()
    return SecretStr(token if signup.callback_url is None else f"{token}\n{signup.callback_url}")


def _read(stored: SecretStr) -> Signup:
    token, _, url = stored.get_secret_value().partition("\n")
    return Signup(SecretStr(token), url or None)


def _hash(token: str) -> str:
    return sha256(token.encode()).hexdigest()
