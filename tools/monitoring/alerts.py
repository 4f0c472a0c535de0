"""Writes the alerts: as rules for Prometheus, as tests for promtool, and as a page."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from tools.monitoring.call_rules import CALLS, META
from tools.monitoring.event_rules import ARCHIVE, DELIVERIES, WEBHOOKS
from tools.monitoring.rules import Alert
from tools.monitoring.server_rules import SERVERS

GROUPS: Final = (SERVERS, CALLS, META, WEBHOOKS, DELIVERIES, ARCHIVE)
WRITTEN: Final = "# Written by `./run docs` from tools/monitoring; change it there, or copy it and change the copy.\n"
_LINK: Final = re.compile(r"\[([^]]*)\]\(([^)]*)\)")


def rules() -> str:
    """Write the rules, as they are loaded by Prometheus."""
    lines = [WRITTEN + "groups:"]
    for group in GROUPS:
        lines += [f"  - name: {group.name}", "    rules:"]
        for alert in group.alerts:
            lines += [f"      - alert: {alert.name}", "        expr: |-"]
            lines += [f"          {line}" for line in alert.expr.splitlines()]
            if alert.wait:
                lines.append(f"        for: {alert.wait}")
            lines += ["        labels:", f"          severity: {alert.severity}", "        annotations:"]
            lines += [f"          {name}: {json.dumps(text)}" for name, text in annotations(alert).items()]
    return "\n".join(lines) + "\n"


def annotations(alert: Alert) -> dict[str, str]:
    """What the message of an alert says; its texts are plain."""
    return {
        "summary": alert.summary,
        "description": " ".join([_plain(alert.meaning), *(_plain(advice) for advice in alert.advice)]),
        "runbook": f"docs/alerts.md#{alert.name.lower()}",
    }


def cases(rules_file: str) -> str:
    """Write the cases in which alerts fire and are silent, for `promtool test rules`. It is JSON, and so YAML."""
    tests = [case for group in GROUPS for alert in group.alerts for case in _cases(alert)]
    document = {"rule_files": [rules_file], "evaluation_interval": "1m", "tests": tests}
    return WRITTEN + json.dumps(document, indent=1) + "\n"


def _cases(alert: Alert) -> Iterator[dict[str, Any]]:
    firing = {
        "exp_labels": {**alert.labels, "severity": alert.severity},
        "exp_annotations": {**annotations(alert), "summary": alert.says},
    }
    for what, series, expected in (("fires", alert.fires, [firing]), ("is silent", alert.silent, [])):
        yield {
            "name": f"{alert.name} {what}",
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "alert_rule_test": [{"eval_time": alert.at, "alertname": alert.name, "exp_alerts": expected}],
        }


def page(generated: str) -> str:
    """Write the page: what each alert means, and what to do."""
    parts = [generated, PAGE_HEAD, *(f"- [{group.title}](#{group.title.lower()})" for group in GROUPS), ""]
    for group in GROUPS:
        parts += [f"## {group.title}", ""]
        for alert in group.alerts:
            lasts = f" for {alert.wait.removesuffix('m')} minutes" if alert.wait else ""
            parts += [f"### {alert.name}", "", f"{alert.meaning}", "", *(f"- {advice}" for advice in alert.advice), ""]
            parts += [f"It is `{alert.severity}`, and fires when this is so{lasts}:", ""]
            parts += ["```promql", alert.expr, "```", ""]
    return "\n".join(parts)


def _plain(text: str) -> str:
    return _LINK.sub(lambda found: found[1], text).replace("`", "").replace("*", "")


PAGE_HEAD: Final = """\
# Alerts

What each alert of `packaging/monitoring/alerts.yaml` means, and what to do. [Observe](observe.md#alerts) says how to \
use the file. `critical`: somebody is to look now; `warning`: today.

On this page:
"""
