"""Every metric: its name, type, labels and meaning, as Prometheus and `docs/metrics.md` tell it.

Imports nothing of prometheus_client, which must not be loaded too early: see `metrics`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60)
"""Upper bounds of the duration buckets."""
FAST_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
"""Upper bounds of the answer to a webhook. Meta wants a median below 0.25, and less than 1 % above 1."""
DELIVERY_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 300, 3600, 21600, 86400)
LAG_SECONDS: Final = (1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400)

WEBHOOK_OUTCOMES: Final = (
    *("accepted", "duplicate_only", "unparsed", "unsigned", "bad_signature", "foreign", "too_large", "broken_off"),
    "unavailable",
)
FILE_OUTCOMES: Final = ("stored", "failed", "parked", "retry", "lost")

Kind = Literal["counter", "gauge", "histogram"]
Joining = Literal["livesum", "livemin", "livemax", "livemostrecent", "max"]
_LINK: Final = re.compile(r"\[([^]]*)\]\([^)]*\)")


@dataclass(frozen=True, slots=True)
class Entry:
    """A metric."""

    name: str
    """As Prometheus shows it; a counter's ends with `_total`."""
    kind: Kind
    labels: Sequence[str]
    meaning: str
    """In Markdown."""
    buckets: Sequence[float] = ()
    """Upper bounds of a histogram."""
    joining: Joining = "livesum"
    """How prometheus_client joins the gauges of several workers. Those that are read when asked for need none."""

    @property
    def help(self) -> str:
        """The meaning without Markdown, as a sentence."""
        text = _LINK.sub(r"\1", self.meaning).replace("`", "")
        return f"{text[0].upper()}{text[1:]}."


CALLS: Final = (
    Entry(
        "whaul_calls_total",
        "counter",
        ["operation", "outcome"],
        "API calls. `outcome` is `ok` or the [error's code](errors.md); `operation` is `none` when the path names none",
    ),
    Entry(
        "whaul_call_seconds",
        "histogram",
        ["operation"],
        "duration of API calls, from the request's head to the answer's end",
        buckets=SECONDS,
    ),
    Entry(
        "whaul_hop_seconds",
        "histogram",
        ["hop"],
        "duration of [the parts of a call](#parts-of-a-call)",
        buckets=SECONDS,
    ),
    Entry(
        "whaul_stored_bytes_total",
        "counter",
        [],
        "bytes of files that calls stored; calls that share one transfer count each",
    ),
    Entry("whaul_uploaded_bytes_total", "counter", [], "bytes of files that calls uploaded to Meta"),
    Entry(
        "whaul_transfers",
        "gauge",
        [],
        "calls that hold a transfer slot now, at most [`WHAUL_MAX_TRANSFERS`](settings.md#whaul_max_transfers) per "
        "worker",
    ),
    Entry(
        "whaul_waiting_calls",
        "gauge",
        [],
        "calls that wait for a slot now, at most [`WHAUL_MAX_QUEUE`](settings.md#whaul_max_queue) per worker",
    ),
    Entry(
        "whaul_max_transfers",
        "gauge",
        [],
        "transfer slots: [`WHAUL_MAX_TRANSFERS`](settings.md#whaul_max_transfers) of each worker that takes calls",
    ),
    Entry(
        "whaul_max_waiting_calls",
        "gauge",
        [],
        "calls that may wait for a slot: [`WHAUL_MAX_QUEUE`](settings.md#whaul_max_queue) of each such worker",
    ),
    Entry(
        "whaul_open_circuits",
        "gauge",
        ["kind"],
        "phone numbers (`phone_number`), accounts (`account`) and hosts (`host`) that are currently "
        "[left alone](how-it-works.md#when-something-fails)",
    ),
    Entry(
        "whaul_circuit_probe_timestamp_seconds",
        "gauge",
        ["kind", "name"],
        "which those are, and when a call tries them again, as Unix time; 0 once they are called again. `name` is a "
        "host with its port, or the id of a phone number or account",
        joining="livemax",
    ),
    Entry(
        "whaul_refreshes_total",
        "counter",
        ["outcome"],
        "refreshes of linked accounts' names, ratings and statuses from Meta: `ok`, or an error code",
    ),
    Entry(
        "whaul_token_expiry_timestamp_seconds",
        "gauge",
        ["account"],
        "when the token of a linked account, or its access to data, ends, as Unix time; accounts whose token never "
        "ends, or for which Meta did not say, have none. Meta is asked when an account is linked and when it is "
        "refreshed",
    ),
    Entry(
        "whaul_meta_usage_percent",
        "gauge",
        ["kind", "account"],
        "share of Meta's rate limit used, as Meta reported it last: the highest percentage of its headers "
        "`X-App-Usage` (`app`) and `X-Business-Use-Case-Usage` (`business`, with Meta's id of the `account`)",
        joining="livemostrecent",
    ),
    Entry(
        "whaul_audit_dropped_total",
        "counter",
        [],
        "records that are missing from the [audit log](observe.md#audit-log), because it could not be written",
    ),
    Entry(
        "whaul_audit_failures_total",
        "counter",
        [],
        "attempts to write the audit log that failed; their records are kept and tried again",
    ),
)
"""Of calls."""

