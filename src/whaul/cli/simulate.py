"""`whaul simulate`: the Graph API simulator on its own, until Ctrl-C."""

import asyncio
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whaul.cli import output
from whaul.cli.accounts import secret_from
from whaul.cli.failures import CommandError
from whaul.cli.output import OutputError

if TYPE_CHECKING:
    from ssl import SSLContext

    from whaul.simulator import Delivery, Exchange, Simulator

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8081


def simulate(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = DEFAULT_HOST,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = DEFAULT_PORT,
    token: Annotated[str | None, typer.Option(help="The only valid access token; made up, so not a secret.")] = None,
    app_secret: Annotated[
        str | None, typer.Option(help="Require appsecret_proof made with this made-up secret.")
    ] = None,
    webhook_url: Annotated[str | None, typer.Option(help="Post webhooks to this URL, as Meta does.")] = None,
    app_secret_file: Annotated[
        str | None, typer.Option(help="File with the app secret that signs webhooks; - for standard input.")
    ] = None,
    verify_token: Annotated[
        str | None, typer.Option(help="First ask the webhook URL for Meta's proof, with this token.")
    ] = None,
    webhook_client_cert: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="PEM file with the client certificate and its key.")
    ] = None,
    webhook_ca_file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="CA certificates that the webhook URL may have.")
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
        whaul simulate --webhook-url http://127.0.0.1:9000/ --verify-token let-me-in
    """
    _check_extra()
    from whaul.simulator import DEFAULT_TOKEN, Simulator, VerificationError

    if app_secret is not None and app_secret_file is not None:
        raise typer.BadParameter("--app-secret and --app-secret-file exclude each other")
    if verify_token is not None and webhook_url is None:
        raise typer.BadParameter("--verify-token goes with --webhook-url")
    secret = secret_from("--app-secret-file", app_secret_file).get_secret_value() if app_secret_file else None
    stop = asyncio.Event()
    unread: list[OutputError] = []

    def show(line: str) -> None:
        try:
            output.line(line, must_be_read=True)
        except OutputError as error:
            unread.append(error)
            stop.set()

    try:
        simulator = Simulator(
            host=host.removeprefix("[").removesuffix("]"),
            port=port,
            token=DEFAULT_TOKEN if token is None else token,
            app_secret=app_secret,
            media_dir=media_dir,
            on_request=lambda exchange: show(_request_line(exchange)),
            webhook_url=webhook_url,
            webhook_secret=secret,
            webhook_tls=_tls(webhook_client_cert, webhook_ca_file),
            on_webhook=lambda delivery: show(_webhook_line(delivery)),
        )
    except ValueError as exc:
        raise typer.BadParameter(str(exc), param_hint="--webhook-url") from exc
    try:
        asyncio.run(_serve(simulator, stop, verify_token))
    except VerificationError as exc:
        raise CommandError(
            f"the webhook URL has not proved itself: {exc}. Start the receiver first; it must answer a GET with "
            "hub.challenge if hub.verify_token is the token of --verify-token"
        ) from exc
    except OSError as exc:
        raise CommandError(
            f"cannot listen on {host} port {port}: {exc.strerror or 'the address is not usable'}; "
            "choose another with --host and --port"
        ) from exc
    if unread:
        raise unread[0]


def _check_extra() -> None:
    try:
        import aiohttp  # noqa: F401 - comes with an extra
    except ModuleNotFoundError as exc:
        if exc.name != "aiohttp":
            raise
        raise CommandError("the simulator needs the Python package aiohttp; install it: pip install aiohttp") from exc


async def _serve(simulator: "Simulator", stop: asyncio.Event, verify_token: str | None) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with simulator:
        if verify_token is not None:
            await simulator.webhooks.verify(str(simulator.apps[0].callback_url), verify_token)
        _announce(simulator)
        await stop.wait()


def _announce(simulator: "Simulator") -> None:
    from whaul.simulator import DEFAULT_APP_SECRET

    rows = [
        ("Graph API", simulator.url),
        ("token", simulator.token),
        ("account (WABA)", simulator.waba_id),
        *(("phone number", f"{n.id}  {n.display_phone_number}") for n in simulator.phone_numbers),
        *(("media", f"{m.id}  {m.mime_type}, {m.size} bytes") for m in simulator.media.values()),
        ("control", f"{simulator.url}/_simulator/state"),
    ]
    app = simulator.apps[0]
    if app.callback_url is not None:
        rows += [("webhooks", _shown(app.callback_url)), ("app", app.id)]
        rows += [("app secret", app.secret)] if app.secret == DEFAULT_APP_SECRET else []
    if simulator.app_secret is not None:
        rows.insert(2, ("appsecret_proof", "required"))
    for name, value in rows:
        output.line(f"{name:<16} {value}")
    host = simulator.url.removeprefix("http://").rpartition(":")[0].strip("[]")
    output.line("")
    output.line("Point whaul at it:")
    output.line(f"export WHAUL_GRAPH_URL={simulator.url} WHAUL_MEDIA_HOSTS={host}")
    if app.callback_url is not None:
        output.line("")
        output.line("Let a customer write:")
        output.line(f"""curl -d '{{"text": "Hello"}}' {simulator.url}/_simulator/messages/inbound""")
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


def _webhook_line(delivery: "Delivery") -> str:
    """One line per attempt of a webhook."""
    attempt = delivery.attempts[-1]
    words = [time.strftime("%H:%M:%S"), "webhook", delivery.name, _shown(delivery.url)]
    words += [str(attempt.status or attempt.error)]
    if delivery.fault:
        words.append(f"fault: {delivery.fault.kind}")
    if len(delivery.attempts) > 1:
        words.append(f"attempt {len(delivery.attempts)}")
    return "  ".join(words)


def _shown(url: str) -> str:
    """A URL without its query, which may hold a token."""
    return url.partition("?")[0]


def _tls(client_cert: Path | None, ca_file: Path | None) -> "SSLContext | None":
    """What proves the simulator to a receiver, and receivers to it; None for what is usual."""
    if client_cert is None and ca_file is None:
        return None
    import ssl

    try:
        context = ssl.create_default_context(cafile=ca_file)
        if client_cert is not None:
            context.load_cert_chain(client_cert)
    except (ssl.SSLError, OSError) as exc:
        raise CommandError("a file of --webhook-client-cert or --webhook-ca-file is not a PEM file as needed") from exc
    return context
