"""Log lines for people at a terminal: what matters first, one line for each event.

Owns what such a line looks like. The same events as JSON have more fields; see `logs`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from whaul.terminal import visible

_PLAIN: Final = "\x1b[0m"
_DIM: Final = "\x1b[2m"
_COLOURS: Final = {"warning": "\x1b[33m", "error": "\x1b[1;31m", "critical": "\x1b[1;31m"}
"""Of a level; the others have none."""
_HEAD: Final = ("timestamp", "level", "worker", "event", "message")
_UNITS: Final = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"), (1, "B"))


class ConsoleRenderer:
    """Writes an event as a line of text; a processor of structlog."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _logger: object, _method: str, event: Mapping[str, Any]) -> str:
        """Write it."""
        level = event["level"]
        time = datetime.fromisoformat(event["timestamp"]).astimezone().strftime("%H:%M:%S")
        worker = f"[{event['worker']}] " if "worker" in event else ""
        loud, rest = _call(event) if "outcome" in event else _other(event)
        if not self._colours:
            return f"{time} {level:<7} {worker}{loud}{rest}"
        return f"{_DIM}{time} {worker}{_PLAIN}{_COLOURS.get(level, '')}{level:<7} {loud}{_PLAIN}{rest}"


def _call(call: Mapping[str, Any]) -> tuple[str, str]:
    """`GetWhatsAppMessageMedia 404 ResourceNotFoundException`, and ` 12 ms inbox …`."""
    loud = [call.get("operation", "-"), call["status"]]
    if call["outcome"] != "ok":
        loud.append(call["outcome"])
    rest = [_duration(call["seconds"]), call.get("caller") or call.get("client", "-")]
    if "claimed_access_key_id" in call:
        rest.append(f"as {call['claimed_access_key_id']}")
    if "media_id" in call:
        rest.append(call["media_id"])
    if "bytes" in call:
        rest.append(_size(call["bytes"]))
    if "message" in call:
        rest.append(call["message"])
    return _joined(loud), " " + _joined(rest)


def _other(event: Mapping[str, Any]) -> tuple[str, str]:
    fields = [f"{name}={_shown(value)}" for name, value in event.items() if name not in _HEAD]
    message = [visible(str(event["message"]))] if "message" in event else []
    return visible(str(event["event"])), "".join(f" {part}" for part in [*message, *fields])


def _shown(value: object) -> str:
    """Show a value; `repr` makes what is in a list visible."""
    if isinstance(value, str):
        return visible(value) if value and " " not in value else repr(visible(value))
    return repr(value)


def _joined(words: list[Any]) -> str:
    return " ".join(visible(str(word)) for word in words)


def _duration(seconds: float) -> str:
    if seconds >= 10:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 else "<1 ms"


def _size(count: int) -> str:
    size, unit = next((size, unit) for size, unit in _UNITS if count >= size or size == 1)
    return f"{count / size:.3g} {unit}" if size > 1 else f"{count} B"
