"""`whaul console`: pages for operators."""

import asyncio
import os
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from whaul.cli import output
from whaul.cli.access_keys import life
from whaul.cli.accounts import Json
from whaul.cli.failures import CommandError

if TYPE_CHECKING:
    from whaul.server.supervisor import Plan
    from whaul.settings import Settings

MAX_LINK_LIFE = timedelta(days=1)

app = typer.Typer(invoke_without_command=True, add_completion=False)


@app.callback()
def console(
    context: typer.Context,
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS:PORT", help="Where to listen (WHAUL_CONSOLE_LISTEN).", show_default="127.0.0.1:8082"
        ),
    ] = None,
) -> None:
    """Run the console until it is stopped: pages that show what came and what became of it, over the same database.

    Sign in with a link (`whaul console link`), or with an access key.

    Examples:
        whaul console
        whaul console link --key operator
    """
    if context.invoked_subcommand is not None:
        return
    from whaul.settings import Settings
    from whaul.telemetry import logs

    if listen is not None:
        os.environ["WHAUL_CONSOLE_LISTEN"] = listen  # the worker reads the settings from the environment
    settings = Settings.load()
    logs.configure(settings.log_level, settings.log_format)
    plan = asyncio.run(checked(settings))
    if sys.stderr.isatty():
        output.tell("To sign in: `whaul console link`, in another terminal with the same settings.")
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "whaul.server", plan.as_json()])  # noqa: S606 - ourselves


async def checked(settings: "Settings") -> "Plan":
    """Check what the console needs; return what its supervisor needs. Raises what `whaul serve` would."""
    import structlog

    from whaul.components import check_audit_log, check_outbound, check_tls, open_registry, s3_config
    from whaul.console.listener import check_listener
    from whaul.doctor.openid import NAME_KEYS, key_problems
    from whaul.server.listener import check_free, listen_address
    from whaul.server.supervisor import Plan
    from whaul.setting_types import listen_parts

    _check_extra(settings)
    check_listener(settings)
    host, port = listen_parts(settings.console_listen)
    address = listen_address(host, "WHAUL_CONSOLE_LISTEN")
    s3_config(settings)
    check_outbound()
    check_tls(settings)
    check_audit_log(settings)
    async with open_registry(settings) as registry:
        await registry.ping()
        for problem in await key_problems(settings, registry):
            structlog.get_logger().warning("nobody_signs_in", message=f"{problem}; {NAME_KEYS}")
    check_free(address, port, "--listen")
    return Plan(
        address=address,
        port=port,
        workers=1,
        deadline=settings.deadline,
        idle_timeout=settings.idle_timeout,
        shutdown_notice=0,
        max_transfers=settings.max_transfers,
        tls_cert_file=str(settings.tls_cert_file) if settings.tls_cert_file else None,
        tls_key_file=str(settings.tls_key_file) if settings.tls_key_file else None,
        log_level=settings.log_level,
        log_format=settings.log_format,
        application="whaul.console.app:create_app",
    )


def _check_extra(settings: "Settings") -> None:
    from whaul.extras import missing

    found = missing("console", *(() if settings.oidc_issuer is None else ("oidc",)))
    if found:
        raise CommandError(f"the console needs {found}")


@app.command()
def link(
    *,
    key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Name or id of the access key that it signs in as.")
    ] = None,
    expires_in: Annotated[
        str, typer.Option(metavar="TIME", help="How long it can be used: 30s, 15m, 1h; at most a day.")
    ] = "1m",
    json: Json = False,
) -> None:
    """Print a link that signs in to the console, once.

    Without --key there must be one usable access key only.

    Examples:
        whaul console link --key operator
    """
    from whaul.settings import Settings

    lasts = life(expires_in, MAX_LINK_LIFE)
    settings = Settings.load()
    url = asyncio.run(_link(settings, key, lasts))
    if json:
        output.document({"url": url}, must_be_read=True)
    else:
        output.line(url, must_be_read=True)
        output.tell(f"It can be opened once, within {expires_in}.")


async def _link(settings: "Settings", name: str | None, lasts: timedelta) -> str:
    from whaul.components import open_registry, usable_access_keys
    from whaul.console.listener import base_url

    async with open_registry(settings) as registry:
        found = await usable_access_keys(settings, registry, name)
        if not found:
            which = "There is no usable access key" if name is None else f"There is no usable access key {name}"
            raise CommandError(f"{which}; `whaul keys list` lists them, `whaul keys create` makes one")
        if len(found) > 1:
            raise CommandError(f"which access key? Name one of these: --key {', --key '.join(found)}")
        token = await registry.console_sign_ins.make_link(found[0], lasts)
    return f"{base_url(settings)}/sign-in#{token.get_secret_value()}"
