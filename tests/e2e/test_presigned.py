"""A destination that the caller signed: what is sent to it, and which ones are refused."""

import hashlib
from typing import Any

import pytest

from harness.store import BUCKET, StandIn, Store, s3_answer, s3_client, stand_in
from harness.world import Gateway
from whaul.simulator import Simulator

JPEG, VOICE = "100000000000001", "100000000000002"
V4 = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=5e5e5e"


def put(gateway: Gateway, url: str, headers: dict[str, str] | None = None, media_id: str = VOICE) -> dict[str, str]:
    """Fetch a media to a URL; return the answer's headers."""
    answer = gateway.get(media_id, destinationS3PresignedUrl={"url": url, "headers": headers or {}})
    assert answer["fileSize"] > 0
    return dict(answer["ResponseMetadata"]["HTTPHeaders"])


def refusal(gateway: Gateway, url: str, headers: dict[str, str] | None = None) -> str:
    """The message with which a destination is refused, before anything is fetched."""
    with pytest.raises(gateway.client().exceptions.InvalidParametersException) as refused:
        put(gateway, url, headers)
    message = str(refused.value.response["Error"]["Message"])
    assert "5e5e5e" not in message
    assert gateway.world.simulator.count(VOICE) == dict.fromkeys(gateway.world.simulator.count(VOICE), 0)
    return message


@pytest.mark.parametrize("version", ["s3v4", "s3"])
@pytest.mark.parametrize("media_id", [JPEG, VOICE])
def test_a_url_made_with_boto3_is_filled(
    *, gateway: Gateway, simulator: Simulator, store: Store, prefix: str, version: str, media_id: str
) -> None:
    key = f"{prefix}of my own choice + ümlaut.bin"
    headers = put(gateway, store.presigned(key, version=version), media_id=media_id)
    media = simulator.media[media_id]
    assert store.read(key) == media.read()
    assert {name for name in headers if name.startswith("x-whaul")} == {"x-whaul-etag", "x-whaul-sha256"}
    assert headers["x-whaul-sha256"] == media.sha256().hex()
    assert headers["x-whaul-etag"] == store.client.head_object(Bucket=BUCKET, Key=key)["ETag"]
    if version == "s3v4":
        assert store.content_type(key) == media.mime_type


def test_a_url_for_a_virtual_hosted_bucket_of_the_endpoint_is_allowed_when_the_endpoint_has_a_name(
    gateway: Gateway,
) -> None:
    """The endpoint here is an address, which has no names below it."""
    port = gateway.world.environ["AWS_ENDPOINT_URL_S3"].rpartition(":")[2]
    refusal(gateway, f"http://inbox.127.0.0.1:{port}/k?{V4}")


def test_headers_that_were_signed_are_sent_along(
    gateway: Gateway, simulator: Simulator, store: Store, prefix: str
) -> None:
    key = f"{prefix}signed"
    params = {"ContentType": "audio/x-own", "Metadata": {"sender": "Müller".encode().hex()}, "CacheControl": "no-store"}
    url = store.presigned(key, **params)
    sent = {
        "Content-Type": "audio/x-own",
        "x-amz-meta-sender": params["Metadata"]["sender"],  # type: ignore[index]
        "Cache-Control": "no-store",
    }
    put(gateway, url, sent)
    head = store.client.head_object(Bucket=BUCKET, Key=key)
    assert (head["ContentType"], head["CacheControl"]) == ("audio/x-own", "no-store")
    assert head["Metadata"] == params["Metadata"]
    assert simulator.count(VOICE)["download"] == 1


@pytest.mark.parametrize(
    ("query", "given", "sent"),
    [
        (f"{V4}&X-Amz-SignedHeaders=host", {}, "audio/ogg; codecs=opus"),
        ("AWSAccessKeyId=A&Signature=5e5e5e&Expires=1", {}, None),
    ],
)
def test_the_content_type_is_added_only_where_it_was_not_signed(
    *, recorded_gateway: Gateway, s3_stand_in: StandIn, query: str, given: dict[str, str], sent: str | None
) -> None:
    put(recorded_gateway, f"{s3_stand_in.url}/{BUCKET}/k?{query}", given)
    assert s3_stand_in.only.header("content-type") == sent


