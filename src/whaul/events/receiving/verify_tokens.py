"""The tokens by which Meta asks whether a URL is ours: the installation's own, and those of the settings."""

import hmac
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import SecretStr

from whaul.events.database.columns import microseconds, moment
from whaul.events.database.store import Store
from whaul.events.people import Hashes
from whaul.secrets import Cipher

OLD_FOR: Final = timedelta(days=7)
"""How long a token is taken after another one was made."""
_READ: Final = "SELECT verify_token, old_verify_token, old_verify_token_until FROM installation WHERE owner = $1"
_MAKE: Final = "UPDATE installation SET verify_token = $2 WHERE owner = $1 AND verify_token IS NULL"
_ROTATE: Final = """
    UPDATE installation SET old_verify_token = verify_token, old_verify_token_until = $3, verify_token = $2
    WHERE owner = $1"""


class VerifyTokens:
    """The tokens. Every method raises RegistryUnavailableError, SecretKeyError."""

    def __init__(self, store: Store, cipher: Cipher, owner: str, others: Sequence[SecretStr] = ()) -> None:
        """`others` are those of the settings."""
        self._store = store
        self._cipher = cipher
        self._owner = owner
        self._others = tuple(others)

    async def current(self) -> SecretStr:
        """Return the installation's own token; make it on first use."""
        known = await self.find()
        if known is None:
            await Hashes(self._store, self._cipher, self._owner).load()  # makes the row
            await self._store.run((_MAKE, (self._owner, self._sealed())))
            [known, *_] = await self._own()  # another process may have been first
        return known

    async def find(self) -> SecretStr | None:
        """Return the installation's own token; None if nobody has needed it yet."""
        known = await self._own()
        return known[0] if known else None

    async def rotate(self) -> SecretStr:
        """Make another one; the one before is taken for `OLD_FOR` more."""
        await self.current()
        until = microseconds(datetime.now(UTC) + OLD_FOR)
        await self._store.run((_ROTATE, (self._owner, self._sealed(), until)))
        return await self.current()

    async def knows(self, token: str) -> bool:
        """Whether it is one of them, in constant time."""
        given = token.encode(errors="surrogateescape")
        known = [*self._others, *await self._own()]
        matches = [hmac.compare_digest(given, one.get_secret_value().encode()) for one in known]  # each of them
        return any(matches)

    async def _own(self) -> list[SecretStr]:
        [rows] = await self._store.run((_READ, (self._owner,)))
        found: list[SecretStr] = []
        for token, old, until in rows:
            if token is not None:
                found.append(self._cipher.decrypt(token))
            if old is not None and until is not None and moment(until) > datetime.now(UTC):
                found.append(self._cipher.decrypt(old))
        return found

    def _sealed(self) -> str:
        return self._cipher.encrypt(SecretStr(secrets.token_urlsafe(24)))
