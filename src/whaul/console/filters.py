"""Filters in a page's address, as a selection of the journal and as the options of a command."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Self
from urllib.parse import urlencode

from whaul.console.visit import PageError, Visit
from whaul.events.database.columns import microseconds
from whaul.events.database.columns import moment as instant
from whaul.events.selecting import LOOSE, Selection
from whaul.model import LinkedAccount
from whaul.operations.actions import VIEW_CONTENT, VIEW_DELIVERIES, VIEW_MESSAGES
from whaul.setting_types import moment

KINDS: Final = ("message", "status", "echo", "call", "notification", "media")
STATES: Final = ("delivered", "pending", "dead", *sorted(LOOSE))
ALL: Final = "all"
NAMES: Final = ("kind", "type", "phone_number", "state", "destination", "since", "until", "sender", "media_id", "wamid")
_OPTIONS: Final[Mapping[str, str]] = {name: f"--{name.replace('_', '-')}" for name in NAMES}
MAX_FILTER: Final = 200
"""Characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What was chosen; an empty text is anything."""

    kind: str = "message"
    """`all` for every kind."""
    type: str = ""
    phone_number: str = ""
    """Meta's id of it."""
    state: str = ""
    destination: str = ""
    since: str = ""
    until: str = ""
    sender: str = ""
    media_id: str = ""
    wamid: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Self:
        """Read them from an address."""
        given = {name: query[name].strip()[:MAX_FILTER] for name in NAMES if query.get(name, "").strip()}
        return cls(**given)

    @property
    def is_anything(self) -> bool:
        """Whether nothing was chosen."""
        return self == Filters()

    @property
    def has_more(self) -> bool:
        """Whether any was chosen of those that are seldom used."""
        return any((self.phone_number, self.destination, self.until, self.sender, self.media_id, self.wamid))

    def query(self, **more: object) -> str:
        """Write them as an address has them, with further parameters."""
        given = {name: getattr(self, name) for name in NAMES if getattr(self, name) != getattr(Filters(), name)}
        return urlencode(given | {name: str(value) for name, value in more.items()})

    @property
    def members(self) -> dict[str, str]:
        """As a form has them."""
        return {name: getattr(self, name) for name in NAMES if getattr(self, name)}

    def pinned(self) -> Self:
        """Write times that are so long ago as moments, and end now: it stays the same events. Raises PageError."""
        now = datetime.now(UTC)
        since, until = (_moment(name, getattr(self, name)) for name in ("since", "until"))
        return replace(
            self,
            since="" if since is None else instant(since).isoformat(),
            until=(now if until is None else instant(until)).isoformat(),
        )

    def command(self, command: str = "whaul events list") -> str:
        """Write the command that lists the same, or does something with it."""
        chosen = self.members
        if self.kind == ALL:
            del chosen["kind"]
        return " ".join([command, *(f"{_OPTIONS[name]} {shlex.quote(text)}" for name, text in chosen.items())])

    async def seen(self, visit: Visit) -> Selection:
        """Look up what they name, within what the visitor may see. Raises PageError."""
        tells_who = bool(self.sender or self.wamid)
        if tells_who:
            visit.require_somewhere(VIEW_CONTENT)
        needed = (VIEW_MESSAGES, VIEW_CONTENT) if tells_who else (VIEW_MESSAGES,)
        return await self.selection(visit, await visit.account_ids(*needed))

    async def selection(self, visit: Visit, account_ids: tuple[str, ...] | None) -> Selection:
        """Look up what they name, of these accounts, or of all. Raises PageError."""
        console = visit.console
        if self.kind not in (ALL, *KINDS):
            raise PageError(f"There is no kind {self.kind}.", 400)
        if self.state and self.state not in STATES:
            raise PageError(f"There is no state {self.state}.", 400)
        names = await visit.destinations(VIEW_DELIVERIES) if self.destination else []
        destination = await console.destinations.find(self.destination) if self.destination in names else None
        if self.destination and destination is None:
            raise PageError(f"There is no destination {self.destination}.", 400)
        party = None
        if self.sender:
            await console.people.load()
            party = console.people.named(self.sender)
        return Selection(
            account_ids=account_ids,
            kind=None if self.kind == ALL else self.kind,
            type=self.type or None,
            meta_phone_number_id=self.phone_number or None,
            wamid=self.wamid or None,
            state=self.state or None,
            destination=None if destination is None else destination.number,
            since=_moment("since", self.since),
            until=_moment("until", self.until),
            party=party,
            media_id=self.media_id or None,
        )


def numbers_of(visit: Visit, accounts: Iterable[LinkedAccount]) -> list[tuple[str, str]]:
    """List the numbers to choose from whose messages the visitor may see: Meta's ids, and as people write them."""
    return [
        (number.meta_id, number.display_phone_number)
        for account in accounts
        if visit.may(VIEW_MESSAGES, account.arn)
        for number in account.phone_numbers
    ]


def _moment(name: str, text: str) -> int | None:
    if not text:
        return None
    try:
        return microseconds(moment(text, datetime.now(UTC)))
    except ValueError as error:
        raise PageError(f"{name}: {error}", 400) from None
