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
from whaul.outbound.http import HttpClient
from whaul.outbound.response import Response
from whaul.storage.credentials import RELOAD_EVERY, CredentialChain
from whaul.storage.errors import CHECKSUM_CODES, CREDENTIAL_CODES, THROTTLE_CODES, TRANSIENT_CODES
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


SAYS_AGAIN = "<Error><Code>Busy</Code><Message>Somebody else writes to it. Please Try Again.</Message></Error>"


@pytest.mark.parametrize(
    ("answer", "kind", "retry", "told"),
    [
        (s3_refusal(404, "NoSuchBucket"), ResourceNotFoundException, Retry.NO, "bucket does not exist"),
        (reply(404, x_amz_request_id="1"), ResourceNotFoundException, Retry.NO, "bucket does not exist"),
        (s3_refusal(404, "NoSuchKey"), InvalidParametersException, Retry.NO, "NoSuchKey"),
        (s3_refusal(403, "AccessDenied"), AccessDeniedException, Retry.NO, "may not write"),
        (reply(403, x_amz_request_id="1"), AccessDeniedException, Retry.NO, "may not write"),
        (reply(401, x_amz_id_2="1"), AccessDeniedException, Retry.NO, "may not write"),
        *((s3_refusal(400, code), AccessDeniedException, Retry.NO, "renew") for code in sorted(CREDENTIAL_CODES)),
        *((s3_refusal(403, code), AccessDeniedException, Retry.NO, "renew") for code in sorted(CREDENTIAL_CODES)),
        *((s3_refusal(503, code), ThrottledRequestException, Retry.YES, code) for code in sorted(THROTTLE_CODES)),
        (s3_refusal(403, "SlowDown"), ThrottledRequestException, Retry.YES, "SlowDown"),
        (reply(429), ThrottledRequestException, Retry.YES, "429"),
        (reply(503), ThrottledRequestException, Retry.YES, "503"),
        *((s3_refusal(400, code), DependencyException, Retry.YES, code) for code in sorted(TRANSIENT_CODES)),
        *((s3_refusal(400, code), DependencyException, Retry.YES, code) for code in sorted(CHECKSUM_CODES)),
        (s3_refusal(409, "OperationAborted"), DependencyException, Retry.YES, "OperationAborted"),
        (reply(409, SAYS_AGAIN), DependencyException, Retry.YES, "Busy"),
        (s3_refusal(409, "InvalidBucketState"), InvalidParametersException, Retry.NO, "InvalidBucketState"),
        (s3_refusal(307, "TemporaryRedirect"), DependencyException, Retry.YES, "TemporaryRedirect"),
        (s3_refusal(501, "NotImplemented"), InvalidParametersException, Retry.NO, "NotImplemented"),
        (s3_refusal(400, "NotImplemented"), InvalidParametersException, Retry.NO, "NotImplemented"),
        (s3_refusal(200, "InternalError"), DependencyException, Retry.YES, "InternalError"),
        (s3_refusal(500, "InternalError"), DependencyException, Retry.YES, "InternalError"),
        (BREAK, DependencyException, Retry.YES, "broke"),
        (s3_refusal(400, "KeyTooLongError"), InvalidParametersException, Retry.NO, "KeyTooLongError"),
        (s3_refusal(400, "InvalidRequest"), InvalidParametersException, Retry.NO, "InvalidRequest"),
        (s3_refusal(400, "InvalidStorageClass"), InvalidParametersException, Retry.NO, "InvalidStorageClass"),
        (s3_refusal(411, "MissingContentLength"), InvalidParametersException, Retry.NO, "MissingContentLength"),
        (s3_refusal(301, "PermanentRedirect"), InvalidParametersException, Retry.NO, "redirects"),
    ],
)
async def test_an_answer_of_s3_becomes(
    monkeypatch: pytest.MonkeyPatch, answer: Answer, kind: type[ApiError], retry: Retry, told: str
) -> None:
    error = await refused(monkeypatch, answer)
    assert (type(error), error.retry) == (kind, retry)
    assert told in error.message


# --- what no store says

HTML = "<html><body><h1>Not here</h1><Code>NoSuchBucket</Code></body></html>"
LOG_IN = {"location": "https://login.example/"}


