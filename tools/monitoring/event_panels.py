"""The board's rows of webhooks, deliveries and the archive."""

from typing import Final

from tools.monitoring.panels import GREEN, RED, YELLOW, Panel, Row
from tools.monitoring.queries import DELIVERED, THERE, quantile, quantiles, rate, total

WEBHOOKS: Final = Row(
    "Webhooks",
    [
        Panel(
            title="Webhooks",
            description="POSTs of Meta's a second, by outcome; docs/metrics.md says what each was answered. "
            "Alerts: WhaulWebhooksRefused, WhaulWebhooksUnavailable.",
            queries={"{{outcome}}": rate("whaul_webhooks_total", "outcome")},
            colours={"accepted": "green", "bad_signature": "red", "unavailable": "dark-red", "unsigned": "orange"},
            unit="reqps",
        ),
        Panel(
            title="Time to answer",
            description="Until a webhook is on the disk and answered. Meta wants half of them within 250 ms, and 99 "
            "of 100 within a second. Alert: WhaulWebhooksSlow.",
            queries=quantiles("whaul_webhook_seconds"),
            unit="s",
            exemplars=True,
            thresholds=[(None, GREEN), (0.25, YELLOW), (1, RED)],
        ),
        Panel(
            title="Lateness",
            description="From what happened on WhatsApp to its arrival here. Alert: WhaulWebhooksLate.",
            queries={
                "median": quantile("whaul_webhook_lag_seconds", 0.5),
                "90 %": quantile("whaul_webhook_lag_seconds", 0.9),
            },
            unit="s",
        ),
        Panel(
            title="New events",
            description="Events a second, by kind.",
            queries={"{{kind}}": rate("whaul_events_total", "kind")},
            unit="ops",
        ),
        Panel(
            title="Dropped items",
            description="Known already: Meta sent them before, or another app did. Foreign: the app that signed may "
            "not speak for their account.",
            queries={
                "known already": rate("whaul_event_duplicates_total"),
                "foreign": rate("whaul_foreign_items_total"),
            },
            unit="ops",
            width=5,
        ),
        Panel(
            title="App secrets in use",
            description="Webhooks a second by the secret that had signed them: 1 is the first among those of the app. "
            "In a rotation, the old one can go when its line is at 0.",
            queries={"{{app}}, secret {{position}}": rate("whaul_app_secret_matches_total", "app, position")},
            unit="reqps",
            width=6,
        ),
        Panel(
            kind="stat",
            title="Since the last webhook",
            description="Of each app. Alert: WhaulWebhooksSilent.",
            queries={"{{app}}": f"time() - {total('whaul_last_webhook_timestamp_seconds', 'app', how='max')}"},
            unit="s",
            thresholds=[(None, GREEN), (3600, YELLOW), (3 * 3600, RED)],
            width=5,
        ),
    ],
)

DELIVERIES: Final = Row(
    "Deliveries",
    [
        Panel(
            title="Delivered",
            description="Events a second, by destination.",
            queries={"{{destination}}": rate("whaul_deliveries_total", "destination", where=DELIVERED, of=THERE)},
            unit="ops",
        ),
        Panel(
            title="Attempts that failed",
            description="By destination and why: down, refused, closed, gone, rejected, impossible; and dead, when an "
            "event was given up. All but dead are tried again. docs/events.md says what each means.",
            queries={
                "{{destination}}: {{outcome}}": rate(
                    "whaul_deliveries_total", "destination, outcome", where=', outcome!="delivered"', of=THERE
                )
            },
            unit="ops",
        ),
        Panel(
            title="Time to deliver",
            description="From a webhook's receipt to the target's yes: the 95th percentile.",
            queries={"{{destination}}": quantile("whaul_delivery_seconds", 0.95, "destination", of=THERE)},
            unit="s",
        ),
        Panel(
            title="Waiting events",
            description="Events that a destination does not have yet.",
            queries={"{{destination}}": total("whaul_undelivered_events", "destination", how="max", of=THERE)},
        ),
        Panel(
            title="Lag",
            description="Age: how long ago the oldest event came that the destination does not have. Overdue: for how "
            "long one has been due, and nobody sends it. Alerts: WhaulEventsUndelivered, WhaulDeliveriesOverdue.",
            queries={
                "{{destination}}, age": total("whaul_oldest_undelivered_seconds", "destination", how="max", of=THERE),
                "{{destination}}, overdue": total("whaul_oldest_overdue_seconds", "destination", how="max", of=THERE),
            },
            unit="s",
            thresholds=[(None, GREEN), (900, RED)],
        ),
        Panel(
            title="Dead letters",
            description="Events that were given up; `whaul events dead list` says why. Alert: WhaulDeadLetters.",
            queries={"{{destination}}": total("whaul_dead_events", "destination", how="max", of=THERE)},
        ),
        Panel(
            kind="table",
            title="Destinations",
            description="The state of each: active, paused by hand, open (refuses everything; tried once a minute), "
            "disabled (gone). Alert: WhaulDestinationStopped.",
            queries={"": total("whaul_destination_state", "destination, state", how="max", of=THERE)},
            height=6,
        ),
        Panel(
            kind="bargauge",
            title="Share of the backlog",
            description="What waits, as a share of what the destination may hold. At 100 %, what comes is a dead "
            "letter at once. Alert: WhaulBacklogShare.",
            queries={"{{destination}}": total("whaul_backlog_share", "destination", how="max", of=THERE)},
            unit="percentunit",
            most=1,
            thresholds=[(None, GREEN), (0.25, YELLOW), (0.5, RED)],
            height=6,
        ),
        Panel(
            title="Left by processes",
            description="Deliveries and files that a process had begun and did not end, and attempts whose event the "
            "target may have twice. Both grow when processes die, or stand still for long.",
            queries={
                "taken over": rate("whaul_lease_takeovers_total"),
                "perhaps twice": rate("whaul_repeated_deliveries_total"),
            },
            unit="ops",
            height=6,
        ),
    ],
)

ARCHIVE: Final = Row(
    "Archive",
    [
        Panel(
            title="Files",
            description="Attempts to archive a file, a second, by outcome. failed is for good; parked waits for its "
            "account's token; retry is tried again. Alert: WhaulArchiveFails.",
            queries={"{{outcome}}": rate("whaul_archive_files_total", "outcome")},
            colours={"stored": "green", "failed": "red", "parked": "purple", "retry": "orange"},
            unit="ops",
        ),
        Panel(
            title="Files that wait",
            description="Files of messages that are not in the bucket yet.",
            queries={"files": total("whaul_unarchived_files", how="max")},
        ),
        Panel(
            title="Oldest file that waits",
            description="Meta forgets a file after 7 days. Alerts: WhaulFilesWait, WhaulFilesNearLoss.",
            queries={"age": total("whaul_oldest_unarchived_seconds", how="max")},
            unit="s",
            thresholds=[(None, GREEN), (3600, YELLOW), (6 * 86400, RED)],
        ),
    ],
)
