"""What must hold of a built site: its links lead somewhere, it loads nothing from elsewhere, no Markdown is left."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "object": "data",
}
"""Elements whose address is loaded with the page."""
RELATIONS = frozenset({"stylesheet", "icon", "preload", "prefetch", "modulepreload", "preconnect", "dns-prefetch"})
"""Links in the head that are loaded, too."""
IN_CSS = re.compile(r"@import[^;]*(?:https?:)?//|url\(\s*['\"]?(?:https?:)?//")
MARKDOWN = re.compile(r"^[-*] |^1\. |^\|.*\|$|^#+ |^```|\]\(", re.MULTILINE)
"""What is left of lists, tables and links when they are not understood."""


APART = frozenset({"code", "pre", "script", "style", "h1", "title", "nav", "a"})
"""Elements in which such signs are meant; titles may begin with a number."""


@dataclass
class _Read(HTMLParser):
    """The addresses and places of a page, and its text."""

    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    places: set[str] = field(default_factory=set)
    text: list[str] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)
    _apart: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if found.get("id"):
            self.places.add(found["id"] or "")
        address = found.get(LOADED.get(tag, ""))
        if address:
            self.loaded.append(address)
        self.styles.append(found.get("style") or "")
        if found.get("srcset"):
            self.loaded += [one.split()[0] for one in (found["srcset"] or "").split(",")]
        if href := found.get("href"):
            loads = tag == "link" and RELATIONS & set((found.get("rel") or "").split())
            (self.loaded if loads else self.links).append(href)
        self._apart += tag in APART

    def handle_endtag(self, tag: str) -> None:
        self._apart -= tag in APART

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "style":
            self.styles.append(data)
        if not self._apart:
            self.text.append(data.strip())


def problems(site: Path) -> Iterator[str]:
    """Say what is wrong with a built site, one thing after the other."""
    pages = {path: _read(path) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        for problem in (*_links(path, site, pages), *_contents(page)):
            yield f"{path.relative_to(site)} {problem}"
    for path in sorted(site.rglob("*.css")):
        if IN_CSS.search(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(site)} loads something from elsewhere"


def _links(path: Path, site: Path, pages: dict[Path, _Read]) -> Iterator[str]:
    for address in [*pages[path].links, *pages[path].loaded]:
        if not _is_elsewhere(address) and not _leads_somewhere(address, path, site, pages):
            yield f"links {address}, which is not there"


def _contents(page: _Read) -> Iterator[str]:
    yield from (f"loads {address}" for address in page.loaded if _is_elsewhere(address))
    yield from ("loads something from elsewhere" for style in page.styles if IN_CSS.search(style))
    yield from (f"shows Markdown: {text[:80]}" for text in page.text if MARKDOWN.search(text))


def _read(path: Path) -> _Read:
    page = _Read()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def _is_elsewhere(address: str) -> bool:
    return urlsplit(address).scheme not in {"", "data"} or address.startswith("//")


def _leads_somewhere(address: str, path: Path, site: Path, pages: dict[Path, _Read]) -> bool:
    if address.startswith("data:"):
        return True
    parts = urlsplit(address)
    above = site if parts.path.startswith("/") else path.parent
    target = (above / unquote(parts.path).lstrip("/")).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.is_relative_to(site.resolve()) or not target.is_file():
        return False
    return not parts.fragment or target not in pages or unquote(parts.fragment) in pages[target].places
