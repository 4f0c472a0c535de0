"""What is logged, and the audit log."""

from typing import Literal

from pydantic import Field

from whaul.settings.group import SettingGroup


class Logs(SettingGroup):
    """What is logged, and the audit log."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level that is logged. The lines about start and stop are there at every level."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`auto`: readable on a terminal, JSON otherwise."
    )
    audit_log: str | None = Field(
        None,
        min_length=1,
        description="File that gets one JSON line for each API call; `-` for standard output. Unset: none.",
        examples=["/var/log/whaul/audit.log"],
    )
    audit_log_max_size: int = Field(
        104_857_600, ge=16_384, description="Bytes; the audit log's file is rotated before it grows larger."
    )
    audit_log_files: int = Field(5, ge=1, le=1000, description="Rotated files of the audit log that are kept.")
