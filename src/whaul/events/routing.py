"""What an event is routed by: linked accounts, destinations and archives, held in memory by their generation.

Whoever changes one of them raises the generation in the same transaction (`raise_generation`), and the inbox compares
it in the transaction that keeps an event. So nothing is routed by what was true a moment ago.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pydantic import SecretStr

from whaul.events.database.columns import moment
from whaul.events.database.store import Row, Statement, Store
from whaul.events.filters import Filter
from whaul.events.model import Item
from whaul.registry.database import RAISE_GENERATION
from whaul.secrets import Cipher

GENERATION: Final = "SELECT coalesce((SELECT number FROM inbound_generation WHERE owner = $1), 0)"
DESTINATION_COLUMNS: Final = (
    "number, name, target, format, ordered, concurrency, filter, attributes, media_wait, role_arn, secret, old_secret, "
    "old_secret_until, headers, created_at, state, stopped_at, stopped_for, last_error, removed_at"
)

_ACCOUNTS: Final = "SELECT meta_waba_id, id, app_id FROM accounts WHERE owner = $1"
_NUMBERS: Final = """
    SELECT phone_numbers.meta_id, account_id, display_phone_number
    FROM phone_numbers JOIN accounts ON accounts.id = account_id WHERE owner = $1"""
_DESTINATIONS: Final = f"SELECT {DESTINATION_COLUMNS} FROM destinations WHERE owner = $1 ORDER BY number"
_ATTACHED: Final = """
    SELECT DISTINCT destination, account_id FROM destination_accounts JOIN destinations ON number = destination
    WHERE owner = $1 AND removed_at IS NULL ORDER BY account_id"""
_ARCHIVES: Final = "SELECT account_id, bucket, prefix, key, meta_phone_number_ids FROM archives WHERE owner = $1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where events go."""

    number: int
    """Never used again, unlike the name."""
    name: str
    target: str
    """An ARN or a URL."""
    format: str = "aws"
    ordered: bool = False
    concurrency: int = 16
    """Deliveries in flight for each process."""
    filter: Filter = field(default_factory=Filter)
    attributes: bool = False
    media_wait: int = 0
    """Seconds that a message with files waits for them."""
    role_arn: str | None = None
    secret: SecretStr | None = None
    old_secret: SecretStr | None = None
    """Signs besides the new one until `old_secret_until`."""
    old_secret_until: datetime | None = None
    headers: Mapping[str, SecretStr] = field(default_factory=dict)
    created_at: datetime
    state: str = "active"
    """`active`, `paused`, `open` or `disabled` (410)."""
    stopped_at: int | None = None
    stopped_for: int = 0
    last_error: str | None = None
    removed: bool = False
    account_ids: Sequence[str] = ()

    def running(self, now: int) -> int:
        """Read the destination's clock, which stands still while it is not active; both in microseconds."""
        return (now if self.stopped_at is None else self.stopped_at) - self.stopped_for


@dataclass(frozen=True, slots=True)
class Archive:
    """Where an account's files are kept."""

    account_id: str
    bucket: str
    prefix: str
    key: str
    """The template."""
    meta_phone_number_ids: frozenset[str]
    """Empty for all."""


@dataclass(frozen=True, slots=True)
class Account:
    """A linked account."""

    id: str
    """`waba-<32 hex>`."""
    app_id: str | None
    """Whose secret came with it."""


@dataclass(frozen=True, slots=True)
class Routes:
    """All that events are routed by, of one generation."""

    generation: int
    accounts: Mapping[str, Account]
    """By Meta's id."""
    owners: Mapping[str, str]
    """Account ids by Meta's ids of their phone numbers."""
    displayed: Mapping[str, str]
    """Meta's ids of phone numbers by their digits."""
    destinations: Mapping[int, Destination]
    """By number; those that are removed, but hold deliveries, too."""
    by_account: Mapping[str, Sequence[Destination]]
    archives: Mapping[str, Archive]
    """By account id."""

    def account(self, item: Item) -> Account | None:
        """Find the account of an item's entry."""
        return self.accounts.get(item.waba_id)

    def phone_number(self, item: Item) -> str | None:
        """Find Meta's id of an item's phone number, which some items name by its digits only."""
        return item.meta_phone_number_id or self.displayed.get(item.display_phone_number or "")

    def is_foreign(self, item: Item, account: Account | None) -> bool:
        """Whether the item's number is linked with another account than its entry's."""
        owner = self.owners.get(item.meta_phone_number_id or "")
        return owner is not None and (account is None or owner != account.id)

    def wanting(self, item: Item, account_id: str) -> list[Destination]:
        """Find the destinations of an item."""
        return [destination for destination in self.by_account.get(account_id, ()) if destination.filter.wants(item)]

    def archive(self, item: Item, account_id: str) -> Archive | None:
        """Find where the files of an item are kept."""
        archive = self.archives.get(account_id)
        if archive is None or not item.media:
            return None
        numbers = archive.meta_phone_number_ids
        return archive if not numbers or self.phone_number(item) in numbers else None


