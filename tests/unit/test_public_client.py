"""Hosts that users name: every address is judged, and no other is connected to."""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pyreqwest.http import Url

from harness.peer import answer, listening
from harness.tls_server import tls_server
from harness.waiting import PATIENCE
from tools.certificates import Authority
from whaul.outbound.errors import HttpError
from whaul.outbound.netguard import EventHosts, ForbiddenUrlError, is_public
from whaul.outbound.public import MAX_BODY, PublicClient
from whaul.outbound.public_names import PublicNames

pytestmark = pytest.mark.anyio

AUTHORITY = Authority("one")


def resolver(*addresses: str) -> Callable[..., Sequence[Any]]:
    """Look every name up as these addresses."""

    def look_up(_host: str, _port: object, **_options: object) -> Sequence[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]

    return look_up


async def post(client: PublicClient, url: str) -> int:
    try:
        return (await client.post(Url(url), {}, b"{}")).status
    finally:
        await client.close()


async def test_the_name_is_sent_and_the_judged_address_called() -> None:
    with listening() as server:
        hosts = EventHosts([f"receiver.example:{server.port}"])
        client = PublicClient(PublicNames(hosts, resolver("127.0.0.1")))
        assert await post(client, f"http://receiver.example:{server.port}/") == 200
        assert f"host: receiver.example:{server.port}".encode() in server.received[0].lower()


async def test_tls_is_checked_against_the_name() -> None:
    with tls_server(AUTHORITY.server(hosts=("receiver.example",))) as port:
        hosts = EventHosts([f"*.example:{port}"])
        for name, expected in (("receiver", True), ("other", False)):
            client = PublicClient(PublicNames(hosts, resolver("127.0.0.1")), certificates=[AUTHORITY.der])
            if expected:
                assert await post(client, f"https://{name}.example:{port}/") == 200
            else:
                with pytest.raises(HttpError, match="another host name"):
                    await post(client, f"https://{name}.example:{port}/")


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["1.1.1.1", "10.0.0.7"], ["::1"], ["fd00::1"], ["0.0.0.0"]])  # noqa: S104 - an address to judge
async def test_one_address_that_is_not_public_forbids_the_name(addresses: list[str]) -> None:
    with listening() as server:
        client = PublicClient(PublicNames(EventHosts(), resolver(*addresses)))
        with pytest.raises(ForbiddenUrlError, match="WHAUL_EVENT_HOSTS"):
            await post(client, f"https://receiver.example:{server.port}/")
        assert server.connections == 0


async def test_the_next_address_is_tried() -> None:
    with listening() as server:
        hosts = EventHosts([f"receiver.example:{server.port}"])
        client = PublicClient(PublicNames(hosts, resolver("127.0.0.2", "127.0.0.1")))
        assert await post(client, f"http://receiver.example:{server.port}/") == 200


async def test_a_name_without_address_or_answer() -> None:
    def fails(*_arguments: object, **_options: object) -> Sequence[Any]:
        raise socket.gaierror("secret.example")

    client = PublicClient(PublicNames(EventHosts(), fails))
    with pytest.raises(HttpError, match="looked up") as caught:
        await post(client, "https://secret.example/")
    assert "secret" not in str(caught.value)
    with pytest.raises(HttpError, match="no address"):
        await post(PublicClient(PublicNames(EventHosts(["a.example"]), resolver())), "https://a.example/")


async def test_a_look_up_that_hangs_ends_with_the_time() -> None:
    begun, release = threading.Event(), threading.Event()
    looked = 0

    def hangs(*_arguments: object, **_options: object) -> Sequence[Any]:
        nonlocal looked
        looked += 1
        begun.set()
        release.wait()
        return []

    client = PublicClient(PublicNames(EventHosts(), hangs), timeout=0.05)
    try:
        results = await asyncio.gather(
            *(client.post(Url("https://receiver.example/"), {}, b"") for _ in range(5)), return_exceptions=True
        )
        assert await asyncio.to_thread(begun.wait, PATIENCE)
    finally:
        release.set()
    assert [str(result) for result in results] == ["timed out"] * 5
    assert looked == 1


async def test_an_answer_is_read_to_a_bound_and_redirects_are_answers() -> None:
    with listening() as server:
        server.reset(answer(302, b"x" * (MAX_BODY * 4), b"Location: http://127.0.0.1/"))
        client = PublicClient(PublicNames(EventHosts(["127.0.0.1"])))
        response = await client.post(Url(server.url), {}, b"")
        await client.close()
    assert (response.status, len(response.body)) == (302, MAX_BODY)
    assert server.connections == 1


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("1.1.1.1", True),
        ("2606:4700::1111", True),
        ("10.1.2.3", False),
        ("172.31.0.1", False),
        ("192.168.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - an address to judge
        ("255.255.255.255", False),
        ("224.0.0.1", False),
        ("::", False),
        ("::1", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:1.1.1.1", True),
        ("64:ff9b::a00:1", False),
        ("64:ff9b::101:101", True),
        ("2002:a00:1::", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public
