"""The options by which commands choose events."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from whaul.cli.destination_options import checked_kinds
from whaul.cli.failures import CommandError
from whaul.cli.inbound import Inbound, moment_from

if TYPE_CHECKING:
    from whaul.events.selecting import Selection


class State(StrEnum):
    """What an event or one of its deliveries may be."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    UNROUTED = "unrouted"
    UNPARSED = "unparsed"


AccountOf = Annotated[str | None, typer.Option("--account", help="Of this account: waba-…, its ARN, or Meta's id.")]
FieldOf = Annotated[str | None, typer.Option("--field", help="Of this field, such as messages.")]
KindOf = Annotated[str | None, typer.Option("--kind", help="Of this kind: message, status, echo, call, …")]
TypeOf = Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Of this type: audio, delivered, …")]
NumberOf = Annotated[str | None, typer.Option("--phone-number", metavar="ID", help="Of this phone number.")]
DestinationOf = Annotated[str | None, typer.Option("--destination", metavar="NAME", help="For this destination.")]
StateOf = Annotated[State | None, typer.Option("--state", help="pending, delivered, dead, unrouted or unparsed.")]
SenderOf = Annotated[
    str | None, typer.Option("--sender", metavar="NUMBER", help="With this person: a phone number or a user id.")
]
MediaOf = Annotated[
    str | None, typer.Option("--media-id", metavar="ID", help="That name this file, if it is or was to be archived.")
]
WamidOf = Annotated[
    str | None, typer.Option("--wamid", metavar="ID", help="That are about this message, by Meta's id of it.")
]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Received since then: a time, or 15m, 2h, 7d ago.")
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Received before then.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of events.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What was given."""

    account: str | None = None
    field: str | None = None
    kind: str | None = None
    type: str | None = None
    phone_number: str | None = None
    destination: str | None = None
    sender: str | None = None
    media_id: str | None = None
    wamid: str | None = None
    state: State | None = None
    since: str | None = None
    until: str | None = None

    async def selection(self, inbound: Inbound, ids: list[str] | None = None) -> "Selection":
        """Look up what the filters name."""
        from whaul.events.database.columns import microseconds
        from whaul.events.selecting import Selection

        checked_kinds([self.kind] if self.kind else [])
        since, until = moment_from("--since", self.since), moment_from("--until", self.until)
        return Selection(
            seqs=await _numbers(inbound, ids) if ids else None,
            account_id=None if self.account is None else (await inbound.account(self.account)).id,
            field=self.field,
            kind=self.kind,
            type=self.type,
            meta_phone_number_id=next(iter(await inbound.phone_numbers([self.phone_number or ""])), None)
            if self.phone_number
            else None,
            destination=None if self.destination is None else (await inbound.destination(self.destination)).number,
            state=None if self.state is None else self.state.value,
            party=None if self.sender is None else await _party(inbound, self.sender),
            media_id=self.media_id,
            wamid=self.wamid,
            since=None if since is None else microseconds(since),
            until=None if until is None else microseconds(until),
        )


async def _numbers(inbound: Inbound, ids: list[str]) -> tuple[int, ...]:
    from whaul.events.journal import Journal

    found = await Journal(inbound.store, inbound.cipher, inbound.owner).numbers(ids)
    for id_ in ids:
        if id_ not in found:
            raise no_event(id_)
    return tuple(sorted(found.values()))


async def _party(inbound: Inbound, person: str) -> str:
    from whaul.events.people import Hashes

    hashes = Hashes(inbound.store, inbound.cipher, inbound.owner)
    await hashes.load()
    return hashes.named(person)


def no_event(id_: str) -> CommandError:
    """Say that there is no such event."""
    return CommandError(f"there is no event {id_}; `whaul events list` lists them")
