"""A destination in the operator's own S3: where it writes, how it signs, and what S3's answers become."""

import base64
import hashlib
import hmac
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import cast
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyreqwest.http import Url

from harness.loopback import Loopback, Received, reply
from whaul.errors import (
    AccessDeniedException,
)
from whaul.model import MediaInfo, S3File
from whaul.outbound.http import HttpClient
from whaul.outbound.proxies import Proxies
from whaul.storage.credentials import CredentialChain
from whaul.storage.s3 import ObjectOptions, S3Store
from whaul.storage.s3_config import S3Config

pytestmark = pytest.mark.anyio

KEY_ID, SECRET, TOKEN = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "session-t0ken"
FILE = b"a file" * 100
DIGEST = hashlib.sha256(FILE).digest()
INFO = MediaInfo("audio/ogg; codecs=opus", len(FILE), DIGEST, "https://x")
OBJECT = S3File("inbox", "a/42.ogg")


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient() as client:
        yield client


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


def store(http: HttpClient, *, region: str = "eu-west-1", style: str = "auto", **options: str) -> S3Store:
    return S3Store(
        http,
        S3Config.load(),
        CredentialChain(),
        region=region,
        addressing_style=style,
        options=ObjectOptions(**options),
    )


# --- where


@pytest.mark.parametrize(
    ("endpoint", "style", "bucket", "expected"),
    [
        (None, "auto", "inbox", "https://inbox.s3.eu-west-1.amazonaws.com/k"),
        (None, "virtual", "inbox", "https://inbox.s3.eu-west-1.amazonaws.com/k"),
        (None, "path", "inbox", "https://s3.eu-west-1.amazonaws.com/inbox/k"),
        (None, "auto", "in.box", "https://s3.eu-west-1.amazonaws.com/in.box/k"),
        (None, "virtual", "in.box", "https://in.box.s3.eu-west-1.amazonaws.com/k"),
        (None, "auto", "InBox", "https://s3.eu-west-1.amazonaws.com/InBox/k"),
        ("http://127.0.0.1:9000", "auto", "inbox", "http://127.0.0.1:9000/inbox/k"),
        ("http://127.0.0.1:9000/", "auto", "inbox", "http://127.0.0.1:9000/inbox/k"),
        ("https://store.example/s3", "path", "inbox", "https://store.example/s3/inbox/k"),
        ("https://store.example:8443", "virtual", "inbox", "https://inbox.store.example:8443/k"),
        (
            "https://bucket.vpce-1.s3.eu-west-1.vpce.amazonaws.com",
            "auto",
            "b",
            "https://bucket.vpce-1.s3.eu-west-1.vpce.amazonaws.com/b/k",
        ),
    ],
)
async def test_an_object_has_its_bucket_in_host_or_path(  # noqa: PLR0917 - a row of the table
    http: HttpClient, monkeypatch: pytest.MonkeyPatch, endpoint: str | None, style: str, bucket: str, expected: str
) -> None:
    if endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    assert store(http, style=style).url(S3File(bucket, "k"), "eu-west-1") == expected


