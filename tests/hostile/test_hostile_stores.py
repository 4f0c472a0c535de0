"""Answers of stores, ours and the caller's: whatever comes, the PUT ends in an ETag that can be told or in an error."""

import asyncio
import json
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.examples import examples, spoilt
from harness.peer import Peer, answer
from whaul.api import response
from whaul.errors import ApiError, Retry
from whaul.model import MediaInfo, PresignedUrl, S3File
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import PresignedHosts
from whaul.outbound.response import MAX_RESPONSE_SIZE
from whaul.storage.credentials import CredentialChain
from whaul.storage.presigned import Presigned
from whaul.storage.s3 import S3Store
from whaul.storage.s3_config import S3Config

SECRET_KEY = "store-secret-access-key"
SIGNATURE = "presigned-signature"
TOLD = b"told-by-the-store"
INFO = MediaInfo("image/jpeg", 3, bytes(32), "https://unused.example/")
Outcome = Callable[[], str | ApiError]


@pytest.fixture(autouse=True, scope="module")
def environment(running_peer: Peer) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIASTORE")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        patch.setenv("AWS_ENDPOINT_URL_S3", running_peer.url)
        yield


async def s3_put(http: HttpClient, _peer: Peer) -> str:
    store = S3Store(http, S3Config.load(), CredentialChain(), region="us-east-1")
    return await store.put(S3File("inbox-bucket", "secret-key/1.jpeg"), b"abc", INFO)


async def presigned_put(http: HttpClient, peer: Peer) -> str:
    url = PresignedUrl(f"{peer.url}/inbox-bucket/secret-key/1.jpeg?X-Amz-Signature={SIGNATURE}", {})
    return await Presigned(http, PresignedHosts(peer.url, []), url).put(b"abc", INFO)


@pytest.fixture(scope="module", params=[s3_put, presigned_put], ids=["S3", "presigned"])
def outcome(request: pytest.FixtureRequest, loop: asyncio.Runner, http: HttpClient, running_peer: Peer) -> Outcome:
    """PUT to the peer, and say what it comes to: an ETag or an error; anything else fails the test."""

    def put() -> str | ApiError:
        try:
            etag = loop.run(request.param(http, running_peer))
        except ApiError as error:
            checked(error)
            return error
        told([("x-whaul-etag", etag)])
        return str(etag)

    return put


def checked(error: ApiError) -> None:
    body, headers = response.error(error)
    told(headers)
    assert json.loads(body)["message"] == error.message
    assert len(error.message) < 1000
    secrets = [SECRET_KEY, SIGNATURE, TOLD.decode(), "inbox-bucket", "secret-key"]
    assert not any(secret in error.message for secret in secrets)


def told(headers: response.Headers) -> None:
    """Check that the headers of an answer of ours are what HTTP can carry."""
    assert all(
        name.isascii() and value.isascii() and "\n" not in value and "\r" not in value for name, value in headers
    )


ERROR = (
    b'<?xml version="1.0"?>\n<Error><Code>SlowDown</Code><Message>%s</Message><Region>eu-west-1</Region></Error>' % TOLD
)
STATUSES = st.sampled_from([200, 201, 204, 206, 301, 307, 400, 403, 404, 409, 412, 429, 500, 501, 503, 599])


@examples(100)
@given(STATUSES, st.data())
def test_a_spoilt_error_is_an_error(outcome: Outcome, running_peer: Peer, status: int, data: st.DataObject) -> None:
    running_peer.reset(answer(status, data.draw(spoilt(ERROR) | st.binary(max_size=60))))
    found = outcome()
    assert isinstance(found, ApiError) or 200 <= status < 300


@examples(100)
@given(st.data())
def test_a_spoilt_answer_is_an_etag_or_an_error(outcome: Outcome, running_peer: Peer, data: st.DataObject) -> None:
    whole = answer(data.draw(STATUSES), ERROR, b'ETag: "0123"', b"x-amz-bucket-region: eu-west-1", b"Retry-After: 3")
    running_peer.reset(data.draw(spoilt(whole)))
    outcome()


ENTITIES = b"".join(b'<!ENTITY e%d "%s">' % (i, b"&e%d;" % (i - 1) * 10) for i in range(1, 12))
BODIES = {
    "an entity bomb": b'<!DOCTYPE x [<!ENTITY e0 "ha">' + ENTITIES + b"]><Error><Code>&e11;</Code></Error>",
    "an outside entity": b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]><Error><Code>&e;</Code></Error>',
    "an outside DTD": b'<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd"><Error><Code>AccessDenied</Code></Error>',
    "deep elements": b"<a>" * 200_000,
    "many codes": b"<Code>" * 150_000,
    "an endless code": b"<Code>" + b"A" * 1_000_000,
    "a code that is not one": b"<Error><Code>\r\nx-evil: 1</Code></Error>",
    "a code in another alphabet": "<Error><Code>\u0410ccessDenied</Code></Error>".encode(),
    "UTF-16": ERROR.decode().encode("utf-16"),
    "JSON": b'{"Code": "AccessDenied"}',
    "HTML": b"<html><h1>%s</h1>" % TOLD,
    "NUL bytes": b"\x00" * 100_000,
    "nothing": b"",
    "more than a mebibyte": b"<Error><Code>SlowDown</Code><Message>" + TOLD * (MAX_RESPONSE_SIZE // len(TOLD) + 1),
}


