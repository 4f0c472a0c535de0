"""Which bundles count, and what their files may hold."""

import base64
import os
from pathlib import Path

import pytest

from tools.certificates import Authority
from whaul.outbound.certificates import CertificatesError, named_bundles, trusted_certificates

NAMES = ["AWS_CA_BUNDLE", "ca_bundle", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"]
ONE, TWO = Authority("one"), Authority("two")


def read(name: str, path: object) -> list[bytes]:
    """What is trusted when this name alone is set."""
    return trusted_certificates({}, str(path)) if name == "ca_bundle" else trusted_certificates({name: str(path)}, None)


def refusal(name: str, path: object) -> str:
    with pytest.raises(CertificatesError) as caught:
        read(name, path)
    message = str(caught.value)
    assert message.startswith(name)
    assert str(path) in message
    return message


def labelled(label: bytes, der: bytes) -> bytes:
    return b"-----BEGIN %s-----\n%s-----END %s-----\n" % (label, base64.encodebytes(der), label)


def broken(certificate: bytes) -> bytes:
    """The certificate without the middle of it."""
    return certificate[:200] + certificate[260:]


@pytest.mark.parametrize("name", NAMES)
def test_a_named_bundle_is_read(name: str, tmp_path: Path) -> None:
    file = tmp_path / "bundle.pem"
    file.write_bytes(ONE.pem + TWO.pem)
    assert read(name, tmp_path if name == "SSL_CERT_DIR" else file) == [ONE.der, TWO.der]


def test_nothing_is_read_where_nothing_is_named() -> None:
    assert trusted_certificates(dict.fromkeys(NAMES, ""), None) == []
    assert trusted_certificates({}, "") == []


@pytest.mark.parametrize("first", range(4))
def test_one_bundle_counts_in_the_order_of_boto3_and_requests(first: int) -> None:
    environ = {name: name for name in NAMES[first:4] if name != "ca_bundle"}
    ((name, path),) = named_bundles(environ, "profile" if first < 2 else None)
    assert name.startswith(NAMES[first])
    assert str(path) == ("profile" if first == 1 else NAMES[first])


def test_the_names_of_openssl_count_beside_the_bundle() -> None:
    environ = {name: name for name in NAMES} | {"SSL_CERT_DIR": os.pathsep.join(["one", "", "two"])}
    paths = [str(path) for _, path in named_bundles(environ, None)]
    assert paths == ["AWS_CA_BUNDLE", "SSL_CERT_FILE", "one", "two"]


@pytest.mark.parametrize(
    "data",
    [
        ONE.pem.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + ONE.pem,
        b"# An authority, \xe9 and \xff\n" + ONE.pem + b"\n\nand text behind it",
        ONE.pem.rstrip(),
        ONE.pem + ONE.pem,
        ONE.key_pem + ONE.pem,
        labelled(b"X509 CERTIFICATE", ONE.der),
        labelled(b"TRUSTED CERTIFICATE", ONE.der + b"\x30\x02\x0c\x00"),
        labelled(b"CERTIFICATE", ONE.der).replace(b"\n", b"", 2),
    ],
    ids=["crlf", "bom", "comments", "no-end-of-line", "twice", "key-too", "x509", "trusted", "long-lines"],
)
def test_a_bundle_is_read_as_openssl_reads_it(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "bundle.pem"
    file.write_bytes(data)
    assert read("AWS_CA_BUNDLE", file) == [ONE.der]


@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_that_is_missing_is_refused(name: str, tmp_path: Path) -> None:
    assert "No such file" in refusal(name, tmp_path / "missing.pem")


@pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "ca_bundle", "SSL_CERT_FILE"])
def test_a_folder_is_refused_where_a_file_is_expected(name: str, tmp_path: Path) -> None:
    (tmp_path / "one.pem").write_bytes(ONE.pem)
    assert "folder" in refusal(name, tmp_path)


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR"])
def test_a_folder_is_read_where_other_tools_read_one(name: str, tmp_path: Path) -> None:
    (tmp_path / "one.pem").write_bytes(ONE.pem)
    (tmp_path / "two.0").write_bytes(TWO.pem + ONE.pem)
    (tmp_path / "README").write_text("nothing")
    (tmp_path / "sub").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    assert read(name, tmp_path) == [ONE.der, TWO.der]


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR"])
def test_a_folder_without_a_certificate_is_refused(name: str, tmp_path: Path) -> None:
    assert "no certificate" in refusal(name, tmp_path)


def test_each_folder_of_a_list_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "one.pem").write_bytes(ONE.pem)
    with pytest.raises(CertificatesError, match=r"SSL_CERT_DIR.*missing"):
        trusted_certificates({"SSL_CERT_DIR": f"{tmp_path}{os.pathsep}{tmp_path / 'missing'}"}, None)


@pytest.mark.parametrize("data", [b"", b"\n", ONE.key_pem, ONE.pem.decode().encode("utf-16")])
def test_a_file_without_a_certificate_is_refused(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "bundle.pem"
    file.write_bytes(data)
    assert "BEGIN CERTIFICATE" in refusal("AWS_CA_BUNDLE", file)


def test_der_is_refused_with_the_way_to_convert_it(tmp_path: Path) -> None:
    file = tmp_path / "bundle.der"
    file.write_bytes(ONE.der)
    assert "openssl x509 -inform der" in refusal("AWS_CA_BUNDLE", file)


@pytest.mark.parametrize(
    "bad",
    [
        broken(TWO.pem),
        TWO.pem[:300],
        TWO.pem[:300] + b"\n" + ONE.pem,
        labelled(b"CERTIFICATE", b"\x30"),
        labelled(b"CERTIFICATE", b""),
        labelled(b"CERTIFICATE", b"\x30\x82\xff\xff123"),
        b"-----BEGIN CERTIFICATE-----\nMIIBroken\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n\xff\n-----END CERTIFICATE-----\n",
    ],
)
def test_a_broken_certificate_among_good_ones_is_told_by_its_number(bad: bytes, tmp_path: Path) -> None:
    file = tmp_path / "bundle.pem"
    file.write_bytes(ONE.pem + bad)
    assert "certificate 2" in refusal("AWS_CA_BUNDLE", file)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "not a regular file" in refusal("AWS_CA_BUNDLE", pipe)
    inside = tmp_path / "file" / "bundle.pem"
    inside.parent.write_text("")
    assert "Not a directory" in refusal("AWS_CA_BUNDLE", inside)
