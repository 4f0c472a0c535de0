"""The command line: one module for each group of commands; they parse, call and print."""

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperGroup

from whaul import __version__
from whaul.cli import output

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""
DEBUG = "--debug"

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
    "migrate": "migration:migrate",
    "doctor": "doctor:doctor",
    "rotate-secrets": "rotation:rotate_secrets",
}
"""Where each command, or group of commands, is found: `module:name` in this package."""


class _Commands(TyperGroup):
    """Loads a command when it is wanted.

    Its module loads what the command needs when it runs: for help and completion that would take ten times as long.
    """

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
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        output.line(f"whaul {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option(DEBUG, help="Show where in the code a failure came from.")] = False,
) -> None:
    """Take the options of `whaul` itself."""


def main() -> None:
    """Run the command line. Whatever goes wrong is one message on standard error, and exit code 1."""
    code = 1
    try:
        output.prepare()
        app([argument for argument in sys.argv[1:] if argument != DEBUG], prog_name="whaul")
    except SystemExit as ended:
        code = int(ended.code or 0)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BaseException as error:  # noqa: BLE001 - the one place for what nobody foresaw, Rust's panics too
        from whaul.cli import failures

        failures.report(error, debug=DEBUG in sys.argv)
    output.finish(code)
