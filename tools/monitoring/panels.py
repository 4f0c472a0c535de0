"""The parts of a Grafana board: panels, rows and variables, as Grafana's JSON has them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

WIDTH: Final = 24
"""Columns of a board."""
GREEN, YELLOW, RED = "green", "orange", "red"
_LABELS_ALONE: Final = {"id": "organize", "options": {"excludeByName": {"Time": True, "Value": True}}}
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
Thresholds = Sequence[tuple[float | None, str]]
"""From which value on which colour; the first has no value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A panel."""

    title: str
    description: str
    queries: Mapping[str, str]
    """Expressions by what the legend calls their lines, in Grafana's templates."""
    kind: str = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 8
    thresholds: Thresholds = ()
    stacked: bool = False
    exemplars: bool = False
    decimals: int | None = None
    least: float | None = 0
    most: float | None = None
    colours: Mapping[str, str] = field(default_factory=dict)
    """By legend."""

    def json(self, number: int, x: int, y: int) -> dict[str, Any]:
        """Write it, at its place."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [self._target(i, legend, expr) for i, (legend, expr) in enumerate(self.queries.items())],
            "fieldConfig": {
                "defaults": self._defaults(),
                "overrides": [_coloured(*each) for each in self.colours.items()],
            },
            "options": self._options(),
            "transformations": [_LABELS_ALONE] if self.kind == "table" else [],
        }

    def _target(self, place: int, legend: str, expr: str) -> dict[str, Any]:
        found: dict[str, Any] = {
            "refId": "ABCDEFGH"[place],
            "datasource": DATASOURCE,
            "expr": expr,
            "legendFormat": legend,
        }
        if self.kind == "timeseries":
            return found | {"range": True, "exemplar": self.exemplars}
        shape = {"format": "table"} if self.kind == "table" else {}
        return found | {"instant": True, "range": False} | shape

    def _defaults(self) -> dict[str, Any]:
        steps = [{"value": value, "color": colour} for value, colour in self.thresholds or [(None, GREEN)]]
        found: dict[str, Any] = {"unit": self.unit, "thresholds": {"mode": "absolute", "steps": steps}}
        found |= {name: value for name, value in (("min", self.least), ("max", self.most)) if value is not None}
        if self.decimals is not None:
            found["decimals"] = self.decimals
        if self.kind == "timeseries":
            return found | {
                "color": {"mode": "palette-classic"},
                "custom": {
                    "drawStyle": "line",
                    "lineWidth": 2,
                    "fillOpacity": 30 if self.stacked else 8,
                    "gradientMode": "opacity",
                    "showPoints": "never",
                    "spanNulls": False,
                    "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
                    "thresholdsStyle": {"mode": "dashed" if self.thresholds else "off"},
                },
            }
        return found | {"color": {"mode": "thresholds"}, "noValue": "none"}

    def _options(self) -> dict[str, Any]:
        if self.kind == "timeseries":
            return {
                "tooltip": {"mode": "multi", "sort": "desc"},
                "legend": {
                    "displayMode": "table" if len(self.queries) == 1 else "list",
                    "placement": "bottom",
                    "showLegend": True,
                    "calcs": ["mean", "max", "lastNotNull"] if len(self.queries) == 1 else ["lastNotNull"],
                },
            }
        reduced = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
        if self.kind == "stat":
            return reduced | {"colorMode": "value", "graphMode": "none", "textMode": "auto", "justifyMode": "auto"}
        if self.kind == "bargauge":
            return reduced | {"orientation": "horizontal", "displayMode": "gradient", "showUnfilled": True}
        return {"showHeader": True}


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its panels are laid from left to right, line by line."""

    title: str
    panels: Sequence[Panel]


def laid_out(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Write the panels of rows, each at its place."""
    found: list[dict[str, Any]] = []
    y = 0
    for row in rows:
        place = {"x": 0, "y": y, "w": WIDTH, "h": 1}
        found.append({"id": len(found) + 1, "type": "row", "title": row.title, "collapsed": False, "gridPos": place})
        found[-1]["panels"] = []
        y += 1
        x = height = 0
        for panel in row.panels:
            if x + panel.width > WIDTH:
                x, y, height = 0, y + height, 0
            found.append(panel.json(len(found) + 1, x, y))
            x, height = x + panel.width, max(height, panel.height)
        y += height
    return found


def datasource_variable() -> dict[str, Any]:
    """Let the user choose the Prometheus."""
    return {"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus", "hide": 0}


def variable(name: str, label: str, query: str) -> dict[str, Any]:
    """Let the user choose values of a label; all of them at first."""
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "hide": 0,
    }


def annotation(name: str, colour: str, expr: str) -> dict[str, Any]:
    """Mark moments in all panels."""
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": colour,
        "expr": expr,
        "titleFormat": name,
    }


def _coloured(legend: str, colour: str) -> dict[str, Any]:
    return {
        "matcher": {"id": "byName", "options": legend},
        "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
    }
