"""`whaul demo` and `whaul dev`: the whole stack on this machine."""

import os
import signal
import threading
import uuid
from collections.abc import Iterator
from textwrap import indent
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from whaul.cli import output
from whaul.cli.output import OutputError

if TYPE_CHECKING:
    from rich.table import Table

    from whaul.simulator import Exchange
    from whaul.stack.demo import Fetched
    from whaul.stack.local import Stack

OwnS3 = Annotated[
    bool,
    typer.Option(
        "--own-s3",
        help="Use the S3 server of AWS_ENDPOINT_URL_S3 and AWS_ACCESS_KEY_ID / AWS_SECRET_ACCESS_KEY "
        "instead of starting SeaweedFS.",
    ),
]


def demo(own_s3: OwnS3 = False) -> None:
    """Fetch files the whole way: simulated Meta, real S3 server, gateway, unmodified boto3."""
    from whaul.stack.demo import boto3_lines, clean_up, cli_line, fetch_all  # boto3 is an extra
    from whaul.stack.local import stack

    _stop_on_sigterm()
    _ask_no_proxy_for_loopback()
    console = output.console()
    console.print("\n[bold]whaul[/bold] moves WhatsApp media into your own S3 bucket, behind the API of")
    console.print("AWS End User Messaging Social. This demo runs the whole way on this machine:\n")
    console.print("  Meta's Graph API  ──▶  whaul  ──▶  S3 bucket")
    console.print("    [dim](simulator)[/dim]           ▲          [dim](SeaweedFS)[/dim]")
    console.print("                       boto3\n")
    bucket = f"whaul-demo-{uuid.uuid4().hex[:8]}" if own_s3 else "inbox"
    with stack(own_s3=own_s3, bucket=bucket) as running:
        try:
            console.print(f"The gateway runs at {running.gateway_url}, S3 at {running.s3.url}.\n")
            fetched = list(fetch_all(running))
            console.print(f"Fetched with boto3, stored in the bucket [bold]{bucket}[/bold], read back and compared:\n")
            console.print(_results(fetched))
            first = fetched[0].media_id
            console.print("\nThe program that did it:\n")
            console.print(indent(boto3_lines(running, first), "  "), soft_wrap=True, markup=False)
            console.print("\nThe same with the AWS CLI:\n")
            console.print(indent(cli_line(running, first), "  "), soft_wrap=True, markup=False)
        finally:
            if own_s3:
                clean_up(running)
    if not all(file.is_same for file in fetched):
        console.print("\n[red bold]A stored file differs from what was sent.[/red bold]")
        raise typer.Exit(1)
    console.print("\nAll files are the same to the byte.")
    console.print(f"`{output.itself()} dev` keeps this stack running for your own code.", markup=False)


def dev(
    own_s3: OwnS3 = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the gateway; 0 picks a free one.")] = 0,
    bucket: Annotated[str, typer.Option(help="Bucket to create.")] = "inbox",
) -> None:
    """Run the demo's stack until Ctrl-C, to develop against it."""
    from whaul.stack.local import stack  # boto3 is an extra

    _stop_on_sigterm()
    _ask_no_proxy_for_loopback()
    stop = threading.Event()
    unread: list[OutputError] = []

    def show(exchange: "Exchange") -> None:
        try:
            output.line(_exchange_line(exchange), must_be_read=True)
        except OutputError as error:
            unread.append(error)
            stop.set()

    with stack(own_s3=own_s3, bucket=bucket, gateway_port=port, show_gateway=True, on_request=show) as running:
        for line in _how_to_use(running, own_s3=own_s3):
            output.line(line)
        try:
            stop.wait()
        except KeyboardInterrupt:
            output.line("")
            output.line("Stopping.")
    if unread:
        raise unread[0]


def _results(fetched: "list[Fetched]") -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("  object key, and SHA-256 as sent and as stored", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("ms", justify="right", no_wrap=True)
    for file in fetched:
        same = "[green]same[/green]" if file.is_same else f"[red]differs[/red]\n  {file.stored_sha256}"
        told = f"  [bold]{file.key}[/bold]  {file.kind}  {same}\n  [dim]{file.sent_sha256}[/dim]"
        table.add_row(told, str(file.size), f"{file.seconds * 1000:.0f}")
    return table


def _how_to_use(running: "Stack", *, own_s3: bool) -> Iterator[str]:
    yield from ("", "Paste this into another shell:", "")
    for name, value in running.environment().items():
        yield f"  export {name}={value}"
    keys = "those of this environment" if own_s3 else f"{running.s3.access_key_id} / {running.s3.secret_access_key}"
    yield ""
    yield f"  phone number id  {running.phone_number_id}"
    yield f"  bucket           {running.bucket}   (S3 at {running.s3.url},"
    yield f"                   keys {keys})"
    for media in running.simulator.media.values():
        yield f"  media id         {media.id}   {media.mime_type}, {media.size} bytes"
    yield f"  simulator        {running.simulator.url}   (control: /_simulator/state)"
    yield from ("", "Ctrl-C stops everything. What arrives:", "")


def _exchange_line(exchange: "Exchange") -> str:
    return f"  simulator  {exchange.method} {exchange.path}  {exchange.status}  {exchange.bytes_sent} bytes"


def _ask_no_proxy_for_loopback() -> None:
    """Keep all of the stack's own traffic on this machine, also where a proxy is set for everything."""
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1", "localhost")))


def _stop_on_sigterm() -> None:
    """Make SIGTERM end the command as Ctrl-C does, so that the stack is taken down in order."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
