"""Which address a request came from, and which access key it claims."""

from urllib.parse import quote_from_bytes

import pytest

from whaul.telemetry.clients import MAX_CLAIM, ClientAddress, claimed_access_key_id

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


SCOPE = b"/20260101/us-east-1/social-messaging/aws4_request"


@pytest.mark.parametrize(
    ("claim", "told"),
    [
        (b"AKIACLAIMED00000", "AKIACLAIMED00000"),
        (b"test", "test"),
        (b"my-app.1", "my-app.1"),
        (b"A\xc3\xa9\xff\x1b[2J", "Aé\\xff\x1b[2J"),  # the renderers make it visible
        (b"k" * MAX_CLAIM, "k" * MAX_CLAIM),
        (b"s" * 40, "(40 characters)"),  # a secret key in its place
        (b"half/of+a+secret/key/in/its/place/1234567", "(41 characters)"),
    ],
)
@pytest.mark.parametrize("form", ["header", "query"])
def test_a_claim_is_repeated_unless_it_may_be_a_secret(claim: bytes, told: str, form: str) -> None:
    if form == "header":
        value = b"AWS4-HMAC-SHA256 Credential=" + claim + SCOPE + b", SignedHeaders=host, Signature=5161718"
        assert claimed_access_key_id([(b"host", b"x"), (b"authorization", value)], b"") == told
    else:
        query = (
            b"a=1&X-Amz-Credential=" + quote_from_bytes(claim + SCOPE, safe="").encode() + b"&X-Amz-Signature=5161718"
        )
        assert claimed_access_key_id([(b"host", b"x")], query) == told


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Bearer EAAtoken",
        b"AWS4-HMAC-SHA256 Credential=AKIA",
        b"AWS4-HMAC-SHA256 Credential=/20260101/",
        b"Basic x",
    ],
)
def test_a_request_that_claims_no_key_has_none(header: bytes) -> None:
    assert claimed_access_key_id([(b"authorization", header)], b"id=1") is None
    assert claimed_access_key_id([], b"id=1") is None