def test_the_put_carries_the_callers_headers_and_target_and_nothing_of_the_servers_own(
    recorded_gateway: Gateway, simulator: Simulator, s3_stand_in: StandIn
) -> None:
    target = f"/{BUCKET}/a%20b/%C3%A4//%2e%2Fx+y?{V4}&X-Amz-SignedHeaders=host&empty=&x=%2F+"
    put(recorded_gateway, s3_stand_in.url + target, {"X-Amz-Tagging": "a=1", "x-custom": "v  w"})
    request = s3_stand_in.only
    assert (request.method, request.target) == ("PUT", target)
    names = {name.lower() for name, _ in request.headers}
    assert names <= {"host", "content-length", "content-type", "x-amz-tagging", "x-custom", "accept", "user-agent"}
    assert request.header("x-amz-tagging") == "a=1"
    assert request.header("x-custom") == "v  w"
    assert request.header("content-length") == str(simulator.media[VOICE].size)
    assert request.sha256 == hashlib.sha256(simulator.media[VOICE].read()).hexdigest()


@pytest.mark.parametrize(
    "url", ["https://evil.example/s3.amazonaws.com/x", "https://inbox.s3.amazonaws.com/a/%2e%2E/k", "not a url"]
)
def test_a_url_that_is_no_allowed_s3_address_is_refused(gateway: Gateway, simulator: Simulator, url: str) -> None:
    assert simulator.count(VOICE)["metadata"] == 0
    message = refusal(gateway, url if "#" in url or url.endswith("\n") else f"{url}?X-Amz-Signature=5e5e5e")
    assert message.startswith("The presigned URL is refused: ")
    assert "evil" not in message


def test_another_port_or_scheme_or_host_than_the_endpoints_is_refused(
    gateway: Gateway, simulator: Simulator, s3_stand_in: StandIn
) -> None:
    """The stand-in listens beside the configured endpoint, on another port of the same host."""
    assert simulator.count(VOICE)["metadata"] == 0
    endpoint = gateway.world.environ["AWS_ENDPOINT_URL_S3"]
    for url in (s3_stand_in.url, endpoint.replace("http:", "https:"), endpoint.replace("127.0.0.1", "localhost")):
        refusal(gateway, f"{url}/{BUCKET}/k?{V4}")
    assert s3_stand_in.requests == []


@pytest.mark.parametrize("headers", [{"Host": "x"}, {"x-a": "with\r\ninjected: 1"}, {"x-a": "1", "X-A": "2"}], ids=repr)
def test_headers_that_may_not_be_sent_are_refused_without_their_values(
    gateway: Gateway, simulator: Simulator, headers: dict[str, str]
) -> None:
    assert simulator.count(VOICE)["metadata"] == 0
    message = refusal(gateway, f"https://inbox.s3.amazonaws.com/k?{V4}", headers)
    assert "injected" not in message
    assert "newline" not in message


def test_a_redirect_is_not_followed(recorded_gateway: Gateway, simulator: Simulator, s3_stand_in: StandIn) -> None:
    assert simulator.count(VOICE)["metadata"] == 0
    with stand_in() as elsewhere:
        s3_stand_in.always(s3_answer(307, "TemporaryRedirect", {"Location": f"{elsewhere.url}/{BUCKET}/k"}))
        client = recorded_gateway.client()
        with pytest.raises(client.exceptions.InvalidParametersException, match="redirects"):
            put(recorded_gateway, f"{s3_stand_in.url}/{BUCKET}/k?{V4}")
        assert elsewhere.requests == []
    assert len(s3_stand_in.requests) == 1


def test_a_post_policy_or_a_get_url_does_not_fit(gateway: Gateway, store: Store, prefix: str) -> None:
    client: Any = s3_client(store.endpoint, signature_version="s3v4")
    url = client.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": f"{prefix}k"})
    client.close()
    with pytest.raises(gateway.client().exceptions.AccessDeniedException, match="SignatureDoesNotMatch"):
        put(gateway, url)
