"""Which certificates the outbound client takes, and what it says of those that it does not."""

import ssl
from collections.abc import Callable
from datetime import timedelta

import pytest
from pyreqwest.http import Url

from harness.tls_server import tls_server
from tools.certificates import Authority
from whaul.errors import Retry
from whaul.outbound.certificates import CertificatesError
from whaul.outbound.errors import REFUSALS, HttpError
from whaul.outbound.http import HttpClient

pytestmark = pytest.mark.anyio

DAY = timedelta(days=1)
AUTHORITY = Authority("one")
SELF_SIGNED = Authority("localhost", ca=False)
CA_OF_ITS_OWN = Authority("localhost")


async def status(port: int, *trusted: bytes, host: str = "localhost") -> int:
    async with HttpClient(certificates=trusted) as http:
        return (await http.get(Url(f"https://{host}:{port}/"), {})).status


async def refusal(port: int, *trusted: bytes, host: str = "localhost") -> str:
    with pytest.raises(HttpError) as caught:
        await status(port, *trusted, host=host)
    assert caught.value.retry is Retry.NO
    return str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "LOCALHOST"])
async def test_a_named_authority_is_trusted(host: str) -> None:
    with tls_server(AUTHORITY.server()) as port:
        assert await status(port, Authority("two").der, AUTHORITY.der, host=host) == 200


async def test_a_self_signed_certificate_that_is_named_is_trusted() -> None:
    with tls_server(SELF_SIGNED.key_pem + SELF_SIGNED.pem) as port:
        assert await status(port, SELF_SIGNED.der) == 200


@pytest.mark.parametrize(
    ("pem", "trusted", "message"),
    [
        (AUTHORITY.server(), Authority("two"), "AWS_CA_BUNDLE"),
        (SELF_SIGNED.key_pem + SELF_SIGNED.pem, AUTHORITY, "AWS_CA_BUNDLE"),
        (CA_OF_ITS_OWN.key_pem + CA_OF_ITS_OWN.pem, CA_OF_ITS_OWN, "CA certificate"),
        (AUTHORITY.server(begins=-2 * DAY, ends=-DAY), AUTHORITY, "has expired"),
        (AUTHORITY.server(begins=DAY, ends=2 * DAY), AUTHORITY, "not valid yet"),
        (AUTHORITY.server(hosts=("minio.example", "127.0.0.1")), AUTHORITY, "another host name"),
        (AUTHORITY.server(hosts=()), AUTHORITY, "subjectAltName"),
        (AUTHORITY.server(is_for_servers=False), AUTHORITY, "not meant for servers"),
        (None, AUTHORITY, "does not speak TLS"),
    ],
    ids=["authority", "self-signed", "ca", "expired", "early", "host", "no-name", "usage", "plain"],
)
async def test_what_is_wrong_with_a_certificate_is_told(pem: bytes | None, trusted: Authority, message: str) -> None:
    with tls_server(pem) as port:
        assert message in await refusal(port, trusted.der)


async def test_a_certificate_for_another_address_is_refused() -> None:
    with tls_server(AUTHORITY.server(hosts=("localhost",))) as port:
        assert "another host name" in await refusal(port, AUTHORITY.der, host="127.0.0.1")


def wants_a_client_certificate(context: ssl.SSLContext) -> None:
    context.verify_mode = ssl.CERT_REQUIRED


def speaks_old_tls_only(context: ssl.SSLContext) -> None:
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.options &= ~(ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1)
    context.options |= ssl.OP_NO_TLSv1_2 | ssl.OP_NO_TLSv1_3


def offers_old_ciphers_only(context: ssl.SSLContext) -> None:
    context.options |= ssl.OP_NO_TLSv1_3
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA")


@pytest.mark.filterwarnings("ignore:ssl:DeprecationWarning")
@pytest.mark.parametrize(
    ("adjust", "message"),
    [
        (wants_a_client_certificate, "client certificate"),
        (speaks_old_tls_only, "1.2"),
        (offers_old_ciphers_only, "old ciphers"),
    ],
)
async def test_what_is_wrong_with_a_handshake_is_told(adjust: Callable[[ssl.SSLContext], None], message: str) -> None:
    with tls_server(AUTHORITY.server(), adjust) as port:
        assert message in await refusal(port, AUTHORITY.der)


def test_a_certificate_that_the_client_cannot_read_is_refused() -> None:
    with pytest.raises(CertificatesError):
        HttpClient(certificates=[b"nonsense"])


def test_no_refusal_hides_another() -> None:
    """The first sign that is found decides, so none may be part of a later one."""
    signs = [sign for sign, _ in REFUSALS]
    assert not [(one, two) for number, one in enumerate(signs) for two in signs[number + 1 :] if one in two]
