"""The command line: one module for each group of commands; they parse, call and print."""

import os
import sys
from typing import Annotated

import typer

from whaul import __version__
from whaul.cli import access_keys, accounts, doctor, failures, get, rotation, serve, simulate, stack

app = typer.Typer(
    name="whaul",
    help="WhatsApp media into your own S3 bucket, behind the API of AWS End User Messaging Social.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"whaul {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Take the options of `whaul` itself."""


app.command("demo")(stack.demo)
app.command("dev")(stack.dev)
app.command("serve")(serve.serve)
app.command("link")(accounts.link)
app.command("accounts")(accounts.list_accounts)
app.command("unlink")(accounts.unlink)
app.add_typer(access_keys.app, name="keys")
app.command("get")(get.get)
app.command("simulate")(simulate.simulate)
app.command("migrate")(serve.migrate)
app.command("doctor")(doctor.doctor)
app.command("rotate-secrets")(rotation.rotate_secrets)


def main() -> None:
    """Run the command line; what goes wrong in a known way is one message and exit code 1."""
    try:
        app()
    except failures.KNOWN as error:
        failures.report(error)
        # Not sys.exit: the HTTP client's threads may be at work still, and an interpreter that is taken down in
        # order aborts now and then when it meets one of them (exit code 134 instead of 1).
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
