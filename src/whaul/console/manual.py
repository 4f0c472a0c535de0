"""The documentation as pages of the console: what an error means is one click away, on a machine without the Internet.

Its text is ours, so it becomes HTML unescaped; HTML in it does not.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

from whaul import documentation, errors

_NAME: Final = re.compile(r"[A-Za-z0-9-]{1,60}")
_PICTURE: Final = re.compile(r"(?:[a-z0-9-]{1,60}/)?[a-z0-9-]{1,60}\.png")
_PAGE: Final = re.compile(r"([A-Za-z0-9-]+)\.md(#[^\s]*)?|(#[^\s]*)")
_ERROR: Final = re.compile(r"\b[A-Z][A-Za-z]+(?:Exception|Unavailable)\b")
_WIDE: Final = {
    "<pre>": '<pre tabindex="0">',
    "<table>": '<div class="wide" tabindex="0" role="group" aria-label="Table"><table>',
    "</table>": "</table></div>",
}
"""What may be wider than the page is scrolled by the keyboard, too."""
_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False}).enable("table")


@lru_cache(64)
def page(name: str) -> tuple[str, Markup] | None:
    """Read a page of the documentation: its title and its content; None if there is no such page."""
    path = documentation.folder() / f"{name}.md"
    if not _NAME.fullmatch(name) or not path.is_file():
        return None
    tokens = _MARKDOWN.parse(path.read_text(encoding="utf-8"))
    title = next((tokens[i + 1].content for i, token in enumerate(tokens) if token.tag == "h1"), name)
    _adapt(tokens)
    html = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    for element, focusable in _WIDE.items():
        html = html.replace(element, focusable)
    return title.replace("`", ""), Markup(html)  # noqa: S704 - see above


def picture(name: str) -> bytes | None:
    """Read a picture of the pages; None if there is no such one."""
    path = documentation.folder() / name
    return path.read_bytes() if _PICTURE.fullmatch(name) and path.is_file() else None


def explained(text: str) -> Markup:
    """Link the errors that a text names to what the documentation says of them."""
    found = Markup()
    end = 0
    for match in _ERROR.finditer(text):
        found += escape(text[end : match.start()])
        name = match[0]
        link = Markup('<a href="/docs/errors#{}">{}</a>').format(name.lower(), name)
        found += link if hasattr(errors, name) else name
        end = match.end()
    return found + escape(text[end:])


def _adapt(tokens: Sequence[Token]) -> None:
    """Give headings their anchors, and have links lead to the console's pages; what is no page is no link."""
    for i, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", anchor(tokens[i + 1].content))
        for child in token.children or ():
            if child.type == "link_open":
                _lead(child)
            elif child.type == "image":
                child.attrSet("src", f"/docs/{child.attrGet('src')}")


def _lead(link: Token) -> None:
    target = str(link.attrGet("href") or "")
    found = _PAGE.fullmatch(target)
    if found is not None:
        link.attrSet("href", found[3] or f"/docs/{found[1]}{found[2] or ''}")
    elif not target.startswith("https://"):
        link.attrs = {}


def anchor(heading: str) -> str:
    """Name a heading as GitHub does."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
