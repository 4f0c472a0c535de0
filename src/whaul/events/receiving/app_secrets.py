"""The app secrets that webhooks are signed with: which are known, and who may speak for whom.

A secret of the operator's settings is good for every account. One that came with a linked account is that customer's:
it is good for the accounts of the same app, and for accounts that nobody has linked. So whoever knows one customer's
secret can neither write another's messages, nor make them vanish as duplicates.
"""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from pydantic import SecretStr

from whaul.events.database.store import Store
from whaul.events.receiving.signatures import meta_key, meta_matches
from whaul.events.routing import GENERATION, Account
from whaul.secrets import Cipher

MAX_TRIED: Final = 32
"""Secrets that are tried for a webhook whose URL does not name its app."""
LARGE_BODY: Final = 256 * 1024
"""Bytes of a body from which fewer are tried, since each costs as much as the body is long."""
MAX_TRIED_LARGE: Final = 8
STEP: Final = 500
"""Secrets that are decrypted in a row; each takes some 25 microseconds, and other work goes on in between."""
_LINKED: Final = """
    SELECT id, app_id, app_secret FROM accounts WHERE owner = $1 AND app_secret IS NOT NULL ORDER BY linked_at, id"""


@dataclass(frozen=True, slots=True)
class AppSecret:
    """A secret, and what is known of its app."""

    secret: SecretStr
    app_id: str | None
    """None where nobody has asked Meta."""
    position: int = 1
    """Its place among those of its app: in a rotation it shows which one is still in use."""
    is_operators: bool = False
    account_ids: frozenset[str] = field(default=frozenset())
    """Those that it came with."""

    def may_speak_for(self, account: Account | None) -> bool:
        """Whether it may tell of an account; None is one that nobody has linked."""
        if self.is_operators:
            return True
        if account is None:
            return self.app_id is not None
        return account.id in self.account_ids or (self.app_id is not None and account.app_id == self.app_id)


class AppSecrets:
    """Those that are known. What is in the database is read anew within seconds of a change of the accounts."""

    def __init__(self, store: Store, cipher: Cipher, owner: str, operators: Mapping[str, Sequence[SecretStr]]) -> None:
        """`operators` are the secrets of the settings by app id."""
        self._store = store
        self._cipher = cipher
        self._owner = owner
        self._operators = tuple(
            AppSecret(secret, app_id, position, is_operators=True)
            for app_id, secrets in operators.items()
            for position, secret in enumerate(secrets, start=1)
        )
        self._known: tuple[AppSecret, ...] | None = None
        self._generation: int | None = None
        """Of the accounts that they are of."""
        self._decrypted: dict[str, str] = {}
        """What they are stored as, and what that is in plain text: there may be a hundred thousand."""
        self._key = lru_cache(2 * MAX_TRIED)(meta_key)
        self._last: AppSecret | None = None
        """The one that matched last."""

    @property
    def are_read(self) -> bool:
        """Whether they have been read: until then nobody can say that a signature is wrong."""
        return self._known is not None

    def __len__(self) -> int:
        return len(self._known or ())

    async def read(self) -> None:
        """Read them, if accounts have changed. Raises RegistryUnavailableError, SecretKeyError; the known stay so."""
        [(generation,)] = await self._store.read(GENERATION, self._owner)
        if generation == self._generation:
            return
        linked: dict[tuple[str | None, str], set[str]] = {}
        decrypted: dict[str, str] = {}
        for account_id, app_id, sealed in await self._store.read(_LINKED, self._owner):
            secret = self._decrypted.get(sealed)
            if secret is None:
                secret = self._cipher.decrypt(sealed).get_secret_value()
                if len(decrypted) % STEP == 0:
                    await asyncio.sleep(0)
            decrypted[sealed] = secret
            linked.setdefault((app_id, secret), set()).add(account_id)
        theirs = {(secret.app_id, secret.secret.get_secret_value()) for secret in self._operators}
        positions: dict[str | None, int] = {}
        found = list(self._operators)
        for (app_id, secret), account_ids in linked.items():
            if (app_id, secret) not in theirs:
                positions[app_id] = positions.get(app_id, 0) + 1
                found.append(
                    AppSecret(SecretStr(secret), app_id, positions[app_id], account_ids=frozenset(account_ids))
                )
        self._known, self._decrypted, self._generation = tuple(found), decrypted, generation

    def find(self, digest: bytes, body: bytes, app_id: str | None) -> AppSecret | None:
        """Find the secret that signed a body: one of the app's if the URL named it, else one of all that are tried."""
        for secret in self._tried(len(body), app_id):
            if meta_matches(digest, self._key(secret.secret), body):
                self._last = secret
                return secret
        return None

    def untried(self) -> Collection[str]:
        """Return the apps, by id, whose webhooks must come to the URL with their id."""
        return dict.fromkeys(secret.app_id or "unknown" for secret in (self._known or ())[MAX_TRIED:])

    def _tried(self, size: int, app_id: str | None) -> Iterator[AppSecret]:
        known = self._known or ()
        if app_id is not None:
            yield from (secret for secret in known if secret.app_id == app_id)
            return
        tried = known[:MAX_TRIED]
        if size > LARGE_BODY:
            last = [secret for secret in tried if secret == self._last]
            tried = (*last, *(secret for secret in tried if secret != self._last))[:MAX_TRIED_LARGE]
        yield from tried
