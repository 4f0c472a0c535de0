"""The composition root: builds the gateway from the settings. What it can do is in `OPERATIONS`."""

import gc
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

import structlog

from whaul.arns import Arns
from whaul.auth.authenticator import Authenticator
from whaul.components import audit_log, graph_client, http_client, open_registry, root_key, s3_store
from whaul.database_url import database_file, is_postgresql
from whaul.errors import AccessDeniedByMetaException
from whaul.events.archive.fetching import Fetching
from whaul.inbound import inbound_running
from whaul.model import Account, PhoneNumber
from whaul.operations import (
    accounts,
    calls,
    datasets,
    event_destinations,
    flows,
    media,
    messages,
    phone_numbers,
    public_keys,
    signup,
    tags,
    templates,
)
from whaul.operations.call import MAX_REFUSALS, REFUSAL_PAUSE, Row, operation
from whaul.operations.components import Components, Rules
from whaul.operations.refresh import Refreshes
from whaul.outbound.circuit import Circuits
from whaul.outbound.netguard import PresignedHosts
from whaul.registry.batches import BatchedKeys
from whaul.registry.cache import CachedRegistry
from whaul.server import asgi
from whaul.server.database import followed, opened
from whaul.server.gateway import Gateway, Service
from whaul.server.key_uses import KeyUses
from whaul.server.limits import RateLimit
from whaul.server.readiness import Readiness, announced
from whaul.server.unfinished_heads import UnfinishedHeads
from whaul.server.webhook_listener import WebhookListener
from whaul.settings import Settings
from whaul.telemetry import logs
from whaul.telemetry.audit import AuditLog
from whaul.telemetry.clients import ClientAddress
from whaul.telemetry.metrics import Metrics
from whaul.telemetry.tracing import tracing_running
from whaul.transfer.slots import TransferSlots

log = structlog.get_logger()

GARBAGE = 20_000
"""New objects between two looks of the garbage collector: at most a few megabytes."""


OPERATIONS: Mapping[str, Row] = {
    **accounts.OPERATIONS,
    **event_destinations.OPERATIONS,
    **flows.OPERATIONS,
    **datasets.OPERATIONS,
    **calls.OPERATIONS,
    **public_keys.OPERATIONS,
    **media.OPERATIONS,
    **messages.OPERATIONS,
    **phone_numbers.OPERATIONS,
    **signup.OPERATIONS,
    **tags.OPERATIONS,
    **templates.OPERATIONS,
}
"""The operations that are built: the tables of the families, joined."""


def create_app(settings: Settings | None = None) -> Gateway:
    """Build the gateway, an ASGI application; without `settings` they are read from the environment.

    Raises `SettingsError`.
    """
    found = settings or Settings.load()
    logs.configure(found.log_level, found.log_format, workers=found.workers)
    metrics = Metrics()
    audit = audit_log(found, metrics)

    def serving(gateway: Gateway) -> AbstractAsyncContextManager[Service]:
        return _serving(found, metrics, audit, gateway)

    return Gateway(serving, metrics, ClientAddress(found.trusted_proxies), audit)


def create_webhooks(settings: Settings | None = None) -> WebhookListener:
    """Build the application of the listener that is for webhooks alone. Raises `SettingsError`."""
    found = settings or Settings.load()
    logs.configure(found.log_level, found.log_format, workers=found.workers)
    return WebhookListener(lambda listener: _receiving(found, Metrics(), listener))


@asynccontextmanager
async def _receiving(
    settings: Settings, metrics: Metrics, listener: WebhookListener
) -> AsyncGenerator[asgi.Application]:
    """Build what webhooks need, and close it when the server stops."""
    async with AsyncExitStack() as stack:
        tracing = await stack.enter_async_context(tracing_running())
        registry = await opened(stack, lambda: open_registry(settings))
        http = await stack.enter_async_context(http_client(settings, metrics.circuits("host")))
        inbound = await opened(
            stack, lambda: inbound_running(settings, http, listener.bodies, metrics.events, tracing=tracing)
        )
        await stack.enter_async_context(followed(registry.ping, lambda _: None, metrics.database_up.set))
        await stack.enter_async_context(UnfinishedHeads(settings.webhook_port or 0, listener.busy).watched())
        _collect_seldom()
        logs.lifecycle("ready", webhook_port=settings.webhook_port)
        yield inbound.webhooks


