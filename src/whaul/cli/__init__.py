"""The command line: one module for each group of commands; they parse, call and print."""

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperGroup

from whaul import __version__

COMMANDS: Mapping[str, str] = {
    "demo": "stack:demo",
    "dev": "stack:dev",
    "serve": "serve:serve",
    "link": "accounts:link",
    "accounts": "accounts:list_accounts",
    "unlink": "accounts:unlink",
    "keys": "access_keys:app",
    "get": "get:get",
    "simulate": "simulate:simulate",
    "migrate": "serve:migrate",
    "doctor": "doctor:doctor",
    "rotate-secrets": "rotation:rotate_secrets",
}
"""Where each command, or group of commands, is found: `module:name` in this package."""


class _Commands(TyperGroup):
    """Loads a command when it is wanted: what one of them needs takes ten times as long to load as the rest."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is Typer's
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        found = getattr(import_module(f"whaul.cli.{module}"), name)
        if not isinstance(found, typer.Typer):
            found, function = typer.Typer(add_completion=False), found
            found.command(cmd_name)(function)
        command = typer.main.get_command(found)
        command.name = cmd_name
        return command


app = typer.Typer(
    name="whaul",
    cls=_Commands,
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


def main() -> None:
    """Run the command line; what goes wrong in a known way is one message and exit code 1."""
    try:
        app()
    except Exception as error:
        from whaul.cli import failures  # noqa: PLC0415 - whatever failed has loaded most of it

        if not isinstance(error, failures.KNOWN):
            raise
        failures.report(error)
        # Not sys.exit: the HTTP client's threads may be at work still, and an interpreter that is taken down in
        # order aborts now and then when it meets one of them (exit code 134 instead of 1).
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
