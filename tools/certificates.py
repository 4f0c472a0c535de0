"""Certificate authorities for one run, and the servers' certificates that they sign, good and bad."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)
NO_USAGE = dict.fromkeys(
    (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    ),
    False,
)


class Authority:
    """A self-signed certificate; with `ca` it may sign others."""

    def __init__(self, name: str, *, ca: bool = True, **how: Any) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self._certificate = _signed(self._name, self._name, self._key, self._key, ca=ca, **how)
        self.der = self._certificate.public_bytes(Encoding.DER)
        self.pem = self._certificate.public_bytes(Encoding.PEM)
        self.key_pem = _key_pem(self._key)

    def server(self, **how: Any) -> bytes:
        """Make a key, and a certificate for it (PEM, one after the other); `how` as for `_signed`."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _signed(_name("localhost"), self._name, key, self._key, **how)
        return _key_pem(key) + certificate.public_bytes(Encoding.PEM)


class Certificates(NamedTuple):
    """The files of a server, and of the authority that a client of it trusts."""

    authority: Path
    chain: Path
    """The server's certificate, then the authority's."""
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """What a server of Python's listens with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        return context


def make_certificates(folder: Path) -> Certificates:
    """Write a certificate for `localhost` and 127.0.0.1; rustls takes no authority's for a server's."""
    folder.mkdir(exist_ok=True)
    authority = Authority("An authority of one run")
    key, begin, certificate = authority.server().partition(b"-----BEGIN CERTIFICATE-----")
    files = Certificates(folder / "authority.pem", folder / "chain.pem", folder / "key.pem")
    files.authority.write_bytes(authority.pem)
    files.chain.write_bytes(begin + certificate + authority.pem)
    files.key.write_bytes(key)
    return files


def _signed(
    name: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    ca: bool = False,
    begins: timedelta = -DAY,
    ends: timedelta = DAY,
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1"),
    is_for_servers: bool = True,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if ca:
        usage = x509.KeyUsage(**NO_USAGE | {"digital_signature": True, "key_cert_sign": True, "crl_sign": True})
        builder = builder.add_extension(usage, critical=True)
    if issuer != name:
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
        builder = builder.add_extension(signer, critical=False)
    if hosts:
        names = [x509.IPAddress(ip_address(host)) if host[0].isdigit() else x509.DNSName(host) for host in hosts]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if not is_for_servers:
        clients = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(clients, critical=False)
    return builder.sign(issuer_key, SHA256())


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
