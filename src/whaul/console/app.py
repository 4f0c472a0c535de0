"""The composition root of the console."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from whaul import __version__
from whaul.app import circuits_of, rules_of
from whaul.arns import Arns
from whaul.auth.authenticator import Authenticator
from whaul.components import (
    audit_log,
    cipher,
    event_store,
    event_targets,
    graph_client,
    http_client,
    open_registry,
    openid_provider,
    root_key,
    s3_store,
    usable_access_keys,
)
from whaul.console.console import Console
from whaul.console.listener import base_url, check_listener
from whaul.console.operations import Operations
from whaul.console.pages import navigation_of, pages_of
from whaul.console.recording import Recorder
from whaul.console.rendering import Assets, Templates
from whaul.console.safety import Guard
from whaul.console.sign_in import SERVICE, RegistryKeys, SignIns
from whaul.console.sign_in_pages import SignInPages
from whaul.console.site import Site
from whaul.events.database.store import Store
from whaul.events.delivery.api_destinations import ApiDestinations
from whaul.events.receiving.verify_tokens import VerifyTokens
from whaul.events.targets.addresses import Targets
from whaul.graph.client import GraphClient
from whaul.model import Account, PhoneNumber
from whaul.operations.components import Components
from whaul.operations.refresh import Refreshes
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import PresignedHosts, is_loopback
from whaul.registry.cache import CachedRegistry
from whaul.registry.registry import Registry
from whaul.server import asgi
from whaul.server.asgi import Application, Receive, Scope, Send
from whaul.server.database import opened
from whaul.server.gateway import HEALTH, JSON, READ
from whaul.server.http_app import HttpApp
from whaul.server.unfinished_heads import UnfinishedHeads
from whaul.setting_types import listen_parts
from whaul.settings import Settings
from whaul.storage.s3 import S3Store
from whaul.telemetry import logs
from whaul.telemetry.clients import ClientAddress
from whaul.telemetry.metrics import Metrics
from whaul.transfer.slots import TransferSlots

if TYPE_CHECKING:
    from whaul.console.openid import OpenId  # of an extra

CONNECTIONS: Final = 4
"""To PostgreSQL, for what pages read."""
PATIENCE: Final = 30.0
"""Seconds for one query."""


def create_app(settings: Settings | None = None) -> "ConsoleApp":
    """Build the console, an ASGI application; without `settings` they are read from the environment.

    Raises `SettingsError`.
    """
    found = settings or Settings.load()
    check_listener(found)
    logs.configure(found.log_level, found.log_format)
    return ConsoleApp(found)


class ConsoleApp(HttpApp):
    """The ASGI application."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self._site: Application

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Hold open what pages need."""
        settings = self._settings
        host, port = listen_parts(settings.console_listen)
        async with AsyncExitStack() as stack:
            audit = audit_log(settings, Metrics())
            if audit is not None:
                await stack.enter_async_context(audit.writer.running())
            assets = Assets()
            console = await self._opened(stack, assets)
            clients = ClientAddress(settings.trusted_proxies)
            has_tls = settings.tls_cert_file is not None
            is_open = not is_loopback(host)
            openid = self._openid(console)
            sign_ins = SignIns(
                console.registry,
                self._authenticator(console),
                port=port,
                has_tls=has_tls,
                has_provider=openid is not None,
            )
            recorder = Recorder(audit, clients)
            site = Site(
                console,
                pages_of(settings),
                sign_ins=sign_ins,
                sign_in_pages=SignInPages(console, sign_ins, recorder, openid),
                assets=assets,
                recorder=recorder,
            )
            hosts = (*settings.console_hosts, f"[{host}]" if ":" in host else host)
            site_itself = cast("Application", site.application)
            self._site = Guard(site_itself, hosts, clients, only_proxies=is_open and not has_tls)
            await stack.enter_async_context(UnfinishedHeads(port, self.busy).watched())
            logs.lifecycle("ready", console=base_url(settings))
            yield

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a browser, or who asks whether the process lives."""
        send = self.closing(send)
        if scope["path"] == HEALTH and scope["method"] in READ:
            await asgi.answer(send, 200, JSON, [], b'{"status":"ok"}')
        else:
            await self._site(scope, receive, send)

    async def _opened(self, stack: AsyncExitStack, assets: Assets) -> Console:
        settings = self._settings
        registry = await opened(stack, lambda: open_registry(settings))
        http = await stack.enter_async_context(http_client(settings))
        store = await stack.enter_async_context(event_store(settings, connections=CONNECTIONS, seconds=PATIENCE))
        graph, s3 = graph_client(settings, http), s3_store(settings, http)
        targets = await stack.enter_async_context(event_targets(settings, http))
        return Console(
            settings=settings,
            registry=registry,
            store=store,
            cipher=cipher(settings),
            http=http,
            graph=graph,
            operations=self._operations(
                stack, registry=registry, store=store, http=http, graph=graph, s3=s3, targets=targets
            ),
            s3=s3,
            targets=targets,
            templates=Templates(assets, self._values()),
            navigation=navigation_of(settings),
            is_ending=lambda: self.is_closing,
        )

    def _values(self) -> dict[str, object]:
        """What all pages may say."""
        settings = self._settings
        provider = None if settings.oidc_issuer is None else settings.oidc_name
        return {"version": __version__, "service": SERVICE, "region": settings.region, "provider": provider}

    def _openid(self, console: Console) -> "OpenId | None":
        settings = self._settings
        provider = openid_provider(settings, console.http)
        if provider is None:
            return None
        from whaul.console.openid import OpenId, Rules  # noqa: PLC0415 - it needs an extra

        rules = Rules(
            settings.oidc_scopes, settings.oidc_groups_claim, settings.oidc_access_keys, settings.oidc_session
        )
        return OpenId(provider, rules, partial(usable_access_keys, settings, console.registry))

    def _operations(
        self,
        stack: AsyncExitStack,
        *,
        registry: Registry,
        store: Store,
        http: HttpClient,
        graph: GraphClient,
        s3: S3Store,
        targets: Targets,
    ) -> Operations:
        settings, accounts, metrics = self._settings, registry.accounts, Metrics()
        known = CachedRegistry(
            phone_number=accounts.phone_number,
            linked_account=accounts.linked_account,
            access_key=registry.access_keys.find,
        )
        stack.push_async_callback(known.aclose)
        components = Components(
            rules=rules_of(settings),
            registry=registry,
            linked=known,
            graph=graph,
            circuits={PhoneNumber: circuits_of(metrics, "phone_number"), Account: circuits_of(metrics, "account")},
            http=http,
            store=s3,
            presigned_hosts=PresignedHosts(s3.endpoint, settings.presigned_hosts),
            slots=TransferSlots(settings.max_transfers, settings.max_queue, metrics),
            refreshes=Refreshes(accounts, graph),
            event_destinations=ApiDestinations(store, Arns(settings.account_id, settings.region), targets.make),
            verify_tokens=VerifyTokens(store, cipher(settings), settings.account_id),
        )
        stack.push_async_callback(components.drain)
        stack.push_async_callback(components.refreshes.aclose)
        return Operations(components, settings)

    def _authenticator(self, console: Console) -> Authenticator:
        settings = self._settings
        return Authenticator(
            RegistryKeys(console.registry),
            account_id=settings.account_id,
            region=settings.region,
            now=lambda: datetime.now(UTC),
            partition=Arns(settings.account_id, settings.region).partition,
            root=root_key(settings),
            service=SERVICE,
        )
