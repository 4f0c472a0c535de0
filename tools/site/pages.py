"""The Markdown of the site: the pages of the repository with links that hold on the site, and a page to land on."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
HERE = Path(__file__).parent
INDEX = DOCS / "README.md"
"""The list of all pages: its headings are the groups of the navigation."""
HOME = "index.md"
BLOCK = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
ITEM = re.compile(r"(?:-|\d\.) ")
CONTENTS = re.compile(r"^(?:On this page:\n\n)?(?:- \[[^]]+\]\(#[^)]+\)\n)+\n", re.MULTILINE)
"""A list of sections, which the site shows beside the page."""
ENTRY = re.compile(r"^(?:\| |\d+\. )\[(?P<title>[^\]]+)\]\((?P<target>[^)]+)\)(?: \| (?P<about>.*) \|)?$", re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """A page in the navigation."""

    title: str
    place: str
    """Where it is on the site, from its top."""
    about: str


def place_of(path: Path) -> str:
    """Where a file of the repository is on the site."""
    if path == ROOT / "README.md":
        return HOME
    if path == INDEX:
        return "pages.md"
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix().replace("README.md", "index.md")
    if path.suffix == ".md" and path.parent == ROOT:
        return f"project/{path.name.lower()}"  # there is a security.md already
    return f"files/{path.relative_to(ROOT).as_posix()}"


def sources() -> list[Path]:
    """All pages but the first."""
    loose = [ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]
    return [*sorted(DOCS.rglob("*.md")), *loose]


def groups() -> Iterator[tuple[str, list[Page]]]:
    """The groups of pages, and their pages."""
    for section in INDEX.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, entries = section.partition("\n")
        yield (
            title,
            [
                Page(found["title"], place_of((DOCS / found["target"]).resolve()), found["about"] or "")
                for found in ENTRY.finditer(entries)
            ],
        )


def write(folder: Path) -> None:
    """Write the site's Markdown, and what it shows and links, into a folder."""
    linked: set[Path] = set()
    for path in sources():
        text = CONTENTS.sub("", path.read_text(encoding="utf-8"))
        _write(folder / place_of(path), _moved(path, text, linked.add))
    _write(folder / HOME, home(linked.add))
    for path in linked:
        if path.suffix != ".md":
            target = folder / place_of(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    for name in ("site.css", "favicon.svg"):
        shutil.copy(HERE / name, folder)


def home(linked: Callable[[Path], object]) -> str:
    """The page to land on: what the README says first, with its commands and its picture."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    parts = {
        "lead": text.split("\n\n")[1],
        "commands": BLOCK.findall(text)[0],
        "picture": next(line for line in text.splitlines() if line.startswith("![")),
    }
    page = (HERE / "home.md").read_text(encoding="utf-8")
    for name, part in parts.items():
        page = page.replace(f"{{{{ {name} }}}}", _moved(readme, part, linked))
    return page


def llms() -> str:
    """The list of pages for language models: https://llmstxt.org."""
    lead = (ROOT / "README.md").read_text(encoding="utf-8").split("\n\n")[1]
    parts = ["# whaul", f"> {lead}"]
    for title, pages in groups():
        lines = [f"- [{one.title}]({one.place}){f': {one.about}' if one.about else ''}" for one in pages]
        parts.append("\n".join([f"## {title}", "", *lines]))
    return "\n\n".join(parts) + "\n"


def _moved(path: Path, text: str, linked: Callable[[Path], object]) -> str:
    """Rewrite a page for its place on the site: its links, and its lists; tell which files are linked."""
    here = Path(place_of(path)).parent

    def rewrite(found: re.Match[str]) -> str:
        name, hash_, fragment = found[2].partition("#")
        if not name or ":" in name:
            return found[0]
        target = (path.parent / name).resolve()
        linked(target)
        return f"{found[1]}{os.path.relpath(place_of(target), here)}{hash_}{fragment}{found[3]}"

    parts = BLOCK.split(text)
    return "".join(part if BLOCK.fullmatch(part) else _indented(LINK.sub(rewrite, part)) for part in parts)


def _indented(text: str) -> str:
    """Indent what belongs to an item of a list by four columns, which Zensical's Markdown needs."""
    lines, width = [], 0
    for line in text.split("\n"):
        begun = ITEM.match(line)
        if begun:
            width = len(begun[0])
        elif line and not line.startswith(" "):
            width = 0
        belongs = width and line.startswith(" " * width) and not begun
        lines.append(" " * (4 - width) + line if belongs else line)
    return "\n".join(lines)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
