"""`whaul demo`: the whole stack on this machine, shown once. And what it shares with `whaul dev`."""

import os
import signal
import uuid
from textwrap import indent
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from whaul.cli import output

if TYPE_CHECKING:
    from rich.table import Table

    from whaul.stack.demo import Fetched, VoiceNote

OwnS3 = Annotated[
    bool,
    typer.Option(
        "--own-s3",
        help="Use the S3 server of AWS_ENDPOINT_URL_S3 and AWS_ACCESS_KEY_ID / AWS_SECRET_ACCESS_KEY "
        "instead of starting SeaweedFS.",
    ),
]


def demo(own_s3: OwnS3 = False) -> None:
    """Files and an event the whole way: simulated Meta, real S3 server, gateway, unmodified boto3."""
    from whaul.stack import demo as shown  # boto3 is an extra
    from whaul.stack.local import stack

    stop_on_sigterm()
    ask_no_proxy_for_loopback()
    console = output.console()
    console.print(
        "\n[bold]whaul[/bold] brings WhatsApp messages to your programs and their files to your S3 bucket, as"
    )
    console.print("AWS End User Messaging Social does. This demo runs the whole way on this machine:\n")
    console.print("  Meta's Graph API  ──▶  whaul  ──▶  S3 bucket [dim](SeaweedFS)[/dim]")
    console.print("    [dim](simulator)[/dim]          ▲ └───▶  HTTP endpoint")
    console.print("                     boto3\n")
    bucket = f"whaul-demo-{uuid.uuid4().hex[:8]}" if own_s3 else "inbox"
    with stack(own_s3=own_s3, bucket=bucket) as running:
        try:
            console.print(f"The gateway runs at {running.gateway_url}, S3 at {running.s3.url}.\n")
            fetched = list(shown.fetch_all(running))
            console.print(f"Fetched with boto3, stored in the bucket [bold]{bucket}[/bold], read back and compared:\n")
            console.print(_results(fetched))
            with shown.endpoint(running) as endpoint:
                note = shown.voice_note(running, endpoint)
            console.print("\nThen a customer sent a voice note. Its file went into the bucket by itself,")
            console.print("and its event, as AWS publishes it, to an HTTP endpoint:\n")
            console.print(_inbound(note))
            first = fetched[0].media_id
            console.print("\nThe program that fetched the first file:\n")
            console.print(indent(shown.boto3_lines(running, first), "  "), soft_wrap=True, markup=False)
            console.print("\nThe same with the AWS CLI:\n")
            console.print(indent(shown.cli_line(running, first), "  "), soft_wrap=True, markup=False)
        finally:
            if own_s3:
                shown.clean_up(running)
    if not all(file.is_same for file in (*fetched, note.file)):
        console.print("\n[red bold]A stored file differs from what was sent.[/red bold]")
        raise typer.Exit(1)
    console.print("\nAll files are the same to the byte.\n")
    console.print("The demo's servers have stopped. This keeps them running, and prints the")
    console.print("variables with which these lines and your own code reach them:\n")
    console.print(f"  {output.itself()} dev", soft_wrap=True, markup=False)


def _results(fetched: "list[Fetched]") -> "Table":
    table = _table("object key, and SHA-256 as sent and as stored")
    for file in fetched:
        _add(table, file)
    return table


def _inbound(note: "VoiceNote") -> "Table":
    table = _table("object key and SHA-256; event and its messageId")
    _add(table, note.file)
    told = (
        f"  [bold]messages/message/audio[/bold]  event  [green]delivered[/green]\n  [dim]{note.event.message_id}[/dim]"
    )
    table.add_row(told, str(note.event.size), f"{note.event_seconds * 1000:.0f}")
    return table


def _table(title: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(f"  {title}", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("ms", justify="right", no_wrap=True)
    return table


def _add(table: "Table", file: "Fetched") -> None:
    same = "[green]same[/green]" if file.is_same else f"[red]differs[/red]\n  {file.stored_sha256}"
    told = f"  [bold]{file.key}[/bold]  {file.kind}  {same}\n  [dim]{file.sent_sha256}[/dim]"
    table.add_row(told, str(file.size), f"{file.seconds * 1000:.0f}")


def ask_no_proxy_for_loopback() -> None:
    """Keep all of the stack's own traffic on this machine, also where a proxy is set for everything."""
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1", "localhost")))


def stop_on_sigterm() -> None:
    """Make SIGTERM and SIGHUP end the command as Ctrl-C does, so that the stack is taken down in order."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, interrupt)
