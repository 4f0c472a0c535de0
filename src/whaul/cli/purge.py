"""`whaul events purge`: what is kept of one person, removed."""

import asyncio
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whaul.cli import event_records as records
from whaul.cli import output
from whaul.cli.accounts import Json
from whaul.cli.failures import CommandError
from whaul.cli.inbound import DryRun, Yes, counted, opened

if TYPE_CHECKING:
    from whaul.events.journal import FileRecord
    from whaul.events.purge import Found, Purge
    from whaul.settings import Settings


_PERSON = re.compile(r"\+?(?:[ ().-]*\d){5,20}|[A-Za-z]{2}(?:\.[A-Za-z0-9]+)+")
"""Anything shorter would be found in the webhooks of others."""


def purge(
    *,
    user: Annotated[str, typer.Option(metavar="ID", help="Phone number (wa_id) or business-scoped user id.")],
    files: Annotated[bool, typer.Option("--files", help="Remove the stored files, too; otherwise list them.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Remove what is kept of a person: events, waiting deliveries, dead letters, raw webhooks, perhaps stored files.

    It reads every raw webhook that is kept, and says what it found before it removes anything.

    Examples:
        whaul events purge --user 15550100101 --dry-run
        whaul events purge --user 15550100101 --files
    """
    from whaul.settings import Settings

    if not _PERSON.fullmatch(user.strip()):
        expected = "expected a phone number of at least 5 digits, or a user id such as US.13491208655302741918"
        raise typer.BadParameter(expected, param_hint="--user")
    result = asyncio.run(_purge(Settings.load(), user.strip(), files=files, dry_run=dry_run, yes=yes, json=json))
    if json:
        output.document(result)
        return
    output.line(f"{counted(result['matched'], 'event')} with this person; {result['removed']} removed.")
    if result["files"]:
        output.line(f"Their files, which {'were removed' if files and not dry_run else 'are still there'}:")
        output.rows([(each["state"], f"s3://{each['bucket']}/{each['key']}") for each in result["files"]])


async def _purge(
    settings: "Settings", user: str, *, files: bool, dry_run: bool, yes: bool, json: bool
) -> dict[str, Any]:
    from whaul.events.people import Hashes
    from whaul.events.purge import Purge

    async with opened(settings) as inbound:
        hashes = Hashes(inbound.store, inbound.cipher, inbound.owner)
        await hashes.load()
        purge = Purge(inbound.store, inbound.cipher, hashes, inbound.owner, user)
        found = await purge.find()
        removed = 0
        if found.unreadable:
            output.tell(
                f"warning: {found.unreadable} webhooks or events are encrypted with a key that is not in "
                "WHAUL_SECRET_KEY; nobody can tell whether this person is in them"
            )
        if (found.events or found.bodies) and not dry_run:
            if not yes and not output.confirms(_question(found, files=files), aside=json):
                raise CommandError("nothing was removed")
            removed = await _remove(settings, purge, found, files=files)
        shown = [records.file_document(each) for each in found.files]
        return {"matched": len(found.events), "removed": removed, "files": shown}


def _question(found: "Found", *, files: bool) -> str:
    stored = sum(file.state == "stored" for file in found.files)
    with_files = f", {counted(stored, 'stored file')}" if files else ""
    kept = f"{counted(len(found.events), 'event')}, {counted(len(found.bodies), 'raw webhook')}"
    return f"Remove {kept}{with_files}, for good?"


async def _remove(settings: "Settings", purge: "Purge", found: "Found", *, files: bool) -> int:
    from whaul.components import http_client, s3_store
    from whaul.errors import ApiError
    from whaul.model import S3File

    if not files:
        return await purge.remove(found, None)
    async with http_client(settings) as http:
        store = s3_store(settings, http)

        async def remove_object(file: "FileRecord") -> None:
            try:
                await store.delete(S3File(file.bucket, file.key))
            except ApiError as error:
                place = f"s3://{file.bucket}/{file.key}"
                raise CommandError(f"{place} was not removed: {error.message} No event was removed.") from error

        return await purge.remove(found, remove_object)
