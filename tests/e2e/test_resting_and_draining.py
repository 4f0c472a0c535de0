"""What a gateway does not do for a while: ask Meta for a number that it refuses, and take calls while it stops."""

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from harness.store import Store
from harness.waiting import PATIENCE, eventually
from harness.world import Gateway, World
from whaul.operations.call import MAX_REFUSALS
from whaul.simulator import Simulator


def denied(gateway: Gateway, media_id: str, **members: str) -> str:
    with pytest.raises(ClientError) as caught:
        gateway.get(media_id, metadataOnly=True, **members)
    assert caught.value.response["Error"]["Code"] == "AccessDeniedByMetaException"
    return str(caught.value)


def test_a_phone_number_that_meta_refuses_again_and_again_is_left_alone_and_others_are_not(
    world: World, simulator: Simulator
) -> None:
    refused = simulator.add_generated(1000, "image/png", seed=1)
    fine = simulator.add_generated(1000, "image/png", seed=2)
    simulator.fault(refused, kind="error", code=190)
    with world.gateway() as gateway:
        messages = [denied(gateway, refused) for _ in range(MAX_REFUSALS + 3)]
        assert "not asked again for a while" not in messages[MAX_REFUSALS - 1]
        assert "not asked again for a while" in messages[MAX_REFUSALS]
        assert "code 190" in messages[-1]
        assert simulator.count(refused)["metadata"] == MAX_REFUSALS
        assert denied(gateway, fine)
        assert simulator.count(fine)["metadata"] == 0
        other = {"originationPhoneNumberId": world.other_phone_number_id}
        assert gateway.get(fine, metadataOnly=True, **other)["fileSize"] == 1000
        assert b'whaul_open_circuits{kind="phone_number"} 1.0' in gateway.send("GET", "/metrics").body


def test_what_meta_says_of_a_media_id_never_rests_its_phone_number(gateway: Gateway, simulator: Simulator) -> None:
    fine = simulator.add_generated(1000, "image/png", seed=2)
    for _ in range(MAX_REFUSALS + 1):
        with pytest.raises(gateway.client().exceptions.ResourceNotFoundException):
            gateway.get("404", metadataOnly=True)
    assert gateway.get(fine, metadataOnly=True)["fileSize"] == 1000


def test_a_gateway_that_is_told_to_stop_says_so_refuses_new_calls_and_finishes_those_under_way(
    world: World, simulator: Simulator, store: Store, prefix: str
) -> None:
    media_id = simulator.add_generated(2_000_000, "image/png", seed=3)
    simulator.fault(media_id, kind="latency", hop="download", seconds=60)
    with world.gateway() as gateway, ThreadPoolExecutor() as pool:
        under_way = pool.submit(gateway.get_to, media_id, prefix)
        eventually(lambda: simulator.count(media_id)["download"] == 1)
        gateway.process.send_signal(signal.SIGTERM)
        eventually(lambda: gateway.send("GET", "/readyz").status == 503)
        assert b"draining" in gateway.send("GET", "/readyz").body
        assert gateway.send("GET", "/healthz").status == 200
        refused = gateway.post(gateway.request())
        assert (refused.status, refused.headers["x-amzn-errortype"]) == (429, "ThrottledRequestException")
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["connection"] == "close"
        simulator.advance(60)
        assert under_way.result()["fileSize"] == 2_000_000
        assert gateway.process.wait(PATIENCE) == 0
    assert len(store.read(f"{prefix}{media_id}.png")) == 2_000_000
