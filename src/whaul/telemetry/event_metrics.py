"""The metrics of events: what came in, what went out, and what waits."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from whaul.telemetry.catalogue import FILE_OUTCOMES, WEBHOOK_OUTCOMES
from whaul.telemetry.instruments import counter, gauge, gauge_family, histogram

FIELDS: Final = frozenset(
    [
        *("messages", "standby", "messaging_handovers", "smb_message_echoes", "smb_app_state_sync", "history", "calls"),
        *("account_settings_update", "account_update", "account_alerts", "account_review_update", "automatic_events"),
        *("message_template_status_update", "message_template_quality_update", "message_template_components_update"),
        *("template_category_update", "business_capability_update", "phone_number_name_update", "security", "flows"),
        *("phone_number_quality_update", "payment_configuration_update", "partner_solutions", "user_preferences"),
        *("user_id_update", "business_username_update", "business_username_updates", "group_lifecycle_update"),
        *("group_participants_update", "group_settings_update", "group_status_update", "whaul_media"),
    ]
)
"""Those that are counted by name. Other words are a stranger's, and could be any number.
https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview"""
OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for a destination."""

    events: int = 0
    oldest_seconds: float = 0.0
    """The age of the oldest; 0 without any."""
    overdue_seconds: float = 0.0
    """For how long the one that is overdue most has been due; 0 without any."""
    dead: int = 0
    share: float = 0.0
    """Of what it may hold of the backlog, 0 to 1."""
    state: str = "active"


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits, as one process counted it for all."""

    events: int = 0
    files: int = 0
    oldest_file_seconds: float = 0.0
    destinations: Mapping[str, Waiting] = dataclasses.field(default_factory=dict)
    """By name."""


class EventMetrics:
    """They belong to a process; what waits is the same for all of them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.webhooks = counter("whaul_webhooks_total", registry)
        self.webhook_seconds = histogram("whaul_webhook_seconds", registry)
        self.matches = counter("whaul_app_secret_matches_total", registry)
        self.events = counter("whaul_events_total", registry)
        self.duplicates = counter("whaul_event_duplicates_total", registry)
        self.foreign = counter("whaul_foreign_items_total", registry)
        self.deliveries = counter("whaul_deliveries_total", registry)
        self.delivery_seconds = histogram("whaul_delivery_seconds", registry)
        self.files = counter("whaul_archive_files_total", registry)
        self.takeovers = counter("whaul_lease_takeovers_total", registry)
        self.repeated = counter("whaul_repeated_deliveries_total", registry)
        self.last_webhook = gauge("whaul_last_webhook_timestamp_seconds", registry)
        self.lag = histogram("whaul_webhook_lag_seconds", registry)
        self.waiting = _Waiting()
        registry.register(self.waiting)

        # Prometheus sees no increase in a counter that begins at 1.
        for outcome in WEBHOOK_OUTCOMES:
            self.webhooks.labels(outcome)
        for outcome in FILE_OUTCOMES:
            self.files.labels(outcome)

        # Looking up a label takes longer than counting.
        self._webhooks_of = cache(self.webhooks.labels)
        self._matches_of = cache(self.matches.labels)
        self._last_webhook_of = cache(self.last_webhook.labels)
        self._events_of = cache(self.events.labels)
        self._deliveries_of = cache(self.deliveries.labels)
        self._delivery_seconds_of = cache(self.delivery_seconds.labels)

    def webhook(self, outcome: str, seconds: float) -> None:
        """Count an answered webhook."""
        self._webhooks_of(outcome).inc()
        self.webhook_seconds.observe(seconds)

    def signed(self, app: str, position: int) -> None:
        """Note which secret a webhook was signed with."""
        self._matches_of(app, position).inc()
        self._last_webhook_of(app).set_to_current_time()

    def event(self, field: str, kind: str) -> None:
        """Count a new event."""
        self._events_of(field if field in FIELDS else OTHER, kind).inc()

    def delivered(self, destination: str, outcome: str, seconds: float | None) -> None:
        """Count an attempt to deliver; with the seconds since the event was received, if it was delivered."""
        self._deliveries_of(destination, outcome).inc()
        if seconds is not None:
            self._delivery_seconds_of(destination).observe(seconds)

    def archived(self, outcome: str) -> None:
        """Count an attempt to archive a file."""
        self.files.labels(outcome).inc()

    def taken_over(self, count: int) -> None:
        """Count jobs that another process left."""
        self.takeovers.inc(count)

    def lost(self, count: int) -> None:
        """Count attempts whose delivery another process had taken over meanwhile: it may be delivered twice."""
        self.repeated.inc(count)


class _Waiting(Collector):
    """Not in the files that join processes: one process counts for all, and they would keep what is gone."""

    def __init__(self) -> None:
        self.found = Backlog()

    def collect(self) -> Iterable[Metric]:
        """Make the samples."""
        found = self.found
        yield gauge_family("whaul_backlog_events", found.events)
        yield gauge_family("whaul_unarchived_files", found.files)
        yield gauge_family("whaul_oldest_unarchived_seconds", found.oldest_file_seconds)
        members = {
            "whaul_undelivered_events": "events",
            "whaul_oldest_undelivered_seconds": "oldest_seconds",
            "whaul_oldest_overdue_seconds": "overdue_seconds",
            "whaul_dead_events": "dead",
            "whaul_backlog_share": "share",
        }
        for name, member in members.items():
            family = gauge_family(name)
            for destination, waiting in found.destinations.items():
                family.add_metric([destination], getattr(waiting, member))
            yield family
        states = gauge_family("whaul_destination_state")
        for destination, waiting in found.destinations.items():
            states.add_metric([destination, waiting.state], 1)
        yield states
