"""When traces are made, which of them are exported, and what a bad variable or an absent collector leads to."""

import asyncio
import os
import subprocess
import sys
import time

import pytest

from harness.collector import TRACE_ID, Memory, collecting, named
from harness.waiting import PATIENCE, eventually
from whaul.doctor.traces import traces
from whaul.telemetry import tracing
from whaul.telemetry.call import Call, Hop, Hops
from whaul.telemetry.span_export import SpanExport
from whaul.telemetry.spans import Headers, Tracing

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
THERE = {ENDPOINT: "http://127.0.0.1:4318"}
PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("environ", "is_asked"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "whaul", "OTEL_TRACES_SAMPLER": "always_on"}, False),
        ({ENDPOINT: " "}, False),
        (THERE, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:4318/v1/metrics"}, False),
        (THERE | {"OTEL_SDK_DISABLED": "TRUE"}, False),
        (THERE | {"OTEL_SDK_DISABLED": "false"}, True),
        (THERE | {"OTEL_TRACES_EXPORTER": "none"}, False),
        (THERE | {"OTEL_TRACES_EXPORTER": "otlp"}, True),
    ],
)
def test_traces_are_made_when_the_variables_ask_for_them(environ: dict[str, str], *, is_asked: bool) -> None:
    assert tracing.is_asked(environ) is is_asked


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({ENDPOINT: "127.0.0.1:4318"}, f"{ENDPOINT} is no URL"),
        ({ENDPOINT: "http://secret@:4318"}, f"{ENDPOINT} is no URL"),
        (THERE | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "set it to http/protobuf"),
        (THERE | {"OTEL_TRACES_EXPORTER": "zipkin"}, "set it to otlp or none"),
        (THERE | {"OTEL_TRACES_SAMPLER": "sometimes"}, "OTEL_TRACES_SAMPLER=sometimes: expected always_on"),
        (THERE | {"OTEL_TRACES_SAMPLER_ARG": "5%"}, "OTEL_TRACES_SAMPLER_ARG=5%: expected a number from 0 to 1"),
        (THERE | {"OTEL_TRACES_SAMPLER_ARG": "5"}, "expected a number from 0 to 1"),
        (THERE | {"OTEL_BSP_MAX_QUEUE_SIZE": "1"}, "correct or unset"),
        (THERE, None),
        ({}, None),
    ],
)
def test_what_keeps_traces_from_being_made_is_told(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], said: str | None
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    problem = tracing.problem(os.environ)
    if said is None:
        assert problem is None
    else:
        assert said in str(problem)
        assert "secret" not in str(problem)


def test_without_the_extra_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "whaul.telemetry.span_export", None)
    assert "pip install 'whaul[otel]'" in str(tracing.problem(THERE))


def test_opentelemetry_is_not_loaded_before_it_is_asked_for() -> None:
    look = "import sys, whaul.app; print([name for name in sys.modules if name.startswith(('opentele', 'requests'))])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("environ", "described"),
    [
        ({}, "parentbased_traceidratio 0.05"),
        ({"OTEL_TRACES_SAMPLER_ARG": "0.2"}, "parentbased_traceidratio 0.2"),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}, "parentbased_traceidratio 1"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}, "traceidratio 0.5"),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, "traceidratio 0"),
        ({"OTEL_TRACES_SAMPLER": "PARENTBASED_ALWAYS_ON"}, "parentbased_traceidratio 1"),
    ],
)
def test_the_sampler_is_the_one_of_the_variables(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], described: str
) -> None:
    for name, value in (THERE | environ).items():
        monkeypatch.setenv(name, value)
    export = SpanExport(os.environ)
    found = export._provider.sampler.get_description()
    export.close()
    assert found == described


