"""Destinations in the database: added, changed, stopped, removed.

Every change raises the generation in its transaction (see `routing`), so that it counts from the next webhook on, in
every process.
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import SecretStr

from whaul.events.database.store import Statement, Store, UnfitDataError
from whaul.events.filters import Filter
from whaul.events.routing import DESTINATION_COLUMNS, Destination, raise_generation, read_destination, write_filter
from whaul.secrets import Cipher

NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
"""What a destination may be called."""
API_NAME: Final = "api-"
"""How the names of those begin that the API sets; the hex of the account follows."""
DEFAULT_CONCURRENCY: Final = 16
SIGNS_ON: Final = 24 * 3600
"""Seconds for which the old secret signs besides the new one."""
PROBE_PAUSE: Final = 60
"""Seconds between two looks whether an open destination is back."""
_MICROSECONDS: Final = 1_000_000


_NAMED: Final = "SELECT number FROM destinations WHERE owner = $1 AND name = $2 AND removed_at IS NULL"
_ATTACHED: Final = """
    SELECT DISTINCT destination, account_id FROM destination_accounts JOIN destinations ON number = destination
    WHERE owner = $1 ORDER BY account_id"""


class DestinationExistsError(ValueError):
    """There is a destination of this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDestination:
    """A destination that is to be added."""

    name: str
    target: str
    """An ARN or a URL that was checked."""
    account_ids: Collection[str]
    format: str = "aws"
    ordered: bool = False
    concurrency: int = DEFAULT_CONCURRENCY
    filter: Filter = field(default_factory=Filter)
    attributes: bool = False
    media_wait: int = 0
    """Seconds."""
    role_arn: str | None = None
    secret: SecretStr | None = None
    headers: Mapping[str, SecretStr] = field(default_factory=dict)
    """Headers for HTTPS; for a broker what to log in with."""
    by_api: bool = False


