"""The event destination of an account as the AWS API has it: none, or one.

It is a topic, a queue or a bus, which gets a destination of its own here (`api-<hex of the account>`), or a destination
that was made by command, which the account is added to. What was attached by command stays as it is.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from whaul.arns import Arns
from whaul.events.database.store import Statement, Store, UnfitDataError
from whaul.events.delivery.destinations import API_NAME, DEFAULT_CONCURRENCY
from whaul.events.filters import Filter
from whaul.events.routing import raise_generation, write_filter
from whaul.events.targets import Options, Target, TargetError

_FOUND: Final = """
    SELECT account_id, name, target, role_arn FROM destination_accounts JOIN destinations ON number = destination
    WHERE owner = $1 AND by_api AND removed_at IS NULL"""
_DETACH: Final = """
    DELETE FROM destination_accounts WHERE account_id = $2 AND by_api AND destination IN (
      SELECT number FROM destinations WHERE owner = $1 AND (name <> $3 OR removed_at IS NOT NULL))"""
_ATTACH: Final = """
    INSERT INTO destination_accounts (destination, account_id, by_api)
    SELECT number, $2, true FROM destinations WHERE owner = $1 AND name = $3 AND removed_at IS NULL
    ON CONFLICT DO NOTHING"""
_MAKE: Final = """
    INSERT INTO destinations (owner, name, target, role_arn, format, ordered, concurrency, filter, attributes,
      media_wait, created_at, state, stopped_for)
    SELECT $1, $2, $3, $4, 'aws', false, $5, $6, false, 0, {now}, 'active', 0
    WHERE NOT EXISTS (SELECT 1 FROM destinations WHERE owner = $1 AND name = $2 AND removed_at IS NULL)"""
_CHANGE: Final = """
    UPDATE destinations SET target = $3, role_arn = $4, state = 'active', stopped_at = NULL, probe_at = NULL,
      last_error = NULL, stopped_for = stopped_for + coalesce({now} - stopped_at, 0)
    WHERE owner = $1 AND name = $2 AND removed_at IS NULL
      AND (target <> $3 OR coalesce(role_arn, '') <> coalesce($4, ''))"""
_REMOVE: Final = "UPDATE destinations SET removed_at = {now} WHERE owner = $1 AND name = $2 AND removed_at IS NULL"
_EXISTS: Final = "SELECT 1 FROM destinations WHERE owner = $1 AND name = $2 AND removed_at IS NULL"
_ATTEMPTS: Final = 3


class EventDestination(NamedTuple):
    """As the API names it."""

    arn: str
    role_arn: str | None = None
    """Kept and answered; whaul calls with its own rights."""


class ApiDestinations:
    """Those of one account number. Methods raise RegistryUnavailableError."""

    def __init__(self, store: Store, arns: Arns, make: Callable[[str, Options], Target]) -> None:
        """`make` makes the target of an address, and raises TargetError."""
        self._store = store
        self._arns = arns
        self._make = make

    async def check(self, destination: EventDestination) -> None:
        """Raise TargetError for one that events cannot be sent to."""
        name = self._arns.read_event_destination(destination.arn)
        if name is not None:
            [rows] = await self._store.run((_EXISTS, (self._owner, name)))
            if not rows or name.startswith(API_NAME):
                raise TargetError(f"There is no event destination {name}; `whaul destinations list` lists them.")
            return
        if destination.arn.endswith(".fifo"):
            raise TargetError("A FIFO topic or queue can be a destination by `whaul destinations add` only.")
        self._make(destination.arn, Options())

    async def put(self, account_id: str, destination: EventDestination | None) -> None:
        """Replace what was put before; None ends it. Events that wait go to the new one."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self._store.run(*self._statements(account_id, destination))
                return
            except UnfitDataError:  # another caller made it at this very moment
                if attempt == _ATTEMPTS:
                    raise

    async def of(self, account_ids: Iterable[str]) -> Mapping[str, list[EventDestination]]:
        """Find what was put, by account."""
        wanted = set(account_ids)
        found: dict[str, list[EventDestination]] = {}
        [rows] = await self._store.run((_FOUND, (self._owner,)))
        for account_id, name, target, role_arn in rows:
            if account_id in wanted:
                own = name == self._own_name(account_id)
                arn = target if own else self._arns.event_destination(name)
                found.setdefault(account_id, []).append(EventDestination(arn, role_arn if own else None))
        return found

    @property
    def _owner(self) -> str:
        return self._arns.account_id

    @staticmethod
    def _own_name(account_id: str) -> str:
        return API_NAME + account_id.rpartition("-")[2]

    def _statements(self, account_id: str, destination: EventDestination | None) -> list[Statement]:
        now, owner, own = self._store.now, self._owner, self._own_name(account_id)
        remove: Statement = (_REMOVE.format(now=now), (owner, own))
        if destination is None:
            statements: list[Statement] = [remove, (_DETACH, (owner, account_id, ""))]
        elif (name := self._arns.read_event_destination(destination.arn)) is not None:
            statements = [remove, (_DETACH, (owner, account_id, name)), (_ATTACH, (owner, account_id, name))]
        else:
            target, role_arn = destination
            made = (owner, own, target, role_arn, DEFAULT_CONCURRENCY, write_filter(Filter()))
            statements = [
                (_DETACH, (owner, account_id, own)),
                (_CHANGE.format(now=now), (owner, own, target, role_arn)),
                (_MAKE.format(now=now), made),
                (_ATTACH, (owner, account_id, own)),
            ]
        return [*statements, raise_generation(owner)]
