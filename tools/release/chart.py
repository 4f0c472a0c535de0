"""The Helm chart as a package."""

import shutil
from pathlib import Path

from tools.release.programs import ReleaseError, run

CHART = "packaging/chart/whaul"


def helm() -> str:
    """Find Helm."""
    found = shutil.which("helm")
    if found is None:
        raise ReleaseError("helm is not here, to package the chart.")
    return found


def package_chart(source: Path, folder: Path) -> Path:
    """Lint and package the chart of a source tree into `folder`."""
    chart = source / CHART
    run([helm(), "lint", "--strict", chart])
    run([helm(), "package", chart, "--destination", folder])
    (package,) = folder.glob("*.tgz")
    return package