@pytest.mark.parametrize(
    ("answer", "retry"),
    [
        (reply(404, HTML), Retry.FEW),
        (reply(404), Retry.FEW),
        (reply(404, HTML, x_amz_request_id="1"), Retry.FEW),
        (reply(404, b"", x_amz_cf_id="1"), Retry.FEW),  # CloudFront's
        (reply(404, '{"message": "no Route matched"}'), Retry.FEW),
        (reply(403, HTML), Retry.FEW),
        (reply(403), Retry.FEW),
        (reply(401), Retry.FEW),
        (reply(400, "not xml"), Retry.FEW),
        (reply(408), Retry.YES),
        (reply(500, HTML), Retry.YES),
        (reply(502, HTML), Retry.YES),
        (reply(503, HTML), Retry.YES),
        (reply(504), Retry.YES),
        (reply(407, HTML), Retry.NO),
        (reply(411), Retry.NO),
        (reply(413, HTML), Retry.NO),
        (reply(501), Retry.NO),
        (reply(302, **LOG_IN), Retry.NO),
        (reply(307, HTML, **LOG_IN), Retry.NO),
        (reply(200, HTML), Retry.FEW),
        (reply(200, f"\n<!doctype html>{HTML}", content_type="text/html"), Retry.FEW),
        (reply(200, f"\ufeff<!doctype html>{HTML}"), Retry.FEW),  # with a byte order mark
        (reply(200, "Log in first", content_type="Text/HTML; charset=utf-8"), Retry.FEW),
    ],
)
async def test_an_answer_that_no_store_gives_is_a_failed_dependency(
    monkeypatch: pytest.MonkeyPatch, answer: Answer, retry: Retry
) -> None:
    error = await refused(monkeypatch, answer)
    assert (type(error), error.retry) == (DependencyException, retry)
    assert "not as an S3 store does" in error.message
    assert "bucket does not exist" not in error.message
    assert "credentials" not in error.message


@pytest.mark.parametrize(
    "answer",
    [
        reply(200),
        reply(200, content_type="text/html"),
        reply(204),
        reply(200, HTML, ETag='"abc"'),
        reply(201, '{"Key": "inbox/42"}'),
    ],
)
async def test_without_an_etag_an_object_may_be_stored(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> None:
    ((_, etag),) = await put(monkeypatch, answer)
    assert isinstance(etag, str)


async def test_a_page_in_the_place_of_an_object_is_a_failed_dependency(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Loopback(reply(200, HTML, content_type="text/html; charset=utf-8")) as server, HttpClient() as http:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        store = S3Store(http, S3Config.load(), CredentialChain(), region="eu-west-1")
        with pytest.raises(DependencyException, match="not as an S3 store does"):
            async with store.open(OBJECT):
                pass


async def test_credentials_that_the_store_refuses_are_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    async with Loopback(s3_refusal(403, "ExpiredToken"), reply(200)) as server, HttpClient() as http:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        chain = CredentialChain(clock=lambda: now[0])
        store = S3Store(http, S3Config.load(), chain, region="eu-west-1")
        await chain.get()
        now[0] += RELOAD_EVERY
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDNEW")
        with pytest.raises(AccessDeniedException, match="ExpiredToken"):
            await store.put(OBJECT, b"file", INFO)
        await store.put(OBJECT, b"file", INFO)
    assert ["Credential=AKIDNEW/" in request.headers["authorization"] for request in server.requests] == [False, True]


async def test_a_wait_that_a_proxy_asks_for_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await refused(monkeypatch, reply(503, HTML, Retry_After="7"))).retry_after == 7


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
        (400, {}, b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>us-west-2</Region>", "us-west-2"),
        (400, {"x-amz-bucket-region": "us-west-2"}, b"", "us-west-2"),  # the answer to a HEAD
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
    assert other_region(Response(status, headers, body)) == expected


@pytest.mark.parametrize(
    "bucket", ["xn--a", "xn--a--b", "localhost:8080/x", "2130706433/", "[::1]/", "a?", "a#", "u@h", "..", ""]
)
async def test_a_bucket_name_that_can_be_no_host_is_refused(bucket: str) -> None:
    async with HttpClient() as http:
        store = S3Store(http, S3Config.load(), CredentialChain(), region="eu-west-1")
        with pytest.raises(InvalidParametersException, match="bucket"):
            await store.put(S3File(bucket, "k"), b"file", INFO)
