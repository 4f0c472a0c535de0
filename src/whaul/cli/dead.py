"""`whaul events dead`: deliveries that were given up."""

import asyncio
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whaul.cli import event_records as records
from whaul.cli import output
from whaul.cli.accounts import Json
from whaul.cli.event_filters import DestinationOf, Ids, no_event
from whaul.cli.failures import CommandError
from whaul.cli.inbound import DryRun, Inbound, Limit, NextToken, Yes, counted, opened

if TYPE_CHECKING:
    from whaul.events.delivery.dead import Place
    from whaul.events.routing import Destination
    from whaul.settings import Settings

app = typer.Typer(help="Deliveries that were given up.", no_args_is_help=True, add_completion=False)
Cause = Annotated[
    str | None, typer.Option(metavar="CAUSE", help="Only those of this cause, as `whaul events dead causes` names it.")
]
_PLACE = re.compile(r"(\d{1,18})-(\d{1,18})")


@app.command("list")
def list_dead(
    destination: DestinationOf = None,
    cause: Cause = None,
    limit: Limit = 50,
    next_token: NextToken = None,
    json: Json = False,
) -> None:
    """List dead letters, the newest first, and why each was given up.

    Examples:
        whaul events dead list --destination orders
    """
    from whaul.settings import Settings

    found, next_ = asyncio.run(_list(Settings.load(), destination, cause, limit, _place(next_token)))
    if json:
        output.document({"dead": found, "nextToken": next_})
        return
    if found:
        columns = ("diedAt", "destination", "messageId")
        output.rows([(*(each[name] for name in columns), each["lastError"] or "") for each in found])
    else:
        output.line("There are no dead letters.")
    if next_ is not None:
        output.line(f"There are more: --next-token {next_}")


async def _list(
    settings: "Settings", destination: str | None, cause: str | None, limit: int, place: "Place | None"
) -> tuple[list[dict[str, Any]], str | None]:
    from whaul.events.delivery.dead import DeadLetters

    async with opened(settings) as inbound:
        dead = DeadLetters(inbound.store, inbound.cipher, inbound.owner)
        letters, next_ = await dead.page(await _destinations(inbound, destination), limit, place, cause)
        return [records.dead_document(each) for each in letters], None if next_ is None else "-".join(map(str, next_))


@app.command()
def causes(destination: DestinationOf = None, json: Json = False) -> None:
    """Group dead letters by why they were given up: the newest 10,000 of each destination.

    Examples:
        whaul events dead causes --destination orders
    """
    from whaul.settings import Settings

    found = asyncio.run(_causes(Settings.load(), destination))
    if json:
        output.document({"causes": found})
    elif found:
        output.rows([(each["destination"], str(each["count"]), each["cause"], each["newestAt"]) for each in found])
    else:
        output.line("There are no dead letters.")


async def _causes(settings: "Settings", destination: str | None) -> list[dict[str, Any]]:
    from whaul.events.delivery.dead import DeadLetters

    async with opened(settings) as inbound:
        dead = DeadLetters(inbound.store, inbound.cipher, inbound.owner)
        return [
            records.cause_document(each, found.name)
            for found in await _destinations(inbound, destination)
            for each in await dead.causes(found)
        ]


@app.command()
def retry(
    ids: Ids = None,
    *,
    destination: DestinationOf = None,
    cause: Cause = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Try dead letters again: those of some events, of a destination, or all. They stand at the end, as replays.

    Examples:
        whaul events dead retry --destination orders --dry-run
        whaul events dead retry --destination orders --cause 'HTTP 500'
    """
    _change("retry", ids or [], destination, cause, dry_run=dry_run, yes=yes, json=json)


@app.command()
def drop(
    ids: Ids = None,
    *,
    destination: DestinationOf = None,
    cause: Cause = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Remove dead letters: those of some events, of a destination, or all. Their events stay in the journal.

    Examples:
        whaul events dead drop --destination orders
    """
    _change("drop", ids or [], destination, cause, dry_run=dry_run, yes=yes, json=json)


def _change(
    verb: str, ids: list[str], destination: str | None, cause: str | None, *, dry_run: bool, yes: bool, json: bool
) -> None:
    from whaul.settings import Settings

    settings = Settings.load()
    matched = asyncio.run(_count(settings, ids, destination, cause))
    done = 0
    if matched and not dry_run:
        letters = counted(matched, "dead letter")
        question = f"Try {letters} again?" if verb == "retry" else f"Remove {letters}?"
        if not yes and not output.confirms(question, aside=json):
            raise CommandError("nothing was changed")
        done = asyncio.run(_do(settings, verb, ids, destination, cause))
    if json:
        output.document({"matched": matched, "queued" if verb == "retry" else "removed": done})
    else:
        output.line(f"{counted(matched, 'dead letter')}; {done} {'queued' if verb == 'retry' else 'removed'}.")


async def _count(settings: "Settings", ids: list[str], destination: str | None, cause: str | None) -> int:
    from whaul.events.delivery.dead import DeadLetters
    from whaul.events.journal import Journal

    async with opened(settings) as inbound:
        known = await Journal(inbound.store, inbound.cipher, inbound.owner).numbers(ids) if ids else {}
        for id_ in ids:
            if id_ not in known:
                raise no_event(id_)
        dead = DeadLetters(inbound.store, inbound.cipher, inbound.owner)
        return sum([await dead.count(each, ids, cause=cause) for each in await _destinations(inbound, destination)])


async def _do(settings: "Settings", verb: str, ids: list[str], destination: str | None, cause: str | None) -> int:
    from whaul.events.delivery.dead import DeadLetters

    async with opened(settings) as inbound:
        dead = DeadLetters(inbound.store, inbound.cipher, inbound.owner)
        change = dead.retry if verb == "retry" else dead.drop
        return sum([await change(each, ids, cause=cause) for each in await _destinations(inbound, destination)])


async def _destinations(inbound: Inbound, name: str | None) -> "list[Destination]":
    return await inbound.destinations.all() if name is None else [await inbound.destination(name)]


def _place(token: str | None) -> "Place | None":
    from whaul.events.delivery.dead import Place

    if token is None:
        return None
    found = _PLACE.fullmatch(token)
    if found is None:
        raise typer.BadParameter("expected the nextToken of a page before", param_hint="--next-token")
    return Place(int(found[1]), int(found[2]))
