"""Which address a listener's setting is."""

import ipaddress

import pytest

from whaul.server.listener import ListenerError, listen_address


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),  # noqa: S104
        ("::", "::"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("[::]", "::"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("127.1", "127.0.0.1"),
    ],
)
def test_an_address_is_itself(host: str, address: str) -> None:
    assert listen_address(host) == address


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST"])
def test_a_name_is_resolved(host: str) -> None:
    assert ipaddress.ip_address(listen_address(host)).is_loopback


@pytest.mark.parametrize(
    "host",
    [
        "",
        "127.0.0.1:8080",
        "[::1]:8080",
        "http://localhost",
        "no-such-name.invalid",
        "a..b",
        "x" * 300,
        "*",
        "[::1",
        "::g",
    ],
)
def test_what_is_no_address_of_this_machine_is_refused(host: str) -> None:
    with pytest.raises(ListenerError, match=r"^WHAUL_HOST=.*expected an address of this machine without a port"):
        listen_address(host)


@pytest.mark.parametrize("host", ["fe80::1%eth0", "[fe80::1%1]"])
def test_an_address_of_one_interface_is_refused(host: str) -> None:
    with pytest.raises(ListenerError, match="one network interface"):
        listen_address(host)
