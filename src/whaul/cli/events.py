"""`whaul events`: what came, and what became of it."""

import asyncio
import json as json_module
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whaul.cli import dead, output, purge, reparse, replay
from whaul.cli import event_records as records
from whaul.cli.accounts import Json
from whaul.cli.event_filters import (
    AccountOf,
    DestinationOf,
    FieldOf,
    Filters,
    KindOf,
    MediaOf,
    NumberOf,
    SenderOf,
    Since,
    StateOf,
    TypeOf,
    Until,
    WamidOf,
    no_event,
)
from whaul.cli.inbound import Limit, NextToken, opened, tell_that_it_is_away

if TYPE_CHECKING:
    from whaul.settings import Settings


def _group() -> typer.Typer:
    group = typer.Typer(help="Events that came, and what became of them.", no_args_is_help=True, add_completion=False)
    group.add_typer(dead.app, name="dead")
    return group


app = _group()


@app.command("list")
def list_events(
    *,
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
    limit: Limit = 50,
    next_token: NextToken = None,
    json: Json = False,
) -> None:
    """List events, the newest first, and what became of each. A page looks at 50,000 events at most.

    Examples:
        whaul events list --since 1h
        whaul events list --destination orders --state pending
        whaul events list --kind message --type audio --json
    """
    from whaul.settings import Settings

    if next_token is not None and not (next_token.isascii() and next_token.isdigit() and len(next_token) < 19):
        raise typer.BadParameter("expected the nextToken of a page before", param_hint="--next-token")
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
    before = None if next_token is None else int(next_token)
    found, next_ = asyncio.run(_list(Settings.load(), filters, limit, before))
    if json:
        output.document({"events": [shown for shown, _ in found], "nextToken": next_})
        return
    if found:
        output.rows([records.row(shown, state) for shown, state in found])
    elif next_ is None:
        output.line("There are no such events. `whaul doctor` says what may keep them away.")
    if next_ is not None:
        output.line(f"There may be more: --next-token {next_}")


async def _list(
    settings: "Settings", filters: Filters, limit: int, before: int | None
) -> tuple[list[tuple[dict[str, Any], str]], str | None]:
    from whaul.events.journal import Journal

    async with opened(settings) as inbound:
        journal = Journal(inbound.store, inbound.cipher, inbound.owner)
        page = await journal.page(await filters.selection(inbound), limit, before)
        found = [(records.document(inbound, event), event.state) for event in page.events]
        return found, None if page.next is None else str(page.next)


@app.command()
def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Its messageId.")],
    content: Annotated[bool, typer.Option("--content", help="With what people wrote: the envelope.")] = False,
    json: Json = False,
) -> None:
    """Show an event: where it went, each attempt, and its files.

    Examples:
        whaul events show 6d69f07a-c317-5278-9d5c-6a8407841900 --content
    """
    from whaul.settings import Settings

    found, state = asyncio.run(_show(Settings.load(), id_, content))
    if json:
        output.document(found)
        return
    output.line(found["messageId"])
    output.rows(records.page(found, state))
    if found["attempts"]:
        output.line("attempts:")
        output.rows(records.attempts(found["attempts"]))
    if content:
        output.line("envelope:")
        output.document(found["envelope"])


async def _show(settings: "Settings", id_: str, content: bool) -> tuple[dict[str, Any], str]:
    from whaul.events.envelope import Envelopes
    from whaul.events.journal import Journal

    async with opened(settings) as inbound:
        journal = Journal(inbound.store, inbound.cipher, inbound.owner)
        event = await journal.find(id_)
        if event is None:
            raise no_event(id_)
        attempts = [records.attempt_document(each) for each in await journal.attempts(event.seq)]
        found = records.document(inbound, event) | {"attempts": attempts}
        if content:
            whole = await journal.event(event.seq)
            if whole is None:
                raise no_event(id_)
            found["envelope"] = json_module.loads(Envelopes(inbound.arns).aws(whole))
        return found, event.state


@app.command()
def tail(
    *,
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
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document for each event, in a line.")] = False,
) -> None:
    """Show events as they come, one in a line, until it is interrupted.

    Examples:
        whaul events tail
        whaul events tail --kind message --json | jq .type
    """
    from whaul.settings import Settings

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
    asyncio.run(_tail(Settings.load(), filters, json))


async def _tail(settings: "Settings", filters: Filters, json: bool) -> None:
    from whaul.events.delivery import following
    from whaul.events.journal import Journal

    async with opened(settings) as inbound:
        journal = Journal(inbound.store, inbound.cipher, inbound.owner)
        selection = await filters.selection(inbound)
        if sys.stdout.isatty():  # else a new user waits before an empty screen, and wonders
            output.tell("Events are shown as they come. Ctrl-C ends it.")
        async for event in following.events(journal, selection, tell_that_it_is_away):
            shown = records.document(inbound, event)
            if json:
                output.json_line(shown)
            else:
                output.line("  ".join(records.row(shown, event.state)), must_be_read=True)


replay_events = app.command("replay")(replay.replay)
reparse_events = app.command("reparse")(reparse.reparse)
purge_person = app.command("purge")(purge.purge)
