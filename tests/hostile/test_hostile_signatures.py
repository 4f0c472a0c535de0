"""Signatures: nothing that was tampered with verifies, and nothing that is thrown at the parser gets past it."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from harness.examples import TRICKS, examples, spoilt
from whaul.auth.authenticator import Authenticator, sigv4
from whaul.auth.caller import Caller
from whaul.auth.policy import ALLOW_ALL
from whaul.errors import (
    ApiError,
    IncompleteSignatureException,
    InvalidSignatureException,
    MissingAuthenticationTokenException,
    UnrecognizedClientException,
)
from whaul.model import AccessKey
from whaul.sigv4 import HttpRequest
from whaul.testing import InMemoryRegistry

REGION, SERVICE = "us-east-1", "social-messaging"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
KEY = AccessKey("AKIAHOSTILE000000001", "tester", SecretStr("made-up-secret-of-the-tester"), ALLOW_ALL)
TEMPORARY = AccessKey("ASIAHOSTILE000000002", "guest", SecretStr("other-secret"), ALLOW_ALL, SecretStr("session/T=="))
HOST = "127.0.0.1:8080"
REFUSALS = (
    MissingAuthenticationTokenException,
    IncompleteSignatureException,
    UnrecognizedClientException,
    InvalidSignatureException,
)
SECRETS = [key.secret_access_key.get_secret_value() for key in (KEY, TEMPORARY)] + ["session/T=="]

authenticator = Authenticator(
    InMemoryRegistry([KEY, TEMPORARY]), account_id="000000000000", region=REGION, now=lambda: NOW
)


class FixedTime:
    """botocore's signers with the time of these tests."""

    def add_auth(self, request: AWSRequest) -> None:
        request.context["timestamp"] = NOW.strftime("%Y%m%dT%H%M%SZ")
        self._modify_request_before_signing(request)
        canonical = self.canonical_request(request)
        to_sign = self.string_to_sign(request, canonical)
        self._inject_signature_to_request(request, self.signature(to_sign, request))


class HeaderSigner(FixedTime, SigV4Auth): ...


class QuerySigner(FixedTime, SigV4QueryAuth): ...


def signed(
    method: str, target: str, body: bytes, headers: dict[str, str], key: AccessKey = KEY, *, in_query: bool = False
) -> HttpRequest:
    """A request as botocore signs it, as it comes over the wire."""
    token = key.session_token and key.session_token.get_secret_value()
    credentials = Credentials(key.access_key_id, key.secret_access_key.get_secret_value(), token)
    request = AWSRequest(method, f"http://{HOST}{target}", headers=headers, data=body)
    (QuerySigner if in_query else HeaderSigner)(credentials, SERVICE, REGION).add_auth(request)
    if in_query:
        # The presigning signer takes any body for signed; here the body's own hash must be.
        request = presigned(request, body, credentials)
    url = urlsplit(request.url)
    sent = [(b"host", HOST.encode())]
    sent += [(name.lower().encode(), value.encode()) for name, value in request.headers.items()]
    return HttpRequest(method, url.path.encode(), url.query.encode(), sent, body)


def presigned(request: AWSRequest, body: bytes, credentials: Credentials) -> AWSRequest:
    """Sign again with the body's hash, which is what a presigned call to this service carries."""
    unsigned = re.sub("&X-Amz-Signature=[0-9a-f]*", "", request.url)
    again = AWSRequest(request.method, unsigned, headers=request.headers, data=body)
    again.context["timestamp"] = NOW.strftime("%Y%m%dT%H%M%SZ")
    signer = SigV4Auth(credentials, SERVICE, REGION)
    canonical = signer.canonical_request(again)
    signature = signer.signature(signer.string_to_sign(again, canonical), again)
    again.url += f"&X-Amz-Signature={signature}"
    return again


def caller_of(request: HttpRequest, loop: asyncio.Runner) -> Caller | None:
    """Who sent it; None when it was refused as it should be."""
    try:
        return loop.run(
            authenticator.authenticate(request.method, request.path, request.query, request.headers, request.body)
        )
    except REFUSALS as refusal:
        keeps_secrets(refusal.message)
        return None


def keeps_secrets(message: str) -> None:
    """Check a message that goes to whoever asked."""
    message.encode()
    assert not any(secret in message for secret in SECRETS)


