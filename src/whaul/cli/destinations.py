"""`whaul destinations`: where events go."""

import asyncio
import re
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whaul.cli import destination_options as options
from whaul.cli import destination_records as records
from whaul.cli import output
from whaul.cli.accounts import Json
from whaul.cli.failures import CommandError
from whaul.cli.inbound import Yes, counted, no_destination, opened
from whaul.cli.output import OutputError

if TYPE_CHECKING:
    from whaul.events.delivery.destinations import NewDestination
    from whaul.events.delivery.sending import Answer
    from whaul.settings import Settings

app = typer.Typer(help="Where events go.", no_args_is_help=True, add_completion=False)
MAX_CONCURRENCY = 1000
MAX_MEDIA_WAIT = 86_400
MAX_LOOKED_AT = 100
"""Accounts of a destination, for one that is linked."""
_RESERVED = re.compile(r"api-[0-9a-f]{32}")

HeadersFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="HTTPS: further headers, a `Name: value` on each line.")
]
CredentialsFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="NATS and Kafka: what to log in with, a `name=value` on each line, or .creds."),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The destination.")]


class Order(StrEnum):
    """What is kept in order."""

    CONVERSATION = "conversation"


@app.command()
def add(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Small letters, digits and hyphens.")],
    account: Annotated[list[str], typer.Option(help="waba-…, its ARN, or Meta's id; repeat for more accounts.")],
    to: Annotated[
        str,
        typer.Option(metavar="TARGET", help="ARN of a topic, a queue or an event bus; https://, nats:// or kafka://."),
    ],
    field: options.Fields = None,
    kind: options.Kinds = None,
    type_: options.Types = None,
    phone_number: options.Numbers = None,
    format_: options.FormatOf = options.Format.AWS,
    order: Annotated[
        Order | None, typer.Option(help="conversation: in each, one at a time, in the order of arrival.")
    ] = None,
    wait_for_media: Annotated[
        int,
        typer.Option(
            metavar="SECONDS",
            min=0,
            max=MAX_MEDIA_WAIT,
            help="Send a message with files when they are archived, at the latest after so long.",
        ),
    ] = 0,
    attributes: Annotated[
        bool, typer.Option("--attributes", help="SNS and SQS: message attributes to filter by.")
    ] = False,
    concurrency: Annotated[
        int | None, typer.Option(min=1, max=MAX_CONCURRENCY, help="Events under way at once, per worker. Default: 16.")
    ] = None,
    secret_file: options.SecretFile = None,
    headers_file: HeadersFile = None,
    credentials_file: CredentialsFile = None,
    json: Json = False,
) -> None:
    """Add a destination for the events of an account. A secret that is made to sign them is shown once.

    Examples:
        whaul destinations add orders --account 400000000000001 --to arn:aws:sns:eu-west-1:111122223333:orders
        whaul destinations add bot --account 400000000000001 --to https://bot.example.com/hook --field messages
    """
    from whaul.events.delivery.destinations import DEFAULT_CONCURRENCY, NAME, NewDestination
    from whaul.settings import Settings

    to = to.strip()
    if not NAME.fullmatch(name) or _RESERVED.fullmatch(name):
        expected = "expected up to 63 small letters, digits and hyphens, but not api-…: the API makes such names"
        raise typer.BadParameter(expected, param_hint="NAME")
    new = NewDestination(
        name=name,
        target=to,
        account_ids=(),
        format=format_.value,
        ordered=order is not None or (to.startswith("arn:") and to.endswith(".fifo")),
        concurrency=concurrency or DEFAULT_CONCURRENCY,
        filter=options.filter_of(field, kind, type_),
        attributes=attributes,
        media_wait=wait_for_media,
        secret=options.secret_of(to, format_.value, secret_file),
        headers=options.outside_values(to, headers_file, credentials_file) or {},
    )
    options.check_options(new)
    settings = Settings.load()
    shown = asyncio.run(_add(settings, new, account, phone_number or []))
    made = new.secret if secret_file is None else None
    if made is not None:
        shown["secret"] = made.get_secret_value()
    try:
        records.tell(shown, json, f"Added {name}.")
    except OutputError as error:
        if made is None:
            raise
        asyncio.run(_remove(settings, name))
        raise CommandError(f"{error}; {name}, whose secret nobody has seen, was removed again") from error


