"""How often a key may call, as a form has it. A visitor whose own key has a limit gives others at most the same."""

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

from whaul.auth.caller import Caller

MAX_RATE: Final = 1_000_000
"""Calls a second, or at once."""


class LimitError(Exception):
    """The limit cannot be set; the text says why."""


class Limit(NamedTuple):
    """What a key is given."""

    rate: float | None
    """Calls a second, in each worker; 0 for any number, None for the server's limit."""
    burst: int | None
    """Calls at once after a pause; None for one second's worth."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Calls a second and at once, at most: infinite without a limit of the key's own."""
        if not self.rate:
            return math.inf, math.inf
        return self.rate, self.burst or max(1.0, self.rate)


def read(form: Mapping[str, str], caller: Caller) -> Limit:
    """Read what a form has. Raises LimitError."""
    limit = Limit(_number(form.get("rate", ""), 0), _whole(form.get("burst", "")))
    if limit.burst is not None and not limit.rate:
        raise LimitError("How many calls at once are allowed needs a limit of calls a second above 0.")
    own = Limit(caller.rate_limit, caller.rate_burst).bounds
    if any(asked > allowed for asked, allowed in zip(limit.bounds, own, strict=True)):
        raise LimitError(
            f"Your own key has a limit of {own[0]:g} calls a second, {own[1]:g} at once, and gives no other key more. "
            "Write at most that, or use the command line."
        )
    return limit


def _number(text: str, least: int) -> float | None:
    if not text.strip():
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not least <= number <= MAX_RATE:
        raise LimitError(f"Write a number from {least} to {MAX_RATE:,}, without commas, or leave the field empty.")
    return number


def _whole(text: str) -> int | None:
    number = _number(text, 1)
    if number is not None and not number.is_integer():
        raise LimitError("Write a whole number of calls at once.")
    return None if number is None else int(number)
