"""Whether traces are made: OpenTelemetry's own variables ask for them. What is in them is in `spans`.

Nothing of OpenTelemetry is imported before it is asked for: it is an extra, and costs a tenth of a second and ten
megabytes. Traces never keep a server from starting: variables are often set for all programs of a cluster at once. So
what keeps traces from being made is told, by `whaul serve` and `whaul doctor`, and nothing else happens.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from whaul.threads import in_daemon_thread

if TYPE_CHECKING:
    from whaul.telemetry.spans import Tracing

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Where traces go; the first one that is set counts.
https://opentelemetry.io/docs/specs/otel/protocol/exporter/"""
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL: Final = "http/protobuf"
FLUSH: Final = 5.0
"""Seconds that a stop waits for the last spans."""


class TracingError(Exception):
    """Traces are asked for and cannot be made. Nothing of it is secret."""

    def __init__(self, detail: str, advice: str) -> None:
        super().__init__(f"{detail}; {advice}")
        self.detail = detail
        self.advice = advice


def is_asked(environ: Mapping[str, str]) -> bool:
    """Say whether traces are asked for."""
    disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return not disabled and "none" not in _exporters(environ) and bool(_given(environ, ENDPOINTS)[0])


def place(environ: Mapping[str, str]) -> str:
    """Name the place that traces go to, without what may be secret in its URL."""
    url = urlsplit(_given(environ, ENDPOINTS)[1])
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}"


def open_tracing(environ: Mapping[str, str]) -> "Tracing | None":
    """Make what makes traces, if they are asked for. Raises `TracingError`."""
    if not is_asked(environ):
        return None
    _check(environ)
    try:
        from whaul.telemetry.span_export import SpanExport  # noqa: PLC0415 - see above
        from whaul.telemetry.spans import Tracing  # noqa: PLC0415
    except ImportError:
        name, _ = _given(environ, ENDPOINTS)
        advice = "run pip install 'whaul[otel]', or set OTEL_TRACES_EXPORTER=none to do without"
        raise TracingError(f"{name} asks for traces, and OpenTelemetry is not installed", advice) from None
    try:
        return Tracing(SpanExport(environ))
    except ValueError as error:
        raise TracingError(f"OpenTelemetry cannot use its variables: {error}", "correct or unset them") from None


def problem(environ: Mapping[str, str]) -> TracingError | None:
    """Say why there are no traces although they are asked for; None if there are, or if they are not."""
    try:
        tracing = open_tracing(environ)
    except TracingError as error:
        return error
    if tracing is not None:
        tracing.export.close()
    return None


@asynccontextmanager
async def tracing_running() -> "AsyncGenerator[Tracing | None]":
    """Make traces while the block runs, if they are asked for and can be made; at the end send the last ones."""
    try:
        tracing = open_tracing(os.environ)
    except TracingError:  # the main process has told it, once for all workers
        tracing = None
    try:
        yield tracing
    finally:
        if tracing is not None:
            await asyncio.wait({in_daemon_thread(tracing.export.close)}, timeout=FLUSH)


def _given(environ: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, str]:
    """Find the first variable of these that is set, as name and value; both are empty if none is."""
    return next(((name, environ[name].strip()) for name in names if environ.get(name, "").strip()), ("", ""))


def _exporters(environ: Mapping[str, str]) -> list[str]:
    return [name.strip().lower() for name in (environ.get("OTEL_TRACES_EXPORTER") or "otlp").split(",")]


def _check(environ: Mapping[str, str]) -> None:
    """Refuse what would be understood in another way than it is meant. Raises `TracingError`."""
    exporters = _exporters(environ)
    if "otlp" not in exporters:
        detail = f"OTEL_TRACES_EXPORTER is {','.join(exporters)}, and only otlp is known"
        raise TracingError(detail, "set it to otlp or none")
    name, protocol = _given(environ, PROTOCOLS)
    if protocol.lower() not in {"", PROTOCOL}:
        advice = f"set it to {PROTOCOL}, and name the collector's port for that, often 4318"
        raise TracingError(f"{name} is {protocol}, and only {PROTOCOL} is spoken", advice)
    name, url = _given(environ, ENDPOINTS)
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise TracingError(f"{name} is no URL of a collector", "expected for example http://127.0.0.1:4318")
