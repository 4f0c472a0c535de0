"""The alerts of servers and their processes; see `rules`."""

from typing import Final

from tools.monitoring.rules import JOB, Alert, Group

SERVERS: Final = Group(
    "whaul-servers",
    "Servers",
    [
        Alert(
            name="WhaulServerDown",
            severity="critical",
            expr=f"up{{{JOB}}} == 0",
            wait="2m",
            summary="whaul at {{ $labels.instance }} does not answer Prometheus",
            meaning="Prometheus could not read `/metrics` of this server for two minutes: it has stopped, hangs, or "
            "cannot be reached from there. Clients are served by the other servers, if there are any; Meta repeats "
            "webhooks that are not answered, for days.",
            advice=[
                "Look whether it runs, and at the end of its log: a start that failed says why and what to do.",
                "If it runs, ask it from where Prometheus is: `curl http://HOST:PORT/healthz`.",
                "The rule takes every scrape job whose name has `whaul` in it. Change it if yours has another name.",
            ],
            fires={'up{job="whaul",instance="a:8080"}': "1 1 0x20"},
            labels={"job": "whaul", "instance": "a:8080"},
            says="whaul at a:8080 does not answer Prometheus",
            silent={'up{job="whaul",instance="a:8080"}': "1x20", 'up{job="node",instance="a:9100"}': "0x20"},
        ),
        Alert(
            name="WhaulAbsent",
            severity="critical",
            expr="absent(whaul_build_info)",
            wait="5m",
            summary="Prometheus has no data of any whaul server",
            meaning="No server has been read for five minutes: all of them are away, or Prometheus does not know them. "
            "Every other alert is silent then, since it has nothing to go by.",
            advice=[
                (
                    "Look at Prometheus's list of targets. If whaul is not in it, its scrape configuration is lost or "
                    "finds nothing."
                ),
                "If all of them are down, start with the log of one.",
            ],
            fires={'up{job="node",instance="a:9100"}': "1x20"},
            says="Prometheus has no data of any whaul server",
            silent={'whaul_build_info{job="whaul",instance="a:8080",version="1.0.0"}': "1x20"},
        ),
        Alert(
            name="WhaulRestarts",
            severity="warning",
            expr=f"changes(process_start_time_seconds{{{JOB}}}[30m]) > 3\n"
            "or\nincrease(whaul_worker_starts_total[30m]) > 3 * whaul_workers",
            summary="whaul at {{ $labels.instance }} starts again and again",
            meaning="The server, or workers of it, started more than three times in half an hour. Calls that ran in a "
            "process that died are lost, and the SDKs repeat them; events are not lost.",
            advice=[
                (
                    "A process that was killed for its memory says nothing in its log; the kernel's log (`dmesg`) or "
                    "`kubectl describe pod` does. [Scale](scale.md#limits-of-a-worker) says what a worker may hold."
                ),
                "Else the log says why it ended. Three SIGHUPs in half an hour look the same.",
            ],
            fires={
                'whaul_worker_starts_total{job="whaul",instance="a:8080"}': "2+1x40",
                'whaul_workers{job="whaul",instance="a:8080"}': "2x40",
            },
            labels={"job": "whaul", "instance": "a:8080"},
            says="whaul at a:8080 starts again and again",
            silent={
                'process_start_time_seconds{job="whaul",instance="a:8080"}': "1000x20 2000x20",
                'process_start_time_seconds{job="node",instance="a:9100"}': "0+60x40",
                'whaul_worker_starts_total{job="whaul",instance="a:8080"}': "2x20 4x20",
                'whaul_workers{job="whaul",instance="a:8080"}': "2x40",
            },
            at="40m",
        ),
        Alert(
            name="WhaulDatabaseDown",
            severity="critical",
            expr="whaul_database_up == 0",
            wait="1m",
            summary="The database does not answer whaul at {{ $labels.instance }}",
            meaning="Calls for accounts and keys that were used lately [still "
            "work](deploy.md#when-the-database-is-away); others are answered with `ServiceUnavailable`. Webhooks are "
            "answered with 503, and Meta repeats them. Nothing is delivered.",
            advice=[
                "PostgreSQL: see that it runs and takes connections, and how many are left.",
                "SQLite: see that its disk has room and its folder belongs to whaul's user.",
                (
                    "`whaul doctor` on the server asks the database and says what is wrong. whaul needs no restart "
                    "once it is back."
                ),
            ],
            fires={'whaul_database_up{job="whaul",instance="a:8080"}': "1 1 0x20"},
            labels={"job": "whaul", "instance": "a:8080"},
            says="The database does not answer whaul at a:8080",
            silent={'whaul_database_up{job="whaul",instance="a:8080"}': "1 1 1 0 1x20"},
        ),
        Alert(
            name="WhaulDiskFills",
            severity="warning",
            expr="whaul_disk_free_bytes / whaul_disk_bytes < 0.1\n"
            "or\n(\n    whaul_disk_free_bytes / whaul_disk_bytes < 0.5\n"
            "  and\n    predict_linear(whaul_disk_free_bytes[6h], 24 * 3600) < 0\n"
            "  and\n    whaul_disk_free_bytes offset 3h > 0\n)",
            wait="15m",
            summary="The disk of whaul's database at {{ $labels.instance }} fills",
            meaning="Less than a tenth of the disk with the SQLite database is free, or less than half, and at the "
            "pace of the last six hours it is full within a day. On a full disk, webhooks are answered with 503.",
            advice=[
                (
                    "See what fills it. If it is the database, look at [what waits](#whauleventsundelivered): events "
                    "of a destination that takes nothing are kept."
                ),
                (
                    "Keep less: [`WHAUL_EVENT_RETENTION`](settings.md#whaul_event_retention) and "
                    "[`WHAUL_WEBHOOK_RETENTION`](settings.md#whaul_webhook_retention). The room that becomes free in "
                    "the database's file is used again, although the file does not shrink."
                ),
                "Set a bound that fits the disk: [`WHAUL_MAX_BACKLOG_BYTES`](settings.md#whaul_max_backlog_bytes).",
            ],
            fires={
                'whaul_disk_free_bytes{job="whaul",instance="a:8080"}': "40-0.1x400",
                'whaul_disk_bytes{job="whaul",instance="a:8080"}': "100x400",
            },
            labels={"job": "whaul", "instance": "a:8080"},
            says="The disk of whaul's database at a:8080 fills",
            silent={
                'whaul_disk_free_bytes{job="whaul",instance="a:8080"}': "90-0.05x400",
                'whaul_disk_bytes{job="whaul",instance="a:8080"}': "100x400",
            },
            at="220m",
        ),
        Alert(
            name="WhaulDiskFull",
            severity="critical",
            expr="whaul_disk_free_bytes / whaul_disk_bytes < 0.03",
            wait="5m",
            summary="The disk of whaul's database at {{ $labels.instance }} is nearly full",
            meaning="Less than 3 % of the disk with the SQLite database is free. On a full disk, webhooks are answered "
            "with 503, and whatever writes to the registry fails.",
            advice=["Make room now; for what fills it, see [WhaulDiskFills](#whauldiskfills)."],
            fires={
                'whaul_disk_free_bytes{job="whaul",instance="a:8080"}': "2x30",
                'whaul_disk_bytes{job="whaul",instance="a:8080"}': "100x30",
            },
            labels={"job": "whaul", "instance": "a:8080"},
            says="The disk of whaul's database at a:8080 is nearly full",
            silent={
                'whaul_disk_free_bytes{job="whaul",instance="a:8080"}': "4x30",
                'whaul_disk_bytes{job="whaul",instance="a:8080"}': "100x30",
            },
        ),
        Alert(
            name="WhaulFilesOpen",
            severity="warning",
            expr=f"process_open_fds{{{JOB}}} / process_max_fds{{{JOB}}} > 0.8",
            wait="5m",
            summary="whaul at {{ $labels.instance }} has nearly as many files open as it may",
            meaning="Four fifths of the files that its workers may open are open: mostly connections of clients. "
            "Beyond the limit, new connections wait and calls fail.",
            advice=[
                (
                    "See whether clients keep connections that they do not use; "
                    "[`WHAUL_IDLE_TIMEOUT`](settings.md#whaul_idle_timeout) ends them."
                ),
                "Raise the limit (`LimitNOFILE` of systemd, `ulimit -n`), or run more workers.",
            ],
            fires={
                'process_open_fds{job="whaul",instance="a:8080"}': "900x20",
                'process_max_fds{job="whaul",instance="a:8080"}': "1024x20",
            },
            labels={"job": "whaul", "instance": "a:8080"},
            says="whaul at a:8080 has nearly as many files open as it may",
            silent={
                'process_open_fds{job="whaul",instance="a:8080"}': "500x20",
                'process_max_fds{job="whaul",instance="a:8080"}': "1024x20",
            },
        ),
        Alert(
            name="WhaulAuditLogFails",
            severity="critical",
            expr="increase(whaul_audit_failures_total[10m]) > 0 or increase(whaul_audit_dropped_total[10m]) > 0",
            summary="The audit log of whaul at {{ $labels.instance }} cannot be written",
            meaning="Calls go on, and their records wait in memory; up to 16 MiB of them for each worker. What comes "
            "beyond that is missing from the [audit log](observe.md#audit-log), and a record says how many.",
            advice=["`audit_unwritable` in the log says why: a full disk, a folder without the right to write."],
            fires={'whaul_audit_failures_total{job="whaul",instance="a:8080"}': "0+1x20"},
            labels={"job": "whaul", "instance": "a:8080"},
            says="The audit log of whaul at a:8080 cannot be written",
            silent={
                'whaul_audit_failures_total{job="whaul",instance="a:8080"}': "3x20",
                'whaul_audit_dropped_total{job="whaul",instance="a:8080"}': "0x20",
            },
        ),
    ],
)
