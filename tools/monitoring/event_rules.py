"""The alerts of webhooks, deliveries and the archive; see `rules`."""

from typing import Final

from tools.monitoring.rules import Alert, Group, share

REFUSED: Final = 'outcome=~"bad_signature|foreign"'
ACTIVE: Final = 'unless on (job, destination)\n  whaul_destination_state{state!="active"}'
"""Leaves out destinations that get nothing on purpose, or that have an alert of their own."""
ANSWERING: Final = """unless on (job, destination) (
    sum by (job, destination) (increase(whaul_deliveries_total{outcome="down"}[1h])) > 0
  unless
    sum by (job, destination) (rate(whaul_deliveries_total{outcome="delivered"}[10m])) > 0
)"""
"""Leaves out destinations whose target is down: one delivery at a time asks whether it is back, and the rest waits."""

WEBHOOKS: Final = Group(
    "whaul-webhooks",
    "Webhooks",
    [
        Alert(
            name="WhaulWebhooksRefused",
            severity="warning",
            expr=f"{share('whaul_webhooks_total', REFUSED, '10m')} > 0.2",
            wait="10m",
            summary="{{ $value | humanizePercentage }} of webhooks are refused",
            meaning="More than a fifth of what comes to the webhook URL is signed by no secret that whaul knows, or by "
            "an app that may not speak for the account. Meta repeats what is refused, for days, and then drops it.",
            advice=[
                (
                    "If the app's secret was changed at Meta, [link the account again](security.md) with the new one: "
                    "`whaul link --waba-id ID --app-secret-file FILE`, or put it into "
                    "[`WHAUL_APP_SECRETS`](settings.md#whaul_app_secrets)."
                ),
                (
                    "`foreign`: link the account again, so that whaul knows its app; see "
                    "[who may speak for whom](security.md#who-may-speak-for-whom)."
                ),
                "If Meta's own webhooks are accepted as before, a stranger tries the URL. Nothing of that is kept.",
            ],
            fires={
                'whaul_webhooks_total{job="whaul",outcome="accepted"}': "0+60x30",
                'whaul_webhooks_total{job="whaul",outcome="bad_signature"}': "0+40x30",
            },
            labels={"job": "whaul"},
            says="40% of webhooks are refused",
            silent={
                'whaul_webhooks_total{job="whaul",outcome="accepted"}': "0+60x30",
                'whaul_webhooks_total{job="whaul",outcome="bad_signature"}': "0+1x30",
                'whaul_webhooks_total{job="whaul",outcome="duplicate_only"}': "0+40x30",
            },
            at="30m",
        ),
        Alert(
            name="WhaulWebhooksUnavailable",
            severity="critical",
            expr='sum by (job) (rate(whaul_webhooks_total{outcome="unavailable"}[5m])) > 0',
            wait="2m",
            summary="Webhooks are answered with 503",
            meaning="The database is away, or so much waits that no more is taken. Meta sends again what was answered "
            "so, less and less often, for days.",
            advice=[
                "See [WhaulDatabaseDown](#whauldatabasedown).",
                (
                    "If the database answers, too much waits: see [WhaulEventsUndelivered](#whauleventsundelivered), "
                    "and [`WHAUL_MAX_BACKLOG`](settings.md#whaul_max_backlog)."
                ),
            ],
            fires={'whaul_webhooks_total{job="whaul",outcome="unavailable"}': "0+1x20"},
            labels={"job": "whaul"},
            says="Webhooks are answered with 503",
            silent={'whaul_webhooks_total{job="whaul",outcome="unavailable"}': "7x20"},
        ),
        Alert(
            name="WhaulWebhooksSilent",
            severity="warning",
            expr="time() - max by (job, app) (max_over_time(whaul_last_webhook_timestamp_seconds[1d])) > 3 * 3600",
            summary="No webhook of app {{ $labels.app }} has come for {{ $value | humanizeDuration }}",
            meaning="There were webhooks of this app within the last day, and none for three hours. Change the time if "
            "your customers are quiet at night.",
            advice=[
                "`whaul webhooks status` asks Meta what it has subscribed, and tries the URL from outside.",
                "If the URL cannot be reached, look at the proxy, DNS and the certificate in front of whaul.",
            ],
            fires={'whaul_last_webhook_timestamp_seconds{job="whaul",instance="a:8080",app="123"}': "60x300"},
            labels={"job": "whaul", "app": "123"},
            says="No webhook of app 123 has come for 3h 19m 0s",
            silent={
                'whaul_last_webhook_timestamp_seconds{job="whaul",instance="a:8080",app="123"}': "60x300",
                'whaul_last_webhook_timestamp_seconds{job="whaul",instance="b:8080",app="123"}': "9000x300",
            },
            at="200m",
        ),
        Alert(
            name="WhaulWebhooksLate",
            severity="warning",
            expr="histogram_quantile(0.9, sum by (job, le) (rate(whaul_webhook_lag_seconds_bucket[15m]))) > 300",
            wait="15m",
            summary="One webhook in ten comes more than {{ $value | humanizeDuration }} late",
            meaning="Between what happened on WhatsApp and its arrival here lie minutes: Meta sends again what was not "
            "answered before, or has a backlog of its own.",
            advice=[
                "After an outage of yours that is what catching up looks like; it ends by itself.",
                "Else see whether webhooks are answered with errors or slowly, here or in the proxy in front.",
            ],
            fires={
                'whaul_webhook_lag_seconds_bucket{job="whaul",le="300.0"}': "0+10x40",
                'whaul_webhook_lag_seconds_bucket{job="whaul",le="1800.0"}': "0+100x40",
                'whaul_webhook_lag_seconds_bucket{job="whaul",le="+Inf"}': "0+100x40",
            },
            labels={"job": "whaul"},
            says="One webhook in ten comes more than 27m 13s late",
            silent={
                'whaul_webhook_lag_seconds_bucket{job="whaul",le="300.0"}': "0+95x40",
                'whaul_webhook_lag_seconds_bucket{job="whaul",le="1800.0"}': "0+100x40",
                'whaul_webhook_lag_seconds_bucket{job="whaul",le="+Inf"}': "0+100x40",
            },
            at="40m",
        ),
        Alert(
            name="WhaulWebhooksSlow",
            severity="warning",
            expr='1 - sum by (job) (rate(whaul_webhook_seconds_bucket{le="1.0"}[10m]))\n'
            "  / sum by (job) (rate(whaul_webhook_seconds_count[10m])) > 0.01",
            wait="10m",
            summary="{{ $value | humanizePercentage }} of webhooks are answered after more than 1 s",
            meaning="Meta wants less than 1 % of answers to take more than a second. The answer comes once the events "
            "are on the database's disk.",
            advice=[
                "Nearly all of it is the database: look at its disk, its load, and the way to it.",
                "`whaul doctor` says under `durability` what a commit rests on.",
            ],
            fires={
                'whaul_webhook_seconds_bucket{job="whaul",le="1.0"}': "0+90x30",
                'whaul_webhook_seconds_count{job="whaul"}': "0+100x30",
            },
            labels={"job": "whaul"},
            says="10% of webhooks are answered after more than 1 s",
            silent={
                'whaul_webhook_seconds_bucket{job="whaul",le="1.0"}': "0+100x30",
                'whaul_webhook_seconds_count{job="whaul"}': "0+100x30",
            },
            at="30m",
        ),
    ],
)

