"""Meta's usage headers: how much of a rate limit is used, and how long it asks to be left alone.

https://developers.facebook.com/docs/graph-api/overview/rate-limiting
"""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

MAX_REGAIN = 24 * 3600.0
"""Seconds: the most that is believed."""

T = TypeVar("T")


class _Usage(msgspec.Struct):
    call_count: float = 0
    total_cputime: float = 0
    total_time: float = 0
    estimated_time_to_regain_access: float = 0
    """Minutes."""


_app_decoder = msgspec.json.Decoder(_Usage)
_business_decoder = msgspec.json.Decoder(dict[str, list[_Usage]])


def usage_percent(headers: Mapping[str, str]) -> dict[str, float]:
    """The highest percentage in each usage header that is there: `app`, `business`."""
    found = {"app": _app(headers), "business": _business(headers)}
    return {kind: max(map(_highest, usages)) for kind, usages in found.items() if usages}


def regain_seconds(headers: Mapping[str, str]) -> float | None:
    """How long Meta asks to be left alone, in seconds; None when it does not say.

    `Retry-After` (seconds), or the longest `estimated_time_to_regain_access` (minutes), whichever is longer.
    """
    retry_after = headers.get("retry-after", "")
    seconds = float(retry_after[:9]) if retry_after.isdecimal() else 0.0
    minutes = max((usage.estimated_time_to_regain_access for usage in _business(headers)), default=0.0)
    return min(max(seconds, 60 * minutes), MAX_REGAIN) or None


def _app(headers: Mapping[str, str]) -> list[_Usage]:
    usage = _decoded(_app_decoder, headers.get("x-app-usage"))
    return [usage] if usage else []


def _business(headers: Mapping[str, str]) -> list[_Usage]:
    accounts = _decoded(_business_decoder, headers.get("x-business-use-case-usage"))
    return [usage for usages in accounts.values() for usage in usages] if accounts else []


def _highest(usage: _Usage) -> float:
    return max(usage.call_count, usage.total_cputime, usage.total_time)


def _decoded(decoder: msgspec.json.Decoder[T], text: str | None) -> T | None:
    if not text:
        return None
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None  # the header only advises; one that cannot be read advises nothing
