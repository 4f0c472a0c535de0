"""What is in traces: the words of OpenTelemetry for what happens here.

The spans of a call are made when it is over, and only if they are exported: the decision costs 7 µs, all spans 0.2 ms.

Spans hold what the log holds, and less: they often leave the house. Ids of files, events and phone numbers of whaul's
are in them; tokens, addresses, keys of objects, texts and whoever wrote them are not, and neither are Meta's ids of
messages, in which the sender's number is written.

https://opentelemetry.io/docs/specs/semconv/
"""

import re
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    StatusCode,
    Tracer,
    format_span_id,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from whaul.telemetry.call import Call, Hop, Hops
from whaul.telemetry.sampling import Sampling, TraceIds

SERVICE: Final = "SocialMessaging"
"""The id of the service in AWS's model."""
MAX_STATE: Final = 512
"""Characters of a `tracestate` that are kept. https://www.w3.org/TR/trace-context/#tracestate-limits"""
_W3C: Final = TraceContextTextMapPropagator()
_NONE: Final = Context()
_TRACEPARENT: Final = re.compile(
    rb"(?!ff)(?:00(?=.{53}$)|(?!00)[0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?"
)
_PEERS: Final[Mapping[str, str]] = {
    "describe": "meta",
    "get": "meta",
    "upload": "meta",
    "send": "meta",
    "delete": "meta",
    "put": "s3",
    "open": "s3",
}
"""Whom a hop calls; the others call nobody."""
_SYSTEMS: Final[Mapping[str, str]] = {
    "sns": "aws.sns",
    "sqs": "aws_sqs",
    "events": "aws.eventbridge",
    "tls": "nats",
}
"""By service or scheme; the others are called so. https://opentelemetry.io/docs/specs/semconv/messaging/"""
_SERVER_ERRORS: Final = 500

Headers = Iterable[tuple[bytes, bytes]]
Attributes = Mapping[str, Any]
"""Those that are None are left out."""


class Export(Protocol):
    """Where spans go."""

    sampling: Sampling
    ids: TraceIds

    def tracer(self) -> Tracer:
        """Return what makes spans."""
        ...

    def try_out(self) -> str | None:
        """Send nothing, to see whether it is taken; return why not."""
        ...

    def close(self) -> None:
        """Send what is left."""
        ...


class Tracing:
    """Makes the spans of this process."""

    def __init__(self, export: Export) -> None:
        self.export = export
        self._tracer = export.tracer()
        self._sampling = export.sampling
        self._ids = export.ids

    def call(self, call: Call, headers: Headers, status: int, seconds: float) -> None:
        """Make the spans of a call that has just ended, after so many seconds; note its trace in it.

        Whose signature is not proven has no say in which trace it is, and whether that is exported.
        """
        given = _trace_of(headers) if call.caller is not None else None
        trace_id, sampled = given or (self._ids.draw(), None)
        call.trace_id = format_trace_id(trace_id)
        if not self._sampling.takes(trace_id, sampled):
            return
        clock = _Clock()
        host, port = _host(headers) if call.caller is not None else (None, None)
        attributes: dict[str, Any] = {
            "rpc.system": "aws-api",
            "rpc.service": SERVICE,
            "rpc.method": call.operation,
            "aws.request_id": call.request_id,
            "http.response.status_code": status,
            "server.address": host,
            "server.port": port,
            "whaul.phone_number_id": call.phone_number_id,
            "whaul.media_id": call.media_id,
            "whaul.bytes": call.bytes,
            "error.type": call.error,
        }
        span = self._tracer.start_span(
            f"{SERVICE}/{call.operation}" if call.operation else SERVICE,
            _parent(headers) if given else _NONE,
            SpanKind.SERVER,
            {name: value for name, value in attributes.items() if value is not None},
            start_time=clock.ns(clock.now - seconds),
        )
        call.exemplar = {"trace_id": call.trace_id, "span_id": format_span_id(span.get_span_context().span_id)}
        self._parts(span, call.hops, clock)
        if status >= _SERVER_ERRORS:
            span.set_status(StatusCode.ERROR)
        span.end(clock.ns(clock.now))

    def webhook(self, headers: Headers, route: str, started: float) -> "Begun":
        """Begin the span of a webhook whose signature is proven; it came at `started`, by the monotonic clock."""
        clock = _Clock()
        span = self._tracer.start_span(f"POST {route}", _parent(headers), SpanKind.SERVER, start_time=clock.ns(started))
        return Begun(span, {"http.request.method": "POST", "http.route": route})

    def delivery(self, arrival: str | None, destination: str, target: str, *, is_replay: bool) -> "Begun":
        """Begin the span of an attempt to deliver an event: in the trace of its webhook, as long as it is no replay."""
        parent = _read(arrival)
        links = []
        if is_replay:  # days later, perhaps, and by somebody's command
            links = [Link(get_current_span(parent).get_span_context())] if arrival else []
            parent = _NONE
        span = self._tracer.start_span(f"send {destination}", parent, SpanKind.PRODUCER, links=links)
        return Begun(
            span,
            {
                "messaging.system": _system(target),
                "messaging.operation.name": "send",
                "messaging.operation.type": "send",
                "messaging.destination.name": destination,
                "whaul.replay": is_replay or None,
            },
        )

    def archive(
        self, arrival: str | None, hops: Hops, started: float, attributes: Attributes, error: str | None
    ) -> None:
        """Make the spans of an attempt to archive a file that has just ended."""
        clock = _Clock()
        span = self._tracer.start_span("archive", _read(arrival), SpanKind.INTERNAL, start_time=clock.ns(started))
        if span.is_recording():
            self._parts(span, hops, clock)
            _end(span, attributes, error, clock)

    def _parts(self, span: Span, hops: Iterable[Hop], clock: "_Clock") -> None:
        """Make the spans of the parts of something."""
        inside = set_span_in_context(span, _NONE)
        for name, started, ended, error in hops:
            peer = _PEERS.get(name)
            attributes = {} if peer is None else {"peer.service": peer}
            if error is not None:
                attributes["error.type"] = error
            kind = SpanKind.CLIENT if peer else SpanKind.INTERNAL
            part = self._tracer.start_span(name, inside, kind, attributes, start_time=clock.ns(started))
            if error is not None:
                part.set_status(StatusCode.ERROR)
            part.end(clock.ns(ended))