@pytest.mark.parametrize(
    ("environ", "config", "expected"),
    [
        ({}, "", "https://s3.eu-west-1.amazonaws.com"),
        ({"AWS_ENDPOINT_URL_S3": "http://a:1/", "AWS_ENDPOINT_URL": "http://b:1"}, "", "http://a:1"),
        ({"AWS_ENDPOINT_URL": "http://b:1"}, "", "http://b:1"),
        ({}, "[default]\nendpoint_url = http://c:1\n", "http://c:1"),
        ({}, "[default]\nservices = mine\n[services mine]\ns3 =\n  endpoint_url = http://d:1\n", "http://d:1"),
        ({"AWS_ENDPOINT_URL_S3": "http://a:1"}, "[default]\nendpoint_url = http://c:1\n", "http://a:1"),
        ({"AWS_PROFILE": "p"}, "[profile p]\nendpoint_url = http://e:1\n", "http://e:1"),
        (
            {"AWS_ENDPOINT_URL": "http://b:1", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            "",
            "https://s3.eu-west-1.amazonaws.com",
        ),
        ({"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "", "https://s3.dualstack.eu-west-1.amazonaws.com"),
    ],
)
async def test_the_endpoint_is_found_as_any_aws_tool_finds_it(  # noqa: PLR0917 - a row of the table
    http: HttpClient,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    environ: dict[str, str],
    config: str,
    expected: str,
) -> None:
    (tmp_path / "config").write_text(config)
    for name, value in ({"AWS_CONFIG_FILE": str(tmp_path / "config")} | environ).items():
        monkeypatch.setenv(name, value)
    assert store(http).endpoint == expected


KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).filter(
    lambda key: not {".", ".."} & set(key.split("/"))
)


@given(KEYS)
def test_any_key_arrives_as_it_is_once_the_url_is_parsed_and_decoded(key: str) -> None:
    opaque = S3Store(cast("HttpClient", None), S3Config("http://127.0.0.1:9000"), CredentialChain(), region="eu-west-1")
    path = Url(opaque.url(S3File("inbox", key), "eu-west-1")).path
    assert unquote(path) == f"/inbox/{key}"
    assert re.fullmatch(r"[A-Za-z0-9%/~._-]+", path)


# --- how


def proves(request: Received, *, region: str, secret: str = SECRET) -> bool:
    """Check a received PUT's signature by the book, with nothing of ours or botocore's.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
    """
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=(\w+)/(\d{8})/([\w-]+)/s3/aws4_request, "
        r"SignedHeaders=([\w;-]+), Signature=([0-9a-f]{64})",
        request.headers["authorization"],
    )
    assert found is not None
    key_id, day, scope_region, names, signature = found.groups()
    assert (key_id, scope_region) == (KEY_ID, region)
    path, _, query = request.target.partition("?")
    lines = [f"{name}:{' '.join(request.headers[name].split())}" for name in names.split(";")]
    canonical = "\n".join([request.method, path, query, *lines, "", names, request.headers["x-amz-content-sha256"]])
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = "\n".join(["AWS4-HMAC-SHA256", request.headers["x-amz-date"], f"{day}/{region}/s3/aws4_request", hashed])
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request", to_sign):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key.hex() == signature


@pytest.mark.parametrize("key", ["a/42.ogg", "ä ß/42.ogg", "a+b%2F?#&=/42", "//42", "~-._/42", "🐋"])
async def test_a_put_is_signed_for_the_key_and_the_hash_that_meta_named(
    http: HttpClient, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    async with Loopback(reply(200, b"", ETag='"abc"')) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        assert await store(http).put(S3File("inbox", key), FILE, INFO) == '"abc"'
        (request,) = server.requests
    assert proves(request, region="eu-west-1")
    assert not proves(request, region="eu-west-1", secret="another")
    assert (request.method, unquote(request.target), request.body) == ("PUT", f"/inbox/{key}", FILE)
    headers = request.headers
    assert headers["content-length"] == str(len(FILE))
    assert headers["content-type"] == INFO.mime_type
    assert headers["x-amz-content-sha256"] == DIGEST.hex()
    assert headers["x-amz-checksum-sha256"] == base64.b64encode(DIGEST).decode()
    assert "transfer-encoding" not in headers
    signed = re.search("SignedHeaders=([^,]+)", headers["authorization"])
    assert signed is not None
    assert {"content-type", "host", "x-amz-checksum-sha256"} <= set(signed[1].split(";"))


@pytest.mark.parametrize("style", ["path", "virtual"])
@pytest.mark.parametrize(
    "host", ["LOCALHOST", "LocalHost", "localhost.", "127.1", "0x7f.0.0.1", "[::1]", "[0:0:0:0:0:0:0:1]"]
)
async def test_the_host_is_signed_as_it_is_sent(monkeypatch: pytest.MonkeyPatch, host: str, style: str) -> None:
    """Through a proxy, since not every such name can be resolved here; an address has no subdomains."""
    style = style if "local" in host.lower() else "path"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:9000")
    async with Loopback() as server, HttpClient(proxies=Proxies(http=server.url)) as http:
        await store(http, style=style).put(OBJECT, FILE, INFO)
        (request,) = server.requests
    sent = request.headers["host"]
    assert sent == sent.lower()
    assert request.target.startswith(f"http://{sent}/")
    assert proves(replace(request, target=request.target.removeprefix(f"http://{sent}")), region="eu-west-1")


@pytest.mark.parametrize("endpoint", ["https://store.example:443", "HTTPS://store.example"])
async def test_a_default_port_is_not_part_of_the_host(
    http: HttpClient, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    _, url, target = store(http)._located(OBJECT)
    assert url == str(target) == "https://store.example/inbox/a/42.ogg"


async def test_the_operators_options_go_along_signed(http: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Loopback() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        options = {"sse": "aws:kms", "sse_kms_key_id": "k-1", "storage_class": "STANDARD_IA", "tagging": "a=b+c&d=e"}
        await store(http, expected_bucket_owner="123456789012", **options).put(OBJECT, FILE, INFO)
        (request,) = server.requests
    assert proves(request, region="eu-west-1")
    sent = {name: value for name, value in request.headers.items() if name.startswith("x-amz-")}
    for name, value in {
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "k-1",
        "x-amz-storage-class": "STANDARD_IA",
        "x-amz-tagging": "a=b+c&d=e",
        "x-amz-expected-bucket-owner": "123456789012",
    }.items():
        assert sent.pop(name) == value
    assert set(sent) == {"x-amz-content-sha256", "x-amz-checksum-sha256", "x-amz-date"}


def test_options_that_are_not_set_send_nothing() -> None:
    assert ObjectOptions().headers() == {}


# --- credentials


async def test_temporary_credentials_send_their_token(http: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    async with Loopback() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        await store(http).put(OBJECT, FILE, INFO)
        (request,) = server.requests
    assert request.headers["x-amz-security-token"] == TOKEN
    assert proves(request, region="eu-west-1")


async def test_without_credentials_nothing_is_sent(http: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    async with Loopback() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        with pytest.raises(AccessDeniedException, match="no S3 credentials"):
            await store(http).put(OBJECT, FILE, INFO)
        assert server.connections == 0


# --- checksums


@pytest.mark.parametrize(
    ("variable", "profile", "is_sent"),
    [
        ("", "", True),
        ("when_supported", "", True),
        ("WHEN_SUPPORTED", "when_required", True),
        ("when_required", "", False),
        ("When_Required", "when_supported", False),
        ("", "when_required", False),
    ],
)
async def test_the_switch_of_all_aws_tools_leaves_checksums_out(  # noqa: PLR0917 - a row of the table
    http: HttpClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, profile: str, is_sent: bool
) -> None:
    (tmp_path / "config").write_text(f"[default]\nrequest_checksum_calculation = {profile}\n" if profile else "")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", variable)
    async with Loopback() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        await store(http).put(OBJECT, FILE, INFO)
        (request,) = server.requests
    assert any("checksum" in name for name in request.headers) == is_sent
    assert request.headers["x-amz-content-sha256"] == DIGEST.hex()
    assert proves(request, region="eu-west-1")


@pytest.mark.parametrize("name", ["request_checksum_calculation", "response_checksum_validation"])
@pytest.mark.parametrize("where", ["environment", "profile"])
def test_a_switch_with_another_value_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, where: str
) -> None:
    if where == "environment":
        monkeypatch.setenv(f"AWS_{name.upper()}", "never")
        expected = f"AWS_{name.upper()}=never"
    else:
        (tmp_path / "config").write_text(f"[default]\n{name} = never\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        expected = f"{name} in the AWS profile=never"
    with pytest.raises(ValueError, match=f"{expected}: expected when_supported or when_required"):
        S3Config.load()
