"""`whaul archive`: where the files of messages are kept."""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whaul.cli import output
from whaul.cli.accounts import Json
from whaul.cli.failures import CommandError
from whaul.cli.inbound import AccountName, DryRun, Inbound, OneOrAll, ago, counted, moment_from, opened

if TYPE_CHECKING:
    from whaul.events.archive.archives import Archives, ArchiveStatus
    from whaul.events.archive.backfill import Backfilled
    from whaul.settings import Settings

app = typer.Typer(help="Where the files of messages are kept.", no_args_is_help=True, add_completion=False)


@app.command("set")
def set_archive(
    *,
    account: AccountName,
    to: Annotated[str, typer.Option(metavar="s3://BUCKET/PREFIX", help="The bucket, and how keys begin.")],
    key: Annotated[str | None, typer.Option(metavar="TEMPLATE", help="How keys go on. Default: {media}{ext}.")] = None,
    phone_number: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only files of this number; repeatable.")
    ] = None,
    json: Json = False,
) -> None:
    """Keep the files of an account's messages in a bucket. A small object is put there to try the store.

    Examples:
        whaul archive set 400000000000001 --to s3://inbox/media/
        whaul archive set 400000000000001 --to s3://inbox/ --key {waba}/{yyyy}/{mm}/{wamid}{ext}
    """
    from whaul.bulk.places import s3_place
    from whaul.events.archive.file_keys import DEFAULT_TEMPLATE, check_template
    from whaul.settings import Settings

    template = DEFAULT_TEMPLATE if key is None else key
    try:
        place = s3_place(to)
        if place is None:
            raise ValueError(f"{to!r}: expected s3://bucket/prefix")
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--to") from None
    try:
        check_template(place[1], template)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--key") from None
    found = asyncio.run(_set(Settings.load(), account, place, template, phone_number or []))
    _tell([found], json)
    if not json and place[1] and not place[1].endswith("/"):
        output.tell(f"Keys begin with {place[1]!r}, as written; end the prefix with / if it is to be a folder.")


async def _set(
    settings: "Settings", account: str, place: tuple[str, str], template: str, numbers: list[str]
) -> dict[str, Any]:
    from whaul.components import http_client, s3_store
    from whaul.events.archive.conditions import honours_conditions
    from whaul.events.routing import Archive

    bucket, prefix = place
    async with opened(settings) as inbound, http_client(settings) as http:
        linked = await inbound.account(account)
        chosen = await inbound.phone_numbers(numbers)
        foreign = chosen - {number.meta_id for number in linked.phone_numbers}
        if foreign:
            raise CommandError(f"{min(foreign)} is no phone number of {account}; `whaul accounts` lists them")
        is_conditional = await honours_conditions(s3_store(settings, http), bucket, prefix)
        archives = _archives(inbound)
        await archives.set(Archive(linked.id, bucket, prefix, template, chosen), is_conditional=is_conditional)
        [found] = await archives.all(linked.id)
        return _document(inbound, found)


@app.command()
def off(account: AccountName, json: Json = False) -> None:
    """Keep no more files of an account. Those that wait are still archived, and nothing is removed.

    Examples:
        whaul archive off 400000000000001
    """
    from whaul.settings import Settings

    if not asyncio.run(_off(Settings.load(), account)):
        raise CommandError(f"{account} has no archive; `whaul archive status` lists them")
    if json:
        output.document({"archives": []})
    else:
        output.line(f"No more files of {account} are kept. Those that wait are still archived.")


async def _off(settings: "Settings", account: str) -> bool:
    async with opened(settings) as inbound:
        return await _archives(inbound).off((await inbound.account(account)).id)


@app.command()
def status(account: OneOrAll = None, json: Json = False) -> None:
    """Show where files are kept, and how many are stored, wait, or failed.

    Examples:
        whaul archive status
    """
    from whaul.settings import Settings

    _tell(asyncio.run(_status(Settings.load(), account)), json)


async def _status(settings: "Settings", account: str | None) -> list[dict[str, Any]]:
    async with opened(settings) as inbound:
        id_ = None if account is None else (await inbound.account(account)).id
        return [_document(inbound, found) for found in await _archives(inbound).all(id_)]


