"""What an operator sees: health, readiness, metrics, and one log line for each call."""

import json
import re
import uuid

import pytest
from botocore.exceptions import ClientError

from harness.waiting import eventually
from harness.world import MEDIA_PATH, Gateway, Key, World
from whaul.settings import Settings
from whaul.simulator import Simulator

JPEG, VOICE, PDF = "100000000000001", "100000000000002", "100000000000003"


def metrics(gateway: Gateway) -> dict[str, float]:
    """The samples by name and labels."""
    answer = gateway.send("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = [line for line in answer.body.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_health_and_readiness_are_answered_without_a_signature(gateway: Gateway) -> None:
    assert gateway.send("GET", "/healthz").json() == {"status": "ok"}
    ready = gateway.send("GET", "/readyz")
    assert (ready.status, ready.json()) == (200, {"status": "ok", "reasons": []})


def test_a_gateway_without_s3_credentials_is_alive_but_not_ready(world: World, simulator: Simulator) -> None:
    environ = {name: value for name, value in world.environ.items() if not name.startswith("AWS_ACCESS_KEY")}
    lacking = World(world.simulator, environ, world.folder, world.phone_number_id, world.phone_number_arn)
    lacking.key = world.key
    with lacking.gateway() as running:
        assert running.send("GET", "/healthz").status == 200
        ready = running.send("GET", "/readyz")
        assert ready.status == 503
        assert ready.json()["status"] == "unavailable"
        assert [reason for reason in ready.json()["reasons"] if "S3 credentials" in reason]
        with pytest.raises(running.client().exceptions.AccessDeniedException, match="S3 credentials"):
            running.get(PDF)
        assert running.get(PDF, metadataOnly=True)["fileSize"] == simulator.media[PDF].size
        eventually(lambda: '"event":"not_ready"' in running.log.read_text(encoding="utf-8"))
        logged = [json.loads(line) for line in running.log.read_text(encoding="utf-8").splitlines()]
    [missing] = [line for line in logged if line["event"] == "not_ready"]
    assert (missing["level"], "S3 credentials" in missing["message"]) == ("warning", True)
    assert "ready" not in [line["event"] for line in logged]


def test_each_call_is_one_log_line_with_what_is_known_of_it(gateway: Gateway, simulator: Simulator) -> None:
    line = gateway.logged(gateway.get_to(VOICE, "log/"))
    assert line["operation"] == "GetWhatsAppMessageMedia"
    assert (line["outcome"], line["status"]) == ("ok", 200)
    assert (line["access_key_id"], line["caller"]) == (gateway.world.key.id, "tester")
    assert line["client"] == "127.0.0.1"
    assert line["phone_number_id"] == gateway.world.phone_number_id
    assert (line["media_id"], line["bytes"]) == (VOICE, simulator.media[VOICE].size)
    durations = [line[f"{hop}_seconds"] for hop in ("describe", "get", "put", "wait")]
    assert all(isinstance(seconds, float) and 0 <= seconds < 55 for seconds in durations)
    assert {"level", "timestamp", "seconds"} <= line.keys()

    with pytest.raises(ClientError) as caught:
        gateway.get("999999999999999")
    failed = gateway.logged(caught.value)
    assert (failed["outcome"], failed["status"]) == ("ResourceNotFoundException", 404)
    assert (line["level"], failed["level"]) == ("info", "warning")
    assert failed["media_id"] == "999999999999999"
    assert "media id" in failed["message"]
    unknown = gateway.logged(gateway.send("POST", "/nowhere"))
    assert unknown["outcome"] == "UnknownOperationException"
    assert uuid.UUID(unknown["request_id"])
    ids = [each["request_id"] for each in gateway.calls()]
    assert len(set(ids)) == len(ids)


def test_metadata_only_and_health_checks_do_not_look_like_transfers(gateway: Gateway) -> None:
    gateway.settle()
    before = len(gateway.calls())
    for path in ("/healthz", "/readyz", "/metrics"):
        gateway.send("GET", path)
    line = gateway.logged(gateway.get(PDF, metadataOnly=True))
    assert len(gateway.calls()) == before + 1
    assert not {"bytes", "get_seconds"} & line.keys()


def test_the_metrics_count_calls_bytes_and_hops(gateway: Gateway, simulator: Simulator) -> None:
    simulator.configure(call_count=37)
    gateway.settle()
    call = 'operation="GetWhatsAppMessageMedia"'
    before = metrics(gateway)
    gateway.get_to(VOICE, "metrics/")
    gateway.get(PDF, metadataOnly=True)
    with pytest.raises(ClientError):
        gateway.get("999999999999999")
    gateway.settle()

    def grown(name: str) -> float:
        return metrics(gateway).get(name, 0) - before.get(name, 0)

    assert grown(f"whaul_call_seconds_count{{{call}}}") == 3
    assert grown(f'whaul_calls_total{{{call},outcome="ok"}}') == 2
    assert grown(f'whaul_calls_total{{{call},outcome="ResourceNotFoundException"}}') == 1
    assert grown("whaul_stored_bytes_total") == simulator.media[VOICE].size
    assert grown('whaul_hop_seconds_count{hop="describe"}') == 3
    assert grown('whaul_hop_seconds_count{hop="get"}') == 1
    assert grown('whaul_hop_seconds_count{hop="put"}') == 1
    now = metrics(gateway)
    assert (now["whaul_transfers"], now["whaul_waiting_calls"]) == (0, 0)
    assert now['whaul_meta_usage_percent{account="",kind="app"}'] == 37
    business = f'whaul_meta_usage_percent{{account="{simulator.waba_id}",kind="business"}}'
    assert now[business] == 37
    assert now["whaul_max_transfers"] == Settings.model_fields["max_transfers"].default


def test_the_start_is_told_with_region_and_endpoints(gateway: Gateway) -> None:
    text = gateway.log.read_text(encoding="utf-8")
    assert re.search(rf'"s3_endpoint":"{re.escape(gateway.world.environ["AWS_ENDPOINT_URL_S3"])}"', text)


def test_when_a_key_was_used_last_is_written_at_the_latest_when_the_server_stops(world: World) -> None:
    with world.gateway() as running:
        running.get(PDF, metadataOnly=True)
        running.settle()
    keys = json.loads(world.run("keys", "list", "--json").stdout)["accessKeys"]
    [used] = [key for key in keys if key["accessKeyId"] == world.key.id]
    assert used["lastUsedOperation"] == "GetWhatsAppMessageMedia"


def test_a_refused_signature_is_logged_with_the_key_that_it_claims(gateway: Gateway) -> None:
    stranger = Key("AKIASTRANGER", "s" * 40)
    line = gateway.logged(gateway.send("POST", MEDIA_PATH, b"{}", sign_with=stranger))
    assert (line["outcome"], line["level"]) == ("UnrecognizedClientException", "warning")
    assert line["claimed_access_key_id"] == "AKIASTRANGER"
    assert "access_key_id" not in line
    swapped = gateway.logged(gateway.send("POST", MEDIA_PATH, b"{}", sign_with=Key("s" * 40, "AKIASTRANGER")))
    assert swapped["claimed_access_key_id"] == "(40 characters)"
