"""`whaul events replay`: events that are sent once more."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whaul.cli import event_records as records
from whaul.cli import output
from whaul.cli.accounts import Json
from whaul.cli.event_filters import (
    AccountOf,
    DestinationOf,
    FieldOf,
    Filters,
    Ids,
    KindOf,
    MediaOf,
    NumberOf,
    SenderOf,
    Since,
    StateOf,
    TypeOf,
    Until,
    WamidOf,
)
from whaul.cli.failures import CommandError
from whaul.cli.inbound import DryRun, Yes, counted, opened

if TYPE_CHECKING:
    from whaul.events.delivery.replays import Matched
    from whaul.settings import Settings


def replay(
    ids: Ids = None,
    *,
    to: Annotated[str | None, typer.Option(metavar="DESTINATION", help="Where to send them.")] = None,
    account: AccountOf = None,
    field: FieldOf = None,
    kind: KindOf = None,
    type_: TypeOf = None,
    phone_number: NumberOf = None,
    destination: DestinationOf = None,
    sender: SenderOf = None,
    media_id: MediaOf = None,
    wamid: WamidOf = None,
    state: StateOf = None,
    since: Since = None,
    until: Until = None,
    dry_run: DryRun = False,
    list_: Annotated[bool, typer.Option("--list", help="List the replays, the newest first.")] = False,
    cancel: Annotated[str | None, typer.Option(metavar="JOB", help="Send no more of a replay.")] = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Send events to a destination once more: those with an id, or those that fit. Its own filters hold, too.

    A running server does it, little by little; each event keeps its messageId and says that it is a replay.

    Examples:
        whaul events replay --since 2h --to orders --dry-run
        whaul events replay --kind message --since 7d --to new-service
        whaul events replay 6d69f07a-c317-5278-9d5c-6a8407841900 --to orders --yes
    """
    from whaul.settings import Settings

    if sum((to is not None, list_, cancel is not None)) != 1:
        raise typer.BadParameter("give one of --to DESTINATION, --list and --cancel JOB")
    settings = Settings.load()
    if list_:
        _print_all(asyncio.run(_all(settings)), json)
    elif cancel is not None:
        _cancel(settings, cancel, json)
    elif to is not None:
        filters = Filters(
            account=account,
            field=field,
            kind=kind,
            type=type_,
            phone_number=phone_number,
            destination=destination,
            sender=sender,
            media_id=media_id,
            wamid=wamid,
            state=state,
            since=since,
            until=until,
        )
        found, job = asyncio.run(_replay(settings, filters, ids or [], to, dry_run=dry_run, yes=yes, json=json))
        _tell(found, job, to, json)


async def _replay(
    settings: "Settings", filters: Filters, ids: list[str], to: str, *, dry_run: bool, yes: bool, json: bool
) -> "tuple[Matched, str | None]":
    from whaul.events.delivery.replays import Replays

    async with opened(settings) as inbound:
        destination = await inbound.destination(to)
        replays = Replays(inbound.store, inbound.cipher, inbound.owner)
        selection = await filters.selection(inbound, ids)
        found = await replays.match(selection, destination)
        if dry_run or not found.new:
            return found, None
        question = f"Send {counted(found.new, 'event')} to {to} once more{_waiting(found)}?"
        if not yes and not output.confirms(question, aside=json):
            raise CommandError("nothing was queued")
        return found, await replays.start(selection, destination, found)


def _waiting(found: "Matched") -> str:
    waiting = found.events - found.new
    return f", beside {waiting} that wait for it already" if waiting else ""


def _tell(found: "Matched", job: str | None, to: str, json: bool) -> None:
    if json:
        output.document({"matched": found.events, "queued": found.new if job else 0, "job": job})
    elif job is None:
        output.line(f"To be sent to {to} once more: {counted(found.new, 'event')}{_waiting(found)}. None was queued.")
    else:
        output.line(f"Sent to {to} once more, while a server runs: {counted(found.new, 'event')}{_waiting(found)}.")
        output.line(f"`whaul events replay --list` shows how far it is, `--cancel {job}` ends it.")


async def _all(settings: "Settings") -> list[dict[str, Any]]:
    from whaul.events.delivery.replays import Replays

    async with opened(settings) as inbound:
        names = {each.number: each.name for each in await inbound.destinations.all()}
        found = await Replays(inbound.store, inbound.cipher, inbound.owner).all()
        return [records.replay_document(each, names) for each in found]


def _print_all(found: list[dict[str, Any]], json: bool) -> None:
    if json:
        output.document({"replays": found, "nextToken": None})
    elif found:
        rows = [
            (each["job"], each["state"], f"{each['queued']} of {each['matched']}", each["destination"] or "removed")
            for each in found
        ]
        output.rows([(*row, each["createdAt"]) for row, each in zip(rows, found, strict=True)])
    else:
        output.line("There are no replays.")


def _cancel(settings: "Settings", job: str, json: bool) -> None:
    if not asyncio.run(_cancelled(settings, job)):
        raise CommandError(f"no replay {job} is running; `whaul events replay --list` lists them")
    if json:
        output.document({"job": job, "state": "cancelled"})
    else:
        output.line(f"Cancelled {job}. What waits for the destination already is still sent.")


async def _cancelled(settings: "Settings", job: str) -> bool:
    from whaul.events.delivery.replays import Replays

    async with opened(settings) as inbound:
        return await Replays(inbound.store, inbound.cipher, inbound.owner).cancel(job)
