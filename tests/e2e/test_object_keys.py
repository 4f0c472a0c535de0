"""Where an object lands, what it is called, and what it carries."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote

import pytest

from harness.store import BUCKET, ETAG, Answer, StandIn, Store
from harness.world import Gateway, World
from whaul.simulator import Simulator

PDF = "100000000000003"

KEYS = [
    "with space ",
    "plus+plus",
    "already%20encoded",
    "hash#hash/question?mark=1&b=2",
    "semi;colon,comma:@!$'()*~",
    "umlaut-\u00e4\u00f6\u00fc-\u00df",
    "decomposed-a\u0308",
    "\U0001f4ce\U0001f600/",
    ".hidden/..still-hidden/",
]


@pytest.mark.parametrize(
    ("mime_type", "extension"),
    [
        ("image/jpeg ; q=1", ".jpeg"),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", ".docx"),
        ("application/vnd.made-up.thing", ""),
    ],
)
def test_the_extension_follows_the_mime_type_and_the_object_carries_that_type_unchanged(
    *, gateway: Gateway, simulator: Simulator, store: Store, prefix: str, mime_type: str, extension: str
) -> None:
    data = mime_type.encode()
    media_id = simulator.add_media(data, mime_type)
    answer = gateway.get_to(media_id, prefix)
    assert answer["mimeType"] == mime_type
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-whaul-key"] == f"{prefix}{media_id}{extension}"
    assert store.keys(prefix) == [f"{prefix}{media_id}{extension}"]
    assert store.read(f"{prefix}{media_id}{extension}") == data
    assert store.content_type(f"{prefix}{media_id}{extension}") == mime_type


def test_an_empty_key_gives_the_media_id_and_the_extension(
    gateway: Gateway, simulator: Simulator, store: Store
) -> None:
    media_id = simulator.add_media(b"no prefix", "image/png")
    gateway.get_to(media_id, "")
    assert store.read(f"{media_id}.png") == b"no prefix"


@pytest.mark.parametrize("key", KEYS)
def test_a_key_arrives_in_the_store_exactly_as_given(
    gateway: Gateway, simulator: Simulator, store: Store, prefix: str, key: str
) -> None:
    media_id = simulator.add_media(key.encode(), "audio/ogg")
    final = f"{prefix}{key}{media_id}.ogg"
    headers = gateway.get_to(media_id, prefix + key)["ResponseMetadata"]["HTTPHeaders"]
    assert unquote(headers["x-whaul-key"], errors="strict") == final
    assert headers["x-whaul-key"].isascii()
    assert store.read(final) == key.encode()


@pytest.mark.parametrize("key", ["double//slash", "/leading", "line\nbreak", "nul\x00", "100% \u00e4"])
def test_a_key_is_percent_encoded_byte_by_byte_in_the_request_to_the_store(
    recorded_gateway: Gateway, simulator: Simulator, s3_stand_in: StandIn, key: str
) -> None:
    media_id = simulator.add_media(b"x", "audio/ogg")
    headers = recorded_gateway.get_to(media_id, key)["ResponseMetadata"]["HTTPHeaders"]
    encoded = quote(f"{key}{media_id}.ogg", safe="/-._~")
    assert s3_stand_in.only.target == f"/{BUCKET}/{encoded}"
    assert headers["x-whaul-key"] == encoded


@pytest.mark.parametrize("key", ["..", "a/../", "../../other-bucket/"])
def test_a_final_key_with_a_dot_segment_is_refused(
    gateway: Gateway, simulator: Simulator, exact_gateway: Gateway, key: str
) -> None:
    media_id = simulator.add_media(b"x", "application/x-made-up")
    chosen = exact_gateway if key.endswith("..") or key == "." else gateway  # else the id makes it another segment
    with pytest.raises(chosen.client().exceptions.InvalidParametersException, match="segment"):
        chosen.get_to(media_id, key)
    assert simulator.count(media_id)["download"] == 0


def test_a_final_key_may_have_1024_bytes_of_utf_8(
    recorded_gateway: Gateway, simulator: Simulator, s3_stand_in: StandIn
) -> None:
    media_id = simulator.add_media(b"x", "image/png")
    room = 1024 - len(f"{media_id}.png")
    longest = "\U0001f4ce" * (room // 4) + "x" * (room % 4)
    recorded_gateway.get_to(media_id, longest)
    assert len(s3_stand_in.only.target) >= 1024
    with pytest.raises(recorded_gateway.client().exceptions.InvalidParametersException, match="1024 bytes"):
        recorded_gateway.get_to(media_id, longest + "x")
    assert simulator.count(media_id)["download"] == 1


def test_a_refusal_of_the_store_itself_is_reported(gateway: Gateway, simulator: Simulator) -> None:
    """SeaweedFS takes no segment over 255 bytes."""
    media_id = simulator.add_media(b"x", "image/png")
    with pytest.raises(gateway.client().exceptions.InvalidParametersException, match="KeyTooLong"):
        gateway.get_to(media_id, "s" * 300)


@pytest.fixture(scope="module")
def exact_gateway(world: World) -> Iterator[Gateway]:
    with world.gateway(WHAUL_KEY_MODE="exact") as running:
        yield running


def test_exact_mode_takes_the_key_as_it_stands(
    exact_gateway: Gateway, simulator: Simulator, store: Store, prefix: str
) -> None:
    media_id = simulator.add_media(b"exact", "image/png")
    answer = exact_gateway.get_to(media_id, prefix + "name.jpg")
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-whaul-key"] == prefix + "name.jpg"
    assert store.keys(prefix) == [prefix + "name.jpg"]
    assert store.read(prefix + "name.jpg") == b"exact"
    with pytest.raises(exact_gateway.client().exceptions.InvalidParametersException, match="empty"):
        exact_gateway.get_to(media_id, "")


OPTIONS = {
    "WHAUL_EXTENSIONS": "image/jpeg=.jpg, Application/X-Made-Up=.made,audio/ogg=",
    "WHAUL_S3_SSE": "aws:kms",
    "WHAUL_S3_SSE_KMS_KEY_ID": "alias/whaul",
    "WHAUL_S3_STORAGE_CLASS": "STANDARD_IA",
    "WHAUL_S3_TAGS": "origin=whats app,retention=7 & more",
    "WHAUL_S3_EXPECTED_BUCKET_OWNER": "123456789012",
}


@pytest.fixture(scope="module")
def option_gateway(world: World, running_stand_in: StandIn) -> Iterator[Gateway]:
    """A gateway with every setting that shapes the stored object."""
    with world.gateway(AWS_ENDPOINT_URL_S3=running_stand_in.url, **OPTIONS) as running:
        yield running


@pytest.mark.parametrize(("mime_type", "extension"), [("application/x-made-up; v=1", ".made"), ("image/png", ".png")])
def test_extensions_can_be_overridden(
    option_gateway: Gateway, simulator: Simulator, s3_stand_in: StandIn, mime_type: str, extension: str
) -> None:
    media_id = simulator.add_media(b"x", mime_type)
    option_gateway.get_to(media_id, "k")
    assert s3_stand_in.only.target == f"/{BUCKET}/k{media_id}{extension}"


def test_the_object_options_are_sent_and_signed(option_gateway: Gateway, s3_stand_in: StandIn) -> None:
    option_gateway.get(PDF)
    request = s3_stand_in.only
    sent = {
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "alias/whaul",
        "x-amz-storage-class": "STANDARD_IA",
        "x-amz-tagging": "origin=whats+app&retention=7+%26+more",
        "x-amz-expected-bucket-owner": "123456789012",
    }
    assert {name: request.header(name) for name in sent} == sent
    signed = (request.header("authorization") or "").partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert {*sent, "x-amz-checksum-sha256", "x-amz-content-sha256", "content-type", "host"} <= set(signed)


def test_without_options_the_put_carries_the_type_the_length_and_the_hash_only(
    recorded_gateway: Gateway, simulator: Simulator, s3_stand_in: StandIn
) -> None:
    media = simulator.media[PDF]
    answer = recorded_gateway.get(PDF)
    request = s3_stand_in.only
    assert (request.method, request.length, request.sha256) == ("PUT", media.size, media.sha256().hex())
    assert request.header("content-type") == "application/pdf"
    assert request.header("content-length") == str(media.size)
    assert request.header("x-amz-content-sha256") == media.sha256().hex()
    assert request.header("content-encoding") is None
    amz = {name.lower() for name, _ in request.headers if name.lower().startswith("x-amz")}
    assert amz == {"x-amz-date", "x-amz-content-sha256", "x-amz-checksum-sha256"}
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-whaul-etag"] == ETAG


def test_a_store_that_gives_no_etag_is_fine(recorded_gateway: Gateway, s3_stand_in: StandIn) -> None:
    s3_stand_in.script(Answer(200, {}))
    answer: dict[str, Any] = recorded_gateway.get(PDF)
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-whaul-etag"] == ""
