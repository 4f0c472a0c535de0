"""A collector of OpenTelemetry on a loopback port: keeps the spans that it is sent, as they are in OTLP."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer, format_span_id, format_trace_id

from harness.waiting import PATIENCE, eventually
from whaul.telemetry.sampling import Sampling, TraceIds

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
ERROR = 2
"""The status of a span that failed."""


def _plain(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@dataclass(frozen=True)
class Exported:
    """A span."""

    name: str
    trace_id: str
    id: str
    parent: str
    """Empty for a root."""
    kind: int
    started: int
    ended: int
    attributes: dict[str, Any]
    failed: bool
    links: list[tuple[str, str]]
    state: str
    resource: dict[str, Any]


@dataclass
class Collector:
    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    """Those of each request, names in lower case."""
    answers: list[int] = field(default_factory=list)
    """Statuses of the next requests; afterwards 200."""

    @property
    def spans(self) -> list[Exported]:
        """All that came."""
        found = []
        for body in list(self.bodies):
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = _plain(group.resource.attributes)
                found += [_exported(span, resource) for scope in group.scope_spans for span in scope.spans]
        return found

    def of_trace(self, trace_id: str, *names: str) -> dict[str, Exported]:
        """The spans of a trace by their names, once these are among them."""
        found: dict[str, Exported] = {}

        def came() -> bool:
            found.update({span.name: span for span in self.spans if span.trace_id == trace_id})
            return found.keys() >= set(names)

        eventually(came)
        return found


class Memory:
    """Takes the place of the way out of this process, and keeps spans."""

    def __init__(self, share: float = 1.0) -> None:
        self.exporter = InMemorySpanExporter()
        self.sampling, self.ids = Sampling(share, follows_parent=True), TraceIds()
        self._provider = TracerProvider(sampler=self.sampling, id_generator=self.ids)
        self._provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    def tracer(self) -> Tracer:
        return self._provider.get_tracer("test")

    def try_out(self) -> None:
        pass

    def close(self) -> None:
        pass


def named(span: ReadableSpan) -> str:
    """Name a span as `traceparent` does."""
    context = span.get_span_context()
    assert context is not None
    return f"00-{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}-{context.trace_flags:02x}"


def _exported(span: Any, resource: dict[str, Any]) -> Exported:
    return Exported(
        name=span.name,
        trace_id=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        kind=span.kind,
        started=span.start_time_unix_nano,
        ended=span.end_time_unix_nano,
        attributes=_plain(span.attributes),
        failed=span.status.code == ERROR,
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        state=span.trace_state,
        resource=resource,
    )


@contextmanager
def collecting() -> Iterator[Collector]:
    """Listen while the block runs."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE

        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = collector.answers.pop(0) if collector.answers else 200
            collector.headers.append({name.lower(): value for name, value in self.headers.items()})
            if status == 200:
                collector.bodies.append(body)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        collector.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="collector")
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