class Begun:
    """A span that is under way."""

    def __init__(self, span: Span, attributes: Attributes) -> None:
        self._span = span
        self._attributes = attributes
        context = span.get_span_context()
        ids = f"00-{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}-{context.trace_flags:02x}"
        self.context = f"{ids} {context.trace_state.to_header()}".rstrip()
        """Names it, here and elsewhere: a `traceparent` and, after a space, a `tracestate`, if there is one."""

    def end(self, attributes: Attributes, error: str | None) -> None:
        """End it; `error` says why what it tells of failed."""
        if self._span.is_recording():
            _end(self._span, {**self._attributes, **attributes}, error, _Clock())


class _Clock:
    """The wall clock for moments of the monotonic one."""

    def __init__(self) -> None:
        self.now = time.monotonic()
        self._now_ns = time.time_ns()

    def ns(self, moment: float) -> int:
        """Nanoseconds since 1970; the present for what is still to come."""
        return self._now_ns - max(0, int((self.now - moment) * 1_000_000_000))


def _end(span: Span, attributes: Attributes, error: str | None, clock: _Clock) -> None:
    """End a span; with an error it is one that failed."""
    named = {**attributes, "error.type": error}
    span.set_attributes({name: value for name, value in named.items() if value is not None})
    if error is not None:
        span.set_status(StatusCode.ERROR)
    span.end(clock.ns(clock.now))


def _trace_of(headers: Headers) -> tuple[int, bool] | None:
    """Read the id of a caller's trace, and whether it is exported, as `_parent` would, in a tenth of the time."""
    given = [value for name, value in headers if name == b"traceparent"]
    found = _TRACEPARENT.fullmatch(given[0]) if len(given) == 1 else None
    return None if found is None else (int(found[1], 16), bool(int(found[2], 16) & 1))


def _parent(headers: Headers) -> Context:
    """Read which span of a caller's this belongs to; one that is given twice is not believed.

    https://www.w3.org/TR/trace-context/
    """
    given = {b"traceparent": list[str](), b"tracestate": list[str]()}
    for name, value in headers:
        if name in given:
            given[name].append(value.decode("latin-1"))
    if len(given[b"traceparent"]) != 1:
        return _NONE
    return _context(given[b"traceparent"][0], ",".join(given[b"tracestate"]))


def _context(traceparent: str, tracestate: str) -> Context:
    carrier = {"traceparent": traceparent}
    if 0 < len(tracestate) <= MAX_STATE:
        carrier["tracestate"] = tracestate
    return _W3C.extract(carrier, _NONE)


def _read(arrival: str | None) -> Context:
    """Read what `Begun.context` wrote."""
    traceparent, _, tracestate = (arrival or "").partition(" ")
    return _context(traceparent, tracestate)


def _system(target: str) -> str:
    """Name the kind of a target by its address, as far as there is a name."""
    scheme, _, rest = target.partition(":")
    service = rest.split(":")[1] if scheme == "arn" else scheme
    return _SYSTEMS.get(service, service)


def _host(headers: Headers) -> tuple[str | None, int | None]:
    """Read the name and the port that the caller called, which are signed."""
    for name, value in headers:
        if name == b"host":
            host, colon, port = value.decode("latin-1").rpartition(":")
            return (host, int(port)) if colon and port.isdigit() else (value.decode("latin-1"), None)
    return None, None