@app.command()
def backfill(
    *,
    account: AccountName,
    since: Annotated[str, typer.Option(metavar="TIME", help="From when on: a time, a day, or 15m, 2h, 7d ago.")],
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Archive files of messages that came before, and those that failed. Meta keeps a file for 7 days.

    Examples:
        whaul archive backfill 400000000000001 --since 7d
        whaul archive backfill 400000000000001 --since 2026-11-20 --dry-run
    """
    from whaul.settings import Settings

    moment = moment_from("--since", since)
    assert moment is not None  # noqa: S101 - there is a text
    found = asyncio.run(_backfill(Settings.load(), account, moment, dry_run=dry_run))
    if json:
        output.document({"matched": found.matched, "queued": found.queued})
        return
    verb = "to be fetched" if dry_run else "queued to be fetched"
    output.line(f"Events since then name {counted(found.matched, 'file')}; {verb}: {found.queued}.")
    if found.expired:
        output.line(f"Older than 7 days, so that Meta does not have them any more: {found.expired}.")
    if found.is_full:
        output.line("No more may wait (a quarter of WHAUL_MAX_BACKLOG); repeat this when these are stored.")


async def _backfill(settings: "Settings", account: str, since: datetime, *, dry_run: bool) -> "Backfilled":
    from whaul.events.archive.backfill import backfill

    async with opened(settings) as inbound:
        linked = await inbound.account(account)
        found = await _archives(inbound).all(linked.id)
        if not found:
            raise CommandError(
                f"{account} has no archive; set one: whaul archive set {account} --to s3://BUCKET/PREFIX"
            )
        return await backfill(
            inbound.store,
            inbound.cipher,
            inbound.owner,
            linked,
            found[0],
            since=since,
            max_backlog=settings.max_backlog,
            extensions=settings.extensions,
            dry_run=dry_run,
        )


@app.command()
def fetch(
    *,
    account: AccountName,
    media_id: Annotated[str, typer.Argument(metavar="MEDIA_ID", help="Of the file, as Meta names it.")],
    json: Json = False,
) -> None:
    """Archive one file now that failed, or waits for its next attempt.

    Examples:
        whaul archive fetch 400000000000001 1000000000001
    """
    from whaul.settings import Settings

    if not asyncio.run(_fetch(Settings.load(), account, media_id)):
        raise CommandError(f"no file {media_id} of {account} failed or waits; `whaul events list --media-id` shows it")
    if json:
        output.document({"mediaId": media_id, "state": "pending"})
    else:
        output.line(f"{media_id} is fetched as soon as a server runs.")


async def _fetch(settings: "Settings", account: str, media_id: str) -> bool:
    from whaul.events.archive.backfill import fetch_again
    from whaul.events.receiving.drafts import file_id

    async with opened(settings) as inbound:
        linked = await inbound.account(account)
        return await fetch_again(inbound.store, inbound.owner, file_id(inbound.owner, linked.id, media_id))


def _archives(inbound: Inbound) -> "Archives":
    from whaul.events.archive.archives import Archives

    return Archives(inbound.store, inbound.cipher, inbound.owner)


def _document(inbound: Inbound, found: "ArchiveStatus") -> dict[str, Any]:
    archive, oldest_at = found.archive, found.oldest_at
    return {
        "accountId": archive.account_id,
        "bucket": archive.bucket,
        "prefix": archive.prefix,
        "key": archive.key,
        "phoneNumberIds": [inbound.arns.phone_number_id(id_) for id_ in sorted(archive.meta_phone_number_ids)],
        **found.counts,
        "oldestSeconds": None if oldest_at is None else max(0, int((datetime.now(UTC) - oldest_at).total_seconds())),
        "conditionalWrites": found.is_conditional,
        "parkedFor": found.parked_for,
    }


def shown(count: int) -> str:
    """Write a count that ends somewhere."""
    from whaul.events.archive.archives import MAX_COUNTED

    return f"{count} or more" if count >= MAX_COUNTED else str(count)


def _tell(found: list[dict[str, Any]], json: bool) -> None:
    if json:
        output.document({"archives": found})
        return
    if not found:
        output.line("No files are kept. `whaul archive set ACCOUNT --to s3://BUCKET/PREFIX` keeps those of an account.")
    for each in found:
        output.line(each["accountId"])
        waits = "" if each["oldestSeconds"] is None else f", the oldest for {ago(each['oldestSeconds'])}"
        facts = {
            "keys": f"s3://{each['bucket']}/{each['prefix']}{each['key']}",
            "only": ", ".join(each["phoneNumberIds"]) or "all phone numbers",
            "stored": shown(each["stored"]),
            "waiting": f"{shown(each['pending'])}{waits}",
            "failed": shown(each["failed"]),
            "parked": shown(each["parked"]) + (f": {each['parkedFor']}" if each["parkedFor"] else ""),
            "the store": "honours If-None-Match"
            if each["conditionalWrites"]
            else "does not honour If-None-Match; a HEAD looks for each object before it is put",
        }
        output.rows(list(facts.items()))