class Routing:
    """The routes as they were read last."""

    def __init__(self, store: Store, cipher: Cipher, owner: str) -> None:
        self._store = store
        self._cipher = cipher
        self._owner = owner
        self._routes: Routes | None = None
        self._followers: list[Callable[[Routes], None]] = []

    def follow(self, follower: Callable[[Routes], None]) -> None:
        """Call somebody whenever the routes were read anew."""
        self._followers.append(follower)

    async def current(self) -> Routes:
        """Return the routes as they were read last. Raises RegistryUnavailableError, SecretKeyError."""
        return self._routes or await self.refresh()

    async def is_current(self) -> bool:
        """Say whether nothing has changed since."""
        [(number,)] = (await self._store.run((GENERATION, (self._owner,))))[0]
        return self._routes is not None and self._routes.generation == number

    async def refresh(self) -> Routes:
        """Read the routes. The generation is read first: what is newer than it is read again when it is compared.

        No transaction is needed for that, and each query may take its time: there may be a hundred thousand accounts.
        """
        statements = (GENERATION, _ACCOUNTS, _NUMBERS, _DESTINATIONS, _ATTACHED, _ARCHIVES)
        generation, accounts, numbers, destinations, attached, archives = [
            await self._store.read(statement, self._owner) for statement in statements
        ]
        by_number: dict[int, list[str]] = {}
        for number, account_id in attached:
            by_number.setdefault(number, []).append(account_id)
        found = {row[0]: read_destination(row, self._cipher, by_number.get(row[0], ())) for row in destinations}
        by_account: dict[str, list[Destination]] = {}
        for number, account_id in attached:
            if number in found:
                by_account.setdefault(account_id, []).append(found[number])
        self._routes = Routes(
            generation=generation[0][0],
            accounts={waba_id: Account(id_, app_id) for waba_id, id_, app_id in accounts},
            owners={meta_id: account_id for meta_id, account_id, _ in numbers},
            displayed={_digits(shown): meta_id for meta_id, _, shown in numbers},
            destinations=found,
            by_account=by_account,
            archives={
                row[0]: Archive(row[0], row[1], row[2], row[3], frozenset(json.loads(row[4]))) for row in archives
            },
        )
        for follower in self._followers:
            follower(self._routes)
        return self._routes


def raise_generation(owner: str) -> Statement:
    """Write that what events are routed by has changed; to be run in the transaction that changes it."""
    return RAISE_GENERATION, (owner,)


def read_destination(row: Row, cipher: Cipher, account_ids: Iterable[str]) -> Destination:
    """Read a row of `DESTINATION_COLUMNS`. Raises SecretKeyError."""
    number, name, target, format_, ordered, concurrency, filter_, attributes, media_wait, role_arn, *rest = row
    secret, old_secret, old_until, headers, created_at, state, stopped_at, stopped_for, last_error, removed_at = rest
    plain = None if headers is None else cipher.decrypt(headers).get_secret_value()
    return Destination(
        number=number,
        name=name,
        target=target,
        format=format_,
        ordered=bool(ordered),
        concurrency=concurrency,
        filter=read_filter(filter_),
        attributes=bool(attributes),
        media_wait=media_wait,
        role_arn=role_arn,
        secret=None if secret is None else cipher.decrypt(secret),
        old_secret=None if old_secret is None else cipher.decrypt(old_secret),
        old_secret_until=None if old_until is None else moment(old_until),
        headers={} if plain is None else {name: SecretStr(value) for name, value in json.loads(plain).items()},
        created_at=moment(created_at),
        state=state,
        stopped_at=stopped_at,
        stopped_for=stopped_for,
        last_error=None if last_error is None else cipher.decrypt(last_error).get_secret_value(),
        removed=removed_at is not None,
        account_ids=tuple(account_ids),
    )


def write_filter(chosen: Filter) -> str:
    """Write a filter as its column has it."""
    return json.dumps({name: sorted(getattr(chosen, name)) for name in _FILTER_MEMBERS})


def read_filter(text: str) -> Filter:
    """Read what `write_filter` wrote."""
    members: dict[str, Any] = json.loads(text)
    return Filter(**{name: frozenset(values) for name, values in members.items()})


_FILTER_MEMBERS: Final = ("fields", "kinds", "types", "meta_phone_number_ids")


def _digits(text: str) -> str:
    return "".join(character for character in text if character.isdigit())
