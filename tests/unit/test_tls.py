"""The certificate and key that TLS is served with."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from tools.certificates import Authority
from whaul.components import check_tls
from whaul.settings import Settings, SettingsError

OWN, OTHER = Authority("localhost", ca=False), Authority("localhost", ca=False)


def with_password(pem: bytes) -> bytes:
    key = load_pem_private_key(pem, None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"S3cret"))


def checked(folder: Path, certificate: bytes, key: bytes) -> None:
    files = folder / "server.crt", folder / "server.key"
    for file, data in zip(files, (certificate, key), strict=True):
        file.write_bytes(data)
    check_tls(Settings(tls_cert_file=files[0], tls_key_file=files[1]))


def test_a_certificate_and_its_key_are_taken(tmp_path: Path) -> None:
    checked(tmp_path, OWN.pem + OTHER.pem, OWN.key_pem)
    checked(tmp_path, OWN.key_pem + OWN.pem, OWN.key_pem + OWN.pem)


@pytest.mark.parametrize(
    "certificate", [b"", OWN.der, OWN.key_pem, OWN.pem[:300], OWN.pem + OTHER.pem[:300]], ids=range(5)
)
def test_a_certificate_that_cannot_be_served_is_told_with_its_file(certificate: bytes, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"WHAUL_TLS_CERT_FILE: .*server\.crt"):
        checked(tmp_path, certificate, OWN.key_pem)


@pytest.mark.parametrize(
    "key", [b"", OTHER.key_pem, OWN.pem, OWN.key_pem[:100], with_password(OWN.key_pem)], ids=range(5)
)
def test_a_key_that_cannot_be_served_is_told_with_its_file(key: bytes, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"WHAUL_TLS_KEY_FILE: .*server\.key.*WHAUL_TLS_CERT_FILE"):
        checked(tmp_path, OWN.pem, key)


@pytest.mark.parametrize("read", [Authority.server, lambda authority: authority.key_pem + authority.pem])
def test_what_an_authority_signed_and_what_signed_itself_are_taken(
    read: Callable[[Authority], bytes], tmp_path: Path
) -> None:
    pem = read(OWN)
    checked(tmp_path, pem, pem)