@pytest.mark.parametrize("status", [301, 400, 403, 404, 503])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_body_made_to_exhaust_a_parser_is_an_error(outcome: Outcome, body: bytes, status: int, peer: Peer) -> None:
    peer.reset(answer(status, body))
    assert isinstance(outcome(), ApiError)


CODES = [
    b"NoSuchBucket",
    b"AccessDenied",
    b"SlowDown",
    b"PermanentRedirect",
    b"AuthorizationHeaderMalformed",
    b"Nonsense",
]


@pytest.mark.parametrize("status", [200, 302, 400, 404, 500])
@pytest.mark.parametrize("code", CODES, ids=lambda code: code.decode())
def test_a_code_that_does_not_fit_its_status_is_still_read_by_the_status(
    outcome: Outcome, code: bytes, status: int, peer: Peer
) -> None:
    peer.reset(answer(status, b"<Error><Code>" + code + b"</Code></Error>"))
    assert isinstance(outcome(), ApiError)


@pytest.mark.parametrize(
    "etag",
    [b"", b'"\xe9"', b"\xff\xfe", b'"' + b"a" * 60_000 + b'"', b'"\xe2\x98\x83"', b'"a"\t"b"'],
    ids=lambda e: repr(e[:8]),
)
def test_any_etag_is_told_or_left_out(outcome: Outcome, etag: bytes, peer: Peer) -> None:
    peer.reset(answer(200, b"", b"ETag: " + etag))
    assert isinstance(outcome(), str)


REGIONS = [
    b"evil.example/#", b"@evil.example", b"us-east-1.evil.example", b"x\\@evil", b"a" * 5000, b"\xff", b"..", b"%2f",
    b"E_U", b"us east", b"127.0.0.1:1/", b"",
]  # fmt: skip


@pytest.mark.parametrize("region", REGIONS, ids=lambda region: repr(region[:12]))
@pytest.mark.parametrize("where", ["header", "body"])
def test_a_region_that_is_none_is_neither_used_nor_repeated(
    outcome: Outcome, region: bytes, where: str, peer: Peer
) -> None:
    """A store that could choose the region could choose the host that the next PUT goes to."""
    body = b"<Error><Code>PermanentRedirect</Code>%s</Error>"
    if where == "header":
        peer.reset(answer(301, body % b"", b"x-amz-bucket-region: " + region))
    else:
        peer.reset(answer(301, body % (b"<Region>" + region + b"</Region>")))
    error = outcome()
    assert isinstance(error, ApiError)
    assert error.retry is not Retry.ONCE
    assert not region or region.decode("latin-1") not in error.message


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_of_a_store_is_not_followed(outcome: Outcome, status: int, peer: Peer, stranger: Peer) -> None:
    peer.reset(answer(status, b"", b"Location: " + stranger.url.encode()))
    assert isinstance(outcome(), ApiError)
    assert (peer.connections, stranger.connections) == (1, 0)


HEADS = {
    "bytes that are not ASCII": [b"Location: \xff\xfe", b"x-amz-bucket-region: \xe9", b"Retry-After: \xff"],
    "another alphabet's digits": ["Retry-After: \u0663".encode()],
    "a wait without end": [b"Retry-After: " + b"9" * 400],
    "a date": [b"Retry-After: Fri, 31 Dec 9999 23:59:59 GMT"],
    "less than no time": [b"Retry-After: -1"],
    "many headers": [b"X-%d: a" % i for i in range(5000)],
    "a huge header": [b"X: " + b"a" * 1_000_000],
    "two lengths": [b"Content-Length: 5"],
    "chunks and a length": [b"Transfer-Encoding: chunked"],
}


@pytest.mark.parametrize("status", [100, 101, 103, 200, 503])
@pytest.mark.parametrize("headers", HEADS.values(), ids=HEADS.keys())
def test_any_head_of_an_answer_is_an_etag_or_an_error(
    outcome: Outcome, headers: list[bytes], status: int, peer: Peer
) -> None:
    peer.reset(answer(status, b"", *headers))
    found = outcome()
    if isinstance(found, ApiError) and found.retry_after is not None:
        assert 0 <= found.retry_after < 10**9