class Destinations:
    """Those of one account number. Methods raise RegistryUnavailableError, and SecretKeyError where they read."""

    def __init__(self, store: Store, cipher: Cipher, owner: str) -> None:
        self._store = store
        self._cipher = cipher
        self._owner = owner

    async def all(self) -> list[Destination]:
        """List them by name."""
        return await self._read("removed_at IS NULL")

    async def find(self, name: str) -> Destination | None:
        """Find one by its name."""
        found = await self._read("removed_at IS NULL AND name = $2", name)
        return found[0] if found else None

    async def add(self, new: NewDestination) -> Destination:
        """Add a destination. Raises DestinationExistsError."""
        values: dict[str, Any] = {
            "owner": self._owner,
            "name": new.name,
            "target": new.target,
            "format": new.format,
            "ordered": new.ordered,
            "concurrency": new.concurrency,
            "filter": write_filter(new.filter),
            "attributes": new.attributes,
            "media_wait": new.media_wait,
            "role_arn": new.role_arn,
            "secret": None if new.secret is None else self._cipher.encrypt(new.secret),
            "headers": self._sealed_headers(new.headers),
            "state": "active",
            "stopped_for": 0,
        }
        marks = ", ".join(f"${place}" for place in range(1, len(values) + 1))
        insert = f"""
            INSERT INTO destinations ({", ".join(values)}, created_at) VALUES ({marks}, {self._store.now})
            RETURNING number"""
        attach = [self._attach(new.name, account_id, by_api=new.by_api) for account_id in new.account_ids]
        try:
            [[(number,)], *_] = await self._store.run((insert, tuple(values.values())), *attach, self._changed())
        except UnfitDataError:
            raise DestinationExistsError(f"there is a destination named {new.name}") from None
        [found] = await self._read("number = $2", number)
        return found

    async def attach(self, name: str, account_id: str, *, by_api: bool) -> None:
        """Send an account's events to a destination, too; nothing happens if they are sent there already."""
        await self._store.run(self._attach(name, account_id, by_api=by_api), self._changed())

    async def detach(self, name: str, account_id: str, *, by_api: bool) -> bool:
        """Send an account's events there no longer; False unless it was attached in the same way."""
        statement = f"""
            DELETE FROM destination_accounts WHERE account_id = $3 AND by_api = $4
              AND destination IN ({_NAMED}) RETURNING destination"""
        rows, _ = await self._store.run((statement, (self._owner, name, account_id, by_api)), self._changed())
        return bool(rows)

    async def pause(self, name: str) -> bool:
        """Deliver nothing until it is resumed; False if there is no such destination."""
        return await self._change(name, f"state = 'paused', stopped_at = coalesce(stopped_at, {self._store.now})")

    async def resume(self, name: str) -> bool:
        """Deliver again, whatever it was that stopped it."""
        return await self._change(name, self._running())

    async def remove(self, name: str) -> bool:
        """Remove a destination. What waits for it is dropped, by the servers and little by little."""
        return await self._change(name, f"removed_at = {self._store.now}")

    async def rotate(self, name: str, secret: SecretStr) -> bool:
        """Sign with a new secret; the old one signs besides for a day."""
        until = f"{self._store.now} + {SIGNS_ON * _MICROSECONDS}"
        fresh = self._cipher.encrypt(secret)
        return await self._change(name, f"old_secret = secret, old_secret_until = {until}, secret = $3", fresh)

    async def replace_headers(self, name: str, headers: Mapping[str, SecretStr]) -> bool:
        """Send other headers, or log in with other credentials."""
        return await self._change(name, "headers = $3", self._sealed_headers(headers))

    async def stop(self, number: int, state: str, error: str) -> bool:
        """Write that an active destination refuses everything: it is `open`, or `disabled`. Its clock stands still."""
        now = self._store.now
        statement = f"""
            UPDATE destinations SET state = $2, stopped_at = {now}, last_error = $3,
              probe_at = {now} + {PROBE_PAUSE * _MICROSECONDS}
            WHERE number = $1 AND state = 'active' RETURNING number"""
        sealed = self._cipher.encrypt(SecretStr(error))
        rows, _ = await self._store.run((statement, (number, state, sealed)), self._changed())
        return bool(rows)

    async def restart(self, number: int) -> bool:
        """Write that an open destination takes events again."""
        statement = f"UPDATE destinations SET {self._running()} WHERE number = $1 AND state = 'open' RETURNING number"
        rows, _ = await self._store.run((statement, (number,)), self._changed())
        return bool(rows)

    async def probes(self) -> list[int]:
        """Claim the open destinations of which it is time to see whether they are back."""
        statement = f"""
            UPDATE destinations SET probe_at = {self._store.now} + {PROBE_PAUSE * _MICROSECONDS}
            WHERE owner = $1 AND state = 'open' AND removed_at IS NULL AND probe_at <= {self._store.now}
            RETURNING number"""
        [rows] = await self._store.run((statement, (self._owner,)))
        return [row[0] for row in rows]

    async def forget(self, number: int) -> None:
        """Delete a destination that was removed a while ago, and has nothing left."""
        statement = f"""
            DELETE FROM destinations WHERE number = $1 AND removed_at < {self._store.now} - {60 * _MICROSECONDS}
              AND NOT EXISTS (SELECT 1 FROM deliveries WHERE destination = $1 AND state IN ('pending', 'dead'))
            RETURNING number"""
        [rows] = await self._store.run((statement, (number,)))
        if rows:
            attached = "DELETE FROM destination_accounts WHERE destination = $1"
            await self._store.run((attached, (number,)), self._changed())

    def _running(self) -> str:
        now = self._store.now
        return f"""
            state = 'active', stopped_for = stopped_for + coalesce({now} - stopped_at, 0),
            stopped_at = NULL, probe_at = NULL, last_error = NULL"""

    def _changed(self) -> Statement:
        return raise_generation(self._owner)

    async def _change(self, name: str, assignments: str, *parameters: Any) -> bool:
        statement = f"""
            UPDATE destinations SET {assignments} WHERE number IN ({_NAMED}) RETURNING number"""
        rows, _ = await self._store.run((statement, (self._owner, name, *parameters)), self._changed())
        return bool(rows)

    def _attach(self, name: str, account_id: str, *, by_api: bool) -> Statement:
        statement = f"""
            INSERT INTO destination_accounts (destination, account_id, by_api)
            SELECT number, $3, $4 FROM ({_NAMED}) AS named WHERE true ON CONFLICT DO NOTHING"""
        return statement, (self._owner, name, account_id, by_api)

    async def _read(self, condition: str, *parameters: Any) -> list[Destination]:
        rows, attached = await self._store.run(
            (
                f"SELECT {DESTINATION_COLUMNS} FROM destinations WHERE owner = $1 AND {condition} ORDER BY name",
                (self._owner, *parameters),
            ),
            (_ATTACHED, (self._owner,)),
        )
        accounts: dict[int, list[str]] = {}
        for number, account_id in attached:
            accounts.setdefault(number, []).append(account_id)
        return [read_destination(row, self._cipher, accounts.get(row[0], ())) for row in rows]

    def _sealed_headers(self, headers: Mapping[str, SecretStr]) -> str | None:
        if not headers:
            return None
        plain = json.dumps({name: value.get_secret_value() for name, value in headers.items()})
        return self._cipher.encrypt(SecretStr(plain))