async def _add(settings: "Settings", new: "NewDestination", accounts: list[str], numbers: list[str]) -> dict[str, Any]:
    from whaul.events.delivery.destinations import DestinationExistsError
    from whaul.events.targets import Options

    async with opened(settings) as inbound:
        ids = [(await inbound.account(name)).id for name in accounts]
        chosen = replace(new.filter, meta_phone_number_ids=await inbound.phone_numbers(numbers))
        wanted = Options(
            format=new.format,
            attributes=new.attributes,
            secrets=() if new.secret is None else (new.secret,),
            headers={name: value.get_secret_value() for name, value in new.headers.items()},
        )
        await options.check_target(settings, new.target, wanted)
        try:
            added = await inbound.destinations.add(replace(new, account_ids=tuple(dict.fromkeys(ids)), filter=chosen))
        except DestinationExistsError:
            taken = f"there is a destination {new.name} already; `whaul destinations show {new.name}` shows it"
            raise CommandError(taken) from None
        return await records.shape(inbound, added)


@app.command("list")
def list_destinations(json: Json = False) -> None:
    """List the destinations, and what waits for each."""
    from whaul.settings import Settings

    found = asyncio.run(_list(Settings.load()))
    if json:
        output.document({"destinations": found})
    elif found:
        output.rows([records.row(each) for each in found])
    else:
        output.line("There are no destinations. `whaul destinations add NAME --account ID --to TARGET` adds one.")


async def _list(settings: "Settings") -> list[dict[str, Any]]:
    async with opened(settings) as inbound:
        return [await records.shape(inbound, each) for each in await inbound.destinations.all()]


@app.command()
def show(name: Name, json: Json = False) -> None:
    """Show a destination: what it gets, what waits for it, and what its target said last."""
    from whaul.settings import Settings

    records.tell(asyncio.run(_show(Settings.load(), name)), json)


async def _show(settings: "Settings", name: str) -> dict[str, Any]:
    async with opened(settings) as inbound:
        return await records.shape(inbound, await inbound.destination(name))


@app.command()
def remove(name: Name, yes: Yes = False, json: Json = False) -> None:
    """Remove a destination. What still waits for it is dropped.

    Examples:
        whaul destinations remove orders
    """
    from whaul.settings import Settings

    settings = Settings.load()
    found = asyncio.run(_show(settings, name))
    if _RESERVED.fullmatch(name):
        raise CommandError(
            f"{name} was set through the API; only PutWhatsAppBusinessAccountEventDestinations removes it"
        )
    dropped = f"{counted(found['pending'], 'waiting event')}, {counted(found['dead'], 'dead letter')}"
    if not yes and not output.confirms(f"Remove {name}? What it has is dropped: {dropped}.", aside=json):
        raise CommandError("nothing was removed")
    if not asyncio.run(_remove(settings, name)):
        no_destination(name)
    if json:
        output.document({"name": name, "dropped": found["pending"] + found["dead"]})
    else:
        output.line(f"Removed {name}. Dropped: {dropped}.")


async def _remove(settings: "Settings", name: str) -> bool:
    async with opened(settings) as inbound:
        return await inbound.destinations.remove(name)


@app.command()
def pause(name: Name, json: Json = False) -> None:
    """Deliver nothing to a destination until it is resumed. Its events wait."""
    _change("pause", name, json, f"Paused {name}. `whaul destinations resume {name}` lets it go on.")


@app.command()
def resume(name: Name, json: Json = False) -> None:
    """Deliver to a destination again, whatever it was that stopped it."""
    _change("resume", name, json, f"{name} goes on.")


def _change(verb: str, name: str, json: bool, text: str) -> None:
    from whaul.settings import Settings

    shown = asyncio.run(_changed(Settings.load(), verb, name))
    if json:
        output.document(shown)
    else:
        output.line(text)


