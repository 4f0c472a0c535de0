"""What S3's answers to a PUT become, and how a bucket's region is found out."""

import pytest

from harness.loopback import BREAK, Answer, Loopback, reply, s3_refusal
from whaul.errors import (
    AccessDeniedException,
    ApiError,
    DependencyException,
    InvalidParametersException,
    ResourceNotFoundException,
    Retry,
    ThrottledRequestException,
)
from whaul.model import MediaInfo, S3File
from whaul.outbound.http import Answer as HttpAnswer
from whaul.outbound.http import HttpClient
from whaul.storage.credentials import CredentialChain
from whaul.storage.errors import CREDENTIAL_CODES, THROTTLE_CODES, TRANSIENT_CODES
from whaul.storage.s3 import ObjectOptions, S3Store, other_region
from whaul.storage.s3_config import S3Config

pytestmark = pytest.mark.anyio

INFO = MediaInfo("image/jpeg", 4, bytes(32), "https://x")
OBJECT = S3File("s3cret-bucket", "s3cret-key")


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")


async def put(monkeypatch: pytest.MonkeyPatch, *answers: Answer, times: int = 1) -> list[tuple[str, ApiError | str]]:
    """PUT some times; return the region that each was signed for, with what came of it."""
    outcomes: list[ApiError | str] = []
    async with Loopback(*answers) as server, HttpClient() as http:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        store = S3Store(http, S3Config.load(), CredentialChain(), region="eu-west-1")
        for _ in range(times):
            try:
                outcomes.append(await store.put(OBJECT, b"file", INFO))
            except ApiError as error:
                outcomes.append(error)
        regions = [request.headers["authorization"].split("/")[2] for request in server.requests]
    assert "s3cret" not in str(outcomes)
    return list(zip(regions, outcomes, strict=True))


async def refused(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> ApiError:
    ((_, error),) = await put(monkeypatch, answer)
    assert isinstance(error, ApiError)
    return error


@pytest.mark.parametrize(
    ("answer", "kind", "retry", "told"),
    [
        (s3_refusal(404, "NoSuchBucket"), ResourceNotFoundException, Retry.NO, "bucket does not exist"),
        (reply(404), ResourceNotFoundException, Retry.NO, "bucket does not exist"),
        (s3_refusal(404, "NoSuchKey"), InvalidParametersException, Retry.NO, "NoSuchKey"),
        (s3_refusal(403, "AccessDenied"), AccessDeniedException, Retry.NO, "may not write"),
        (reply(403), AccessDeniedException, Retry.NO, "may not write"),
        (reply(401), AccessDeniedException, Retry.NO, "may not write"),
        *((s3_refusal(400, code), AccessDeniedException, Retry.NO, "renew") for code in sorted(CREDENTIAL_CODES)),
        *((s3_refusal(403, code), AccessDeniedException, Retry.NO, "renew") for code in sorted(CREDENTIAL_CODES)),
        *((s3_refusal(503, code), ThrottledRequestException, Retry.YES, code) for code in sorted(THROTTLE_CODES)),
        (reply(429), ThrottledRequestException, Retry.YES, "429"),
        (reply(503), ThrottledRequestException, Retry.YES, "503"),
        *((s3_refusal(400, code), DependencyException, Retry.YES, code) for code in sorted(TRANSIENT_CODES)),
        (s3_refusal(500, "InternalError"), DependencyException, Retry.YES, "InternalError"),
        (reply(504), DependencyException, Retry.YES, "504"),
        (BREAK, DependencyException, Retry.YES, "broke"),
        (s3_refusal(400, "KeyTooLongError"), InvalidParametersException, Retry.NO, "KeyTooLongError"),
        (s3_refusal(400, "InvalidRequest"), InvalidParametersException, Retry.NO, "InvalidRequest"),
        (s3_refusal(400, "InvalidStorageClass"), InvalidParametersException, Retry.NO, "InvalidStorageClass"),
        (s3_refusal(411, "MissingContentLength"), InvalidParametersException, Retry.NO, "MissingContentLength"),
        (reply(400, "not xml"), InvalidParametersException, Retry.NO, "without an error code"),
        (reply(302, location="https://evil.example/"), InvalidParametersException, Retry.NO, "redirects"),
        (s3_refusal(301, "PermanentRedirect"), InvalidParametersException, Retry.NO, "redirects"),
    ],
)
async def test_an_answer_of_s3_becomes(
    monkeypatch: pytest.MonkeyPatch, answer: Answer, kind: type[ApiError], retry: Retry, told: str
) -> None:
    error = await refused(monkeypatch, answer)
    assert (type(error), error.retry) == (kind, retry)
    assert told in error.message


async def test_a_throttle_keeps_what_s3_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await refused(monkeypatch, s3_refusal(503, "SlowDown", Retry_After="7"))).retry_after == 7


