"""`whaul get`: many media ids, fetched without a server."""

import sys
from typing import Annotated

import typer


def get(
    media_ids: Annotated[list[str] | None, typer.Argument(metavar="MEDIA_ID", help="Media ids.")] = None,
    *,
    phone_number_id: Annotated[str, typer.Option(help="The linked phone number that received them: its id or ARN.")],
    to: Annotated[
        str,
        typer.Option(
            help="s3://bucket/prefix, or a directory. An object's key is the prefix, the media id and an extension "
            "with nothing in between: end a folder's name with a slash."
        ),
    ],
    from_file: Annotated[
        str | None, typer.Option(help="File with more media ids, one per line; - for standard input.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Files at once.")] = 16,
    deadline: Annotated[
        float | None, typer.Option(help="Seconds for one file, with all retries (WHAUL_DEADLINE).", show_default="55")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also fetch files that are already stored.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document per id, and a summary, one per line.")
    ] = False,
) -> None:
    """Fetch many media files into a bucket or a directory. Files that are already there are skipped.

    Needs no running server. Run it again to continue after an interrupt, or to retry failures.
    """
    if not media_ids and from_file is None:
        raise typer.BadParameter("give media ids, or --from-file")
    from whaul.cli.fetch import fetch
    from whaul.settings import Settings

    code = fetch(
        Settings.load(deadline=deadline),
        media_ids or [],
        from_file,
        phone_number_id=phone_number_id,
        to=to,
        concurrency=concurrency,
        force=force,
        as_json=json or not sys.stdout.isatty(),
    )
    if code:
        raise typer.Exit(code)
