"""Which build of whaul this is. Imports nothing of ours: the build of a package runs it, too."""

import re
from pathlib import Path

COMMIT_FILE = "commit.txt"
"""Written beside this module when a package is made from a checkout."""


def commit(package: Path = Path(__file__).parent) -> str | None:
    """The commit that this was built from, shortened, or that the checkout is at; None if nothing says so."""
    try:
        text = (package / COMMIT_FILE).read_text(encoding="ascii")
    except (OSError, ValueError):
        # Only in a checkout's own folder: an installed package may lie inside somebody else's repository.
        text = _head(package.parents[1] / ".git") if package.parent.name == "src" else ""
    found = re.fullmatch(r"([0-9a-f]{10})[0-9a-f]*", text.strip())
    return found[1] if found else None


def _head(git: Path) -> str:
    """Read what HEAD names. Starting git would take longer than the rest of `whaul --version`."""
    try:
        if git.is_file():  # a work tree beside its repository
            git = git.parent / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        name = head.removeprefix("ref: ")
        if name == head:
            return head
        shared = git / "commondir"
        folder = git / shared.read_text(encoding="utf-8").strip() if shared.exists() else git
        loose = folder / name
        if loose.exists():
            return loose.read_text(encoding="utf-8")
        packed = (folder / "packed-refs").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return ""
    return next((line.partition(" ")[0] for line in packed if line.endswith(f" {name}")), "")
