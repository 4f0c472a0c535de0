"""The board's rows of the whole, the database and the processes."""

from typing import Final

from tools.monitoring.call_rules import BUDGET, LATE, OURS
from tools.monitoring.panels import GREEN, RED, YELLOW, Panel, Row
from tools.monitoring.queries import HERE, IN_TIME, THERE, failing, rate, total

GLANCE: Final = Row(
    "At a glance",
    [
        Panel(
            kind="stat",
            title="Servers",
            description="Servers that Prometheus reads now. Alert: WhaulServerDown.",
            queries={"servers": f"count(whaul_build_info{{{HERE}}})"},
            thresholds=[(None, RED), (1, GREEN)],
            width=3,
            height=4,
        ),
        Panel(
            kind="stat",
            title="Alerts",
            description="Alerts of whaul that fire now, if the rules are loaded. docs/alerts.md says what to do.",
            queries={"alerts": 'count(ALERTS{alertname=~"Whaul.+", alertstate="firing"}) or vector(0)'},
            thresholds=[(None, GREEN), (1, RED)],
            width=3,
            height=4,
        ),
        Panel(
            kind="stat",
            title="Calls",
            description="API calls a second.",
            queries={"calls": rate("whaul_calls_total")},
            unit="reqps",
            width=3,
            height=4,
        ),
        Panel(
            kind="stat",
            title="Failed by our fault",
            description="Share of calls that fail by whaul's own fault, or its database's. Alert: WhaulCallErrors.",
            queries={"ours": f"({failing(*OURS)}) / ({rate('whaul_calls_total')} > 0)"},
            unit="percentunit",
            thresholds=[(None, GREEN), (0.001, YELLOW), (0.01, RED)],
            width=3,
            height=4,
        ),
        Panel(
            kind="stat",
            title="Slow calls",
            description=f"Share of calls that take more than {LATE} s. Alert: WhaulCallsSlow.",
            queries={
                "slow": f"1 - {rate('whaul_call_seconds_bucket', where=IN_TIME)}"
                f" / ({rate('whaul_call_seconds_count')} > 0)",
            },
            unit="percentunit",
            thresholds=[(None, GREEN), (BUDGET, YELLOW), (14.4 * BUDGET, RED)],
            width=3,
            height=4,
        ),
        Panel(
            kind="stat",
            title="Oldest undelivered",
            description="How long ago the oldest event came that a destination does not have. "
            "Alert: WhaulEventsUndelivered.",
            queries={"age": total("whaul_oldest_undelivered_seconds", how="max", of=THERE)},
            unit="s",
            thresholds=[(None, GREEN), (300, YELLOW), (900, RED)],
            width=3,
            height=4,
        ),
        Panel(
            kind="stat",
            title="Dead letters",
            description="Events that were given up, of all destinations. Alert: WhaulDeadLetters.",
            queries={"dead": f"sum ({total('whaul_dead_events', 'destination', how='max', of=THERE)})"},
            thresholds=[(None, GREEN), (1, YELLOW)],
            width=3,
            height=4,
        ),
        Panel(
            kind="stat",
            title="Files to archive",
            description="Files of messages that are not archived yet. Alert: WhaulFilesWait.",
            queries={"files": total("whaul_unarchived_files", how="max")},
            width=3,
            height=4,
        ),
    ],
)

DATABASE: Final = Row(
    "Database",
    [
        Panel(
            title="Database answers",
            description="1 while it does, 0 while it does not, for each server. Alert: WhaulDatabaseDown.",
            queries={"{{instance}}": total("whaul_database_up", "instance", how="min")},
            most=1,
            decimals=0,
            height=6,
        ),
        Panel(
            title="Backlog",
            description="Events of which a delivery or a file waits, of WHAUL_MAX_BACKLOG. At the limit, webhooks are "
            "answered with 503.",
            queries={"events": total("whaul_backlog_events", how="max")},
            height=6,
        ),
        Panel(
            title="Free on its disk",
            description="Of the disk with the SQLite database; empty with PostgreSQL. Alerts: WhaulDiskFills, "
            "WhaulDiskFull.",
            queries={
                "{{instance}}": f"{total('whaul_disk_free_bytes', 'instance', how='min')}"
                f" / {total('whaul_disk_bytes', 'instance', how='min')}"
            },
            unit="percentunit",
            most=1,
            height=6,
        ),
    ],
)

PROCESS: Final = Row(
    "Process",
    [
        Panel(
            title="CPU",
            description="Cores that the workers use, for each server.",
            queries={"{{instance}}": rate("process_cpu_seconds_total", "instance")},
            decimals=2,
        ),
        Panel(
            title="Memory",
            description="Resident memory of the workers, for each server.",
            queries={"{{instance}}": total("process_resident_memory_bytes", "instance")},
            unit="bytes",
        ),
        Panel(
            title="Open files",
            description="Share of the files that the workers may open. Alert: WhaulFilesOpen.",
            queries={
                "{{instance}}": f"{total('process_open_fds', 'instance')} / {total('process_max_fds', 'instance')}",
            },
            unit="percentunit",
            thresholds=[(None, GREEN), (0.8, RED)],
        ),
        Panel(
            title="Workers",
            description="Worker processes, and how many were started within the last half hour. Alert: WhaulRestarts.",
            queries={
                "{{instance}}": total("whaul_workers", "instance"),
                "started, {{instance}}": f"sum by (instance) (increase(whaul_worker_starts_total{{{HERE}}}[30m]))",
            },
            decimals=0,
            height=6,
        ),
        Panel(
            kind="stat",
            title="Running for",
            description="Since the oldest worker started.",
            queries={"{{instance}}": f"time() - {total('process_start_time_seconds', 'instance', how='min')}"},
            unit="s",
            height=6,
        ),
        Panel(
            kind="table",
            title="What runs",
            description="The version of whaul and of Python, for each server.",
            queries={"": total("whaul_build_info", "instance, version, commit, python, implementation", how="max")},
            height=6,
        ),
    ],
)
