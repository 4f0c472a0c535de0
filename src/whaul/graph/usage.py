"""Meta's usage headers: how much of a rate limit is used, and how long it asks to be left alone.

https://developers.facebook.com/docs/graph-api/overview/rate-limiting
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

MAX_REGAIN = 24 * 3600.0
"""Seconds: the most that is believed."""

Use = tuple[str, str]
"""`app`, or `business` and Meta's id of the account."""
OnUsage = Callable[[Mapping[Use, float]], None]

T = TypeVar("T")


class _Usage(msgspec.Struct):
    call_count: float = 0
    total_cputime: float = 0
    total_time: float = 0
    estimated_time_to_regain_access: float = 0
    """Minutes."""


_app_decoder = msgspec.json.Decoder(_Usage)
_business_decoder = msgspec.json.Decoder(dict[str, list[_Usage]])


def usage_percent(headers: Mapping[str, str]) -> dict[Use, float]:
    """The highest percentage in each usage header that is there; of `business`, for each account."""
    found: dict[Use, float] = {}
    if app := _decoded(_app_decoder, headers.get("x-app-usage")):
        found["app", ""] = _highest(app)
    for account, usages in _business(headers).items():
        if usages:
            found["business", account] = max(map(_highest, usages))
    return found


def regain_seconds(headers: Mapping[str, str]) -> float | None:
    """How long Meta asks to be left alone, in seconds; None when it does not say.

    `Retry-After` (seconds), or the longest `estimated_time_to_regain_access` (minutes), whichever is longer.
    """
    retry_after = headers.get("retry-after", "")
    seconds = float(retry_after[:9]) if retry_after.isdecimal() else 0.0
    usages = [usage for usages in _business(headers).values() for usage in usages]
    minutes = max((usage.estimated_time_to_regain_access for usage in usages), default=0.0)
    return min(max(seconds, 60 * minutes), MAX_REGAIN) or None


def _business(headers: Mapping[str, str]) -> dict[str, list[_Usage]]:
    return _decoded(_business_decoder, headers.get("x-business-use-case-usage")) or {}


def _highest(usage: _Usage) -> float:
    return max(usage.call_count, usage.total_cputime, usage.total_time)


def _decoded(decoder: msgspec.json.Decoder[T], text: str | None) -> T | None:
    if not text:
        return None
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None  # the header only advises; one that cannot be read advises nothing
