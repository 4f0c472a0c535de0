"""The audit log."""

from pathlib import Path
from typing import TYPE_CHECKING

from whaul import arns
from whaul.settings import Settings, SettingsError
from whaul.telemetry.audit import AuditLog
from whaul.telemetry.audit_writer import AuditFile, AuditWriter, Sink, StandardOutput

if TYPE_CHECKING:
    from whaul.telemetry.metrics import Metrics  # see there why it is not loaded early


def audit_log(settings: Settings, metrics: "Metrics") -> AuditLog | None:
    """The audit log, not opened yet; None when none is wanted."""
    sink = _sink(settings)
    if sink is None:
        return None
    partition = arns.partition(settings.region)
    writer = AuditWriter(sink, metrics)
    return AuditLog(writer, account_id=settings.account_id, region=settings.region, partition=partition)


def check_audit_log(settings: Settings) -> None:
    """Refuse, with `SettingsError`, an audit log that cannot be opened."""
    sink = _sink(settings)
    try:
        if sink is not None:
            sink.open()
            sink.close()
    except OSError as error:
        raise SettingsError([f"WHAUL_AUDIT_LOG={settings.audit_log}: cannot be opened: {error.strerror}"]) from None


def _sink(settings: Settings) -> Sink | None:
    if settings.audit_log is None:
        return None
    if settings.audit_log == "-":
        return StandardOutput()
    return AuditFile(Path(settings.audit_log), settings.audit_log_max_size, settings.audit_log_files)
