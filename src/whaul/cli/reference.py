"""What is said of each setting: for `whaul help`, `whaul settings` and docs/settings.md."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from whaul.environment import is_secret
from whaul.setting_types import written_duration

SETTING_GROUPS: Mapping[str, Sequence[str]] = {
    "Listener": (
        *("host", "port", "workers", "idle_timeout", "shutdown_notice", "tls_cert_file", "tls_key_file"),
        *("trusted_proxies", "auth", "root_access_key_id", "root_secret_access_key"),
    ),
    "Registry": ("database_url", "secret_key", "account_id", "region"),
    "Stored objects": (
        *("key_mode", "extensions", "s3_addressing_style", "s3_sse", "s3_sse_kms_key_id"),
        *("s3_storage_class", "s3_tags", "s3_expected_bucket_owner", "presigned_hosts"),
    ),
    "Webhooks and events": (
        *("webhook_port", "webhook_host", "app_secrets", "webhook_verify_tokens", "webhook_retention"),
        *("event_retention", "delivery_period", "event_hosts", "events_aws_profile", "max_backlog"),
        *("max_backlog_bytes", "archive_concurrency"),
    ),
    "Console": ("console_listen", "console_hosts"),
    "Meta": ("graph_url", "graph_version", "graph_user_agent", "media_hosts"),
    "Limits": ("max_file_size", "deadline", "max_transfers", "max_queue", "rate_limit", "rate_burst"),
    "Logs": ("log_level", "log_format", "audit_log", "audit_log_max_size", "audit_log_files"),
}
"""Every setting, in the order in which they are shown."""

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


def shown(value: object) -> str:
    """A value as it is written in the environment."""
    if isinstance(value, dict):
        return ",".join(f"{name}={text}" for name, text in value.items())
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    if isinstance(value, timedelta):
        return written_duration(value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


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
