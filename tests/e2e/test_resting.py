"""What a gateway does not do for a while: ask Meta for a number that it refuses."""

import time

import pytest
from botocore.exceptions import ClientError

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
        metrics = gateway.send("GET", "/metrics").body.decode()
        assert 'whaul_open_circuits{kind="phone_number"} 1.0' in metrics
        named = f'whaul_circuit_probe_timestamp_seconds{{kind="phone_number",name="{world.phone_number_id}"}} '
        assert float(metrics.partition(named)[2].split()[0]) > time.time()


def test_what_meta_says_of_a_media_id_never_rests_its_phone_number(gateway: Gateway, simulator: Simulator) -> None:
    fine = simulator.add_generated(1000, "image/png", seed=2)
    for _ in range(MAX_REFUSALS + 1):
        with pytest.raises(gateway.client().exceptions.ResourceNotFoundException):
            gateway.get("404", metadataOnly=True)
    assert gateway.get(fine, metadataOnly=True)["fileSize"] == 1000
