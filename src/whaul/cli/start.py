"""What `whaul serve` finds out before it starts, so that a bad setting is one message and not a worker's traceback."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from whaul.components import check_audit_log, check_events_profile, check_outbound, check_tls, open_registry, s3_config
from whaul.outbound.netguard import is_loopback
from whaul.registry.registry import Registry
from whaul.server.listener import check_free, listen_address
from whaul.server.supervisor import Plan
from whaul.settings import Settings, SettingsError
from whaul.telemetry import logs, tracing

log = structlog.get_logger()

WEBHOOKS_OFF = (
    "Webhooks are not taken: no app secret is known. `whaul link --app-secret-file FILE` or WHAUL_APP_SECRETS gives "
    "one; running servers take it up within seconds."
)
METRICS_FOLDERS = ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir")
"""Names under which prometheus_client finds the folder in which workers keep their counters."""


async def checked(settings: Settings) -> Plan:
    """Check everything that a worker will need, and return what the supervisor needs.

    Raises what says in one message what cannot be used: SettingsError, ListenerError, RegistryError.
    """
    address = listen_address(settings.host)
    if settings.auth == "none" and not is_loopback(address):
        raise SettingsError([f"WHAUL_AUTH: 'none' is accepted on a loopback listener only, and that is {address}"])
    s3_config(settings)
    check_outbound()
    check_events_profile(settings)
    check_tls(settings)
    check_audit_log(settings)
    check_metrics_folder(os.environ, settings.workers)
    async with open_registry(settings) as registry:
        await registry.ping()
        missing = await _missing(settings, registry)
        takes_webhooks = bool(settings.app_secrets) or await registry.accounts.have_app_secret()
    check_free(address, settings.port)
    webhook_address = listen_address(settings.webhook_host or settings.host)
    if settings.webhook_port is not None:
        check_free(webhook_address, settings.webhook_port)
    for event, message in missing.items():
        log.warning(event, message=message)
    no_traces = tracing.problem(os.environ)
    if no_traces is not None:
        log.warning("no_traces", message=str(no_traces))
    if not takes_webhooks:
        logs.lifecycle("webhooks_off", message=WEBHOOKS_OFF)
    plan = Plan(
        address=address,
        port=settings.port,
        workers=settings.workers,
        deadline=settings.deadline,
        idle_timeout=settings.idle_timeout,
        shutdown_notice=settings.shutdown_notice,
        max_transfers=settings.max_transfers,
        tls_cert_file=str(settings.tls_cert_file) if settings.tls_cert_file else None,
        tls_key_file=str(settings.tls_key_file) if settings.tls_key_file else None,
        log_level=settings.log_level,
        log_format=settings.log_format,
    )
    if settings.webhook_port is None:
        return plan
    webhooks = replace(
        plan,
        address=webhook_address,
        port=settings.webhook_port,
        application="whaul.app:create_webhooks",
        is_companion=True,
    )
    return replace(plan, companion=webhooks)


async def _missing(settings: Settings, registry: Registry) -> dict[str, str]:
    """What calls need and the registry does not have, as log events: to be said once, not by each worker."""
    missing = {}
    if not (await registry.accounts.page(1)).accounts:
        missing["no_account_linked"] = "No account is linked. `whaul link` links one; running servers then know it."
    has_key = settings.auth == "none" or settings.root_access_key_id is not None
    if not has_key and not any(key.is_usable(datetime.now(UTC)) for key in await registry.access_keys.all()):
        missing["no_access_key"] = "No access key can be used. `whaul keys create` makes one; running servers know it."
    return missing


def check_metrics_folder(environ: Mapping[str, str], workers: int) -> None:
    """Refuse, with `SettingsError`, a folder for counters that no file can be made in."""
    named = [(name, environ[name]) for name in METRICS_FOLDERS if environ.get(name)]
    try:
        for _, folder in named:
            tempfile.TemporaryFile(dir=folder).close()
        if workers > 1 and not named:
            tempfile.TemporaryDirectory(prefix="whaul-metrics-").cleanup()
    except OSError as error:
        if named:
            found = ", ".join(f"{name}={folder}" for name, folder in named)
            raise SettingsError([f"{found}: expected a folder that can be written to: {error.strerror}"]) from None
        raise SettingsError(
            [f"PROMETHEUS_MULTIPROC_DIR: unset, and no temporary folder can be made: {error.strerror}; name a folder"]
        ) from None
