"""A destination that the caller signed: which headers may go along, and what the store's answers become."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyreqwest.http import Url

from harness.loopback import BREAK, Answer, Loopback, reply, s3_refusal
from whaul.errors import (
    AccessDeniedException,
    ApiError,
    DependencyException,
    InvalidParametersException,
    Retry,
    ThrottledRequestException,
)
from whaul.model import MediaInfo, PresignedUrl
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import PresignedHosts
from whaul.storage.errors import CHECKSUM_CODES
from whaul.storage.presigned import (
    REFUSED_HEADERS,
    Presigned,
    checked_headers,
    signs_content_type,
)

pytestmark = pytest.mark.anyio

SIGNATURE = "S1gn4tur3"
V4 = f"/inbox/x?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-SignedHeaders=host&X-Amz-Signature={SIGNATURE}"
V4_WITH_TYPE = V4.replace("=host", "=content-type%3Bhost")
V2 = f"/inbox/x?AWSAccessKeyId=AKIA&Expires=1&Signature={SIGNATURE}"
FILE = b"a file" * 100
INFO = MediaInfo("audio/ogg; codecs=opus", len(FILE), bytes(32), "https://x")


async def put(server: Loopback, target: str = V4, **headers: str) -> str:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    async with HttpClient() as http:
        destination = Presigned(http, PresignedHosts(server.url, ()), PresignedUrl(f"{server.url}{target}", given))
        return await destination.put(FILE, INFO)


async def refused(answer: Answer) -> ApiError:
    async with Loopback(answer) as server:
        with pytest.raises(ApiError) as caught:
            await put(server)
        assert len(server.requests) == 1, "a PUT is neither repeated nor redirected"
    for hidden in (SIGNATURE, "127.0.0.1", "inbox"):
        assert hidden not in caught.value.message
    return caught.value


async def test_the_file_is_put_whole_with_its_length_and_the_callers_headers() -> None:
    async with Loopback(reply(200, b"", ETag='"abc"')) as server:
        assert await put(server, x_amz_acl="private", Cache_Control="no-store") == '"abc"'
        (request,) = server.requests
    assert (request.method, request.target, request.body) == ("PUT", V4, FILE)
    assert request.headers["content-length"] == str(len(FILE))
    assert "transfer-encoding" not in request.headers
    assert "authorization" not in request.headers
    assert request.headers["x-amz-acl"] == "private"
    assert request.headers["cache-control"] == "no-store"


async def test_a_store_that_gives_no_etag_is_believed() -> None:
    async with Loopback(reply(201)) as server:
        assert await put(server) == ""


@pytest.mark.parametrize(
    ("target", "headers", "content_type"),
    [
        (V4, {}, "audio/ogg; codecs=opus"),
        (V4.lower(), {}, "audio/ogg; codecs=opus"),
        (V4, {"Content-Type": "text/x"}, "text/x"),
        (V4, {"CONTENT-TYPE": ""}, ""),
        (V4_WITH_TYPE, {}, None),
        (V4_WITH_TYPE, {"content-type": "text/x"}, "text/x"),
        (V4_WITH_TYPE.replace("content-type", "Content-Type"), {}, None),
        (V2, {}, None),
        (V2, {"content-type": "text/x"}, "text/x"),
        ("/inbox/x", {}, "audio/ogg; codecs=opus"),
    ],
)
async def test_a_content_type_is_added_only_where_the_signature_lets_it(
    target: str, headers: dict[str, str], content_type: str | None
) -> None:
    async with Loopback() as server:
        await put(server, target, **headers)
        (request,) = server.requests
    assert request.headers.get("content-type") == content_type


@pytest.mark.parametrize(
    ("query", "signs"),
    [
        ("X-Amz-Signature=0&X-Amz-SignedHeaders=host", False),
        ("X-Amz-Signature=0&X-Amz-SignedHeaders=content-type;host", True),
        ("X-Amz-Signature=0&X-Amz-SignedHeaders=content-type%3Bhost", True),
        ("X-Amz-Signature=0&X-Amz-SignedHeaders=x-content-type%3Bhost", False),
        ("X-Amz-Signature=0", False),
        ("x-amz-signature=0&x-amz-signedheaders=CONTENT-TYPE", True),
        ("Signature=0&Expires=1", True),
        ("Expires=1", False),
        ("", False),
    ],
)
def test_whether_a_signature_covers_the_content_type_is_read_from_the_url(query: str, signs: bool) -> None:
    assert signs_content_type(Url(f"https://s3.amazonaws.com/inbox/x?{query}")) is signs
    assert signs_content_type(Url("https://s3.amazonaws.com/inbox/x")) is False


# --- headers


@pytest.mark.parametrize("name", sorted(REFUSED_HEADERS))
def test_a_header_of_the_connection_is_refused(name: str) -> None:
    for spelled in (name, name.upper(), name.title()):
        with pytest.raises(InvalidParametersException) as caught:
            checked_headers({spelled: SIGNATURE})
        assert name in caught.value.message
        assert SIGNATURE not in caught.value.message


def test_the_headers_that_the_contract_refuses_are_among_them() -> None:
    asked = {
        "host",
        "content-length",
        "transfer-encoding",
        "authorization",
        "connection",
        "keep-alive",
        "te",
        "trailer",
    }
    assert asked | {"upgrade", "proxy-authorization", "proxy-authenticate"} <= REFUSED_HEADERS


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a:", "a\r\nb", "a\x00", "é", "a(b)", "a/b", "\ta", "a=b", '"a"', "a,b"]
)
def test_a_name_that_http_does_not_allow_is_refused(name: str) -> None:
    with pytest.raises(InvalidParametersException, match="name"):
        checked_headers({name: "x"})


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\r", "a\x00b", "\x1b[1m", "\x7f", "€", "🐋", "a\u2028"])
def test_a_value_that_http_does_not_allow_is_refused_and_not_repeated(value: str) -> None:
    with pytest.raises(InvalidParametersException, match="x-name is not allowed") as caught:
        checked_headers({"X-Name": value + SIGNATURE})
    assert SIGNATURE not in caught.value.message


def test_a_header_given_twice_is_refused() -> None:
    with pytest.raises(InvalidParametersException, match="x-a is given twice"):
        checked_headers({"X-A": "1", "x-a": "2"})


@pytest.mark.parametrize("value", ["", "a", "a b", "a\tb", "~!@#$%^&*()_+{}|:\"<>?-=[]\\;',./", "ä"])
async def test_a_header_that_http_allows_goes_along(value: str) -> None:
    async with Loopback() as server:
        await put(server, x_name=value)
        (request,) = server.requests
    assert request.headers["x-name"].encode("latin-1").decode() == value


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=4))
def test_any_headers_are_sent_or_refused(given: dict[str, str]) -> None:
    try:
        checked = checked_headers(given)
    except InvalidParametersException:
        return
    assert {name.lower(): value for name, value in given.items()} == checked
    assert not any(set(value) & set("\r\n\0") for value in checked.values())


# --- answers


@pytest.mark.parametrize(
    ("answer", "kind", "retry", "told"),
    [
        (s3_refusal(403, "AccessDenied"), AccessDeniedException, Retry.NO, "AccessDenied"),
        (s3_refusal(403, "SignatureDoesNotMatch"), AccessDeniedException, Retry.NO, "SignatureDoesNotMatch"),
        (s3_refusal(403, "ExpiredToken"), AccessDeniedException, Retry.NO, "new URL"),
        (reply(401, x_amz_request_id="1"), AccessDeniedException, Retry.NO, "without an error code"),
        (reply(401, "who?"), DependencyException, Retry.FEW, "not as an S3 store does"),
        (s3_refusal(400, "ExpiredToken"), InvalidParametersException, Retry.NO, "ExpiredToken"),
        (s3_refusal(404, "NoSuchBucket"), InvalidParametersException, Retry.NO, "NoSuchBucket"),
        (s3_refusal(400, "KeyTooLongError"), InvalidParametersException, Retry.NO, "KeyTooLongError"),
        (s3_refusal(411, "MissingContentLength"), InvalidParametersException, Retry.NO, "411"),
        (reply(411), DependencyException, Retry.NO, "411"),
        (reply(307, b"", location="https://evil.example/"), DependencyException, Retry.NO, "redirects"),
        (reply(301, b""), DependencyException, Retry.NO, "redirects"),
        (reply(301, x_amz_request_id="1"), InvalidParametersException, Retry.NO, "redirects"),
        (s3_refusal(503, "SlowDown"), ThrottledRequestException, Retry.YES, "SlowDown"),
        (s3_refusal(400, "SlowDown"), ThrottledRequestException, Retry.YES, "SlowDown"),
        (reply(429, b""), ThrottledRequestException, Retry.YES, "429"),
        *((s3_refusal(400, code), InvalidParametersException, Retry.NO, "checksum") for code in sorted(CHECKSUM_CODES)),
        (s3_refusal(307, "TemporaryRedirect"), InvalidParametersException, Retry.NO, "redirects"),
        (s3_refusal(409, "OperationAborted"), DependencyException, Retry.YES, "OperationAborted"),
        (s3_refusal(501, "NotImplemented"), InvalidParametersException, Retry.NO, "NotImplemented"),
        (s3_refusal(400, "RequestTimeout"), DependencyException, Retry.YES, "RequestTimeout"),
        (s3_refusal(500, "InternalError"), DependencyException, Retry.YES, "InternalError"),
        (reply(501, b""), DependencyException, Retry.NO, "501"),
        (reply(500, b"<Error><Code>" + SIGNATURE.encode() * 20 + b"</Code>"), DependencyException, Retry.YES, "500"),
        (reply(400, b"<Error><Code>a b</Code>"), DependencyException, Retry.FEW, "400"),
        (reply(200, b"<html>Log in"), DependencyException, Retry.FEW, "not as an S3 store does"),
        (BREAK, DependencyException, Retry.YES, "broke"),
    ],
)
async def test_an_answer_of_the_store_becomes(answer: Answer, kind: type[ApiError], retry: Retry, told: str) -> None:
    error = await refused(answer)
    assert (type(error), error.retry) == (kind, retry)
    assert told in error.message


async def test_a_throttle_keeps_what_the_store_asked_for() -> None:
    assert (await refused(reply(503, b"", Retry_After="7"))).retry_after == 7
    assert (await refused(reply(503, b"", Retry_After="soon"))).retry_after is None


@pytest.mark.parametrize(
    "url", ["https://evil.example/s3.amazonaws.com/x", "http://127.0.0.1:1/x", "x", "https://a@b/"]
)
async def test_a_url_that_may_not_be_called_is_refused_before_anything_is_sent(url: str) -> None:
    async with HttpClient() as http:
        with pytest.raises(InvalidParametersException, match="presigned URL is refused") as caught:
            Presigned(http, PresignedHosts("https://s3.eu-west-1.amazonaws.com", ()), PresignedUrl(url, {}))
    assert "evil" not in caught.value.message
    assert "127" not in caught.value.message
