"""Draws the board with the data of a Prometheus: `python -m tools.monitoring.picture URL MINUTES FILE`.

For the documentation, since Grafana is not among what tests and builds can have. Queries, places, titles, colours and
units are the board's own; the look is ours.
"""

import json
import math
import re
import sys
import time
import urllib.request
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tools.monitoring.files import FOLDER
from tools.monitoring.queries import chosen

CANVAS, PANEL, TEXT, FAINT, GRID = "#111217", "#181b1f", "#ccccdc", "#8e8e9a", "#2a2d33"
PALETTE: Final = ["#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#705da0", "#37872d"]
NAMED: Final = {
    "green": "#73bf69",
    "yellow": "#fade2a",
    "orange": "#ff9830",
    "red": "#f2495c",
    "dark-red": "#c4162a",
    "purple": "#b877d9",
    "blue": "#5794f2",
}
"""Grafana's names of colours."""
COLUMN, LINE, GAP = 0.66, 0.36, 0.04
"""Inches of a column and a line of the board, and around a panel."""
UNITS: Final = {"reqps": "/s", "ops": "/s", "short": ""}
Samples = list[dict[str, Any]]


def ask(url: str, path: str, **query: str | float) -> Samples:
    """Ask the Prometheus."""
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{urlencode(query)}", timeout=60) as answer:
        found: Samples = json.load(answer)["data"]["result"]
        return found


def legend(template: str, labels: dict[str, str]) -> str:
    """What the legend calls a line."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), template)


def shown(value: float, unit: str) -> str:
    """A value with its unit."""
    if math.isnan(value):
        return "none"
    if unit in {"s", "dtdurations"}:
        for size, name in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
            if abs(value) >= size:
                return f"{value / size:.3g} {name}"
        return f"{value * 1000:.3g} ms"
    if unit in {"bytes", "Bps"}:
        power = min(4, int(math.log(max(abs(value), 1), 1024)))
        return f"{value / 1024**power:.3g} {['B', 'KiB', 'MiB', 'GiB', 'TiB'][power]}{'/s' if unit == 'Bps' else ''}"
    if unit in {"percent", "percentunit"}:
        return f"{value * (100 if unit == 'percentunit' else 1):.3g} %"
    return f"{value:.3g}{UNITS[unit]}"


def colour_of(value: float, steps: list[dict[str, Any]]) -> str:
    """The colour of a value by the panel's thresholds."""
    passed = [step for step in steps if step["value"] is None or value >= step["value"]]
    return NAMED[passed[-1]["color"]]


@dataclass(frozen=True)
class Area:
    """A panel's part of the picture; places in it go from 0 to 1."""

    figure: Any
    left: float
    bottom: float
    width: float
    height: float

    def text(self, x: float, y: float, text: str, **options: Any) -> None:
        """Write there."""
        self.figure.text(self.left + x * self.width, self.bottom + y * self.height, text, va="center", **options)

    def axes(self, x: float, y: float, width: float, height: float) -> Any:
        """Make room for lines or bars."""
        place = (self.left + x * self.width, self.bottom + y * self.height, width * self.width, height * self.height)
        return self.figure.add_axes(place, facecolor=PANEL)

    def fill(self) -> None:
        """Paint its ground."""
        place = (self.left, self.bottom), self.width, self.height
        self.figure.add_artist(Rectangle(*place, facecolor=PANEL, transform=self.figure.transFigure, zorder=-1))