# --- regions

MOVED = s3_refusal(301, "PermanentRedirect", x_amz_bucket_region="us-west-2")


@pytest.mark.parametrize(
    "answer",
    [
        MOVED,
        s3_refusal(400, "AuthorizationHeaderMalformed", "<Region>us-west-2</Region>"),
        s3_refusal(307, "TemporaryRedirect", x_amz_bucket_region="us-west-2"),
        s3_refusal(400, "IllegalLocationConstraintException", x_amz_bucket_region="us-west-2"),
        reply(301, b"", x_amz_bucket_region="us-west-2"),
    ],
)
async def test_the_right_region_is_used_at_the_next_attempt_and_then_remembered(
    monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    (first, error), *rest = await put(monkeypatch, answer, reply(200, b"", ETag='"abc"'), times=3)
    assert first == "eu-west-1"
    assert isinstance(error, InvalidParametersException)
    assert error.retry is Retry.ONCE
    assert "us-west-2" in error.message
    assert rest == [("us-west-2", '"abc"')] * 2


async def test_a_removal_follows_the_bucket_and_names_its_owner_as_a_write_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Loopback(MOVED, reply(204)) as server, HttpClient() as http:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        options = ObjectOptions(storage_class="STANDARD_IA", expected_bucket_owner="111122223333")
        store = S3Store(http, S3Config.load(), CredentialChain(), region="eu-west-1", options=options)
        with pytest.raises(InvalidParametersException) as caught:
            await store.delete(OBJECT)
        assert caught.value.retry is Retry.ONCE
        await store.delete(OBJECT)
    regions = [request.headers["authorization"].split("/")[2] for request in server.requests]
    assert regions == ["eu-west-1", "us-west-2"]
    assert all(request.headers["x-amz-expected-bucket-owner"] == "111122223333" for request in server.requests)
    assert all("x-amz-storage-class" not in request.headers for request in server.requests)


async def test_a_store_that_names_the_region_that_was_used_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    error = await refused(monkeypatch, s3_refusal(301, "PermanentRedirect", x_amz_bucket_region="eu-west-1"))
    assert error.retry is Retry.NO


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"),
    [
        (301, {"x-amz-bucket-region": "us-west-2"}, b"", "us-west-2"),
        (301, {}, b"<Region>us-west-2</Region>", "us-west-2"),
        (400, {}, b"<Code>AuthorizationHeaderMalformed</Code><Region>us-west-2</Region>", "us-west-2"),
        # another reason to refuse
        (403, {"x-amz-bucket-region": "us-west-2"}, b"<Code>AccessDenied</Code>", None),
        (400, {"x-amz-bucket-region": "us-west-2"}, b"<Code>InvalidRequest</Code>", None),
        (200, {"x-amz-bucket-region": "us-west-2"}, b"", None),
        # no region at all
        (301, {}, b"", None),
        (301, {}, b"<Region>evil.example/</Region>", None),
        (301, {"x-amz-bucket-region": "evil.example/"}, b"", None),
        (301, {"x-amz-bucket-region": "evil.example#"}, b"", None),
        (301, {"x-amz-bucket-region": "a" * 64}, b"", None),
        (301, {"x-amz-bucket-region": ""}, b"", None),
    ],
)
def test_another_region_is_read_from_the_header_or_the_body(
    status: int, headers: dict[str, str], body: bytes, expected: str | None
) -> None:
    assert other_region(HttpAnswer(status, headers, body)) == expected


@pytest.mark.parametrize("bucket", ["xn--a", "xn--a--b"])
async def test_a_bucket_name_that_can_be_no_host_is_refused(bucket: str) -> None:
    async with HttpClient() as http:
        store = S3Store(http, S3Config.load(), CredentialChain(), region="eu-west-1")
        with pytest.raises(InvalidParametersException, match="bucket"):
            await store.put(S3File(bucket, "k"), b"file", INFO)
