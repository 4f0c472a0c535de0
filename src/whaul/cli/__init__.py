"""The command line: one module for each group of commands; they parse, call and print."""

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Annotated, Any, cast

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from whaul.cli import help as help_pages
from whaul.cli import output
from whaul.terminal import suggestion

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""
DEBUG = "--debug"
HELP = frozenset({"-h", "--help"})

GROUPS: Mapping[str, Mapping[str, str]] = {
    "Try it on this machine": {"demo": "stack:demo", "dev": "dev:dev", "simulate": "simulate:simulate"},
    "Accounts and access keys": {
        "link": "accounts:link",
        "accounts": "accounts:list_accounts",
        "unlink": "accounts:unlink",
        "keys": "access_keys:app",
    },
    "Webhooks and events": {
        "webhooks": "webhooks:app",
        "destinations": "destinations:app",
        "archive": "archive:app",
        "events": "events:app",
        "listen": "listen:listen",
    },
    "The gateway": {
        "serve": "serve:serve",
        "console": "console:app",
        "doctor": "doctor:doctor",
        "settings": "settings:settings",
        "migrate": "migration:migrate",
        "rotate-secrets": "rotation:rotate_secrets",
    },
    "Without a gateway": {"get": "get:get"},
    "Help": {"help": "manual:manual"},
}
COMMANDS = {name: place for group in GROUPS.values() for name, place in group.items()}
"""Where each command, or group of commands, is found: `module:name` in this package."""


class Command(TyperCommand):
    """A command with our help."""

    def page(self, path: str) -> str:
        """Its help, under the name that `path` gives it."""
        return help_pages.command_page(path, self)

    def get_help(self, ctx: Any) -> str:
        """Its help, for Typer."""
        return self.page(ctx.command_path)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; whatever is wrong with them is this command's."""
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            told: Any = error
            told.ctx = getattr(error, "ctx", None) or ctx
            raise


class Group(TyperGroup):
    """Commands with our help, and with a suggestion for a name that is nearly one of theirs."""

    def page(self, path: str) -> str:
        """Its help, under the name that `path` gives it."""
        commands: list[Any] = [self.get_command(None, name) for name in self.list_commands(None)]  # type: ignore[arg-type]
        rows = [(each.name, help_pages.About.read(each.help).sentence) for each in commands]
        more = f"`whaul help{path.removeprefix('whaul')} COMMAND` says more about one of them."
        return help_pages.group_page(path, self, [("Commands", rows)], more)

    def get_help(self, ctx: Any) -> str:
        """Its help, for Typer."""
        return self.page(ctx.command_path)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Show the help to whoever gives nothing at all."""
        if not args and not self.invoke_without_command and not ctx.resilient_parsing:
            output.tell_page(self.page(ctx.command_path))
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command of the first argument."""
        if not ctx.resilient_parsing and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            known = [*self.list_commands(ctx), *(name for param in self.params for name in param.opts)]
            ctx.fail(f"there is no command {args[0]}{suggestion(args[0], known)}")
        return super().resolve_command(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = False,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, and end the program: with code 2 and what is wrong if it was not called as it can be."""
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode, windows_expand_args, **extra)
        except typer.TyperException as error:
            for line in help_pages.refusal(error):
                output.tell(line)
            sys.exit(error.exit_code)
        sys.exit(code)


class _Commands(Group):
    """Loads a command when it is wanted.

    Its module loads what the command needs when it runs: for help and completion that would take ten times as long.
    """

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is Typer's
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        found = _found(cmd_name)
        if not isinstance(found, typer.Typer):
            found, function = typer.Typer(add_completion=False), found
            found.command(cmd_name)(function)
        _give_our_help(found)
        command = typer.main.get_command(found)
        command.name = cmd_name
        return command

    def page(self, path: str) -> str:
        return help_pages.group_page(
            path, self, [(title, list(_summaries(names))) for title, names in GROUPS.items()], MORE
        )

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Answer a request for help at once, wherever in the line it is: to read options, Typer loads Pydantic."""
        if ctx.resilient_parsing:  # the shell asks how a line may go on
            return super().parse_args(ctx, args)
        if args[:1] == ["help"] and (len(args) == 1 or args[1] in COMMANDS):
            args = [*args[1:], "--help"]
        if page := self._asked_for(args):
            output.page(page)
            ctx.exit()
        return super().parse_args(ctx, args)

    def _asked_for(self, args: Sequence[str]) -> str | None:
        path, command = "whaul", cast("Any", self)
        for word in itertools.takewhile(lambda word: word != "--", args):
            if word in HELP:
                return str(command.page(path))
            if isinstance(command, Group) and not word.startswith("-"):
                path, command = f"{path} {word}", command.get_command(cast("Any", None), word)
            if command is None:
                break
        return None


MORE = (
    "`whaul help COMMAND` says more about a command, with examples; `whaul help WHAUL_PORT` about a setting; "
    "`whaul help docs` where the documentation is."
)


def _give_our_help(group: typer.Typer) -> None:
    group.info.cls = Group
    for command in group.registered_commands:
        command.cls = Command
    for within in group.registered_groups:
        within.cls = Group
        if within.typer_instance is not None:
            _give_our_help(within.typer_instance)


def _found(name: str) -> Any:
    module, _, function = COMMANDS[name].partition(":")
    return getattr(import_module(f"whaul.cli.{module}"), function)


def _summaries(names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name in names:
        found = _found(name)
        text = str(found.info.help) if isinstance(found, typer.Typer) else found.__doc__
        yield name, help_pages.About.read(text).sentence


app = typer.Typer(
    name="whaul",
    cls=_Commands,
    help="""WhatsApp messages to your programs and their files to your S3 bucket, as AWS End User Messaging Social does.

    Examples:
        whaul demo                                     # the whole way, on this machine
        whaul link --waba-id ID --token-file FILE      # your WhatsApp Business Account
        whaul serve
        whaul webhooks subscribe ID --url URL          # messages that come in
        whaul keys create --name app --allow-all       # a key for calls of your program
    """,
    context_settings={"help_option_names": sorted(HELP, key=len)},
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from whaul import __version__
        from whaul.build import commit

        found = commit()
        output.line(f"whaul {__version__}" + (f" (commit {found})" if found else ""))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Show where in the code a failure came from; anywhere in the line.")
    ] = False,
) -> None:
    """Take the options of `whaul` itself."""


def main() -> None:
    """Run the command line. Whatever goes wrong is one message on standard error, and exit code 1."""
    code = 1
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    own, others = sys.argv[1:end], sys.argv[end:]  # the others are no options of ours, but of a command that we run
    try:
        output.prepare()
        app([argument for argument in own if argument != DEBUG] + others, prog_name="whaul")
    except SystemExit as ended:
        code = int(ended.code or 0)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except output.UnreadError:
        code = 0  # a command whose only work is to show what happens is done
    except BaseException as error:  # noqa: BLE001 - the one place for what nobody foresaw, Rust's panics too
        from whaul.cli import failures

        failures.report(error, debug=DEBUG in own)
    output.finish(code)