def draw_lines(part: Area, panel: dict[str, Any], url: str, minutes: float) -> None:
    """Draw a panel of lines."""
    defaults = panel["fieldConfig"]["defaults"]
    unit, stacked = defaults["unit"], defaults["custom"]["stacking"]["mode"] == "normal"
    fixed = {
        o["matcher"]["options"]: o["properties"][0]["value"]["fixedColor"] for o in panel["fieldConfig"]["overrides"]
    }
    end = time.time()
    times = {"start": end - 60 * minutes, "end": end, "step": max(1, minutes * 60 // 240)}
    lines = []
    for target in panel["targets"]:
        for series in ask(url, "query_range", query=chosen(target["expr"]), **times):
            at = [(float(moment) - end) / 60 for moment, _ in series["values"]]
            lines.append(
                (legend(target["legendFormat"], series["metric"]), at, [float(v) for _, v in series["values"]])
            )
    axes = part.axes(0.13, 0.30, 0.84, 0.55)
    colours = [NAMED[fixed[name]] if name in fixed else PALETTE[i % len(PALETTE)] for i, (name, *_) in enumerate(lines)]
    base: dict[float, float] = {}
    for (_, at, values), colour in zip(lines, colours, strict=True):
        bottom = [base.get(moment, 0.0) if stacked else 0.0 for moment in at]
        top = [b + v for b, v in zip(bottom, values, strict=True)]
        base |= dict(zip(at, top, strict=True))
        axes.plot(at, top, color=colour, linewidth=1.1)
        axes.fill_between(at, bottom, top, color=colour, alpha=0.3 if stacked else 0.08, linewidth=0)
    axes.set_xlim(-minutes, 0)
    axes.set_ylim(bottom=0, top=None if any(value > 0 for *_, values in lines for value in values) else 1)
    ticks = [tick for tick in axes.get_yticks() if tick >= 0][:6]
    axes.set_yticks(ticks, [shown(tick, unit) if tick else "0" for tick in ticks])
    axes.tick_params(colors=FAINT, labelsize=6, length=0)
    axes.grid(color=GRID, linewidth=0.5)
    axes.spines[:].set_visible(False)
    for i, ((name, _, values), colour) in enumerate(zip(lines[:8], colours, strict=False)):
        last = next((v for v in reversed(values) if not math.isnan(v)), math.nan)
        x, y = 0.03 + 0.485 * (i % 2), 0.165 - 0.045 * (i // 2)
        part.text(x, y, "▬", color=colour, fontsize=6)
        part.text(x + 0.035, y, f"{name}  {shown(last, unit)}"[:44], color=TEXT, fontsize=5.6)


def draw_values(part: Area, panel: dict[str, Any], url: str) -> None:
    """Draw a panel of values, bars or labels."""
    defaults = panel["fieldConfig"]["defaults"]
    (target,) = panel["targets"]
    samples = ask(url, "query", query=chosen(target["expr"]))
    for i, sample in enumerate(samples[:6]):
        value = float(sample["value"][1])
        name = legend(target["legendFormat"], sample["metric"])
        colour, text = colour_of(value, defaults["thresholds"]["steps"]), shown(value, defaults["unit"])
        y = 0.72 - 0.5 * i / max(2, len(samples))
        if panel["type"] == "stat" and len(samples) == 1:
            part.text(0.5, 0.4, text, color=colour, fontsize=15, ha="center", weight="bold")
        elif panel["type"] == "table":
            part.text(0.04, y, "   ".join(sample["metric"].values()), color=TEXT, fontsize=6.5)
        else:
            part.text(0.04, y, name, color=TEXT, fontsize=6.5)
            part.text(0.97, y, text, color=colour, fontsize=8, ha="right")
            if panel["type"] == "bargauge":
                bar = part.axes(0.36, y - 0.035, 0.4, 0.07)
                bar.barh([0], [value / defaults["max"]], color=colour)
                bar.set_xlim(0, 1)
                bar.set_axis_off()


def draw(url: str, minutes: float, file: str) -> None:
    """Draw all rows below each other."""
    panels = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))["panels"]
    lines = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    width, height = 24 * COLUMN, lines * LINE
    figure = Figure(figsize=(width, height), facecolor=CANVAS)
    for panel in panels:
        at = panel["gridPos"]
        top = at["y"] * LINE
        if panel["type"] == "row":
            figure.text(
                0.01, 1 - (top + LINE / 2) / height, f"⌄  {panel['title']}", color=TEXT, fontsize=10, va="center"
            )
            continue
        left, bottom = at["x"] * COLUMN + GAP, height - top - at["h"] * LINE + GAP
        size = (at["w"] * COLUMN - 2 * GAP) / width, (at["h"] * LINE - 2 * GAP) / height
        part = Area(figure, left / width, bottom / height, *size)
        part.fill()
        part.text(0.03, 0.92, panel["title"], color=TEXT, fontsize=7.5)
        if panel["type"] == "timeseries":
            draw_lines(part, panel, url, minutes)
        else:
            draw_values(part, panel, url)
    figure.savefig(file, dpi=100, facecolor=CANVAS)


if __name__ == "__main__":
    draw(sys.argv[1], float(sys.argv[2]), sys.argv[3])