@pytest.mark.parametrize(
    ("headers", "is_followed"),
    [
        ([(b"host", b"localhost"), (b"traceparent", PARENT)], True),
        ([(b"traceparent", PARENT), (b"tracestate", b"a=1"), (b"tracestate", b"b=2")], True),
        ([(b"traceparent", PARENT), (b"tracestate", b"a=" + b"1" * 600)], True),
        ([(b"traceparent", PARENT.replace(b"00-", b"cc-", 1))], True),
        ([(b"traceparent", PARENT), (b"traceparent", PARENT)], False),
        ([(b"traceparent", PARENT.replace(b"00-", b"ff-", 1))], False),
        ([(b"traceparent", PARENT.upper())], False),
        ([(b"traceparent", b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01")], False),
        ([(b"traceparent", b"\xff\x00")], False),
        ([(b"traceparent", PARENT + b"-more")], False),
        ([(b"traceparent", PARENT.replace(b"00-", b"01-", 1) + b"-more")], True),
        ([(b"traceparent", PARENT + b"0")], False),
        ([(b"traceparent", PARENT.replace(b"b7ad6b7169203331", b"0" * 16))], False),
        ([], False),
    ],
)
def test_a_trace_is_followed_if_it_is_one(headers: Headers, *, is_followed: bool) -> None:
    for flag, exported in ((b"-01", 1), (b"-00", 0)):
        memory = Memory(share=0)
        call = Call("id", operation="GetWhatsAppMessageMedia", caller="inbox")
        Tracing(memory).call(call, [(name, value.replace(b"-01", flag)) for name, value in headers], 200, 0.1)
        assert (call.trace_id == TRACE_ID) is is_followed
        spans = memory.spans
        assert len(spans) == (exported if is_followed else 0)
        for span in spans:
            assert (span.parent and span.parent.span_id, named(span)[3:35]) == (0xB7AD6B7169203331, TRACE_ID)


def test_a_share_of_the_calls_without_a_trace_is_exported_under_the_id_of_the_log() -> None:
    memory = Memory(share=0.5)
    made, calls = Tracing(memory), [Call("id") for _ in range(200)]
    for call in calls:
        made.call(call, [], 200, 0.1)
    exported = {named(span)[3:35] for span in memory.spans}
    assert exported == {call.trace_id for call in calls if call.exemplar is not None}
    assert 50 < len(exported) < 150
    assert len({call.trace_id for call in calls}) == 200


def test_no_span_goes_on_after_its_call() -> None:
    memory = Memory()
    now = time.monotonic()
    hops = Hops([Hop("wait", now - 0.2, now - 0.1), Hop("retry", now - 0.1, now + 100.0, "DependencyException")])
    call = Call("id", hops=hops, error="DependencyException")
    Tracing(memory).call(call, [(b"host", b"[::1]:8080")], 502, 0.3)
    *parts, root = memory.spans
    assert [part.name for part in parts] == ["wait", "retry"]
    for part in parts:
        assert root.start_time < part.start_time < part.end_time <= root.end_time  # type: ignore[operator]
    assert root.attributes is not None
    assert "server.address" not in root.attributes  # nobody proved that


def test_a_collector_that_is_not_there_is_told_once_and_without_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], nobody: str
) -> None:
    monkeypatch.setenv(ENDPOINT, f"http://user:password@{nobody}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20token-of-the-collector")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    export = SpanExport(os.environ)
    tracer = export.tracer()
    for _ in range(3):
        tracer.start_span("one").end()
        export._provider.force_flush()
    export.close()
    written = "".join(capsys.readouterr())
    assert written.count("traces_unsent") == 1
    assert "ConnectionError" in written
    assert len(written.splitlines()) == 1
    assert "password" not in written
    assert "token-of-the-collector" not in written


def test_a_collector_that_comes_and_goes_is_told_seldom(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with collecting() as collector:
        monkeypatch.setenv(ENDPOINT, collector.url)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
        collector.answers = [400, 200] * 5
        export = SpanExport(os.environ)
        for _ in range(10):
            export.tracer().start_span("one").end()
            export._provider.force_flush()
        export.close()
    assert len(collector.bodies) == 5
    written = capsys.readouterr().out
    assert (written.count("traces_unsent"), written.count("traces_sent")) == (1, 1)


def test_a_collector_that_sends_elsewhere_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        monkeypatch.setenv(ENDPOINT, collector.url)
        collector.answers = [302]
        export = SpanExport(os.environ)
        assert export.try_out() == "HTTP 302"
        export.close()
        eventually(lambda: len(collector.headers) == 1)


def found_by_doctor() -> list[tuple[str, str]]:
    async def found() -> list[tuple[str, str]]:
        return [(each.outcome.value, each.detail) async for each in traces(os.environ, PATIENCE)]

    return asyncio.run(found())


def test_doctor_tries_the_collector_out_and_shows_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found_by_doctor() == []
    with collecting() as collector:
        monkeypatch.setenv(ENDPOINT, collector.url.replace("://", "://user:password@"))
        collector.answers = [200, 401]
        assert found_by_doctor() == [("ok", f"{collector.url} takes them")]
        assert found_by_doctor() == [("warning", f"{collector.url} does not take them: HTTP 401")]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    [(outcome, detail)] = found_by_doctor()
    assert (outcome, "only http/protobuf is spoken" in detail) == ("warning", True)
