"""Where the documentation is: it comes with whaul, since messages name it, and not every machine has a browser."""

from pathlib import Path

HERE = "`whaul help docs` says where"
"""For messages that name a page, as in: see simulator.md; … it is."""


def folder(package: Path = Path(__file__).parent) -> Path:
    """The folder of pages: in an installed package, or in a checkout."""
    installed = package / "docs"
    return installed if installed.is_dir() else package.parents[1] / "docs"
