"""Accounts whose files wait: Meta refused their token, or they are not linked any more.

    theory of operation

One row for each such account is the truth (`parked_accounts`); the state `parked` of its files follows, slice by slice.
The row says by which token it was refused: by the beginning of the encrypted token, which holds the time and the random
part of the encryption, and nothing of the secret. An account that has another token by now, since it was linked again,
is released by whoever looks next; every process looks every second. And now and then one of the files is tried with
the old token, since a right that was missing at Meta may be given without a new one.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from pydantic import SecretStr

from whaul.events.archive.files import EXPIRED, LAST_CHANCE, UNDONE_LIFE, Files
from whaul.events.database.columns import listed, microseconds_now, moment
from whaul.events.database.duties import Duty
from whaul.events.database.store import Store
from whaul.model import GraphToken
from whaul.secrets import Cipher

PAGE: Final = 500
"""Files that are changed at a time."""
PROBE_PAUSE: Final = 300
"""Seconds between two looks whether Meta takes a token again."""
CLEAN_UP: Final = 60.0
"""Seconds between two looks for files that follow their account too late, or whose time is over."""
MAX_SHOWN: Final = 1000
"""Parked accounts that are listed at once."""
_BEGINNING: Final = 32
"""Characters of an encrypted token that tell it from any other."""
_SECOND: Final = 1_000_000


class Parked(NamedTuple):
    """An account whose files wait."""

    reason: str
    since: datetime
    probe_at: datetime
    """When one of its files is tried, with the same token."""


async def parked(
    store: Store, cipher: Cipher, owner: str, account_ids: Collection[str] | None = None
) -> Mapping[str, Parked]:
    """Say which linked accounts are parked, of these or of all; not those that have another token by now.

    Raises RegistryUnavailableError and SecretKeyError.
    """
    chosen = "" if account_ids is None else f"AND a.id IN (SELECT id FROM {store.rows('$2', id='text')})"
    statement = f"""
        SELECT a.id, p.reason, p.parked_at, p.probe_at FROM parked_accounts p JOIN accounts a ON a.id = p.account_id
        WHERE p.owner = $1 AND substr(a.access_token, 1, {_BEGINNING}) = p.token {chosen}
        ORDER BY p.parked_at DESC LIMIT {MAX_SHOWN}"""
    rows = await store.read(statement, owner, *([] if account_ids is None else [listed(account_ids)]))
    return {
        id_: Parked(cipher.decrypt(reason).get_secret_value(), moment(since), moment(probe_at))
        for id_, reason, since, probe_at in rows
    }


class Parking:
    """That of one account number, as one process sees it."""

    def __init__(self, store: Store, cipher: Cipher, owner: str, files: Files) -> None:
        self._store = store
        self._cipher = cipher
        self._owner = owner
        self._files = files
        self._duty = Duty(store, owner, "parking", CLEAN_UP)
        self.accounts: frozenset[str] = frozenset()
        """Those that are parked, as they were read last."""

    async def token(self, account_id: str) -> tuple[GraphToken, str] | None:
        """Read an account's token, and how to name it to `park`; None if the account is not linked."""
        statement = "SELECT access_token, app_secret FROM accounts WHERE id = $1 AND owner = $2"
        rows = await self._store.read(statement, account_id, self._owner)
        if not rows:
            return None
        [(access_token, app_secret)] = rows
        secret = None if app_secret is None else self._cipher.decrypt(app_secret)
        return GraphToken(self._cipher.decrypt(access_token), secret), access_token[:_BEGINNING]

    async def park(self, account_id: str, token: str, reason: str) -> None:
        """Let an account's files wait; `token` is as `token` named it, empty for an account that is not linked."""
        now = self._store.now
        statement = f"""
            INSERT INTO parked_accounts (account_id, owner, token, reason, parked_at, probe_at)
            VALUES ($1, $2, $3, $4, {now}, {now} + {PROBE_PAUSE * _SECOND})
            ON CONFLICT (account_id) DO UPDATE SET token = excluded.token, reason = excluded.reason,
              probe_at = excluded.probe_at"""
        sealed = self._cipher.encrypt(SecretStr(reason))
        await self._store.run((statement, (account_id, self._owner, token, sealed)))
        self.accounts |= {account_id}

    async def release(self, account_id: str) -> None:
        """Let an account's files go on."""
        await self._store.run(("DELETE FROM parked_accounts WHERE account_id = $1", (account_id,)))
        self.accounts -= {account_id}
        await self._unpark()

    async def refresh(self, on_released: Callable[[], None]) -> None:
        """Look which accounts are parked; release those that have another token by now."""
        statement = f"""
            SELECT account_id, reason, coalesce(substr(access_token, 1, {_BEGINNING}), '') IN ('', p.token)
            FROM parked_accounts p LEFT JOIN accounts ON accounts.id = account_id WHERE p.owner = $1"""
        rows = await self._store.read(statement, self._owner)
        before, self.accounts = self.accounts, frozenset(row[0] for row in rows)
        for account_id, reason, stays in rows:
            if stays:
                await self._follow(account_id, self._cipher.decrypt(reason).get_secret_value())
            else:
                await self.release(account_id)
        if before - self.accounts:
            await self._unpark()
            on_released()

    async def clean_up(self) -> list[str]:
        """Look for parked files that were left behind; return those that failed, since Meta is about to forget them."""
        if not await self._duty.is_ours():
            return []
        await self._unpark()
        return await self._expire()

    async def probes(self) -> list[str]:
        """Claim the parked accounts of which it is time to try a file; return such a file of each, to be claimed."""
        now = self._store.now
        if not self.accounts:
            return []
        due = f"""
            UPDATE parked_accounts SET probe_at = {now} + {PROBE_PAUSE * _SECOND}
            WHERE owner = $1 AND token <> '' AND probe_at <= {now} RETURNING account_id"""
        [accounts] = await self._store.run((due, (self._owner,)))
        found = []
        for (account_id,) in accounts:
            statement = f"""
                UPDATE files SET state = 'pending', due_at = {now} WHERE id IN (
                  SELECT id FROM files WHERE account_id = $1 AND state = 'parked'
                  ORDER BY fence, expires_at LIMIT 1 {self._store.for_update}) RETURNING id"""
            [rows] = await self._store.run((statement, (account_id,)))
            found += [row[0] for row in rows]
        return found

    async def _follow(self, account_id: str, reason: str) -> None:
        """Park files that came, or were given back, since their account was parked."""
        statement = f"""
            UPDATE files SET state = 'parked', lease_owner = NULL, fence = fence + 1, takeovers = 0,
              last_error = $2, key_id = $3
            WHERE id IN (
              SELECT id FROM files WHERE account_id = $1 AND state = 'pending'
                AND (lease_owner IS NULL OR due_at <= {self._store.now}) LIMIT {PAGE} {self._store.for_update})
            RETURNING id"""
        sealed = self._cipher.seal(reason.encode())
        await self._store.run((statement, (account_id, sealed, self._cipher.key_ids[0])))

    async def _unpark(self) -> None:
        """Make the files due whose account is not parked any more, those first that Meta forgets first."""
        statement = f"""
            UPDATE files SET state = 'pending', due_at = expires_at - {UNDONE_LIFE}, lease_owner = NULL WHERE id IN (
              SELECT id FROM files WHERE state = 'parked' AND account_id IN (
                SELECT id FROM accounts WHERE owner = $1
                  AND id NOT IN (SELECT account_id FROM parked_accounts WHERE owner = $1))
              ORDER BY expires_at LIMIT {PAGE} {self._store.for_update}) RETURNING id"""
        while (await self._store.run((statement, (self._owner,))))[0]:
            pass

    async def _expire(self) -> list[str]:
        """End parked files that Meta is about to forget; return their ids."""
        statement = f"""
            UPDATE files SET state = 'failed', done_at = {self._store.now}, last_error = $2, key_id = $3
            WHERE id IN (
              SELECT id FROM files WHERE state = 'parked' AND account_id IN (
                SELECT account_id FROM parked_accounts WHERE owner = $1
                UNION SELECT account_id FROM archives WHERE owner = $1)
                AND expires_at <= $4 LIMIT {PAGE} {self._store.for_update}) RETURNING id"""
        sealed = self._cipher.seal(f"{EXPIRED} while its account was parked".encode())
        until = microseconds_now() + int(LAST_CHANCE * _SECOND)
        parameters = (self._owner, sealed, self._cipher.key_ids[0], until)
        ended: list[str] = []
        while found := (await self._store.run((statement, parameters)))[0]:
            ended += [row[0] for row in found]
        return ended