@asynccontextmanager
async def _serving(
    settings: Settings, metrics: Metrics, audit: AuditLog | None, gateway: Gateway
) -> AsyncGenerator[Service]:
    """Build the components, and close them when the server stops; transfers under way are finished first."""
    async with AsyncExitStack() as stack:
        tracing = await stack.enter_async_context(tracing_running())
        if audit is not None:
            await stack.enter_async_context(audit.writer.running())
        registry = await opened(stack, lambda: open_registry(settings))
        http = await stack.enter_async_context(http_client(settings, metrics.circuits("host")))
        keys = BatchedKeys(registry.access_keys)
        stack.push_async_callback(keys.aclose)
        known = CachedRegistry(
            phone_number=registry.accounts.phone_number,
            linked_account=registry.accounts.linked_account,
            access_key=keys.find,
            on_outage=_log_outage,
        )
        stack.push_async_callback(known.aclose)
        uses = KeyUses(registry.access_keys.record_uses)
        await stack.enter_async_context(uses.written())
        store = s3_store(settings, http)
        graph = graph_client(settings, http, metrics.observe_meta_usage)
        refreshes = Refreshes(registry.accounts, graph, on_end=lambda outcome: metrics.refreshes.labels(outcome).inc())
        slots = TransferSlots(settings.max_transfers, settings.max_queue, metrics)
        fetching = Fetching(
            graph=graph,
            store=store,
            slots=slots,
            deadline=settings.deadline,
            max_file_size=settings.max_file_size,
        )
        inbound = await opened(
            stack,
            lambda: inbound_running(settings, http, gateway.bodies, metrics.events, fetching=fetching, tracing=tracing),
        )
        components = Components(
            rules=rules_of(settings),
            registry=registry,
            linked=known,
            graph=graph,
            circuits={PhoneNumber: circuits_of(metrics, "phone_number"), Account: circuits_of(metrics, "account")},
            http=http,
            store=store,
            presigned_hosts=PresignedHosts(store.endpoint, settings.presigned_hosts),
            slots=slots,
            refreshes=refreshes,
            event_destinations=inbound.destinations,
            verify_tokens=inbound.verify_tokens,
        )
        stack.push_async_callback(components.drain)
        stack.push_async_callback(refreshes.aclose)
        if not is_postgresql(url := settings.database_url.get_secret_value()):
            metrics.disk.folder = database_file(url).parent
        await stack.enter_async_context(
            followed(registry.accounts.token_expiries, metrics.set_token_expiries, metrics.database_up.set)
        )
        await stack.enter_async_context(UnfinishedHeads(settings.port, gateway.busy).watched())
        _collect_seldom()
        readiness = Readiness(registry.ping, store.credentials.get, inbound.webhooks.check)
        where = {"region": settings.region, "s3_endpoint": store.endpoint, "graph": settings.graph_url}
        await stack.enter_async_context(announced(readiness.unready, lambda: logs.lifecycle("ready", **where)))
        yield Service(
            authenticator=Authenticator(
                known,
                account_id=settings.account_id,
                region=settings.region,
                now=lambda: datetime.now(UTC),
                partition=components.rules.arns.partition,
                root=root_key(settings),
                required=settings.auth == "sigv4",
            ),
            rate_limit=RateLimit(settings.rate_limit, time.monotonic, settings.rate_burst),
            unready=readiness.unready,
            note_use=uses.note,
            operations={name: operation(name, row, components) for name, row in OPERATIONS.items()},
            webhooks=inbound.webhooks if settings.webhook_port is None else None,
            tracing=tracing,
        )


def rules_of(settings: Settings) -> Rules:
    """Read what the settings decide over calls."""
    return Rules(
        arns=Arns(settings.account_id, settings.region),
        deadline=settings.deadline,
        max_file_size=settings.max_file_size,
        exact_keys=settings.key_mode == "exact",
        extensions=settings.extensions,
    )


def circuits_of(metrics: Metrics, kind: str) -> Circuits[AccessDeniedByMetaException]:
    """Those of one kind of what Meta can refuse."""
    return Circuits(MAX_REFUSALS, REFUSAL_PAUSE, time.monotonic, metrics.circuits(kind))


def _collect_seldom() -> None:
    """Spare the garbage collector what lives as long as the process, and what a call frees by itself.

    By default it looks at the youngest objects every 700 new ones, several times in a call, and took up to an
    eighth of the CPU time of a small one.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)


def _log_outage(is_down: bool) -> None:
    if is_down:
        log.error("the database does not answer; access keys and phone numbers go on as they were known last")
    else:
        log.warning("the database answers again")  # as loud as that it did not
