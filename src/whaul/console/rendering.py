"""Pages as HTML, and the style sheet and the scripts that they load. Every value in a page is escaped."""

import hashlib
import json
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from whaul.console.manual import explained

_HERE: Final = Path(__file__).parent
_TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_FOREVER: Final = "public, max-age=31536000, immutable"
_UNITS: Final = (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


class Assets:
    """The files beside the pages, each under a name that changes with its content."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[bytes, str]] = {}
        self._names: dict[str, str] = {}
        for path in sorted((_HERE / "static").iterdir()):
            if path.suffix in _TYPES:
                content = path.read_bytes()
                name = f"{path.stem}.{hashlib.sha256(content).hexdigest()[:12]}{path.suffix}"
                self._files[name] = (content, _TYPES[path.suffix])
                self._names[path.name] = name

    def url(self, name: str) -> str:
        """Say where a file is found."""
        return f"/static/{self._names[name]}"

    async def answer(self, request: Request) -> Response:
        """Send a file."""
        found = self._files.get(request.path_params["name"])
        if found is None:
            raise HTTPException(404)
        content, type_ = found
        return Response(content, media_type=type_, headers={"cache-control": _FOREVER})


class Templates:
    """The templates."""

    def __init__(self, assets: Assets, values: Mapping[str, Any]) -> None:
        """`values` are the same for all pages."""
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        filters = (exact, ago, size, seconds, pretty, iso, amount, counted, explained, quoted, rate)
        self._environment.filters.update({each.__name__: each for each in filters})
        self._environment.globals.update(asset=assets.url, **values)

    def render(self, name: str, **values: Any) -> str:
        """Write a page."""
        return self._environment.get_template(name).render(**values)

    def macro(self, name: str, macro: str, *arguments: Any) -> str:
        """Write what a macro of a template makes."""
        module = self._environment.get_template(name).module
        return str(getattr(module, macro)(*arguments)).strip()


def iso(moment: datetime) -> str:
    """Write a moment for programs."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def exact(moment: datetime) -> str:
    """Write a moment in full, UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03} UTC"


def ago(moment: datetime, now: datetime | None = None) -> str:
    """Write how long ago a moment is, or in how long it is."""
    difference = ((now or datetime.now(UTC)) - moment).total_seconds()
    length = abs(difference)
    if length < 5:
        return "now"
    for unit, unit_length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        if length >= unit_length:
            text = f"{int(length // unit_length)} {unit}"
            break
    return f"{text} ago" if difference > 0 else f"in {text}"


def seconds(value: float) -> str:
    """Write a duration."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 60 else f"{int(value // 60)} min {int(value % 60)} s"


def size(count: int) -> str:
    """Write a number of bytes."""
    for unit, length in _UNITS:
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count} B"


def rate(value: float) -> str:
    """Write how many of something there are in a time."""
    return f"{value:,.1f}" if 0 < value < 10 else f"{value:,.0f}"


def amount(count: int) -> str:
    """Write a number of things."""
    return f"{count:,}"


def counted(count: int, noun: str) -> str:
    """Write how many of something there are."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def pretty(document: bytes | str) -> str:
    """Indent JSON; what is none stays as it is."""
    try:
        return json.dumps(json.loads(document), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return document.decode(errors="replace") if isinstance(document, bytes) else document


def quoted(text: str) -> str:
    """Write a text as a word of a command, whatever is in it."""
    return shlex.quote(text)
