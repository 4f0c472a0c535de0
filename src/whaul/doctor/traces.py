"""The check of traces: whether they can be made, and whether the collector takes them."""

import asyncio
from collections.abc import AsyncGenerator, Mapping

from whaul.doctor.findings import Finding, ok, warning
from whaul.telemetry.tracing import TracingError, open_tracing, place
from whaul.threads import in_daemon_thread

CHECK = "traces"


async def traces(environ: Mapping[str, str], patience: float) -> AsyncGenerator[Finding]:
    """Send nothing to the collector, and see what it says; there is no finding when no traces are asked for."""
    try:
        tracing = open_tracing(environ)
    except TracingError as error:
        yield warning(CHECK, f"none are made: {error.detail}", error.advice)
        return
    if tracing is None:
        return
    where = place(environ)
    asked = in_daemon_thread(tracing.export.try_out)
    await asyncio.wait({asked}, timeout=patience)
    tracing.export.close()
    problem = asked.result() if asked.done() else f"no answer within {patience:g} seconds"
    if problem is None:
        yield ok(CHECK, f"{where} takes them")
    else:
        advice = "check OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS, DNS, firewall and proxy"
        yield warning(CHECK, f"{where} does not take them: {problem}", advice)
