"""Traces, from what a caller says to what a collector gets, through real processes."""

import json
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from harness.collector import Collector, collecting
from harness.receiver import receiving
from harness.store import BUCKET, Store
from harness.waiting import eventually
from harness.world import Gateway, World
from whaul.simulator import Simulator
from whaul.simulator.apps import DEFAULT_APP_SECRET

SERVER, CLIENT = 2, 3
KEY = "header-of-the-collector-5e6f"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture(scope="module")
def traced(world: World, collector: Collector) -> Iterator[Gateway]:
    """A gateway that makes traces, and exports those that callers sampled, and none of its own."""
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-key={KEY}",
        "OTEL_BSP_SCHEDULE_DELAY": "20",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
        "OTEL_TRACES_SAMPLER_ARG": "0",
    }
    with world.gateway(**environ) as running:
        yield running


def context(*, sampled: bool) -> tuple[str, dict[str, str]]:
    """A new trace, and the headers of a caller that is in it."""
    trace_id = uuid4().hex
    return trace_id, {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-0{int(sampled)}", "tracestate": "vendor=opaque"}


def test_a_call_is_a_span_of_the_callers_trace_and_its_hops_are_spans_inside(
    traced: Gateway, collector: Collector, simulator: Simulator, store: Store, prefix: str
) -> None:
    media_id = simulator.add_generated(1000, "image/png")
    url = store.presigned(f"{prefix}secret-name.png")
    trace_id, headers = context(sampled=True)
    body = traced.request(media_id)
    del body["destinationS3File"]
    before = time.time_ns()
    reply = traced.post(body | {"destinationS3PresignedUrl": {"url": url, "headers": {}}}, headers=headers)
    assert reply.status == 200
    spans = collector.of_trace(trace_id, "SocialMessaging/GetWhatsAppMessageMedia", "describe", "get", "put", "wait")
    root = spans.pop("SocialMessaging/GetWhatsAppMessageMedia")
    assert (root.kind, root.parent, root.state) == (SERVER, "00f067aa0ba902b7", "vendor=opaque")
    assert root.attributes == {
        "rpc.system": "aws-api",
        "rpc.service": "SocialMessaging",
        "rpc.method": "GetWhatsAppMessageMedia",
        "aws.request_id": reply.headers["x-amzn-requestid"],
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": traced.port,
        "whaul.phone_number_id": traced.world.phone_number_id,
        "whaul.media_id": media_id,
        "whaul.bytes": 1000,
    }
    assert before <= root.started < root.ended <= time.time_ns()
    assert {span.parent for span in spans.values()} == {root.id}
    assert all(root.started <= span.started <= span.ended <= root.ended for span in spans.values())
    assert spans["describe"].ended <= spans["get"].started
    assert spans["get"].ended <= spans["put"].started
    assert (spans["put"].kind, spans["put"].attributes) == (CLIENT, {"peer.service": "s3"})
    assert root.resource.items() >= {"service.name": "whaul", "deployment.environment.name": "test"}.items()
    assert traced.logged(reply)["trace_id"] == trace_id
    asked = [request.headers.keys() for request in simulator.requests]
    assert asked
    assert not any({"traceparent", "tracestate"} & names for names in asked), "Meta is told nothing"
    assert collector.headers[-1]["x-key"] == KEY
    exported = b"".join(collector.bodies)
    for secret in (simulator.token, traced.world.key.id, "X-Amz-Signature", "secret-name", BUCKET, KEY):
        assert secret.encode() not in exported
    metrics = traced.send("GET", "/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert metrics.headers["content-type"].startswith("application/openmetrics-text")
    exemplars = [
        sample.exemplar.labels
        for family in text_string_to_metric_families(metrics.body.decode())
        for sample in family.samples
        if sample.exemplar is not None
    ]
    assert {"trace_id": trace_id, "span_id": root.id} in exemplars


def test_a_trace_that_is_not_sampled_is_in_the_log_and_nowhere_else(
    traced: Gateway, collector: Collector, simulator: Simulator, prefix: str
) -> None:
    media_id = simulator.add_generated(10, "image/png")
    trace_id, headers = context(sampled=False)
    reply = traced.post(traced.request(media_id), headers=headers)
    assert traced.logged(reply)["trace_id"] == trace_id
    assert len(traced.logged(traced.get_to(media_id, prefix))["trace_id"]) == 32
    last, headers = context(sampled=True)
    traced.post(traced.request(media_id), headers=headers)
    collector.of_trace(last, "SocialMessaging/GetWhatsAppMessageMedia")
    assert trace_id not in {span.trace_id for span in collector.spans}


def test_what_failed_is_marked_and_what_was_tried_again_is_seen(
    world: World, collector: Collector, simulator: Simulator
) -> None:
    media_id = simulator.add_generated(10, "image/png")
    simulator.fault(media_id, kind="status", status=500)
    trace_id, headers = context(sampled=True)
    with world.gateway(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, WHAUL_DEADLINE="2") as brief:
        reply = brief.post(brief.request(media_id), headers=headers)
    spans = collector.of_trace(trace_id, "SocialMessaging/GetWhatsAppMessageMedia", "describe", "retry")
    root = spans["SocialMessaging/GetWhatsAppMessageMedia"]
    assert (root.failed, root.attributes["error.type"]) == (True, reply.code)
    assert (spans["describe"].failed, spans["describe"].attributes["peer.service"]) == (True, "meta")
    assert spans["retry"].attributes == {"error.type": "DependencyException"}


def test_who_is_not_proven_chooses_no_trace(traced: Gateway) -> None:
    trace_id, headers = context(sampled=True)
    reply = traced.send("POST", "/v1/whatsapp/media/get", b"{}", headers=headers)
    logged = traced.logged(reply)
    assert reply.status == 403
    assert logged["trace_id"] != trace_id


def test_doctor_asks_the_collector(world: World, collector: Collector) -> None:
    done = world.run("doctor", "--json", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    checks = {each["check"]: each for each in json.loads(done.stdout)["checks"]}
    assert (checks["traces"]["outcome"], checks["traces"]["detail"]) == ("ok", f"{collector.url} takes them")


def test_a_collector_that_is_away_is_told_once(world: World, collector: Collector, simulator: Simulator) -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/v1/traces",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": f"x-key={KEY}",
        "OTEL_BSP_SCHEDULE_DELAY": "20",
        "OTEL_TRACES_SAMPLER": "always_on",
        "OTEL_SERVICE_NAME": "ours",
    }
    media_id = simulator.add_generated(10, "image/png")
    with world.gateway(**environ) as running:
        for _ in range(3):
            collector.answers = [400]
            assert running.post(running.request(media_id)).status == 200
            eventually(lambda: not collector.answers)
        reply = running.post(running.request(media_id))
        last = running.logged(reply)["trace_id"]
        eventually(lambda: "traces_sent" in running.log.read_text(encoding="utf-8"))
        at_the_end = running.logged(running.post(running.request(media_id)))["trace_id"]
    assert collector.of_trace(last, "put")["put"].resource["service.name"] == "ours"
    assert at_the_end in {span.trace_id for span in collector.spans}
    log = running.log.read_text(encoding="utf-8")
    assert (log.count("traces_unsent"), log.count("HTTP 400"), log.count("traces_sent")) == (1, 1, 1)
    assert KEY not in log


@pytest.fixture(scope="module")
def inbound(world: World, collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The simulated account, linked with its app's secret in a database of its own; every trace is exported."""
    folder = tmp_path_factory.mktemp("traces")
    environ = world.environ | {
        "WHAUL_DATABASE_URL": f"sqlite:///{folder / 'whaul.db'}",
        "WHAUL_EVENT_HOSTS": "127.0.0.1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "600000",  # so that only a stop sends them
        "OTEL_TRACES_SAMPLER_ARG": "1",
    }
    found = World(world.simulator, environ, folder)
    (folder / "app-secret").write_text(DEFAULT_APP_SECRET)
    found.link("--app-secret-file", str(folder / "app-secret"))
    return found


def test_a_message_is_one_trace_from_the_webhook_to_receiver_and_bucket(
    inbound: World, collector: Collector, simulator: Simulator, store: Store, prefix: str
) -> None:
    media_id = simulator.add_generated(1000, "image/png")
    inbound.whaul("archive", "set", simulator.waba_id, "--to", f"s3://{BUCKET}/{prefix}")
    with receiving() as receiver:
        receiver.answers = [500]
        inbound.whaul("destinations", "add", "orders", "--account", simulator.waba_id, "--to", receiver.url)
        with inbound.gateway() as first:
            inbound.whaul("webhooks", "subscribe", simulator.waba_id, "--url", first.url)
            simulator.send_webhook("image", media_id=media_id)
            receiver.wait(1)
            eventually(lambda: store.has(f"{prefix}{media_id}.png"))
        with inbound.gateway():  # another process, hours later, say
            receiver.wait(2)
    (failed, delivered) = (post.headers["traceparent"] for post in receiver.posts)
    trace_id = delivered[3:35]
    assert failed[3:35] == trace_id
    spans = [span for span in collector.spans if span.trace_id == trace_id]
    by_id = {span.id: span for span in spans}
    [root] = [span for span in spans if not span.parent]
    assert root.name == "POST /webhooks/meta/{app}"
    assert root.attributes == {
        "http.request.method": "POST",
        "http.route": "/webhooks/meta/{app}",
        "http.response.status_code": 200,
        "messaging.batch.message_count": 1,
        "whaul.webhook.outcome": "accepted",
    }
    attempts = [by_id[traceparent[36:52]] for traceparent in (failed, delivered)]
    assert [(span.name, span.parent, span.failed) for span in attempts] == [
        ("send orders", root.id, True),
        ("send orders", root.id, False),
    ]
    assert attempts[0].attributes["error.type"] == "down"
    assert attempts[1].attributes == {
        "messaging.system": "http",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "orders",
        "messaging.message.id": receiver.posts[1].headers["webhook-id"],
        "whaul.event.field": "messages",
        "whaul.event.kind": "message",
        "whaul.attempt": 2,
    }
    [archive] = [span for span in spans if span.name == "archive"]
    assert (archive.parent, archive.failed) == (root.id, False)
    assert {span.name for span in spans if span.parent == archive.id} == {"describe", "get", "put"}
    message = json.loads(receiver.posts[0].json()["whatsAppWebhookEntry"])["changes"][0]["value"]["messages"][0]
    exported = b"".join(collector.bodies)
    for private in (message["from"], message["id"], simulator.waba_id, simulator.token, BUCKET, prefix):
        assert private.encode() not in exported