PATH = st.sampled_from(
    ["/v1/whatsapp/media/get", "/", "/a//b", "/a/./b/../c/", "/a%2Fb", "/%C3%A9", "/a b".replace(" ", "%20"), "/~-._/x"]
) | st.text("ab/.%20~+", max_size=12).map(lambda text: "/" + text)
QUERY = st.sampled_from(
    ["", "a", "a=", "b=1&a=2", "a=2&a=1", "a=%2F&a=%2f", "x=+", "x=%20", "=", "&", "a=b=c"]
) | st.text("ab=&%20+~", max_size=12)
HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "x-amz-meta", "x-custom", "x-amz-a"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
)
REQUESTS = st.builds(
    signed,
    st.sampled_from(["POST", "GET", "PUT"]),
    st.builds(lambda path, query: path + ("?" + query if query else ""), PATH, QUERY),
    st.binary(max_size=50),
    HEADERS,
    st.sampled_from([KEY, TEMPORARY]),
)
GOOD = signed("POST", "/v1/whatsapp/media/get", b'{"mediaId": "1"}', {"content-type": "application/json"})
GOOD_TEMPORARY = signed("POST", "/v1/whatsapp/media/get?a=1&b=2", b"{}", {"x-amz-a": "1  2"}, TEMPORARY)
GOOD_PRESIGNED = signed("POST", "/v1/whatsapp/media/get?a=1", b"{}", {}, in_query=True)
GOODS = [GOOD, GOOD_TEMPORARY, GOOD_PRESIGNED]


@pytest.mark.parametrize("good", GOODS, ids=["header", "temporary", "presigned"])
def test_what_the_tampering_starts_from_verifies(good: HttpRequest, loop: asyncio.Runner) -> None:
    assert caller_of(good, loop) is not None


@examples(150)
@given(REQUESTS)
def test_whatever_botocore_signs_verifies(loop: asyncio.Runner, request: HttpRequest) -> None:
    assert caller_of(request, loop) is not None


def altered(draw: st.DrawFn, good: HttpRequest) -> HttpRequest:
    """A request with one part of it spoilt."""
    headers = list(good.headers)
    part = draw(
        st.sampled_from(["method", "path", "query", "body", "more", *["name", "value", "fewer"] * bool(headers)])
    )
    at = draw(st.integers(0, max(0, len(headers) - 1)))
    if part == "method":
        return replace(good, method=draw(st.sampled_from(["PUT", "GET", "post", "DELETE", "POST ", "P\xd6ST"])))
    if part in {"path", "query", "body"}:
        return replace(good, **{part: draw(spoilt(getattr(good, part)))})
    if part == "name":
        headers[at] = (draw(spoilt(headers[at][0])), headers[at][1])
    elif part == "value":
        headers[at] = (headers[at][0], draw(spoilt(headers[at][1])))
    elif part == "more":
        extra = st.sampled_from(
            [*headers, (b"x-amz-a", b"1"), (b"host", b"evil.example"), (b"x-amz-content-sha256", b"")]
        )
        headers.insert(at, draw(extra))
    else:
        del headers[at]
    return replace(good, headers=headers)


ALTERED = st.composite(altered)


@examples(800)
@given(st.data())
def test_nothing_tampered_verifies(loop: asyncio.Runner, data: st.DataObject) -> None:
    good = data.draw(st.sampled_from(GOODS))
    bad = data.draw(ALTERED(good))
    if caller_of(bad, loop) is not None:
        assert meaning(bad) == meaning(good), "tampered, and it verified"


@examples(150)
@given(st.data())
def test_a_claim_spoilt_twice_does_not_verify(loop: asyncio.Runner, data: st.DataObject) -> None:
    good = data.draw(st.sampled_from(GOODS))
    bad = data.draw(ALTERED(data.draw(ALTERED(good))))
    if caller_of(bad, loop) is not None:
        assert meaning(bad) == meaning(good), "tampered, and it verified"


def meaning(request: HttpRequest) -> tuple[Any, ...]:
    """What a request says, read apart from the code under test; only what HTTP and SigV4 take for the same is folded.

    Those are white space around and inside header values, the order of headers and of query members, letters of
    header names, empty path segments and dot segments, and headers that nobody signed.
    """
    headers: dict[bytes, list[bytes]] = {}
    for name, value in request.headers:
        headers.setdefault(name.lower(), []).append(b" ".join(value.split()))
    authorization = headers.pop(b"authorization", [b""])
    members = re.findall(rb"(Credential|SignedHeaders|Signature)=([^,\s]*)", b",".join(authorization))
    query = sorted(member if b"=" in member else member + b"=" for member in request.query.split(b"&"))
    if not request.query:
        query = []
    parts = dict(members) or {
        key.removeprefix(b"X-Amz-"): value.replace(b"%3B", b";").replace(b"%3b", b";")
        for key, _, value in (member.partition(b"=") for member in query)
    }
    signed_names = parts[b"SignedHeaders"].split(b";")
    path: list[bytes] = []
    for segment in request.path.split(b"/"):
        if segment == b"..":
            path[-1:] = []
        elif segment not in {b"", b"."}:
            path.append(segment)
    return (
        request.method,
        tuple(path),
        # Escapes may be spelt with letters of either case only where they are read before they are signed.
        [member for member in query if not member.startswith(b"X-Amz-Signature=")],
        {name: headers.get(name) for name in signed_names},
        request.body,
        sorted((key, value) for key, value in parts.items() if key in {b"Credential", b"SignedHeaders", b"Signature"}),
    )


