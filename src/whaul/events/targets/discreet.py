"""What a target says may repeat what it was sent, as some frameworks do with a request that they refuse.

What people wrote is not to be found in a list of failures. So an answer that repeats an event is not kept.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from whaul.events.model import Accepted, Event, Outcome, Outcomes
from whaul.events.targets import Target

REPEATED: Final = "(the answer repeats the event, so it is not kept)"
WINDOW: Final = 16
"""Characters of a longer text that may not be found again: an answer is cut somewhere."""
_OPEN: Final = frozenset(
    [
        *("id", "messaging_product", "phone_number_id", "display_phone_number", "timestamp", "type", "field"),
        *("mime_type", "sha256", "status", "event", "direction", "code"),
    ]
)
"""Members that are no content."""
_ESCAPE: Final = re.compile(r"\\u([0-9a-fA-F]{4})")
_BETWEEN: Final = re.compile(r"[\s\\\"']+")


class Discreet:
    """A target that keeps to itself what was said of an event's content."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.max_batch = target.max_batch

    async def send(self, events: Sequence[Event]) -> Outcomes:
        """See `Target`."""
        outcomes = await self._target.send(events)
        return [discreet(outcome, event) for outcome, event in zip(outcomes, events, strict=True)]

    async def close(self) -> None:
        """See `Target`."""
        await self._target.close()


def discreet(outcome: Outcome, event: Event) -> Outcome:
    """Leave out what a target said if it repeats the event."""
    if isinstance(outcome, Accepted) or not repeats(outcome.detail, event.entry):
        return outcome
    head = outcome.detail.partition(": ")[0]
    return outcome._replace(detail=REPEATED if repeats(head, event.entry) else f"{head} {REPEATED}")


def repeats(said: str, entry: bytes) -> bool:
    """Whether something is said that people wrote in an entry, or who they are."""
    try:
        texts = list(_texts(msgspec.json.decode(entry)))
    except (msgspec.MsgspecError, RecursionError):
        return False
    plain = _plain(said)
    return any(_is_in(text, said, plain) for text in texts)


def _is_in(text: str, said: str, plain: str) -> bool:
    bare = _plain(text)
    if len(bare) > WINDOW:
        said_here = set(_windows(plain))  # at most a thousand, while the text may have millions
        return any(window in said_here for window in _windows(bare))
    return (
        len(bare) > 1 and bare in plain and re.search(rf"(?<!\w){re.escape(text)}(?!\w)", _unescaped(said)) is not None
    )


def _windows(text: str) -> Iterator[str]:
    return (text[place : place + WINDOW] for place in range(len(text) - WINDOW + 1))


def _texts(value: Any, name: str = "") -> Iterator[str]:
    """Find the texts that are content."""
    if isinstance(value, dict):
        for member, inner in value.items():
            yield from _texts(inner, member)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, name)
    elif isinstance(value, str) and name not in _OPEN:
        yield value


def _plain(text: str) -> str:
    """Write a text without what may be between its words, or before its quotation marks."""
    return _BETWEEN.sub("", _unescaped(text))


def _unescaped(text: str) -> str:
    """Undo JSON's escapes of characters."""
    found = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
    return found.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
