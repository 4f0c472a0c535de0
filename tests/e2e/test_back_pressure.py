"""A side that is slow holds up its own transfer, and nothing else."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from harness.store import Answer, StandIn
from harness.waiting import eventually
from harness.world import World
from whaul.simulator import Simulator

LARGE = 60_000_000
BUFFERED = 30_000_000
"""Bytes that may be on their way: in the kernel's buffers of two loopback connections, for the most part."""


def settled(figure: Callable[[], int]) -> int:
    """Wait until a figure has stood still for a while, and return it."""
    last, since = figure(), time.monotonic()

    def stands_still() -> bool:
        nonlocal last, since
        if figure() != last:
            last, since = figure(), time.monotonic()
        return time.monotonic() - since > 0.5

    eventually(stands_still)
    return last


def sent(simulator: Simulator, media_id: str) -> int:
    return sum(e.bytes_sent for e in simulator.requests if e.hop == "download" and e.object_id == media_id)


def test_a_store_that_takes_no_more_stops_the_download_and_holds_up_no_other_call(
    world: World, simulator: Simulator, running_stand_in: StandIn
) -> None:
    media_id = simulator.add_generated(LARGE, "image/png", seed=1)
    other = simulator.add_generated(1000, "image/png", seed=2)
    over = threading.Event()
    running_stand_in.reset()
    running_stand_in.script(Answer(reads=100_000, silent=over))
    with world.gateway(AWS_ENDPOINT_URL_S3=running_stand_in.url) as gateway, ThreadPoolExecutor() as pool:
        stuck = pool.submit(gateway.get, media_id)
        eventually(lambda: bool(running_stand_in.requests) and running_stand_in.requests[0].length == 100_000)
        on_their_way = settled(lambda: sent(simulator, media_id))
        assert on_their_way < BUFFERED
        assert gateway.get(other)["fileSize"] == 1000
        assert not stuck.done()
        over.set()
        assert stuck.result()["fileSize"] == LARGE
    assert [received.complete for received in running_stand_in.requests] == [False, True, True]
