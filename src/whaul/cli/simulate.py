"""`whaul simulate`: the Graph API simulator on its own, until Ctrl-C."""

import asyncio
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whaul.cli import output
from whaul.cli.failures import CommandError
from whaul.cli.output import OutputError

if TYPE_CHECKING:
    from whaul.simulator import Exchange, Simulator

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8081


def simulate(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = DEFAULT_HOST,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = DEFAULT_PORT,
    token: Annotated[str | None, typer.Option(help="The only valid access token; made up, so not a secret.")] = None,
    app_secret: Annotated[
        str | None, typer.Option(help="Require appsecret_proof made with this made-up secret.")
    ] = None,
    media_dir: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Serve every file of this folder as a media."),
    ] = None,
) -> None:
    """Simulate the WhatsApp part of Meta's Graph API, for tests.

    Examples:
        whaul simulate
        whaul simulate --port 0 --media-dir photos
    """
    try:
        from whaul.simulator import DEFAULT_TOKEN, Simulator  # aiohttp is an extra
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] != "aiohttp":
            raise
        raise CommandError("the simulator needs the Python package aiohttp; install it: pip install aiohttp") from exc

    stop = asyncio.Event()
    unread: list[OutputError] = []

    def show(exchange: "Exchange") -> None:
        try:
            output.line(_request_line(exchange), must_be_read=True)
        except OutputError as error:
            unread.append(error)
            stop.set()

    simulator = Simulator(
        host=host.removeprefix("[").removesuffix("]"),
        port=port,
        token=DEFAULT_TOKEN if token is None else token,
        app_secret=app_secret,
        media_dir=media_dir,
        on_request=show,
    )
    try:
        asyncio.run(_serve(simulator, stop))
    except OSError as exc:
        raise CommandError(
            f"cannot listen on {host} port {port}: {exc.strerror or 'the address is not usable'}; "
            "choose another with --host and --port"
        ) from exc
    if unread:
        raise unread[0]


async def _serve(simulator: "Simulator", stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with simulator:
        _announce(simulator)
        await stop.wait()


def _announce(simulator: "Simulator") -> None:
    rows = [
        ("Graph API", simulator.url),
        ("token", simulator.token),
        ("account (WABA)", simulator.waba_id),
        *(("phone number", f"{n.id}  {n.display_phone_number}") for n in simulator.phone_numbers),
        *(("media", f"{m.id}  {m.mime_type}, {m.size} bytes") for m in simulator.media.values()),
        ("control", f"{simulator.url}/_simulator/state"),
    ]
    if simulator.app_secret is not None:
        rows.insert(2, ("appsecret_proof", "required"))
    for name, value in rows:
        output.line(f"{name:<16} {value}")
    host = simulator.url.removeprefix("http://").rpartition(":")[0].strip("[]")
    output.line("")
    output.line("Point whaul at it:")
    output.line(f"export WHAUL_GRAPH_URL={simulator.url} WHAUL_MEDIA_HOSTS={host}")
    output.line("")
    output.line("Ctrl-C stops it. Requests:")


def _request_line(exchange: "Exchange") -> str:
    """One line per request, without its query: that may hold a token."""
    words = [time.strftime("%H:%M:%S"), exchange.method, exchange.path]
    if exchange.hop == "download" and exchange.object_id.isalnum():
        words.append(exchange.object_id)
    words += [str(exchange.status or "---"), f"{exchange.bytes_sent} bytes"]
    if exchange.fault:
        words.append(f"fault: {exchange.fault}")
    if exchange.outcome == "broken":
        words.append("broken off")
    return "  ".join(words)
