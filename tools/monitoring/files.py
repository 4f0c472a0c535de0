"""The files that are made of the tables here."""

from pathlib import Path
from typing import Final

from tools.monitoring import alerts
from tools.monitoring.board import board

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "packaging" / "monitoring"
CHART: Final = ROOT / "packaging" / "chart" / "whaul"
GENERATED: Final = "<!-- Written by tools/monitoring; `./run docs` updates it. -->"


def files() -> dict[Path, str]:
    """Every file, whole, by its path."""
    return {
        FOLDER / "dashboard.json": board(),
        FOLDER / "alerts.yaml": alerts.rules(),
        CHART / "files" / "alerts.yaml": alerts.rules(),
        FOLDER / "alerts.test.yaml": alerts.cases("alerts.yaml"),
        ROOT / "docs" / "alerts.md": alerts.page(GENERATED),
    }
