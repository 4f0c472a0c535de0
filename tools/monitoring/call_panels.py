"""The board's rows of calls, Meta and stores."""

from typing import Final

from tools.monitoring.call_rules import LATE, OURS
from tools.monitoring.panels import GREEN, RED, YELLOW, Panel, Row
from tools.monitoring.queries import CALLERS, HERE, failing, quantile, quantiles, rate, total
from whaul.errors import AccessDeniedByMetaException, DependencyException, ThrottledRequestException

CALLS: Final = Row(
    "Calls",
    [
        Panel(
            title="Calls",
            description="API calls a second, by operation.",
            queries={"{{operation}}": rate("whaul_calls_total", "operation")},
            unit="reqps",
        ),
        Panel(
            title="Failed calls, by whose fault",
            description="The caller: the request is wrong, may not be made, or names something that is not there. "
            "Token: Meta refuses the token or what it may do. Limits: Meta's, the store's or whaul's. Meta or store: "
            "no answer, or not a proper one. whaul: its own mistake, or its database. "
            "Alerts: WhaulCallErrors, WhaulDependencyErrors, WhaulCallsThrottled, WhaulTokenRefused.",
            queries={
                "the caller": f"{rate('whaul_calls_total', where=CALLERS)} or vector(0)",
                "token": failing(AccessDeniedByMetaException),
                "limits": failing(ThrottledRequestException),
                "Meta or store": failing(DependencyException),
                "whaul": failing(*OURS),
            },
            colours={
                "the caller": "blue",
                "token": "purple",
                "limits": "yellow",
                "Meta or store": "orange",
                "whaul": "red",
            },
            unit="reqps",
            stacked=True,
        ),
        Panel(
            title="Failed calls, by error",
            description="Calls a second that end with an error, by its code. docs/errors.md says what to do about it.",
            queries={"{{outcome}}": rate("whaul_calls_total", "outcome", where=', outcome!="ok"')},
            unit="reqps",
        ),
        Panel(
            title="Duration",
            description="From a request's head to the end of its answer. Alert: WhaulCallsSlow.",
            queries=quantiles("whaul_call_seconds"),
            unit="s",
            exemplars=True,
            thresholds=[(None, GREEN), (LATE, RED)],
        ),
        Panel(
            title="Duration, by operation",
            description="The 95th percentile: 19 calls of 20 take at most so long.",
            queries={"{{operation}}": quantile("whaul_call_seconds", 0.95, "operation")},
            unit="s",
        ),
        Panel(
            title="Transfer slots",
            description="Calls that hold a slot, of WHAUL_MAX_TRANSFERS for each worker, and calls that wait for one, "
            "of WHAUL_MAX_QUEUE. Alert: WhaulSlotsFull.",
            queries={
                "in flight, {{instance}}": total("whaul_transfers", "instance"),
                "slots, {{instance}}": total("whaul_max_transfers", "instance"),
                "waiting, {{instance}}": total("whaul_waiting_calls", "instance"),
                "places to wait, {{instance}}": total("whaul_max_waiting_calls", "instance"),
            },
        ),
        Panel(
            title="Bytes",
            description="Bytes of files a second: to the store, and to Meta. Calls that share a transfer count each.",
            queries={
                "stored": rate("whaul_stored_bytes_total"),
                "uploaded to Meta": rate("whaul_uploaded_bytes_total"),
            },
            unit="Bps",
            width=12,
            height=7,
        ),
        Panel(
            title="Audit log",
            description="Attempts to write it that failed, and records that are lost. Alert: WhaulAuditLogFails.",
            queries={
                "failed attempts": rate("whaul_audit_failures_total"),
                "lost records": rate("whaul_audit_dropped_total"),
            },
            unit="ops",
            width=12,
            height=7,
        ),
    ],
)

META: Final = Row(
    "Meta and stores",
    [
        Panel(
            title="Parts of a call",
            description="The 95th percentile of each part. describe, get, upload, send and delete are Meta; put is the "
            "store and open the source of an upload; wait is whaul's own queue.",
            queries={"{{hop}}": quantile("whaul_hop_seconds", 0.95, "hop")},
            unit="s",
        ),
        Panel(
            title="Time spent, by part",
            description="Seconds a second that calls spend in each part: what most time goes to.",
            queries={"{{hop}}": rate("whaul_hop_seconds_sum", "hop")},
            unit="s",
            stacked=True,
        ),
        Panel(
            title="Open circuits",
            description="Phone numbers, accounts and hosts that are left alone for a while after repeated failures. "
            "Alert: WhaulCircuitOpen.",
            queries={
                "{{kind}}": total("whaul_open_circuits", "kind"),
                "{{kind}} {{name}}": f"count by (kind, name) (whaul_circuit_probe_timestamp_seconds{{{HERE}}} > 0)",
            },
            decimals=0,
        ),
        Panel(
            kind="bargauge",
            title="Meta's rate limit",
            description="Share used, as Meta said last, of the app's and of the business's limit. "
            "Alert: WhaulMetaUsageHigh.",
            queries={"{{kind}}": total("whaul_meta_usage_percent", "kind", how="max")},
            unit="percent",
            most=100,
            thresholds=[(None, GREEN), (60, YELLOW), (80, RED)],
            height=6,
        ),
        Panel(
            kind="stat",
            title="Tokens end in",
            description="Until the token of an account, or its access to data, ends. Tokens that never end are not "
            "shown. Alerts: WhaulTokenEndsSoon, WhaulTokenEnded.",
            queries={
                "{{account}}": f"{total('whaul_token_expiry_timestamp_seconds', 'account', how='min')} - time()",
            },
            unit="dtdurations",
            least=None,
            thresholds=[(None, RED), (86400, YELLOW), (7 * 86400, GREEN)],
            height=6,
        ),
        Panel(
            title="Refreshes of accounts",
            description="How often Meta was asked for names, ratings and statuses of accounts, by what came of it.",
            queries={"{{outcome}}": rate("whaul_refreshes_total", "outcome")},
            unit="ops",
            height=6,
        ),
    ],
)
