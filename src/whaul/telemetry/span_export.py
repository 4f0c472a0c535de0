"""Spans on their way out: what they say of this process, and how they are sent in batches.

Sending is OpenTelemetry's, in a thread of its own, with a queue that drops what is too much. A collector that is away
disturbs nobody: it is told once, and once that it is back. OpenTelemetry's own lines are not shown, since they come
with every batch, and repeat what the collector said.
"""

import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import requests
import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Tracer
from opentelemetry.util.types import AnyValue

from whaul import __version__
from whaul.telemetry.sampling import TraceIds, sampling

log = structlog.get_logger()

QUIET: Final = 600.0
"""Seconds between two messages that spans are lost."""


class SpanExport:
    """What spans are made with in this process, and where they go."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """The SDK reads its own variables from the process's environment. Raises `ValueError` for bad ones."""
        logger = logging.getLogger("opentelemetry")
        logger.handlers, logger.propagate = [logging.NullHandler()], False
        self.sampling, self.ids = sampling(environ), TraceIds()
        self._session = _Session()
        self._exporter = OTLPSpanExporter(session=self._session)
        self._provider = TracerProvider(
            sampler=self.sampling, resource=_resource(), shutdown_on_exit=False, id_generator=self.ids
        )
        self._provider.add_span_processor(BatchSpanProcessor(_Discreet(self._exporter, self._session)))

    def tracer(self) -> Tracer:
        """Return what makes spans."""
        return self._provider.get_tracer("whaul", __version__)

    def try_out(self) -> str | None:
        """Send nothing, to see whether it is taken; return why not."""
        return None if self._exporter.export(()) is SpanExportResult.SUCCESS else self._session.problem

    def close(self) -> None:
        """Send what is left. It may take long."""
        self._provider.shutdown()


class _Session(requests.Session):
    """Remembers why it failed, in words that hold no secret."""

    problem = ""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send, and follow no redirect: a header that is a secret would go with it."""
        try:
            response = super().send(request, **options | {"allow_redirects": False})
        except Exception as error:
            self.problem = type(error).__name__
            raise
        self.problem = f"HTTP {response.status_code}"
        if response.status_code // 100 == 3:  # which the exporter takes for a success
            raise requests.TooManyRedirects
        return response


class _Discreet(SpanExporter):
    """Tells when spans begin to be lost, and when no longer; not more often than is bearable."""

    def __init__(self, exporter: SpanExporter, session: _Session) -> None:
        self._exporter = exporter
        self._session = session
        self._told = False
        """Whether it was told last that spans are lost."""
        self._told_at = -math.inf

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans."""
        result = self._exporter.export(spans)
        fails = result is not SpanExportResult.SUCCESS
        now = time.monotonic()
        if fails and not self._told and now - self._told_at >= QUIET:
            self._told, self._told_at = True, now
            log.warning("traces_unsent", reason=self._session.problem)
        elif self._told and not fails:
            self._told = False
            log.info("traces_sent")
        return result

    def shutdown(self) -> None:
        """Stop what is under way."""
        self._exporter.shutdown()


def _resource() -> Resource:
    """Describe this process; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` win."""
    ours: dict[str, AnyValue] = {"service.name": "whaul", "service.version": __version__, "process.pid": os.getpid()}
    return Resource.create(ours | dict(OTELResourceDetector().detect().attributes or {}))
