"""The database as the events' machinery uses it: statements written once for both databases, in short transactions.

Apart from the registry's engine: it has connections of its own, takes no lock of the registry's writers, and leaves out
an ORM where a statement runs for every event. Statements are PostgreSQL's, with `$1` for parameters, and with what
differs taken from a `Store`: SQLite knows all the rest. Rows go in as one JSON parameter (see `Store.rows`), so that
a statement costs much the same for one row and for five hundred. Nothing outlives a transaction, so that a pooler in
transaction mode may stand in between; without one, a prepared statement does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import msgspec

from whaul.registry.errors import RegistryUnavailableError

AGAIN: Final = 1.0
"""Seconds until a database that does not answer is asked again."""

T = TypeVar("T")

Row = tuple[Any, ...]
Statement = tuple[str, Sequence[Any]]
"""SQL, and its parameters."""


class UnfitDataError(Exception):
    """The database takes none of these values; others may pass."""


class NewBody(msgspec.Struct):
    """A row of `webhook_bodies`."""

    id: str
    app: str | None
    received_at: int
    key_id: str
    body: str


class NewDelivery(msgspec.Struct):
    """A row of `deliveries`. One with `dead`, its sealed reason, is a dead letter from the start."""

    destination: int
    conversation: bytes | None = None
    leased: bool = False
    wait: int = 0
    """Seconds until it is due, for the event's files."""
    dead: str | None = None


class NewFile(msgspec.Struct):
    """A row of `files`, unless there is one."""

    id: str
    account_id: str
    media_id: str
    message_type: str
    message_id: str | None
    mime_type: str
    bucket: str
    key: str
    expires_at: int
    failed: str | None = None
    """The sealed reason, if it is not even tried."""
    leased: bool = False


class NewEvent(msgspec.Struct):
    """A row of `events` with all that is made with it, if its key is new."""

    day: int
    key: bytes
    own_day: int
    """Another day under which the key may be known; the same one, as a rule."""
    message_id: str
    app: str | None
    received_at: int
    item_at: int | None
    field: str
    kind: str
    type: str | None
    waba_id: str
    account_id: str | None
    meta_phone_number_id: str | None
    wamid: str | None
    conversation: bytes
    state: str
    body_id: str | None
    size: int
    key_id: str
    entry: str
    parties: list[bytes]
    revokes: str | None
    """The wamid of a message that it takes back; files of that one are not archived any more."""
    deliveries: list[NewDelivery]
    files: list[NewFile]
    trace: str | None


class Group(NamedTuple):
    """What is put in one transaction; none of it, if the generation is not the one named."""

    owner: str
    generation: int
    process: str
    today: int
    bodies: Sequence[NewBody]
    events: Sequence[NewEvent]


class Born(NamedTuple):
    """What became of a group: the events whose key was new, and the jobs that were born leased."""

    generation: int
    events: dict[str, int]
    """The number of each by its message id."""
    deliveries: dict[tuple[int, int], int]
    """The id of each by event and destination."""
    files: set[str]


class Store(Protocol):
    """A database. Methods raise RegistryUnavailableError when it does not answer in time, and UnfitDataError."""

    now: str
    """SQL for the time of the database's clock, in microseconds; the same within a statement."""
    lease_end: str
    """SQL for when a lease that begins now ends."""
    for_update: str
    """SQL after a SELECT whose rows are to be claimed, past those that others hold."""
    partitions: bool
    """Whether dedupe keys have a partition for each day."""

    def rows(self, parameter: str, **columns: str) -> str:
        """Write SQL for a parameter that holds rows: a JSON list of objects with these members, of these types."""
        ...

    def together(self, first: Statement, last: Statement) -> list[Statement]:
        """Join two statements of which neither sees what the other does, if that saves the database work.

        The first has no rows.
        """
        ...

    async def run(self, *statements: Statement) -> list[list[Row]]:
        """Run statements in one transaction; return the rows of each."""
        ...

    async def read(self, statement: str, *parameters: Any) -> list[Row]:
        """Run a query that may take long; it holds up no transaction of `run`."""
        ...

    async def put(self, group: Group) -> Born:
        """Put events into the database whose keys it does not have, all or nothing."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


async def until_it_answers(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask, again and again, until the database answers.

    This is for what follows a claim: whoever gave up would hold leases of which it knows nothing.
    """
    while True:
        try:
            return await ask()
        except RegistryUnavailableError:
            await asyncio.sleep(AGAIN)