DELIVERIES: Final = Group(
    "whaul-deliveries",
    "Deliveries",
    [
        Alert(
            name="WhaulDestinationStopped",
            severity="critical",
            expr='max by (job, destination, state) (whaul_destination_state{state=~"open|disabled"}) > 0',
            wait="5m",
            summary="Destination {{ $labels.destination }} is {{ $labels.state }}: it gets no events",
            meaning="The target refuses everything (`open`: it is tried once a minute), or said that it is gone "
            "(`disabled`: it is not tried any more). Events wait, and lose no time; beyond a quarter of the backlog "
            "they become dead letters.",
            advice=[
                (
                    "`whaul destinations show NAME` says why. Mostly it is a topic or queue that is gone, a right "
                    "that was taken away, or a changed password or URL."
                ),
                "Once that is mended, `open` ends by itself; after `disabled`, `whaul destinations resume NAME`.",
            ],
            fires={
                'whaul_destination_state{job="whaul",instance="a:8080",destination="orders",state="active"}': "1x5",
                'whaul_destination_state{job="whaul",instance="a:8080",destination="orders",state="open"}': "_x5 1x20",
            },
            labels={"job": "whaul", "destination": "orders", "state": "open"},
            says="Destination orders is open: it gets no events",
            silent={
                'whaul_destination_state{job="whaul",instance="a:8080",destination="orders",state="active"}': "1x20",
                'whaul_destination_state{job="whaul",instance="a:8080",destination="crm",state="paused"}': "1x20",
            },
        ),
        Alert(
            name="WhaulDeliveriesOverdue",
            severity="critical",
            expr=f"max by (job, destination) (whaul_oldest_overdue_seconds) > 300\n{ACTIVE}\n{ANSWERING}",
            wait="2m",
            summary="Events to {{ $labels.destination }} have been due for {{ $value | humanizeDuration }}",
            meaning="Events have been due for minutes, and nobody sends them, although the target takes what it gets: "
            "more comes than is sent, or no server sends at all. This goes by when an event is due and not by its age, "
            "so events that wait for their next try do not count.",
            advice=[
                (
                    "If the target takes long to answer, let more go at once: `--concurrency` of "
                    "[the destination](cli.md#whaul-destinations-add)."
                ),
                "If the CPU is busy, run more workers or servers: all of them deliver.",
                "If `whaul_lease_takeovers_total` grows, processes die while they deliver.",
                "If the board shows no attempts at all, look for errors in the servers' logs, and restart them.",
            ],
            fires={
                'whaul_oldest_overdue_seconds{job="whaul",instance="a:8080",destination="orders"}': "420x20",
                'whaul_destination_state{job="whaul",instance="a:8080",destination="orders",state="active"}': "1x20",
                'whaul_deliveries_total{job="whaul",instance="a:8080",destination="orders",outcome="down"}': "0+1x20",
                'whaul_deliveries_total{job="whaul",instance="a:8080",destination="orders",outcome="delivered"}': (
                    "0+9x20"
                ),
            },
            labels={"job": "whaul", "destination": "orders"},
            says="Events to orders have been due for 7m 0s",
            silent={
                'whaul_oldest_overdue_seconds{job="whaul",instance="a:8080",destination="orders"}': "200x20",
                'whaul_oldest_overdue_seconds{job="whaul",instance="a:8080",destination="crm"}': "5000x20",
                'whaul_destination_state{job="whaul",instance="a:8080",destination="crm",state="paused"}': "1x20",
                'whaul_oldest_overdue_seconds{job="whaul",instance="a:8080",destination="erp"}': "5000x20",
                'whaul_deliveries_total{job="whaul",instance="a:8080",destination="erp",outcome="down"}': "0+1x20",
                'whaul_deliveries_total{job="whaul",instance="a:8080",destination="erp",outcome="delivered"}': "7x20",
            },
        ),
        Alert(
            name="WhaulEventsUndelivered",
            severity="warning",
            expr=f"max by (job, destination) (whaul_oldest_undelivered_seconds) > 900\n{ACTIVE}",
            wait="5m",
            summary="An event has waited for {{ $labels.destination }} for {{ $value | humanizeDuration }}",
            meaning="The oldest event that the destination does not have came a quarter of an hour ago: the target is "
            "down, or refuses this event. It is tried again, later each time, for "
            "[`WHAUL_DELIVERY_PERIOD`](settings.md#whaul_delivery_period).",
            advice=[
                (
                    "`whaul destinations show NAME` has the last error. `whaul events list --destination NAME --state "
                    "pending` names the events."
                ),
                "When the target is back, everything that waits goes at once; nothing has to be done here.",
            ],
            fires={'whaul_oldest_undelivered_seconds{job="whaul",instance="a:8080",destination="orders"}': "1800x20"},
            labels={"job": "whaul", "destination": "orders"},
            says="An event has waited for orders for 30m 0s",
            silent={
                'whaul_oldest_undelivered_seconds{job="whaul",instance="a:8080",destination="orders"}': "600x20",
                'whaul_oldest_undelivered_seconds{job="whaul",instance="a:8080",destination="crm"}': "9000x20",
                'whaul_destination_state{job="whaul",instance="a:8080",destination="crm",state="paused"}': "1x20",
            },
        ),
        Alert(
            name="WhaulDeadLetters",
            severity="warning",
            expr="max by (job, destination) (whaul_dead_events - min_over_time(whaul_dead_events[1h])) > 0",
            summary="{{ $value }} events for {{ $labels.destination }} were given up within the last hour",
            meaning="Events were given up; the destination does not get them unless somebody sends them again. The "
            "target refused them, they were too large for it, it was down for the whole of "
            "[`WHAUL_DELIVERY_PERIOD`](settings.md#whaul_delivery_period), or its share of the backlog was full.",
            advice=[
                "`whaul events dead list` says why, for each.",
                "Once the reason is gone: `whaul events dead retry`; see [Send again](events.md#send-again).",
            ],
            fires={'whaul_dead_events{job="whaul",instance="a:8080",destination="orders"}': "2x10 5x20"},
            labels={"job": "whaul", "destination": "orders"},
            says="3 events for orders were given up within the last hour",
            silent={'whaul_dead_events{job="whaul",instance="a:8080",destination="orders"}': "5x10 2x20"},
        ),
        Alert(
            name="WhaulBacklogShare",
            severity="critical",
            expr="max by (job, destination) (whaul_backlog_share) > 0.5",
            summary="What waits for {{ $labels.destination }} is {{ $value | humanizePercentage }} of its share",
            meaning="More than half of what a destination may hold waits for it: its share is a quarter of the "
            "backlog. At 100 %, what comes is a dead letter at once. Paused destinations count, too.",
            advice=[
                (
                    "See why it takes nothing: `whaul destinations show NAME`. One that was paused and forgotten goes "
                    "on with `whaul destinations resume NAME`."
                ),
                "If nobody needs it any more: `whaul destinations remove NAME`.",
                "If the database has room: raise [`WHAUL_MAX_BACKLOG`](settings.md#whaul_max_backlog).",
            ],
            fires={'whaul_backlog_share{job="whaul",instance="a:8080",destination="orders"}': "0.75x20"},
            labels={"job": "whaul", "destination": "orders"},
            says="What waits for orders is 75% of its share",
            silent={'whaul_backlog_share{job="whaul",instance="a:8080",destination="orders"}': "0.25x20"},
        ),
    ],
)

