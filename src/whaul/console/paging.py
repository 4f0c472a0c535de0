"""Where a list goes on, in a page's address."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from whaul.console.visit import PageError

_PLACE = re.compile(r"\d{1,18}(-\d{1,18})*")


def place_of(text: str, length: int) -> tuple[int, ...] | None:
    """Read a place, of so many numbers; None without one. Raises PageError."""
    if not text:
        return None
    parts = text.split("-")
    if len(parts) != length or not _PLACE.fullmatch(text) or not text.isascii():
        raise PageError("This address is not whole: begin with the first page.", 400)
    return tuple(map(int, parts))


def query_of(chosen: Mapping[str, str], place: Sequence[int] = ()) -> str:
    """Write what was chosen, and a place, as the query of an address."""
    return urlencode({**chosen, **({"before": "-".join(map(str, place))} if place else {})})
