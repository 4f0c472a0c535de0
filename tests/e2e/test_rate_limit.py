"""The rate limit of access keys, as a caller meets it."""

from collections.abc import Iterator

import pytest

from harness.client import Reply
from harness.waiting import eventually
from harness.world import Gateway, Key, World
from whaul.simulator import Simulator

SLOW = "0.01"
"""Calls per second: no second one within a test."""


def call(gateway: Gateway, key: Key) -> Reply:
    return gateway.post(gateway.request("100000000000001", metadataOnly=True), key=key)


@pytest.fixture(scope="module")
def slow(world: World) -> Iterator[Gateway]:
    """A gateway at which a key may make three calls within a test."""
    with world.gateway(WHAUL_RATE_LIMIT=SLOW, WHAUL_RATE_BURST="3") as running:
        yield running


def test_a_key_that_has_used_its_burst_is_told_when_to_come_back_and_others_are_served(
    slow: Gateway, world: World, simulator: Simulator
) -> None:
    key, other = world.make_key("--allow-all"), world.make_key("--allow-all")
    assert [call(slow, key).status for _ in range(3)] == [200] * 3
    refused = call(slow, key)
    assert (refused.status, refused.code) == (429, "ThrottledRequestException")
    assert 1 < int(refused.headers["retry-after"]) <= 100
    assert call(slow, other).status == 200
    unproven = Key(other.id, "x" * 40)
    assert [call(slow, unproven).status for _ in range(5)] == [403] * 5
    assert call(slow, other).status == 200, "forged calls use up nothing"
    assert simulator.count("100000000000001")["metadata"] == 5, "a refused call does not reach Meta"


@pytest.mark.usefixtures("simulator")
def test_a_key_may_have_a_limit_of_its_own_and_a_running_server_follows_it(slow: Gateway, world: World) -> None:
    strict = world.make_key("--allow-all", "--rate-limit", SLOW, "--rate-burst", "2")
    free = world.make_key("--allow-all", "--rate-limit", "0")
    assert [call(slow, strict).status for _ in range(3)] == [200, 200, 429]
    assert [call(slow, free).status for _ in range(5)] == [200] * 5
    world.do("keys", "limit", strict.id, "--rate-limit", "0")
    eventually(lambda: call(slow, strict).status == 200)
