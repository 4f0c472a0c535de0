"""The metrics of events: what came in, what went out, and what waits."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

FAST_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
"""Upper bounds of the answer to a webhook. Meta wants a median below 0.25, and less than 1 % above 1."""
DELIVERY_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 300, 3600, 21600, 86400)
LAG_SECONDS: Final = (1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400)
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
    dead: int = 0
    share: float = 0.0
    """Of what it may hold of the backlog, 0 to 1."""


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
        self.webhooks = Counter("whaul_webhooks", "Webhooks of Meta, by outcome.", ["outcome"], registry=registry)
        self.webhook_seconds = Histogram(
            "whaul_webhook_seconds", "Duration of the answer to a webhook.", buckets=FAST_SECONDS, registry=registry
        )
        self.matches = Counter(
            "whaul_app_secret_matches",
            "Webhooks that an app secret had signed, by app, and by the secret's place among those of the app.",
            ["app", "position"],
            registry=registry,
        )
        self.events = Counter("whaul_events", "New events, by field and kind.", ["field", "kind"], registry=registry)
        self.duplicates = Counter(
            "whaul_event_duplicates", "Items that were known already, and were dropped.", registry=registry
        )
        self.foreign = Counter(
            "whaul_foreign_items",
            "Items that were dropped, since the app that signed may not speak for their account.",
            registry=registry,
        )
        self.deliveries = Counter(
            "whaul_deliveries",
            "Attempts to deliver an event, by destination and outcome.",
            ["destination", "outcome"],
            registry=registry,
        )
        self.delivery_seconds = Histogram(
            "whaul_delivery_seconds",
            "Time from a webhook's receipt to the target's answer.",
            ["destination"],
            buckets=DELIVERY_SECONDS,
            registry=registry,
        )
        self.files = Counter(
            "whaul_archive_files", "Attempts to archive a file, by outcome.", ["outcome"], registry=registry
        )
        self.takeovers = Counter(
            "whaul_lease_takeovers",
            "Deliveries and files that another process had, and did not end.",
            registry=registry,
        )
        self.repeated = Counter(
            "whaul_repeated_deliveries",
            "Attempts that ended after another process had taken the delivery over.",
            registry=registry,
        )
        self.last_webhook = Gauge(
            "whaul_last_webhook_timestamp_seconds",
            "When a webhook of an app came last.",
            ["app"],
            registry=registry,
            multiprocess_mode="max",
        )
        self.lag = Histogram(
            "whaul_webhook_lag_seconds",
            "Time from an item's own time to its arrival.",
            buckets=LAG_SECONDS,
            registry=registry,
        )
        self.waiting = _Waiting()
        registry.register(self.waiting)

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
        yield _gauge("whaul_backlog_events", "Events of which a delivery or a file waits.", found.events)
        yield _gauge("whaul_unarchived_files", "Files that are not archived yet.", found.files)
        yield _gauge(
            "whaul_oldest_unarchived_seconds", "Age of the oldest file that is not archived.", found.oldest_file_seconds
        )
        members = {
            "whaul_undelivered_events": ("Events that wait for a destination.", "events"),
            "whaul_oldest_undelivered_seconds": ("Age of the oldest event that waits.", "oldest_seconds"),
            "whaul_dead_events": ("Dead letters of a destination.", "dead"),
            "whaul_backlog_share": ("Share of what a destination may hold of the backlog.", "share"),
        }
        for name, (text, member) in members.items():
            family = GaugeMetricFamily(name, text, labels=["destination"])
            for destination, waiting in found.destinations.items():
                family.add_metric([destination], getattr(waiting, member))
            yield family


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
