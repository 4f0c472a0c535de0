"""`whaul get`: many media ids, fetched without a server."""

import sys
from enum import StrEnum
from typing import Annotated

import typer


class ListForm(StrEnum):
    """The forms of a list."""

    AUTO = "auto"
    IDS = "ids"
    CSV = "csv"
    JSON = "json"


def get(
    media_ids: Annotated[list[str] | None, typer.Argument(metavar="MEDIA_ID", help="Media ids.")] = None,
    *,
    to: Annotated[
        str,
        typer.Option(
            help="s3://bucket/prefix, or a directory. An object's key is the prefix, the media id and an extension "
            "with nothing in between: end a folder's name with a slash."
        ),
    ],
    phone_number_id: Annotated[
        str | None,
        typer.Option(
            help="The linked phone number that received them: its id, its ARN, or Meta's id for it. Not needed if only "
            "one is linked, or if the list names a number with each id."
        ),
    ] = None,
    from_file: Annotated[
        str | None,
        typer.Option(
            help="File with more media: ids, one per line; CSV; or Meta's webhooks as JSON. - for standard input."
        ),
    ] = None,
    form: Annotated[
        ListForm,
        typer.Option("--format", help="How the list is written: ids, csv, json; auto looks at its first line."),
    ] = ListForm.AUTO,
    name: Annotated[
        str,
        typer.Option(
            metavar="TEMPLATE",
            help="Name of each file, from {media}, {number}, {sender}, {name}, {type}, {yyyy}, {mm}, {dd} and, at the "
            "end, {ext}.",
        ),
    ] = "{media}{ext}",
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Files at once.")] = 16,
    bandwidth: Annotated[
        str | None,
        typer.Option(metavar="RATE", help="Bytes per second of all files together: 10M, 512k, as rclone writes them."),
    ] = None,
    deadline: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="Seconds for one file, with all retries and waits. Without it, Meta's throttling is waited out.",
        ),
    ] = None,
    report: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write what became of each id: FILE.csv, or FILE.jsonl.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also fetch files that are already stored.")] = False,
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be fetched, and where to; nothing is stored.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document per id, and a summary, one per line.")
    ] = False,
) -> None:
    """Fetch many media files into a bucket or a directory. Files that are already there are skipped.

    Needs no running server. Run it again to continue after an interrupt, or to retry failures.

    Examples:
      whaul get 1013859600285441 --to photos
      whaul get --from-file webhooks.jsonl --to s3://my-bucket/inbound/ --name '{yyyy}/{mm}/{media}{ext}'
      whaul get --from-file ids.csv --to s3://my-bucket/inbound/ --bandwidth 10M --report outcome.csv
    """
    if not media_ids and from_file is None:
        raise typer.BadParameter("give media ids, or --from-file")
    from whaul.cli.fetch import Choices, fetch
    from whaul.settings import Settings

    choices = Choices(
        media_ids=media_ids or [],
        from_file=from_file,
        form=None if form is ListForm.AUTO else form.value,
        phone_number_id=phone_number_id,
        to=to,
        name=name,
        concurrency=concurrency,
        bandwidth=bandwidth,
        deadline=deadline,
        report=report,
        force=force,
        dry=dry,
        as_json=json or not sys.stdout.isatty(),
    )
    code = fetch(Settings.load(), choices)
    if code:
        raise typer.Exit(code)
