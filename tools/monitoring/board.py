"""The Grafana board: what each panel shows, and why one would look at it."""

import json
from typing import Final

from tools.monitoring.call_panels import CALLS, META
from tools.monitoring.event_panels import ARCHIVE, DELIVERIES, WEBHOOKS
from tools.monitoring.panels import annotation, datasource_variable, laid_out, variable
from tools.monitoring.queries import HERE
from tools.monitoring.server_panels import DATABASE, GLANCE, PROCESS

ROWS: Final = (GLANCE, CALLS, META, WEBHOOKS, DELIVERIES, ARCHIVE, DATABASE, PROCESS)


def board() -> str:
    """Write the board, as Grafana imports it."""
    document = {
        "uid": "whaul",
        "title": "whaul",
        "description": "Calls, webhooks, deliveries and files of whaul. Written by `./run docs` from tools/monitoring.",
        "tags": ["whaul", "whatsapp"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "links": [],
        "annotations": {
            "list": [
                annotation("Alerts", "red", 'ALERTS{alertname=~"Whaul.+", alertstate="firing", severity="critical"}'),
                annotation("Starts", "blue", f"changes(process_start_time_seconds{{{HERE}}}[$__interval]) > 0"),
            ]
        },
        "templating": {
            "list": [
                datasource_variable(),
                variable("job", "Job", "label_values(whaul_build_info, job)"),
                variable("instance", "Server", 'label_values(whaul_build_info{job=~"$job"}, instance)'),
                variable(
                    "destination", "Destination", 'label_values(whaul_destination_state{job=~"$job"}, destination)'
                ),
            ]
        },
        "panels": laid_out(ROWS),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
