"""What is wrong with the JSON of a flow, in Meta's words: some of its rules, enough for each kind of answer.

https://developers.facebook.com/docs/whatsapp/flows/reference/flowjson
"""

import json
from collections.abc import Iterator
from typing import Any, Final

PROPERTIES: Final = frozenset({"version", "data_api_version", "data_channel_uri", "routing_model", "screens"})


def validation_errors(text: str) -> list[dict[str, Any]]:
    """Return Meta's `validation_errors` of a flow's JSON."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        line, column = (error.lineno, error.colno) if isinstance(error, json.JSONDecodeError) else (1, 1)
        return [_error("INVALID_JSON", "The flow JSON is not JSON.", (line, column))]
    if not isinstance(content, dict):
        return [_error("INVALID_JSON", "The flow JSON is not an object.")]
    return list(_broken(content, text))


def version_of(text: str) -> tuple[str | None, str | None]:
    """Return the `version` and `data_api_version` of JSON without errors."""
    content = json.loads(text)
    return content.get("version"), content.get("data_api_version")


def _broken(content: dict[str, Any], text: str) -> Iterator[dict[str, Any]]:
    for name in ("version", "screens"):
        if not content.get(name):
            yield _error("MISSING_REQUIRED_PROPERTY", f"Property {name} is required.")
    for name in [name for name in content if name not in PROPERTIES]:
        yield _error("INVALID_PROPERTY_KEY", f"Property {name} is not known.", _place(text, name), name)


def _place(text: str, name: str) -> tuple[int, int]:
    """The line and column of a property, from 1."""
    before = text[: max(0, text.find(json.dumps(name)))]
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _error(error: str, message: str, at: tuple[int, int] = (1, 1), path: str = "") -> dict[str, Any]:
    line, column = at
    place = {"line_start": line, "line_end": line, "column_start": column, "column_end": column + len(path)}
    pointer = {"path": path, **place}
    return {"error": error, "error_type": "FLOW_JSON_ERROR", "message": message, **place, "pointers": [pointer]}
