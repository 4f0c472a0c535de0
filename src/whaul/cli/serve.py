"""`whaul serve`."""

import asyncio
import os
import sys
from typing import Annotated

import typer


def serve(
    host: Annotated[
        str | None,
        typer.Option(help="Address, or name of this machine, to listen on (WHAUL_HOST).", show_default="127.0.0.1"),
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (WHAUL_PORT).", show_default="8080")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes (WHAUL_WORKERS).", show_default="1")] = None,
) -> None:
    """Run the gateway until it is stopped. Calls in progress are finished first.

    Examples:
        whaul serve
        whaul serve --host 0.0.0.0 --port 9000 --workers 4
        WHAUL_LOG_LEVEL=warning whaul serve
    """
    from whaul.cli.start import checked
    from whaul.environment import environment_name
    from whaul.settings import Settings
    from whaul.telemetry import logs

    settings = Settings.load(host=host, port=port, workers=workers)
    logs.configure(settings.log_level, settings.log_format)
    plan = asyncio.run(checked(settings))
    # Workers read the settings from the environment, as if it had held the options.
    for name in ("host", "port", "workers"):
        os.environ[environment_name(name)] = str(getattr(settings, name))
    # The process goes on as the supervisor, which keeps nothing of what was loaded to check the settings.
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "whaul.server", plan.as_json()])  # noqa: S606 - ourselves
