"""The tokens by which Meta asks whether a URL is ours: the installation's own, and those of the settings."""

import asyncio
import hmac
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from pydantic import SecretStr

from whaul.events.database.columns import microseconds, moment
from whaul.events.database.store import Store
from whaul.events.people import Hashes
from whaul.secrets import Cipher

OLD_FOR: Final = timedelta(days=7)
"""How long a token is taken after another one was made."""
READ_PAUSE: Final = 1.0
"""Seconds between two looks for tokens, however many strangers ask."""
MAX_AGE: Final = 60.0
"""Seconds after which those in memory are read again before one of them is taken."""
_READ: Final = "SELECT verify_token, old_verify_token, old_verify_token_until FROM installation WHERE owner = $1"
_MAKE: Final = "UPDATE installation SET verify_token = $2 WHERE owner = $1 AND verify_token IS NULL"
_ROTATE: Final = """
    UPDATE installation SET old_verify_token = verify_token, old_verify_token_until = $3, verify_token = $2
    WHERE owner = $1"""


class VerifyToken(NamedTuple):
    """One that is taken."""

    secret: SecretStr
    until: datetime | None = None


class VerifyTokens:
    """The installation's own tokens. Every method raises RegistryUnavailableError, SecretKeyError."""

    def __init__(self, store: Store, cipher: Cipher, owner: str) -> None:
        self._store = store
        self._cipher = cipher
        self._owner = owner

    async def current(self) -> SecretStr:
        """Return the installation's own token; make it on first use."""
        known = await self.find()
        if known is None:
            await Hashes(self._store, self._cipher, self._owner).load()  # makes the row
            await self._store.run((_MAKE, (self._owner, self._sealed())))
            [(known, _), *_] = await self.all()  # another process may have been first
        return known

    async def find(self) -> SecretStr | None:
        """Return the installation's own token; None if nobody has needed it yet."""
        known = await self.all()
        return known[0].secret if known else None

    async def rotate(self) -> SecretStr:
        """Make another one; the one before is taken for `OLD_FOR` more."""
        await self.current()
        until = microseconds(datetime.now(UTC) + OLD_FOR)
        await self._store.run((_ROTATE, (self._owner, self._sealed(), until)))
        return await self.current()

    async def all(self) -> list[VerifyToken]:
        """Return the current one, if there is one, and the one before it."""
        [rows] = await self._store.run((_READ, (self._owner,)))
        found: list[VerifyToken] = []
        for token, old, until in rows:
            if token is not None:
                found.append(VerifyToken(self._cipher.decrypt(token)))
            if old is not None and until is not None:
                found.append(VerifyToken(self._cipher.decrypt(old), moment(until)))
        return found

    def _sealed(self) -> str:
        return self._cipher.encrypt(SecretStr(secrets.token_urlsafe(24)))


class AcceptedTokens:
    """All tokens that are taken, in memory: anybody may ask, and as often as they like.

    A token that is not known may have been made a moment ago, so the database is asked before it is refused, but once
    for all who ask in the same `READ_PAUSE`.
    """

    def __init__(self, own: VerifyTokens, others: Sequence[SecretStr], pause: float = READ_PAUSE) -> None:
        """`others` are those of the settings; `pause` is in seconds."""
        self._own = own
        self._others = [VerifyToken(other) for other in others]
        self._pause = pause
        self._known: Sequence[VerifyToken] = ()
        self._read_at = float("-inf")
        self._next: asyncio.Future[None] | None = None

    async def include(self, token: str) -> bool:
        """Whether it is one of them, in constant time. Raises RegistryUnavailableError, SecretKeyError."""
        given = token.encode(errors="surrogateescape")
        if asyncio.get_running_loop().time() - self._read_at < MAX_AGE and self._match(given):
            return True
        if self._next is None:
            self._next = asyncio.ensure_future(self._read())
            self._next.add_done_callback(lambda read: read.cancelled() or read.exception())  # if nobody waits any more
        await asyncio.shield(self._next)
        return self._match(given)

    def _match(self, given: bytes) -> bool:
        now = datetime.now(UTC)
        known = [one.secret for one in (*self._others, *self._known) if one.until is None or one.until > now]
        return sum(hmac.compare_digest(given, one.get_secret_value().encode()) for one in known) > 0  # each of them

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._read_at + self._pause - loop.time())
        self._read_at, self._next = loop.time(), None  # who asks from now on wants a later look
        self._known = await self._own.all()
