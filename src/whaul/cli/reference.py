"""What is said of each setting: for `whaul help` and docs/settings.md."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from whaul.environment import is_secret
from whaul.setting_types import shown

SHOWN_DEFAULTS: Mapping[str, str] = {
    "database_url": "`whaul.db` in the user's data folder: `$XDG_DATA_HOME/whaul`, else `~/.local/share/whaul` "
    "(on macOS `~/Library/Application Support/whaul`)",
    "graph_user_agent": "`whaul/<version>`",
    "max_backlog_bytes": "`64GiB`",
}
"""Defaults that depend on the machine or the version, or are written in another way."""


def default_of(name: str, field: FieldInfo) -> str:
    """The default, in Markdown."""
    if name in SHOWN_DEFAULTS:
        return SHOWN_DEFAULTS[name]
    value = field.get_default(call_default_factory=True)
    if value is None or (is_secret(field) and not value):
        return "unset"
    return f"`{shown(value)}`" if shown(value) else "empty"


def allowed(field: FieldInfo) -> str:
    """The choices, or the bounds, in Markdown; empty for any other check."""
    if choices := list(_choices(field.annotation)):
        return ", ".join(f"`{choice}`" for choice in choices)
    kinds = {"ge": "at least", "gt": "more than", "le": "at most"}
    bounds = [
        (kinds[kind], shown(getattr(rule, kind))) for rule in field.metadata for kind in kinds if hasattr(rule, kind)
    ]
    return ", ".join(f"{words} {bound}" for words, bound in bounds)


def _choices(annotation: Any) -> Iterator[str]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
        return
    for part in get_args(annotation):
        yield from _choices(part)


def facts(name: str, variable: str, field: FieldInfo) -> list[str]:
    """Sentences about a setting, in Markdown."""
    told = [f"Default: {default_of(name, field)}"]
    if choices := allowed(field):
        told.append(f"Allowed: {choices}")
    if examples := ", ".join(f"`{variable}={example}`" for example in field.examples or []):
        told.append(f"Example: {examples}")
    if is_secret(field):
        told.append(f"Secret: also as `{variable}_FILE`")
    return told