ARCHIVE: Final = Group(
    "whaul-archive",
    "Archive",
    [
        Alert(
            name="WhaulArchiveFails",
            severity="warning",
            expr='sum by (job) (increase(whaul_archive_files_total{outcome="failed"}[1h])) > 0',
            summary="Files of messages could not be archived",
            meaning="Files of messages were given up within the last hour: Meta no longer has them, or the store "
            "refuses them for good. An event of kind `media` says so for each.",
            advice=[
                "`whaul archive status` counts them; [The archive](archive.md) says what to do when files fail.",
                "Once the reason is gone, `whaul archive backfill` tries them again, as long as Meta has them.",
            ],
            fires={'whaul_archive_files_total{job="whaul",outcome="failed"}': "0x10 1x20"},
            labels={"job": "whaul"},
            says="Files of messages could not be archived",
            silent={
                'whaul_archive_files_total{job="whaul",outcome="failed"}': "4x30",
                'whaul_archive_files_total{job="whaul",outcome="stored"}': "0+5x30",
            },
        ),
        Alert(
            name="WhaulFilesWait",
            severity="warning",
            expr="max by (job) (whaul_oldest_unarchived_seconds) > 3600",
            wait="5m",
            summary="A file of a message has waited for {{ $value | humanizeDuration }} to be archived",
            meaning="A file of a message could not be fetched from Meta or stored for an hour. It is tried again "
            "until Meta forgets it, 7 days after it came.",
            advice=[
                "`whaul archive status` says how many wait; `whaul doctor` says when the first one is lost.",
                "Mostly it is a token: see [WhaulTokenRefused](#whaultokenrefused). Else the store, or its rights.",
            ],
            fires={'whaul_oldest_unarchived_seconds{job="whaul",instance="a:8080"}': "7200x20"},
            labels={"job": "whaul"},
            says="A file of a message has waited for 2h 0m 0s to be archived",
            silent={'whaul_oldest_unarchived_seconds{job="whaul",instance="a:8080"}': "1800x20"},
        ),
        Alert(
            name="WhaulFilesNearLoss",
            severity="critical",
            expr="max by (job) (whaul_oldest_unarchived_seconds) > 6 * 86400",
            summary="A file of a message is lost within a day if it is not archived",
            meaning="Meta forgets a file after 7 days, and one that is not archived came 6 days ago. The alert goes "
            "by the time at "
            "which whaul heard of a file; `whaul doctor` knows the day of each, also of those that a backfill brought.",
            advice=["Mend today what holds it up: see [WhaulFilesWait](#whaulfileswait)."],
            fires={'whaul_oldest_unarchived_seconds{job="whaul",instance="a:8080"}': "530000x20"},
            labels={"job": "whaul"},
            says="A file of a message is lost within a day if it is not archived",
            silent={'whaul_oldest_unarchived_seconds{job="whaul",instance="a:8080"}': "500000x20"},
        ),
    ],
)
