"""What must hold before anything is built: one version everywhere, an entry in the changelog, a clean checkout.

`prepare` writes what `problems` asks for.
"""

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from tools.release.programs import ReleaseError, git

VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
PACKAGE = "src/whaul/__init__.py"
CHART = "packaging/chart/whaul/Chart.yaml"
STATED = (
    (PACKAGE, "__version__", re.compile(r'^(__version__ = ")([^"\n]*)', re.MULTILINE)),
    (CHART, "version", re.compile(r"""^(version: ["']?)([^"'\s#]*)""", re.MULTILINE)),
    (CHART, "appVersion", re.compile(r"""^(appVersion: ["']?)([^"'\s#]*)""", re.MULTILINE)),
)
"""Where the version is written: file, name, and what stands before it and is it. The image's label is the build's."""
CHANGELOG = "CHANGELOG.md"


def tagged_version(root: Path) -> str:
    """Return the version that HEAD is tagged with."""
    tags = git(root, "tag", "--points-at", "HEAD").split()
    found = [tag[1:] for tag in tags if tag[:1] == "v" and VERSION.fullmatch(tag, pos=1)]
    match found:
        case [version]:
            return version
        case []:
            raise ReleaseError(
                "This commit has no tag of the form vX.Y.Z. Tag it (git tag -a v1.2.3), or try with --version 1.2.3."
            )
    raise ReleaseError(f"This commit has the tags of several versions: {', '.join(found)}. Delete all but one.")


def problems(root: Path, version: str) -> Iterator[str]:
    """All that keeps this checkout from being released as `version`, in sentences."""
    if not VERSION.fullmatch(version):
        yield f"{version!r} is not a version of the form 1.2.3."
    changed = git(root, "status", "--porcelain").splitlines()
    if changed:
        names = ", ".join(line[3:] for line in changed[:5])
        yield f"The checkout has changes that are not committed ({names}). Commit or remove them."
    yield from _versions(root, version)
    yield from _entry(root, version)


def _versions(root: Path, version: str) -> Iterator[str]:
    for name, what, pattern in STATED:
        try:
            found = [version for _, version in pattern.findall((root / name).read_text(encoding="utf-8"))]
        except FileNotFoundError:
            yield f"{name} is missing."
            continue
        if found != [version]:
            yield f"{name}: {what} is {' and '.join(found) or 'missing'}; expected {version}."


def _entry(root: Path, version: str) -> Iterator[str]:
    """Look at the newest entry: it is this version's, dated and not empty, and nothing waits above it."""
    _, *sections = re.split(r"^## ", (root / CHANGELOG).read_text(encoding="utf-8"), flags=re.MULTILINE)
    waiting, entry = ("", "")
    if sections and sections[0].startswith("Unreleased"):
        waiting = sections.pop(0).partition("\n")[2].strip()
    if sections:
        entry = sections[0]
    heading, _, text = entry.partition("\n")
    if waiting:
        yield f"{CHANGELOG}: there are lines below Unreleased. Move them below `## {version} - YYYY-MM-DD`."
    found = re.fullmatch(rf"{re.escape(version)} - (\d{{4}}-\d\d-\d\d)", heading.strip())
    if not found:
        yield f"{CHANGELOG}: the newest entry is {heading.strip()!r}; expected `## {version} - YYYY-MM-DD`."
        return
    try:
        date.fromisoformat(found[1])
    except ValueError:
        yield f"{CHANGELOG}: {found[1]} is no date."
    if not text.strip():
        yield f"{CHANGELOG}: the entry of {version} is empty."


def prepare(root: Path, version: str, day: date) -> None:
    """Write the version wherever it is stated, and date the changelog's lines that wait below Unreleased."""
    for name, _, pattern in STATED:
        file = root / name
        file.write_text(pattern.sub(rf"\g<1>{version}", file.read_text(encoding="utf-8")), encoding="utf-8")
    changelog = root / CHANGELOG
    text = changelog.read_text(encoding="utf-8")
    if f"\n## {version} " not in text:
        text = text.replace("## Unreleased\n", f"## Unreleased\n\n## {version} - {day}\n", 1)
        changelog.write_text(text, encoding="utf-8")
