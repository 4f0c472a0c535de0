"""`whaul dev`: the whole stack on this machine, to develop and test against."""

import json
import os
import shlex
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whaul.cli import output
from whaul.cli.stack import OwnS3, ask_no_proxy_for_loopback, stop_on_sigterm
from whaul.terminal import visible

if TYPE_CHECKING:
    from whaul.simulator import Exchange
    from whaul.stack.local import Stack

MAX_PORT = 65535
POLL_SECONDS = 0.2
"""How often we look whether the servers live and our output is read."""


def dev(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- COMMAND",
            show_default=False,
            help="Run this inside the stack, with the variables in its environment, and end with its exit code.",
        ),
    ] = None,
    *,
    own_s3: OwnS3 = False,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port of the gateway (WHAUL_PORT); 0: a free one.", show_default="4810"),
    ] = None,
    simulator_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the simulator; 0: a free one.", show_default="4811")
    ] = None,
    s3_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the S3 server; 0: a free one.", show_default="4812")
    ] = None,
    console_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the console; 0: a free one.", show_default="4813")
    ] = None,
    no_console: Annotated[
        bool, typer.Option("--no-console", help="Start no console. With COMMAND there is none.")
    ] = False,
    bucket: Annotated[str, typer.Option(help="Bucket to create.")] = "inbox",
    persist: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Keep database, buckets and media in this folder, and go on from what is there."
        ),
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Empty that folder first.")] = False,
    env_file: Annotated[
        Path | None,
        typer.Option(help="Write the variables to this file, for `docker run --env-file`, shells and direnv."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document once the stack is ready.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the variables only; the console's link on standard error.")
    ] = False,
    log_file: Annotated[
        str | None,
        typer.Option(
            help="Add what arrives and the gateway's log to this file; `-` is standard error, "
            "the default without a COMMAND.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run a whole stack to develop against, until Ctrl-C: simulated Meta, S3 server, gateway, console.

    Webhooks of the simulator come to the gateway, and files of messages into the bucket. Addresses and keys are the
    same every time. Settings in the environment (WHAUL_KEY_MODE, …) apply.

    Examples:
        whaul dev                              # prints the variables to paste into another shell
        whaul dev -- pytest                    # a test suite inside the stack
        whaul dev --persist .whaul --env-file .env
    """
    from whaul.stack import console, variables
    from whaul.stack.command import check_command
    from whaul.stack.local import CONSOLE_PORT, GATEWAY_PORT, S3_PORT, SIMULATOR_PORT, check_ports, stack
    from whaul.stack.processes import free_ports

    stop_on_sigterm()
    ask_no_proxy_for_loopback()
    if command:
        check_command(command)
    if as_json and command:
        raise typer.BadParameter("standard output is COMMAND's; use --env-file", param_hint="--json")
    if reset and persist is None:
        raise typer.BadParameter("it empties the folder of --persist; name that", param_hint="--reset")
    if own_s3 and s3_port is not None:
        raise typer.BadParameter("with --own-s3 no S3 server is started", param_hint="--s3-port")
    if env_file is not None and not env_file.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {env_file.parent}", param_hint="--env-file")
    if port is None:
        port = _port(variables.port(os.environ), GATEWAY_PORT)
    simulator_port = SIMULATOR_PORT if simulator_port is None else simulator_port
    s3_port = 0 if own_s3 else S3_PORT if s3_port is None else s3_port
    has_console = not (command or no_console)
    console_port = CONSOLE_PORT if console_port is None else console_port
    check_ports(port, simulator_port, s3_port, console_port if has_console else 0)
    with ExitStack() as parts:
        console_port = console_port or parts.enter_context(free_ports(1))[0]
        listener = console.settings(console_port) if has_console else {}
        log = parts.enter_context(closing(_Log(log_file, silent=quiet or bool(command))))
        folder = parts.enter_context(_folder(persist, port, empty=reset))
        running = parts.enter_context(
            stack(
                own_s3=own_s3,
                bucket=bucket,
                port=port,
                simulator_port=simulator_port,
                s3_port=s3_port,
                settings=variables.settings(os.environ) | listener,
                folder=folder,
                log_file=log.path,
                show_log=log.on_stderr,
                on_request=log.exchange,
            )
        )
        log.shows = True
        _tell_variables(running, env_file)
        if command:
            raise typer.Exit(_run(command, running))
        link = None
        if has_console:
            running, link = parts.enter_context(
                console.console(running, console_port, log.path or folder / "console.log")
            )
        if as_json:
            output.document(_document(running) | {"consoleUrl": link})
        else:
            _tell_how_to_use(running, link, quiet=quiet)
        _wait(running)


def _folder(persist: Path | None, port: int, *, empty: bool) -> AbstractContextManager[Path]:
    """Where the state is. Without a port of its own, the database is in the same place every time, too."""
    from whaul.stack import state_folder

    if persist is not None:
        return state_folder.persistent(persist, empty=empty)
    return state_folder.temporary(state_folder.shared_temporary(port) if port else None)


def _tell_variables(running: "Stack", env_file: Path | None) -> None:
    """Write the file, and say which settings are ignored, and which variables not written."""
    from whaul.stack import variables

    environ = running.environment()
    for name in variables.ignored(os.environ, environ):
        output.tell(f"whaul: {name} is ignored: the stack sets its own")
    for name in variables.write_env_file(env_file, environ) if env_file else ():
        output.tell(f"whaul: {name} is not in {env_file}: shells and Docker would read its value differently")


def _run(command: list[str], running: "Stack") -> int:
    from whaul.stack import variables
    from whaul.stack.command import run

    return run(command, variables.environment_of_command(running.environment()))


def _wait(running: "Stack") -> None:
    """Wait for Ctrl-C, or until nobody reads what we print. Raises `StackError` if a server ends."""
    try:
        while not output.reader_left():
            running.check()
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        output.tell("")
        output.tell("Stopping.")


class _Log:
    """Where the gateway's log and a line for each request at the simulator go."""

    def __init__(self, file: str | None, *, silent: bool) -> None:
        self.shows = False
        """Not while the stack makes itself ready."""
        self.on_stderr = file == "-" or (file is None and not silent)
        self.path = None if file in {None, "-"} else Path(str(file)).absolute()
        self._file = self.path.open("a", encoding="utf-8") if self.path else None

    def exchange(self, exchange: "Exchange") -> None:
        """Tell of a request at the simulator."""
        if not self.shows:
            return
        told = f"simulator  {exchange.method} {exchange.path}  {exchange.status}  {exchange.bytes_sent} bytes"
        if self.on_stderr:
            output.tell(f"  {told}")
        elif self._file is not None:
            self._file.write(f"{visible(told)}\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _port(setting: str | None, default: int) -> int:
    if setting is None:
        return default
    if not setting.isascii() or not setting.isdigit() or int(setting) > MAX_PORT:
        raise typer.BadParameter(f"WHAUL_PORT={setting} is not a port from 0 to {MAX_PORT}", param_hint="--port")
    return int(setting)


def _document(running: "Stack") -> dict[str, Any]:
    return {
        "gatewayUrl": running.gateway_url,
        "simulatorUrl": running.simulator.url,
        "s3Url": running.s3.url,
        "webhookUrl": running.webhook_url,
        "bucket": running.bucket,
        "archive": running.archive,
        "phoneNumberId": running.phone_number_id,
        "wabaId": running.simulator.waba_id,
        "media": [
            {"id": media.id, "mimeType": media.mime_type, "size": media.size}
            for media in running.simulator.media.values()
        ],
        "environment": running.environment(),
    }


def _voice_note(running: "Stack") -> str:
    """A media to send."""
    found = running.simulator.media
    return next((id_ for id_, media in found.items() if media.mime_type.startswith("audio/")), next(iter(found)))


def _tell_how_to_use(running: "Stack", link: str | None, *, quiet: bool) -> None:
    for line in _how_to_use(running, link, quiet=quiet):
        output.line(line)
    if quiet and link is not None:  # not among what shells read
        output.tell(f"whaul: the console, once, within an hour: {link}")


def _how_to_use(running: "Stack", link: str | None, *, quiet: bool) -> Iterator[str]:
    from whaul.stack import variables

    rivals = [f"unset {name}" for name in variables.RIVALS if name in os.environ]
    exports = rivals + [f"export {name}={shlex.quote(value)}" for name, value in running.environment().items()]
    if quiet:
        yield from exports
        return
    yield from ("", "Paste this into another shell:", "")
    yield from (f"  {line}" for line in exports)
    yield ""
    yield f"  gateway    {running.gateway_url}"
    yield f"  simulator  {running.simulator.url}   control: /_simulator/state"
    shared = running.access_key_id == running.s3.access_key_id
    yield f"  S3         {running.s3.url}" + ("" if shared else "   with the keys of this environment")
    yield f"  webhooks   {running.webhook_url}   the simulator's go there"
    yield f"  archive    {running.archive}   files of messages go there"
    for media in running.simulator.media.values():
        yield f"  media id   {media.id}   {media.mime_type}, {media.size} bytes"
    yield from ("", "A customer sends you a voice note, or a text:", "")
    inbound = f"{running.simulator.url}/_simulator/messages/inbound"
    for message in ({"media_id": _voice_note(running)}, {"text": "Hello"}):
        yield f"  curl -d {shlex.quote(json.dumps(message))} {inbound}"
    yield from ("", "A program of yours gets them by this, in that shell:", "")
    account = f"--account {running.simulator.waba_id}"
    yield f"  {output.itself()} listen {account} --forward-to http://127.0.0.1:3000/events"
    if link is not None:
        told = "The console shows what comes, and has the phone of a customer. This link is good once, within an hour:"
        yield from ("", told, "", f"  {link}", "")
        yield f"Another one, in that shell: {output.itself()} console link"
    yield from ("", "Ctrl-C stops everything. What arrives:", "")
