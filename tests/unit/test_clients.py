"""Which address a request came from."""

import pytest

from whaul.telemetry.clients import ClientAddress

PROXY, CLIENT, OTHER = "10.0.0.1", "203.0.113.7", "198.51.100.9"


def of(trusted: tuple[str, ...], peer: str | None, *forwarded: str) -> str | None:
    headers = [(b"host", b"x"), *((b"x-forwarded-for", text.encode("latin-1")) for text in forwarded)]
    return ClientAddress(trusted).of(peer, headers)


@pytest.mark.parametrize("forwarded", [(), (OTHER,), (f"{OTHER}, {PROXY}",)])
def test_without_trusted_proxies_the_peer_is_the_client_whatever_it_says(forwarded: tuple[str, ...]) -> None:
    assert of((), CLIENT, *forwarded) == CLIENT


def test_a_peer_that_is_no_trusted_proxy_is_not_believed() -> None:
    assert of(("10.0.0.0/8",), CLIENT, OTHER) == CLIENT


@pytest.mark.parametrize(
    ("trusted", "forwarded", "client"),
    [
        (("10.0.0.1",), (CLIENT,), CLIENT),
        (("10.0.0.0/8",), (CLIENT,), CLIENT),
        (("10.1.2.3/8",), (CLIENT,), CLIENT),
        (("10.0.0.0/8",), (f"{CLIENT}, 10.0.0.2",), CLIENT),
        (("10.0.0.0/8",), (CLIENT, "10.0.0.2"), CLIENT),
        (("10.0.0.0/8",), (f"{OTHER}, {CLIENT}",), CLIENT),  # what the client itself wrote is not believed
        (("10.0.0.0/8",), (f"{OTHER},{CLIENT},10.0.0.2,10.0.0.3",), CLIENT),
        (("10.0.0.0/8", "203.0.113.0/24"), (f"{OTHER}, {CLIENT}",), OTHER),
        (("10.0.0.0/8",), ("10.0.0.2",), "10.0.0.2"),
        (("10.0.0.0/8",), ("2001:db8::7",), "2001:db8::7"),
        (("10.0.0.0/8",), (), PROXY),
        (("10.0.0.0/8",), ("",), PROXY),
        (("10.0.0.0/8",), ("unknown",), PROXY),
        (("10.0.0.0/8",), (f"{CLIENT}, unknown",), PROXY),
        (("10.0.0.0/8",), (f"{CLIENT}:80",), CLIENT),
        (("10.0.0.0/8",), (f"{CLIENT}:47110, 10.0.0.2:80",), CLIENT),
        (("10.0.0.0/8",), ("[2001:db8::7]:47110",), "2001:db8::7"),
        (("10.0.0.0/8",), ("[2001:db8::7]",), "2001:db8::7"),
        (("10.0.0.0/8",), ("2001:DB8:0::7",), "2001:db8::7"),
        (("10.0.0.0/8",), (f"::ffff:{CLIENT}",), CLIENT),
        (("10.0.0.0/8", "2001:db8::/32"), (f"{CLIENT}, [2001:db8::7]:1",), CLIENT),
        (("10.0.0.0/8",), (f"{CLIENT}:",), PROXY),
        (("10.0.0.0/8",), (f"{CLIENT}:x",), PROXY),
        (("10.0.0.0/8",), (f"[{CLIENT}",), PROXY),
        (("10.0.0.0/8",), ("[2001:db8::7]x",), PROXY),
        (("10.0.0.0/8",), ("é\x00",), PROXY),
        (("10.0.0.0/8",), (f"{CLIENT},",), PROXY),
    ],
)
def test_behind_trusted_proxies_the_nearest_other_address_is_the_client(
    trusted: tuple[str, ...], forwarded: tuple[str, ...], client: str
) -> None:
    assert of(trusted, PROXY, *forwarded) == client


@pytest.mark.parametrize(
    ("trusted", "peer"),
    [("10.0.0.0/8", "::ffff:10.0.0.1"), ("::1/128", "0:0:0:0:0:0:0:1"), ("2001:db8::/32", "2001:db8::1")],
)
def test_a_proxy_is_known_however_its_address_is_written(trusted: str, peer: str) -> None:
    assert of((trusted,), peer, CLIENT) == CLIENT


@pytest.mark.parametrize("peer", [None, "unix:/run/whaul.sock", ""])
def test_a_peer_without_an_address_is_not_believed(peer: str | None) -> None:
    assert of(("10.0.0.0/8",), peer, OTHER) == peer


def test_what_is_trusted_must_be_addresses_or_networks() -> None:
    with pytest.raises(ValueError, match="proxy"):
        ClientAddress(("proxy",))
