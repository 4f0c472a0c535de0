"""Earlier releases of whaul, taken from git's history and run beside this one."""

import io
import os
import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.installs import TOOLS, install

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Release:
    """What was released, or could have been, at a commit."""

    name: str
    commit: str
    requirements: tuple[str, ...]
    """Packages that it needs and this checkout does not."""

    def unpacked(self, folder: Path) -> "Unpacked":
        """Get its files; skip where git's history does not go back that far, or fail in CI."""
        command = ["git", "archive", self.commit, "src", "docs/settings.md"]
        archive = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
        if archive.returncode:
            reason = f"NOT TESTED: AN UPGRADE FROM {self.name}. {archive.stderr.decode()}"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(folder, filter="data")
        return Unpacked(folder, self._packages())

    def _packages(self) -> list[Path]:
        home = TOOLS / f"whaul-{self.name}"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", "packages"]
        done = home / "done"
        install(" ".join(self.requirements), home, done.exists, ([*pip, *self.requirements], ["touch", done]))
        return [home / "packages"]


@dataclass(frozen=True)
class Unpacked:
    """The files of a release."""

    folder: Path
    packages: list[Path]

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which `python -m whaul` is this release."""
        return {"PYTHONPATH": os.pathsep.join(map(str, [self.folder / "src", *self.packages]))}

    @property
    def settings(self) -> list[str]:
        """The names of its settings."""
        page = (self.folder / "docs" / "settings.md").read_text(encoding="utf-8")
        return re.findall(r"^### `([A-Z0-9_]+)`$", page, re.MULTILINE)


THIS = {"PYTHONPATH": ""}
"""The variables with which it is this release again."""

FIRST = Release("0.1.0", "de2930794d30c191e93584c6624c5e65274af8d4", ("litestar>=2.14,<3", "pydantic-settings>=2.7,<3"))
RECENT = Release("2026-11-28", "c9070e098639d73e4042b5eb002dfb4d67bfd0c0", ("pydantic-settings>=2.7,<3",))
"""Before packages for containers, Kubernetes and systemd; many run it from the main branch."""
