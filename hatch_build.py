"""What a built package holds besides the code: the documentation that messages name, and the commit it is made of."""

import runpy
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PAGES = {".md", ".png", ".svg"}


class CustomBuildHook(BuildHookInterface):
    """Called by hatchling for each sdist and wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add files to the package."""
        if version == "editable":
            return
        root = Path(self.root)
        package = "whaul" if self.target_name == "wheel" else "src/whaul"
        added = build_data["force_include"]
        if self.target_name == "wheel":
            for page in sorted((root / "docs").rglob("*")):
                if page.suffix in PAGES:
                    added[str(page)] = f"whaul/docs/{page.relative_to(root / 'docs')}"
        build = runpy.run_path(str(root / "src" / "whaul" / "build.py"))
        commit = build["commit"]()
        if commit is not None and not (root / "src" / "whaul" / build["COMMIT_FILE"]).exists():
            file = Path(tempfile.mkdtemp()) / build["COMMIT_FILE"]
            file.write_text(f"{commit}\n", encoding="ascii")
            added[str(file)] = f"{package}/{build['COMMIT_FILE']}"