AUTHORIZATION = dict(GOOD.headers)[b"authorization"]
PIECES = [b"AWS4-HMAC-SHA256", b"Credential=", b"SignedHeaders=", b"Signature=", b"host", b"x-amz-date", b"a" * 64]
PIECES += [b"AKIAHOSTILE000000001/20261123/us-east-1/social-messaging/aws4_request", AUTHORIZATION, *TRICKS]


@examples(150)
@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=6), max_size=8), st.booleans())
def test_a_made_up_authorization_is_refused(loop: asyncio.Runner, pieces: Sequence[bytes], dated: bool) -> None:
    value = b"".join(pieces)
    headers = [(b"host", b"a"), (b"authorization", value)]
    headers += [(b"x-amz-date", b"20261123T120000Z")] if dated else []
    assert caller_of(HttpRequest("POST", b"/v1/whatsapp/media/get", b"", headers, b""), loop) is None


NAMES = ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature", "Security-Token", "Other"]
QUERY_PIECES = [f"X-Amz-{name}=".encode() for name in NAMES] + [
    b"&",
    *PIECES,
    b"%",
    b"%ff",
    b"%zz",
    b"20261123T120000Z",
]


@examples(150)
@given(st.lists(st.sampled_from(QUERY_PIECES) | st.binary(max_size=6), max_size=16))
def test_a_made_up_presigned_query_is_refused(loop: asyncio.Runner, pieces: Sequence[bytes]) -> None:
    request = HttpRequest("POST", b"/v1/whatsapp/media/get", b"".join(pieces), [(b"host", b"a")], b"")
    assert caller_of(request, loop) is None


@examples(200)
@given(st.sampled_from(["POST", "GET"]), PATH, QUERY, HEADERS, st.binary(max_size=20))
def test_the_canonical_form_is_botocores(
    method: str, path: str, query: str, headers: dict[str, str], body: bytes
) -> None:
    request = AWSRequest(method, f"http://{HOST}{path}" + (f"?{query}" if query else ""), headers=headers, data=body)
    request.headers["host"] = HOST
    signer = SigV4Auth(Credentials("a", "b"), SERVICE, REGION)
    theirs = signer.canonical_request(request)
    names = sorted(name.encode() for name in {name.lower() for name in request.headers})
    sent = [(name.encode(), value.encode()) for name, value in request.headers.items()]
    ours = sigv4.canonical_request(HttpRequest(method, path.encode(), query.encode(), sent, body), names)
    assert ours.decode() == theirs


@pytest.mark.parametrize("timestamp", ["00000101T000000Z", "99991231T235959Z", "20261332T250000Z", "20261123T120060Z"])
@pytest.mark.parametrize("in_query", [False, True], ids=["header", "query"])
def test_a_time_at_the_edge_of_time_is_refused(timestamp: str, in_query: bool, loop: asyncio.Runner) -> None:
    scope = f"{KEY.access_key_id}/{timestamp[:8]}/{REGION}/{SERVICE}/aws4_request"
    signature = "0" * 64
    headers = [(b"host", b"a")]
    query = ""
    if in_query:
        query = (
            f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={scope.replace('/', '%2F')}&X-Amz-Date={timestamp}"
            f"&X-Amz-Expires=604800&X-Amz-SignedHeaders=host&X-Amz-Signature={signature}"
        )
    else:
        value = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature={signature}"
        headers += [(b"authorization", value.encode()), (b"x-amz-date", timestamp.encode())]
    assert caller_of(HttpRequest("POST", b"/", query.encode(), headers, b""), loop) is None


def test_a_signature_of_another_key_does_not_open_a_key_with_a_session(loop: asyncio.Runner) -> None:
    """Leaving the token away, or bringing it to a key that has none, is refused before anything is compared."""
    bare = [pair for pair in GOOD_TEMPORARY.headers if pair[0] != b"x-amz-security-token"]
    with pytest.raises(ApiError):
        loop.run(authenticator.authenticate("POST", GOOD_TEMPORARY.path, GOOD_TEMPORARY.query, bare, b"{}"))
    with_token = AccessKey(KEY.access_key_id, "x", KEY.secret_access_key, ALLOW_ALL, SecretStr("session/T=="))
    assert caller_of(signed("POST", "/", b"", {}, with_token), loop) is None