SERVER: Final = (
    Entry(
        "whaul_build_info",
        "gauge",
        ["version", "commit", "python", "implementation"],
        "always 1; the labels say which whaul runs on which Python; `commit` is empty where it is not known",
    ),
    Entry(
        "whaul_database_up",
        "gauge",
        [],
        "1 while the database answers, 0 while it does not; each worker asks about every five seconds, and one that "
        "gets no answer is enough for 0",
        joining="livemin",
    ),
    Entry("whaul_disk_free_bytes", "gauge", [], "room for the database on its disk; there is none with PostgreSQL"),
    Entry("whaul_disk_bytes", "gauge", [], "size of that disk"),
    Entry(
        "whaul_workers",
        "gauge",
        [],
        "processes that serve; [those for webhooks alone](settings.md#whaul_webhook_port) count too",
    ),
    Entry(
        "whaul_worker_starts_total",
        "counter",
        [],
        "worker processes that this server has started, including those that took the place of others",
    ),
    Entry("process_cpu_seconds_total", "counter", [], "user and system CPU time of the workers"),
    Entry("process_resident_memory_bytes", "gauge", [], "memory of the workers"),
    Entry("process_virtual_memory_bytes", "gauge", [], "address space of the workers"),
    Entry("process_open_fds", "gauge", [], "open files of the workers"),
    Entry("process_max_fds", "gauge", [], "files that the workers may open"),
    Entry("process_start_time_seconds", "gauge", [], "when the oldest worker started, as Unix time"),
)
"""Of the server and its processes."""

EVENTS: Final = (
    Entry("whaul_webhooks_total", "counter", ["outcome"], "POSTs of Meta's, by [outcome](#outcomes-of-webhooks)"),
    Entry("whaul_webhook_seconds", "histogram", [], "duration of the answer to a POST", buckets=FAST_SECONDS),
    Entry(
        "whaul_webhook_lag_seconds",
        "histogram",
        [],
        "from an item's own time to its arrival; what Meta sends again is late",
        buckets=LAG_SECONDS,
    ),
    Entry(
        "whaul_last_webhook_timestamp_seconds",
        "gauge",
        ["app"],
        "when a webhook of an app came last, as Unix time; there is none until one has come since the start",
        joining="max",
    ),
    Entry(
        "whaul_app_secret_matches_total",
        "counter",
        ["app", "position"],
        "webhooks that an app secret had signed. `position` counts from 1 among the secrets of the app: in a rotation "
        "it shows whether the old one is still in use",
    ),
    Entry(
        "whaul_foreign_items_total",
        "counter",
        [],
        "items that were dropped, since the app that signed [may not speak](security.md#who-may-speak-for-whom) for "
        "their account",
    ),
    Entry(
        "whaul_events_total",
        "counter",
        ["field", "kind"],
        "new events; fields that Meta does not document count as `other`",
    ),
    Entry("whaul_event_duplicates_total", "counter", [], "items that were known already, and were dropped"),
    Entry(
        "whaul_deliveries_total",
        "counter",
        ["destination", "outcome"],
        "attempts to deliver an event. `outcome` is `delivered`, `dead` (given up), or "
        "[why it failed](events.md#see-what-happened): `down`, `refused`, `closed`, `gone`, `rejected`, `impossible`",
    ),
    Entry(
        "whaul_delivery_seconds",
        "histogram",
        ["destination"],
        "from the receipt of a webhook to the target's yes, without replays",
        buckets=DELIVERY_SECONDS,
    ),
    Entry(
        "whaul_repeated_deliveries_total",
        "counter",
        [],
        "attempts that ended after another process had taken the delivery over: the target may have the event twice",
    ),
    Entry(
        "whaul_lease_takeovers_total",
        "counter",
        [],
        "deliveries and files that another process had begun, and did not end",
    ),
    Entry(
        "whaul_destination_state",
        "gauge",
        ["destination", "state"],
        "always 1; `state` is `active`, `paused`, or [`open` or `disabled`](events.md#when-a-destination-has-trouble)",
    ),
    Entry("whaul_undelivered_events", "gauge", ["destination"], "events that wait"),
    Entry("whaul_oldest_undelivered_seconds", "gauge", ["destination"], "age of the oldest of them; 0 without any"),
    Entry(
        "whaul_oldest_overdue_seconds",
        "gauge",
        ["destination"],
        "for how long the event that is overdue most has been due; 0 without any. One that waits for its next try is "
        "not due",
    ),
    Entry("whaul_dead_events", "gauge", ["destination"], "[dead letters](events.md#send-again)"),
    Entry(
        "whaul_backlog_share",
        "gauge",
        ["destination"],
        "share of what the destination may hold, which is a quarter of the backlog; at 1 what comes is a dead letter "
        "at once",
    ),
    Entry(
        "whaul_backlog_events",
        "gauge",
        [],
        "events of which a delivery or a file waits, of [`WHAUL_MAX_BACKLOG`](settings.md#whaul_max_backlog)",
    ),
    Entry(
        "whaul_archive_files_total",
        "counter",
        ["outcome"],
        "attempts to archive a file: `stored`, `failed` (for good), `parked` (its account's token is refused), "
        "`retry`, `lost` (another process has it)",
    ),
    Entry("whaul_unarchived_files", "gauge", [], "files that are not archived yet"),
    Entry("whaul_oldest_unarchived_seconds", "gauge", [], "age of the oldest of them; 0 without any"),
)
"""Of webhooks, events and files."""

METRICS: Final = {entry.name: entry for entry in (*CALLS, *SERVER, *EVENTS)}
"""All of them, by name."""
