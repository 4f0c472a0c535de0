"""The board and the alerts: written as their tables say, about metrics that there are, and complete."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tools.monitoring.alerts import GROUPS
from tools.monitoring.files import FOLDER, ROOT, files
from tools.monitoring.rules import Alert
from whaul.telemetry.catalogue import METRICS

ALERTS = {alert.name: alert for group in GROUPS for alert in group.alerts}
BOARD = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
NOT_SHOWN = {"process_virtual_memory_bytes"}
"""Metrics that say nothing to somebody who looks at a board."""


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_files_are_current(path: Any) -> None:
    assert path.read_text(encoding="utf-8") == files()[path], "./run docs writes it"


def metrics_of(expr: str) -> Iterator[str]:
    for name in re.findall(r"\b(?:whaul|process)_\w+", expr):
        shorter = re.sub(r"_(bucket|sum|count)$", "", name)
        yield shorter if METRICS.get(shorter) and METRICS[shorter].kind == "histogram" else name


def test_the_board_shows_every_metric_and_no_other() -> None:
    shown = {name for panel in PANELS for target in panel["targets"] for name in metrics_of(target["expr"])}
    assert shown == METRICS.keys() - NOT_SHOWN


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows_of_what_was_chosen(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert set(re.findall(r"\bWhaul\w+", panel["description"])) <= ALERTS.keys()
    assert set(re.findall(r"\bdocs/\w+\.md", panel["description"])) <= {
        f"docs/{p.name}" for p in (ROOT / "docs").iterdir()
    }
    assert panel["datasource"]["uid"] == "${datasource}"
    for target in panel["targets"]:
        selected = re.findall(r"\b(?:whaul|process)_\w+(\{[^}]*)?", target["expr"])
        assert all('job=~"$job", instance=~"$instance"' in labels for labels in selected)
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= grouped(target["expr"])


def grouped(expr: str) -> set[str]:
    """The labels that the samples of an expression have."""
    return {label for labels in re.findall(r"by \(([^)]*)\)", expr) for label in labels.split(", ")} - {"le"}


def test_panels_lie_beside_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


def test_every_alert_has_a_name_of_its_own_and_is_on_the_board() -> None:
    assert len(ALERTS) == sum(len(group.alerts) for group in GROUPS)
    described = " ".join(panel["description"] for panel in PANELS)
    assert ALERTS.keys() - set(re.findall(r"\bWhaul\w+", described)) == {"WhaulAbsent"}, (
        "which is when a board is empty"
    )


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)
def test_an_alert_has_advice_and_a_case_in_which_it_fires_and_one_in_which_it_is_silent(alert: Alert) -> None:
    assert alert.advice
    assert alert.fires
    assert alert.silent
    assert alert.fires != alert.silent
    assert set(metrics_of(alert.expr)) <= METRICS.keys()
    assert set(re.findall(r"\$labels\.(\w+)", alert.summary)) <= alert.labels.keys()
