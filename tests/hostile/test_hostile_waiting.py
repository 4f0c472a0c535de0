"""Clients that stop in the middle of a request, and wait.

They are connected while the tests of connections run, and looked after last, so that nobody waits with them.
"""

import socket

import pytest

from harness.hostile_gateway import SLOW, Target


@pytest.mark.long
@pytest.mark.parametrize("name", SLOW)
def test_a_client_that_stops_in_the_middle_is_sent_away(
    name: str, slow: dict[str, socket.socket], target: Target
) -> None:
    received = b""
    try:
        while block := slow[name].recv(65536):
            received += block
    except ConnectionError:
        pass
    assert received == b"" or b"HTTP/1.1 4" in received
    assert b"200 OK" not in received
    target.is_well()
