"""Sign-ups between their two steps: begun with a token of Meta's, finished by linking an account."""

import base64
from collections.abc import Mapping
from datetime import timedelta
from hashlib import sha256
from typing import Final

from pydantic import SecretStr
from sqlalchemy import delete, select

from whaul.registry.accounts import Accounts
from whaul.registry.models import SignupRow
from whaul.registry.records import LinkedAccount, NewAccount, Tags

LIFETIME: Final = timedelta(hours=1)
"""How long a sign-up can be finished."""


class Signups(Accounts):
    """The sign-ups of one account number."""

    async def begin_signup(self, access_token: SecretStr) -> SecretStr:
        """Keep Meta's token for the second step, and answer the token that names it: 43 characters."""
        token = base64.urlsafe_b64encode(self._rng.randbytes(32)).rstrip(b"=").decode()
        now = self._clock()
        async with self._writing() as session:
            await session.execute(delete(SignupRow).where(SignupRow.expires_at <= now))
            session.add(
                SignupRow(
                    token_hash=_hash(token),
                    owner=self._account_id,
                    access_token=self._cipher.encrypt(access_token),
                    expires_at=now + LIFETIME,
                )
            )
        return SecretStr(token)

    async def signup(self, token: SecretStr) -> SecretStr | None:
        """Find Meta's token of a sign-up; None when it is unknown, finished or too old."""
        statement = select(SignupRow.access_token).where(
            SignupRow.token_hash == _hash(token.get_secret_value()),
            SignupRow.owner == self._account_id,
            SignupRow.expires_at > self._clock(),
        )
        async with self._reading() as session:
            return self._decrypt(await session.scalar(statement))

    async def finish_signup(self, token: SecretStr, new: NewAccount, tags: Mapping[str, Tags]) -> LinkedAccount | None:
        """Link the account, set tags by resource id, and use the sign-up up; None when somebody else just did.

        Raises TooManyTagsError, and nothing is done then.
        """
        used = (
            delete(SignupRow)
            .where(SignupRow.token_hash == _hash(token.get_secret_value()), SignupRow.owner == self._account_id)
            .returning(SignupRow.token_hash)
        )
        async with self._writing() as session:
            if await session.scalar(used) is None:
                return None
            account = await self._link(session, new)
            for resource_id, given in tags.items():
                await self._set_tags(session, resource_id, given)
            return account


def _hash(token: str) -> str:
    return sha256(token.encode()).hexdigest()
