"""The certificates that outbound TLS trusts in addition to the system's.

`AWS_CA_BUNDLE`, the profile's `ca_bundle`, `REQUESTS_CA_BUNDLE` and `CURL_CA_BUNDLE` name one bundle: the first that
is set counts, as with boto3 and requests. `SSL_CERT_FILE` and `SSL_CERT_DIR` are OpenSSL's: both count, and the HTTP
client uses them instead of the system's store.

Files are read as OpenSSL reads them. A file without a certificate, or with a broken one, is an error, because whoever
named it expects it to be trusted.
"""

import base64
import binascii
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

PROFILE = "ca_bundle"
"""The setting of a profile in AWS's shared configuration. https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html"""
FIRST_OF = ("AWS_CA_BUNDLE", PROFILE, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""The first that is set counts."""
ALL_OF = ("SSL_CERT_FILE", "SSL_CERT_DIR")
FOLDERS = {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR"}
"""These may name a folder of certificates."""

_BEGIN = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----")
_END = re.compile(rb"-----END (?:X509 |TRUSTED )?CERTIFICATE-----")
_DER = re.compile(rb"\x30[\x80-\x84]")
"""How a DER certificate begins: a long ASN.1 sequence."""


class CertificatesError(Exception):
    """A file of certificates cannot be used; the message names the file and its variable."""


def trusted_certificates(environ: Mapping[str, str], profile_bundle: str | None) -> list[bytes]:
    """Return the certificates (DER) of all named bundles. Raises `CertificatesError`."""
    decoder = Decoder()
    found: dict[bytes, None] = {}
    for name, path in named_bundles(environ, profile_bundle):
        try:
            found |= dict.fromkeys(read_bundle(name, path, decoder))
        except OSError as error:
            raise CertificatesError(f"{name}: cannot read {path}: {error.strerror}") from None
    return list(found)


def named_bundles(environ: Mapping[str, str], profile_bundle: str | None) -> Iterator[tuple[str, Path]]:
    """Yield the files and folders that count, each with its variable."""
    named = {**environ, PROFILE: profile_bundle}
    for name in FIRST_OF:
        if value := named.get(name):
            yield f"{name} of the AWS profile" if name == PROFILE else name, Path(value)
            break
    for name in ALL_OF:
        if value := environ.get(name):
            parts = value.split(os.pathsep) if name == "SSL_CERT_DIR" else [value]
            yield from ((name, Path(part)) for part in parts if part)


class Decoder:
    """Decodes certificates, each once: the system's bundles are often named twice, and /etc/ssl/certs holds both."""

    def __init__(self) -> None:
        self._openssl = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._known: dict[bytes, bytes] = {}

    def decode(self, text: bytes) -> bytes | None:
        """Return the DER; None if it is broken. The trust settings of a TRUSTED CERTIFICATE are left out."""
        if text not in self._known:
            try:
                data = base64.b64decode(b"".join(text.split()), validate=True)
                certificate = data[: _length(data)]
                self._openssl.load_verify_locations(cadata=certificate)
            except (binascii.Error, IndexError, ValueError, ssl.SSLError):
                return None
            self._known[text] = certificate
        return self._known[text]


def read_bundle(name: str, path: Path, decoder: Decoder | None = None) -> list[bytes]:
    """Return the certificates (DER) of a file, or folder, that the variable `name` names.

    Raises `CertificatesError`, or `OSError` when it cannot be read.
    """
    files = [path]
    if path.is_dir():
        if name not in FOLDERS:
            raise CertificatesError(f"{name}: {path} is a folder; expected a PEM file")
        files = sorted(file for file in path.iterdir() if file.is_file())
    elif path.exists() and not path.is_file():
        raise CertificatesError(f"{name}: {path} is not a regular file; expected a PEM file")
    decoder = decoder or Decoder()
    certificates = [certificate for file in files for certificate in _of_file(name, file, decoder)]
    if not certificates:
        raise CertificatesError(f"{name}: {_nothing_in(path)}")
    return certificates


def _of_file(name: str, path: Path, decoder: Decoder) -> Iterator[bytes]:
    data = path.read_bytes()
    for number, begin in enumerate(_BEGIN.finditer(data), 1):
        end = _END.search(data, begin.end())
        certificate = decoder.decode(data[begin.end() : end.start()]) if end else None
        if certificate is None:
            raise CertificatesError(f"{name}: certificate {number} in {path} is broken; replace it or take it out")
        yield certificate


def _length(data: bytes) -> int:
    """Bytes of the first ASN.1 element."""
    first = data[1]
    if first < 0x80:
        return 2 + first
    size = first - 0x80
    return 2 + size + int.from_bytes(data[2 : 2 + size], "big")


def _nothing_in(path: Path) -> str:
    if path.is_dir():
        return f"the folder {path} holds no certificate; expected PEM files"
    if _DER.match(path.read_bytes()[:2]):
        return f"{path} is not PEM; convert it: openssl x509 -inform der -in {path} -out {path}.pem"
    return f"{path} holds no certificate; expected PEM (-----BEGIN CERTIFICATE-----)"
