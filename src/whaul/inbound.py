"""The part of a server that takes webhooks and sends events, built from the settings as `app` builds the rest."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from whaul.arns import Arns
from whaul.components import cipher, event_targets
from whaul.events.archive.fetching import Fetching
from whaul.events.backlog import ALL, SHARE, Count, of_destination, of_files, overdue_of
from whaul.events.delivery.api_destinations import ApiDestinations
from whaul.events.delivery.sending import options_of
from whaul.events.periodic import every, watching
from whaul.events.receiving.app_secrets import AppSecrets
from whaul.events.receiving.verify_tokens import AcceptedTokens, VerifyTokens
from whaul.events.running import Events, Limits, Surroundings, events_running
from whaul.events.targets.discreet import Discreet
from whaul.outbound.http import HttpClient
from whaul.registry.errors import RegistryUnavailableError
from whaul.server.bodies import BodyBudget
from whaul.server.webhooks import Webhooks
from whaul.settings import Settings
from whaul.telemetry.event_metrics import Backlog, EventMetrics, Waiting

if TYPE_CHECKING:
    from whaul.telemetry.spans import Tracing

READ_SECRETS: Final = 3.0
"""Seconds between two looks for new app secrets; one must be known within five."""
SHOW: Final = 5.0
"""Seconds between two looks at what waits, for the metrics."""


class Inbound(NamedTuple):
    """What the server answers with."""

    webhooks: Webhooks
    destinations: ApiDestinations
    verify_tokens: VerifyTokens


@asynccontextmanager
async def inbound_running(
    settings: Settings,
    http: HttpClient,
    bodies: BodyBudget,
    metrics: EventMetrics,
    *,
    fetching: Fetching | None = None,
    tracing: "Tracing | None" = None,
) -> AsyncGenerator[Inbound]:
    """Run all that is done about events; with `fetching`, files are archived, too.

    Raises RegistryUnavailableError and SecretKeyError when it cannot start.
    """
    url, seal, owner = settings.database_url.get_secret_value(), cipher(settings), settings.account_id
    limits = Limits(
        max_events=settings.max_backlog,
        max_bytes=settings.max_backlog_bytes,
        delivery_period=settings.delivery_period.total_seconds(),
        webhook_retention=settings.webhook_retention.total_seconds(),
        event_retention=settings.event_retention.total_seconds(),
    )
    async with AsyncExitStack() as stack:
        targets = await stack.enter_async_context(event_targets(settings, http))
        surroundings = Surroundings(
            targets=lambda destination: Discreet(targets.make(destination.target, options_of(destination))),
            observer=metrics,
            operators=tuple(settings.app_secrets),
            extensions=settings.extensions,
            fetching=fetching,
            archive_slots=settings.archive_slots,
            tracing=tracing,
        )
        events = await stack.enter_async_context(events_running(url, seal, owner, limits, surroundings))
        secrets = AppSecrets(events.receiving, seal, owner, settings.app_secrets)
        accepted = AcceptedTokens(VerifyTokens(events.receiving, seal, owner), settings.webhook_verify_tokens)
        webhooks = Webhooks(secrets, accepted, events.inbox, bodies, metrics, tracing=tracing)
        with suppress(RegistryUnavailableError):
            await webhooks.check()  # the first webhook need not wait

        async def show() -> None:
            metrics.waiting.found = await _waiting(events, settings.max_backlog)

        await stack.enter_async_context(watching(every(READ_SECRETS, secrets.read), every(SHOW, show)))
        destinations = ApiDestinations(events.store, Arns(owner, settings.region), targets.make)
        yield Inbound(webhooks, destinations, VerifyTokens(events.store, seal, owner))


async def _waiting(events: Events, max_events: int) -> Backlog:
    """Put what was counted into the words of the metrics."""
    counts, now = events.backlog.counts, datetime.now(UTC).timestamp()
    routes = await events.routing.current()

    def age(count: Count) -> float:
        return 0.0 if count.oldest_at is None else max(0.0, now - count.oldest_at / 1_000_000)

    files = [count for what, count in counts.items() if what.startswith(of_files(""))]
    destinations = {}
    for number, destination in routes.destinations.items():
        count = counts.get(of_destination(number), Count())
        if not destination.removed:
            share = count.waiting / max(1, max_events // SHARE)
            overdue = counts.get(overdue_of(number), Count())
            destinations[destination.name] = Waiting(
                count.waiting, age(count), age(overdue), count.dead, share, destination.state
            )
    return Backlog(
        events=counts.get(ALL, Count()).waiting,
        files=sum(count.waiting for count in files),
        oldest_file_seconds=max(map(age, files), default=0.0),
        destinations=destinations,
    )