async def _changed(settings: "Settings", verb: str, name: str) -> dict[str, Any]:
    async with opened(settings) as inbound:
        change = {"pause": inbound.destinations.pause, "resume": inbound.destinations.resume}[verb]
        if not await change(name):
            no_destination(name)
        return await records.shape(inbound, await inbound.destination(name))


@app.command()
def rotate(
    name: Name,
    secret_file: options.SecretFile = None,
    headers_file: HeadersFile = None,
    credentials_file: CredentialsFile = None,
    json: Json = False,
) -> None:
    """Sign the events of an HTTPS destination with a new secret. For 24 hours the old one signs, too (not for meta).

    With --headers-file or --credentials-file, these replace the old ones, and the secret stays.

    Examples:
        whaul destinations rotate bot
        whaul destinations rotate stream --credentials-file new.creds
    """
    from whaul.settings import Settings

    settings = Settings.load()
    if headers_file is not None or credentials_file is not None:
        if secret_file is not None:
            raise typer.BadParameter("one after the other, please", param_hint="--secret-file")
        shown = asyncio.run(_replace(settings, name, headers_file, credentials_file))
        records.tell(shown, json, f"{name} has new {'credentials' if headers_file is None else 'headers'}.")
        return
    shown = asyncio.run(_rotate(settings, name, secret_file))
    old = "signs no more" if shown["format"] == options.Format.META else "signs, too, for 24 hours"
    try:
        records.tell(shown, json, f"{name} has a new secret; the old one {old}.")
    except OutputError as error:
        if secret_file is not None:
            raise
        raise CommandError(f"{error}; nobody has seen the new secret: rotate it again") from error


async def _rotate(settings: "Settings", name: str, secret_file: str | None) -> dict[str, Any]:
    async with opened(settings) as inbound:
        found = await inbound.destination(name)
        fresh = options.secret_of(found.target, found.format, secret_file)
        if fresh is None:
            raise CommandError(f"{name} has no secret: only what is sent by HTTPS is signed")
        await inbound.destinations.rotate(name, fresh)
        shown = await records.shape(inbound, await inbound.destination(name))
        return shown if secret_file is not None else shown | {"secret": fresh.get_secret_value()}


async def _replace(
    settings: "Settings", name: str, headers_file: Path | None, credentials_file: Path | None
) -> dict[str, Any]:
    from whaul.events.delivery.sending import options_of

    async with opened(settings) as inbound:
        found = await inbound.destination(name)
        values = options.outside_values(found.target, headers_file, credentials_file) or {}
        await options.check_target(settings, found.target, options_of(replace(found, headers=values)))
        await inbound.destinations.replace_headers(name, values)
        return await records.shape(inbound, await inbound.destination(name))


@app.command("test")
def try_out(name: Name, json: Json = False) -> None:
    """Send a sample straight to a destination, and show what comes back. Its field is whaul_test.

    Examples:
        whaul destinations test orders
    """
    from whaul.settings import Settings

    answer = asyncio.run(_test(Settings.load(), name))
    if json:
        seconds = round(answer.seconds, 3)
        output.document({"accepted": answer.accepted, "detail": answer.detail, "seconds": seconds})
    else:
        verb = "took" if answer.accepted else "did not take"
        output.line(f"{name} {verb} the sample, after {answer.seconds:.2f} s: {answer.detail}")
    if not answer.accepted:
        raise typer.Exit(1)


async def _test(settings: "Settings", name: str) -> "Answer":
    from whaul.components import event_targets, http_client
    from whaul.events.delivery import sending
    from whaul.events.targets import TargetError

    async with opened(settings) as inbound:
        found = await inbound.destination(name)
        linked = await inbound.registry.accounts.named(found.account_ids[:MAX_LOOKED_AT])
        accounts = {account.id: account.meta_waba_id for account in linked}
    async with http_client(settings) as http, event_targets(settings, http) as targets:
        try:
            return await sending.try_destination(targets, found, accounts)
        except TargetError as error:
            raise CommandError(str(error)) from None
