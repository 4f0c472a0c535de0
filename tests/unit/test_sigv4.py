"""Signatures are proven in both directions with botocore's own signer; then everything that must be refused."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from whaul.errors import (
    ApiError,
    IncompleteSignatureException,
    InvalidSignatureException,
    MissingAuthenticationTokenException,
)
from whaul.sigv4 import (
    HttpRequest,
    SignedClaim,
    canonical_request,
    check_scope,
    check_time,
    derived_key,
    parse,
    signing_key,
    string_to_sign,
    verify,
)

KEY_ID = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "IQoJb3JpZ2luX2VjE+/secret=token=="
REGION = "eu-west-1"
SERVICE = "social-messaging"
HOST = "social-messaging.eu-west-1.amazonaws.com"
PATH = "/v1/whatsapp/media/get"
BODY = b'{"mediaId":"1234567890","metadataOnly":true}'
NOW = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)
STAMP = "20260314T150926Z"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


@dataclass
class Signed:
    """A request as botocore signed it: what goes over the wire, and what botocore computed on the way."""

    request: HttpRequest
    canonical: bytes
    to_sign: bytes
    signature: str


def sign(
    *,
    method: str = "POST",
    path: str = PATH,
    query: str = "",
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),),
    body: bytes = BODY,
    token: str | None = None,
    expires: int | None = None,
    at: datetime = NOW,
    region: str = REGION,
    service: str = SERVICE,
    secret: str = SECRET,
) -> Signed:
    """Sign as `SigV4Auth.add_auth` does (with `expires`: `SigV4QueryAuth`), but at a time of our choice."""
    credentials = Credentials(KEY_ID, secret, token)
    signer = (
        SigV4Auth(credentials, service, region)
        if expires is None
        else SigV4QueryAuth(credentials, service, region, expires)
    )
    url = f"https://{HOST}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, data=b"")
    for name, value in headers:
        request.headers[name] = value  # appends
    request.context["timestamp"] = at.strftime("%Y%m%dT%H%M%SZ")
    signer._modify_request_before_signing(request)
    request.data = body
    canonical = signer.canonical_request(request)
    to_sign = signer.string_to_sign(request, canonical)
    signature = signer.signature(to_sign, request)
    signer._inject_signature_to_request(request, signature)
    split = urlsplit(request.url)
    sent = [("host", HOST), ("user-agent", "Boto3/1.37"), ("accept-encoding", "identity")]
    sent += request.headers.items()
    return Signed(
        request=HttpRequest(
            method=method,
            path=split.path.encode(),
            query=split.query.encode(),
            headers=[(name.lower().encode(), value.encode()) for name, value in sent],
            body=body,
        ),
        canonical=canonical.encode(),
        to_sign=to_sign.encode(),
        signature=signature,
    )


def check(request: HttpRequest, *, now: datetime = NOW, secret: str = SECRET) -> SignedClaim:
    """Do what the gateway does with a request, in its order."""
    claim = parse(request)
    check_scope(claim, REGION, SERVICE)
    check_time(claim, now)
    verify(request, claim, signing_key(secret, claim.date, claim.region, claim.service))
    return claim


def refusal(kind: type[ApiError], request: HttpRequest, *, now: datetime = NOW, secret: str = SECRET) -> str:
    """Show that the request is refused, and that the refusal gives no secret away; return its message."""
    with pytest.raises(kind) as caught:
        check(request, now=now, secret=secret)
    assert type(caught.value) is kind
    message = caught.value.message
    for hidden in (SECRET, TOKEN, KEY_ID):
        assert hidden not in message
    assert not re.search("[0-9a-fA-F]{32}", message), "this may be a signature"
    return message


def headers_of(request: HttpRequest, name: str) -> list[str]:
    return [value.decode() for key, value in request.headers if key == name.encode()]


def with_header(request: HttpRequest, name: str, *values: str) -> HttpRequest:
    """Put these values in the place of the header; none removes it."""
    kept = [pair for pair in request.headers if pair[0] != name.encode()]
    return replace(request, headers=[*kept, *((name.encode(), value.encode()) for value in values)])


def with_authorization(request: HttpRequest, edit: Callable[[str], str]) -> HttpRequest:
    return with_header(request, "authorization", edit(headers_of(request, "authorization")[0]))


def without_part(authorization: str, name: str) -> str:
    algorithm, _, rest = authorization.partition(" ")
    return f"{algorithm} " + ", ".join(p for p in rest.split(", ") if not p.startswith(f"{name}="))


def with_query(request: HttpRequest, edit: Callable[[str], str]) -> HttpRequest:
    return replace(request, query=edit(request.query.decode()).encode())


def without_parameter(query: str, name: str) -> str:
    return "&".join(pair for pair in query.split("&") if not pair.startswith(f"{name}="))


# --- botocore signs, we verify; and what we compute on the way is what botocore computed


SHAPES: dict[str, dict[str, object]] = {
    "as boto3 sends it": {},
    "no body": {"method": "GET", "body": b"", "headers": ()},
    "session token": {"token": TOKEN},
    "declared body hash": {
        "headers": (("x-amz-content-sha256", hashlib.sha256(BODY).hexdigest()),),
    },
    "declared hash of no body": {
        "body": b"",
        "headers": (("X-Amz-Content-SHA256", EMPTY_SHA256),),
    },
    "bytes that are no text": {"body": bytes(range(256))},
    "root": {"path": "/"},
    "no path": {"path": ""},
    "doubled slashes": {"path": "//v1///whatsapp//"},
    "dot segments": {"path": "/a/./b/../../c/.."},
    "more parents than there are": {"path": "/../../a"},
    "only dots": {"path": "/./.."},
    "hidden file": {"path": "/.well-known/..x/...", "query": ""},
    "encoded path": {"path": "/phone-number-id%2F1/a%20b/%E2%82%AC"},
    "encoded dots stay": {"path": "/a/%2E%2E/b"},
    "raw unicode path": {"path": "/médias/写真"},
    "reserved characters": {"path": "/a:b@c!$&'()*+,;=~"},
    "query": {"query": "b=2&a=1"},
    "duplicate keys": {"query": "a=2&a=10&a=1&a"},
    "empty values": {"query": "a=&b&=c&&"},
    "equals sign in a value": {"query": "a=b=c&a=b"},
    "plus and percent": {"query": "q=a+b%20c%2Bd&%61=1"},
    "spaces in a header": {"headers": (("x-note", "  a   b\t\tc  "),)},
    "empty header": {"headers": (("x-note", ""),)},
    "repeated header": {"headers": (("x-note", "b"), ("x-note", " a  a "), ("X-Note", "b"))},
    "unicode header": {"headers": (("x-note", "déjà vu"),)},
    "headers of the JavaScript SDK": {
        "headers": (
            ("content-type", "application/json"),
            ("amz-sdk-invocation-id", "9d5a6c2e-0000-4000-8000-000000000000"),
            ("amz-sdk-request", "attempt=1; max=3"),
            ("x-amz-user-agent", "aws-sdk-js/3.700.0"),
            ("x-amz-content-sha256", hashlib.sha256(BODY).hexdigest()),
        ),
        "token": TOKEN,
    },
}
FORMS = pytest.mark.parametrize("expires", [None, 300], ids=["header", "presigned"])


@FORMS
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_what_botocore_signs_is_accepted_and_canonicalised_alike(shape: dict[str, object], expires: int | None) -> None:
    signed = sign(**shape, expires=expires)  # type: ignore[arg-type]
    claim = check(signed.request)
    canonical = canonical_request(signed.request, claim.signed_headers)
    assert canonical == signed.canonical
    assert string_to_sign(claim, canonical) == signed.to_sign
    assert claim.signature == signed.signature


path_text = st.text(
    alphabet=st.sampled_from("abZ09-._~/%:@!$&'()*+,;= éß写😀"),
    max_size=30,
)
query_text = st.text(alphabet=st.sampled_from("abZ019-._~/%&=+:@!;,é写"), max_size=30)
header_value = st.text(alphabet=st.sampled_from("abZ 09\t-,;:=\"'/é写"), max_size=20)
header_name = st.sampled_from(["x-note", "X-Other", "content-type", "x-amz-meta", "Cache-Control"])
header_list = st.lists(st.tuples(header_name, header_value), max_size=5).map(tuple)
token_text = st.none() | st.text(alphabet=st.sampled_from("abZ09+/=%"), min_size=1, max_size=40)
expires_value = st.none() | st.integers(1, 604_800)


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    path=path_text.map(lambda text: f"/{text}".rstrip(" ")),
    query=query_text,
    headers=header_list,
    body=st.binary(max_size=64),
    token=token_text,
    expires=expires_value,
    declare=st.booleans(),
)
def test_whatever_botocore_signs_is_accepted(
    *,
    method: str,
    path: str,
    query: str,
    headers: tuple[tuple[str, str], ...],
    body: bytes,
    token: str | None,
    expires: int | None,
    declare: bool,
) -> None:
    if declare:
        headers += (("x-amz-content-sha256", hashlib.sha256(body).hexdigest()),)
    signed = sign(method=method, path=path, query=query, headers=headers, body=body, token=token, expires=expires)
    claim = check(signed.request)
    assert canonical_request(signed.request, claim.signed_headers) == signed.canonical
    assert claim.session_token == token
    assert claim.expires == expires


@given(secret=st.text(min_size=1, max_size=40).filter(lambda s: s.isprintable()), region=st.just(REGION))
def test_the_signing_key_is_the_one_that_botocore_derives(secret: str, region: str) -> None:
    signed = sign(secret=secret, region=region)
    verify(signed.request, parse(signed.request), signing_key(secret, "20260314", region, SERVICE))


def test_a_claim_tells_what_the_request_says_of_itself() -> None:
    claim = check(sign(token=TOKEN).request)
    assert claim.access_key_id == KEY_ID
    assert claim.scope == f"20260314/{REGION}/{SERVICE}/aws4_request"
    assert claim.signed_headers == (b"content-type", b"host", b"x-amz-date", b"x-amz-security-token")
    assert (claim.timestamp, claim.signed_at, claim.expires) == (STAMP, NOW, None)
    assert claim.session_token == TOKEN


def test_header_names_may_come_in_any_case() -> None:
    request = sign().request
    check(replace(request, headers=[(name.title(), value) for name, value in request.headers]))


def test_headers_may_come_in_any_order() -> None:
    request = sign().request
    check(replace(request, headers=list(reversed(request.headers))))


def test_the_components_of_authorization_may_come_in_any_order_and_without_spaces() -> None:
    def shuffle(text: str) -> str:
        algorithm, _, rest = text.partition(" ")
        return f"{algorithm} " + ",".join(reversed(rest.split(", ")))

    check(with_authorization(sign().request, shuffle))


def test_headers_that_are_not_signed_may_be_added_on_the_way() -> None:
    request = with_header(sign().request, "x-forwarded-for", "203.0.113.9")
    check(with_header(request, "x-amzn-trace-id", "Root=1-5759e988-bd862e3fe1be46a994272793"))


# --- facts that AWS published: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html


@pytest.mark.parametrize(
    ("date", "service", "derived"),
    [
        ("20120215", "iam", "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"),
        ("20150830", "iam", "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"),
    ],
)
def test_the_signing_keys_of_the_aws_documentation_come_out(date: str, service: str, derived: str) -> None:
    assert derived_key(SECRET, date, "us-east-1", service).hex() == derived


def verify_vector(
    method: str, path: bytes, query: bytes, headers: list[tuple[bytes, bytes]], *, signature: str, service: str
) -> None:
    headers = [*headers, (b"X-Amz-Date", b"20150830T123600Z")]
    names = ";".join(sorted(name.decode().lower() for name, _ in headers))
    authorization = (
        f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/{service}/aws4_request, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    request = HttpRequest(method, path, query, [*headers, (b"Authorization", authorization.encode())], b"")
    claim = parse(request)
    verify(request, claim, signing_key(SECRET, claim.date, claim.region, claim.service))


EXAMPLE_HOST = (b"Host", b"example.amazonaws.com")


def test_the_list_users_request_of_the_aws_documentation_is_accepted() -> None:
    verify_vector(
        "GET",
        b"/",
        b"Action=ListUsers&Version=2010-05-08",
        [(b"Content-Type", b"application/x-www-form-urlencoded; charset=utf-8"), (b"Host", b"iam.amazonaws.com")],
        signature="5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        service="iam",
    )


@pytest.mark.parametrize(
    ("method", "path", "query", "signature"),
    [
        ("GET", b"/", b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", b"/", b"", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "GET",
            b"/",
            b"Param2=value2&Param1=value1",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        ("GET", b"//./..//", b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ],
    ids=["get-vanilla", "post-vanilla", "get-vanilla-query-order-key-case", "normalised to get-vanilla"],
)
def test_the_aws_test_suite_requests_are_accepted(method: str, path: bytes, query: bytes, signature: str) -> None:
    verify_vector(method, path, query, [EXAMPLE_HOST], signature=signature, service="service")


# --- not signed, or not signed in one clear way


def test_a_request_without_any_signature_is_not_signed() -> None:
    message = refusal(MissingAuthenticationTokenException, with_header(sign().request, "authorization"))
    assert "not signed" in message


def test_signature_words_elsewhere_do_not_make_a_request_signed() -> None:
    request = replace(with_header(sign().request, "authorization"), query=b"x-amz-signature=1&q=X-Amz-Date")
    refusal(MissingAuthenticationTokenException, request)


def test_two_authorization_headers_are_refused_even_when_they_agree() -> None:
    request = sign().request
    twice = with_header(request, "authorization", *headers_of(request, "authorization") * 2)
    assert "more than once" in refusal(IncompleteSignatureException, twice)


def test_a_request_signed_in_header_and_query_is_refused() -> None:
    presigned = sign(expires=60).request
    both = with_header(presigned, "authorization", headers_of(sign().request, "authorization")[0])
    assert "sign it once" in refusal(IncompleteSignatureException, both)


def test_one_presigned_parameter_beside_an_authorization_header_is_refused() -> None:
    signed = sign(query="X-Amz-Date=20260314T150926Z").request
    assert "sign it once" in refusal(IncompleteSignatureException, signed)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer " + TOKEN,
        "Basic QUtJRDpzZWNyZXQ=",
        "AWS AKID:frJIUN8DYpKDtOLCwo//yllqDzg=",
        "AWS4-HMAC-SHA512 Credential=a, SignedHeaders=b, Signature=c",
        "AWS4-ECDSA-P256-SHA256 Credential=a, SignedHeaders=b, Signature=c",
        "aws4-hmac-sha256 Credential=a, SignedHeaders=b, Signature=c",
    ],
)
def test_any_other_authorization_scheme_is_refused(authorization: str) -> None:
    request = with_header(sign().request, "authorization", authorization)
    assert "AWS4-HMAC-SHA256" in refusal(IncompleteSignatureException, request)


@pytest.mark.parametrize("part", ["Credential", "SignedHeaders", "Signature"])
def test_a_missing_component_is_named(part: str) -> None:
    request = with_authorization(sign().request, lambda text: without_part(text, part))
    message = refusal(IncompleteSignatureException, request)
    assert message == f"Authorization header requires '{part}' parameter."


def test_all_that_is_missing_is_named_at_once() -> None:
    request = with_header(sign().request, "x-amz-date")
    message = refusal(
        IncompleteSignatureException, with_authorization(request, lambda text: without_part(text, "Signature"))
    )
    assert "'Signature'" in message
    assert "'X-Amz-Date'" in message


MALFORMED: dict[str, Callable[[str], str]] = {
    "nothing after the algorithm": lambda text: text.partition(" ")[0],
    "a component without a value": lambda text: text.replace("Signature=", "Signature"),
    "a component twice": lambda text: text + ", " + text.rpartition(", ")[2],
    "an unknown component": lambda text: text + ", Extra=1",
    "a trailing comma": lambda text: text + ",",
    "no commas": lambda text: text.replace(", ", " "),
    "a component name in lower case": lambda text: text.replace("Credential=", "credential="),
    "a query's name for a component": lambda text: text.replace("Credential=", "X-Amz-Credential="),
    "the algorithm as a component": lambda text: text + ", Algorithm=AWS4-HMAC-SHA256",
}


@pytest.mark.parametrize("edit", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_authorization_header_is_refused(edit: Callable[[str], str]) -> None:
    refusal(IncompleteSignatureException, with_authorization(sign().request, edit))


@pytest.mark.parametrize(
    "credential",
    [
        KEY_ID,
        f"{KEY_ID}/20260314/{REGION}/{SERVICE}",
        f"{KEY_ID}/20260314/{REGION}/{SERVICE}/aws4_request/",
        f"{KEY_ID}/x/20260314/{REGION}/{SERVICE}/aws4_request",
        f"/20260314/{REGION}/{SERVICE}/aws4_request",
        f"{KEY_ID}/20260314//{SERVICE}/aws4_request",
        f"{KEY_ID}/20260314/{REGION}/{SERVICE}/aws4_Request",
        f"{KEY_ID}/20260314/{REGION}/{SERVICE}/aws3_request",
        f"{KEY_ID}/2026-03-14/{REGION}/{SERVICE}/aws4_request",
        f"{KEY_ID}/20260313/{REGION}/{SERVICE}/aws4_request",
        f"{KEY_ID}/20260314 /{REGION}/{SERVICE}/aws4_request",
        f"{KEY_ID}/{STAMP}/{REGION}/{SERVICE}/aws4_request",
    ],
)
@FORMS
def test_a_credential_that_is_not_a_whole_scope_of_that_day_is_refused(credential: str, expires: int | None) -> None:
    request = sign(expires=expires).request
    if expires is None:
        request = with_authorization(request, lambda text: text.replace(text.split("=")[1].split(",")[0], credential))
    else:
        encoded = credential.replace("/", "%2F").replace(" ", "%20")
        request = with_query(
            request, lambda text: without_parameter(text, "X-Amz-Credential") + f"&X-Amz-Credential={encoded}"
        )
    assert "Credential" in refusal(IncompleteSignatureException, request)


@pytest.mark.parametrize(
    "date",
    [
        "2026-03-14T15:09:26Z",
        "20260314T150926",
        "20260314T150926z",
        "20260314 150926Z",
        "20260314T150926+0000",
        "20260230T150926Z",
        "20261314T150926Z",
        "20260314T250926Z",
        "20260314T150961Z",
        "00000314T150926Z",
        "2026031\N{ARABIC-INDIC DIGIT FOUR}T150926Z",
        "Sat, 14 Mar 2026 15:09:26 GMT",
        "1773500966",
        "20260314T150926Z, 20260314T150926Z",
    ],
)
@FORMS
def test_a_malformed_date_is_refused(date: str, expires: int | None) -> None:
    request = sign(expires=expires).request
    if expires is None:
        request = with_header(request, "x-amz-date", date)
    else:
        request = with_query(
            request, lambda text: without_parameter(text, "X-Amz-Date") + f"&X-Amz-Date={date.replace('+', '%2B')}"
        )
    assert "X-Amz-Date" in refusal(IncompleteSignatureException, request).replace("x-amz-date", "X-Amz-Date")


def test_a_date_header_does_not_stand_in_for_x_amz_date() -> None:
    signed = sign(headers=(("Date", "Sat, 14 Mar 2026 15:09:26 GMT"),))
    assert headers_of(signed.request, "x-amz-date") == []
    assert "'X-Amz-Date' header" in refusal(IncompleteSignatureException, signed.request)


@pytest.mark.parametrize("name", ["x-amz-date", "x-amz-security-token", "x-amz-content-sha256"])
def test_a_header_that_signs_may_not_be_repeated(name: str) -> None:
    request = sign(token=TOKEN, headers=(("x-amz-content-sha256", hashlib.sha256(BODY).hexdigest()),)).request
    refusal(IncompleteSignatureException, with_header(request, name, *headers_of(request, name) * 2))


def test_an_unsigned_host_is_refused() -> None:
    request = with_authorization(sign().request, lambda text: text.replace("host;", ""))
    message = refusal(IncompleteSignatureException, request)
    assert message == "'host' must be a 'SignedHeader' in the AWS Authorization."


@FORMS
@pytest.mark.parametrize("name", ["x-amz-security-token", "x-amz-content-sha256", "x-amz-target", "x-amz-"])
def test_an_x_amz_header_that_is_not_signed_is_refused(name: str, expires: int | None) -> None:
    request = with_header(sign(expires=expires).request, name, EMPTY_SHA256)
    assert f"'{name}' must be a 'SignedHeader'" in refusal(IncompleteSignatureException, request)


def test_an_unsigned_x_amz_header_cannot_hide_in_upper_case() -> None:
    request = sign().request
    hidden = replace(request, headers=[*request.headers, (b"X-AMZ-Target", b"Whatever")])
    refusal(IncompleteSignatureException, hidden)


def test_an_unsigned_date_is_refused() -> None:
    request = with_authorization(sign().request, lambda text: text.replace(";x-amz-date", ""))
    assert "'x-amz-date' must be a 'SignedHeader'" in refusal(IncompleteSignatureException, request)


def test_a_signed_header_that_the_request_does_not_have_is_refused() -> None:
    request = with_header(sign().request, "content-type")
    assert "'content-type'" in refusal(IncompleteSignatureException, request)


def test_a_request_without_a_host_is_refused() -> None:
    assert "'host'" in refusal(IncompleteSignatureException, with_header(sign().request, "host"))


@pytest.mark.parametrize(
    "names",
    [
        "host;content-type;x-amz-date",
        "content-type;host;host;x-amz-date",
        "Content-Type;host;x-amz-date",
        "content-type;Host;x-amz-date",
        "content-type;host;x-amz-date;",
        ";content-type;host;x-amz-date",
        "content-type;;host;x-amz-date",
        "content-type host x-amz-date",
        "content-type; host; x-amz-date",
        ";",
    ],
)
@FORMS
def test_signed_headers_must_be_in_lower_case_sorted_and_unique(names: str, expires: int | None) -> None:
    request = sign(expires=expires).request
    if expires is None:
        request = with_authorization(request, lambda text: text.replace("content-type;host;x-amz-date", names))
    else:
        request = with_query(
            with_header(request, "x-amz-date", STAMP),
            lambda text: without_parameter(text, "X-Amz-SignedHeaders") + f"&X-Amz-SignedHeaders={names}",
        )
    refusal(IncompleteSignatureException, request)


@pytest.mark.parametrize(
    "edit",
    [
        lambda s: s.upper(),
        lambda s: s[:-1],
        lambda s: s + "0",
        lambda s: "g" + s[1:],
        lambda s: s + " ",
        lambda s: '"' + s + '"',
    ],
    ids=["upper case", "short", "long", "no digit", "space", "quoted"],
)
def test_a_signature_that_is_not_64_lower_case_hexadecimal_digits_is_refused(
    edit: Callable[[str], str],
) -> None:
    signed = sign(expires=60)
    signature = edit(signed.signature)
    request = with_query(signed.request, lambda text: text.replace(signed.signature, signature))
    assert signature not in refusal(IncompleteSignatureException, request)


@pytest.mark.parametrize(
    "declared",
    [
        "UNSIGNED-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        EMPTY_SHA256,
        hashlib.sha256(BODY).hexdigest().upper(),
        "",
    ],
)
@FORMS
def test_a_declared_body_hash_that_is_not_the_hash_of_the_body_is_refused(declared: str, expires: int | None) -> None:
    request = sign(headers=(("x-amz-content-sha256", declared),), expires=expires).request
    assert "X-Amz-Content-SHA256" in refusal(IncompleteSignatureException, request)


def test_a_body_changed_under_its_declared_hash_is_refused() -> None:
    request = sign(headers=(("x-amz-content-sha256", hashlib.sha256(BODY).hexdigest()),)).request
    refusal(IncompleteSignatureException, replace(request, body=BODY + b" "))


@pytest.mark.parametrize("name", [b"authorization", b"x-amz-date", b"x-amz-security-token"])
def test_bytes_outside_ascii_are_refused_in_what_signs(name: bytes) -> None:
    request = sign(token=TOKEN).request
    odd = [(key, value + b"\xff" if key == name else value) for key, value in request.headers]
    assert "ASCII" in refusal(IncompleteSignatureException, replace(request, headers=odd))


# --- presigned


PRESIGNED_PARAMETERS = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
)


@pytest.mark.parametrize("name", PRESIGNED_PARAMETERS)
def test_a_missing_presigned_parameter_is_named(name: str) -> None:
    request = with_query(sign(expires=60).request, lambda text: without_parameter(text, name))
    assert f"must include '{name}'" in refusal(IncompleteSignatureException, request)


@pytest.mark.parametrize("name", PRESIGNED_PARAMETERS)
def test_an_empty_presigned_parameter_counts_as_missing(name: str) -> None:
    request = with_query(sign(expires=60).request, lambda text: without_parameter(text, name) + f"&{name}=")
    assert f"must include '{name}'" in refusal(IncompleteSignatureException, request)


@pytest.mark.parametrize("name", [*PRESIGNED_PARAMETERS, "X-Amz-Security-Token"])
def test_a_repeated_presigned_parameter_is_refused(name: str) -> None:
    request = sign(expires=60, token=TOKEN).request
    pair = next(p for p in request.query.decode().split("&") if p.startswith(f"{name}="))
    again = with_query(request, lambda text: f"{text}&{pair}")
    assert f"'{name}' is given more than once" in refusal(IncompleteSignatureException, again)


@pytest.mark.parametrize(
    "expires", ["0", "604801", "-1", "+60", "60.0", "1e3", "sixty", "%C2%B2", "9" * 5000, " 60", "0x10"]
)
def test_a_lifetime_out_of_bounds_is_refused(expires: str) -> None:
    request = with_query(
        sign(expires=60).request,
        lambda text: text.replace("X-Amz-Expires=60", f"X-Amz-Expires={expires.replace('+', '%2B')}"),
    )
    assert "X-Amz-Expires" in refusal(IncompleteSignatureException, request)


def test_another_algorithm_in_the_query_is_refused() -> None:
    request = with_query(sign(expires=60).request, lambda text: text.replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"))
    assert "algorithm" in refusal(IncompleteSignatureException, request)


def test_a_presigned_request_that_does_not_sign_its_host_is_refused() -> None:
    request = with_query(sign(expires=60).request, lambda text: text.replace("content-type%3Bhost", "content-type"))
    assert "'host'" in refusal(IncompleteSignatureException, request)


def test_a_token_added_to_a_presigned_request_does_not_match() -> None:
    request = with_query(sign(expires=60).request, lambda text: f"{text}&X-Amz-Security-Token=abc")
    refusal(InvalidSignatureException, request)


def test_a_presigned_request_with_a_longer_lifetime_does_not_match() -> None:
    request = with_query(
        sign(expires=60).request, lambda text: text.replace("X-Amz-Expires=60", "X-Amz-Expires=604800")
    )
    refusal(InvalidSignatureException, request)


# --- tampered


TAMPERED: dict[str, Callable[[HttpRequest], HttpRequest]] = {
    "method": lambda r: replace(r, method="PUT"),
    "method in lower case": lambda r: replace(r, method=r.method.lower()),
    "path": lambda r: replace(r, path=r.path + b"x"),
    "path with a slash at its end": lambda r: replace(r, path=r.path + b"/"),
    "path in upper case": lambda r: replace(r, path=r.path.upper()),
    "path encoded otherwise": lambda r: replace(r, path=r.path.replace(b"m", b"%6D")),
    "path with a byte that is no text": lambda r: replace(r, path=r.path + b"\xff"),
    "query added": lambda r: replace(r, query=r.query + b"&extra=1"),
    "query value": lambda r: replace(r, query=r.query.replace(b"b=2", b"b=3")),
    "query value encoded otherwise": lambda r: replace(r, query=r.query.replace(b"b=2", b"b=%32")),
    "query key dropped": lambda r: replace(r, query=r.query.replace(b"b=2", b"")),
    "query key doubled": lambda r: replace(r, query=r.query + b"&b=2"),
    "query with a byte that is no text": lambda r: replace(r, query=r.query + b"&\xfe=\xff"),
    "header": lambda r: with_header(r, "content-type", "text/plain"),
    "header doubled": lambda r: with_header(r, "content-type", "application/json", "application/json"),
    "header value in upper case": lambda r: with_header(r, "content-type", "APPLICATION/JSON"),
    "host": lambda r: with_header(r, "host", "evil.example"),
    "host with a port": lambda r: with_header(r, "host", f"{HOST}:8443"),
    "two hosts": lambda r: with_header(r, "host", HOST, "evil.example"),
    "body": lambda r: replace(r, body=r.body.replace(b"true", b"null")),
    "body with a space more": lambda r: replace(r, body=r.body + b" "),
    "no body": lambda r: replace(r, body=b""),
}


@FORMS
@pytest.mark.parametrize("tamper", TAMPERED.values(), ids=TAMPERED.keys())
def test_a_request_changed_after_signing_does_not_match(
    tamper: Callable[[HttpRequest], HttpRequest], expires: int | None
) -> None:
    request = sign(expires=expires, query="b=2&a=1").request
    assert "does not match" in refusal(InvalidSignatureException, tamper(request))


def test_a_changed_signature_does_not_match() -> None:
    signed = sign()
    other = ("0" if signed.signature[0] != "0" else "1") + signed.signature[1:]
    request = with_authorization(signed.request, lambda text: text.replace(signed.signature, other))
    assert other not in refusal(InvalidSignatureException, request)


def test_a_changed_time_does_not_match() -> None:
    refusal(InvalidSignatureException, with_header(sign().request, "x-amz-date", "20260314T150927Z"))


def test_a_changed_token_does_not_match() -> None:
    request = with_header(sign(token=TOKEN).request, "x-amz-security-token", TOKEN + "x")
    refusal(InvalidSignatureException, request)


def test_a_header_taken_out_of_the_signed_ones_does_not_match() -> None:
    request = with_authorization(sign().request, lambda text: text.replace("content-type;", ""))
    refusal(InvalidSignatureException, request)


def test_another_secret_does_not_match() -> None:
    refusal(InvalidSignatureException, sign().request, secret=SECRET.lower())


def test_another_key_id_is_claimed_as_such_and_does_not_match_that_keys_secret() -> None:
    request = with_authorization(sign().request, lambda text: text.replace(KEY_ID, "AKIDOTHER"))
    assert parse(request).access_key_id == "AKIDOTHER"
    refusal(InvalidSignatureException, request, secret="the secret of AKIDOTHER")


def test_a_key_derived_for_another_day_does_not_match() -> None:
    request = sign().request
    with pytest.raises(InvalidSignatureException):
        verify(request, parse(request), signing_key(SECRET, "20260313", REGION, SERVICE))


# --- scope


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({"region": "us-east-1"}, f"'{REGION}'"),
        ({"region": "EU-WEST-1"}, f"'{REGION}'"),
        ({"region": "eu-west-1a"}, f"'{REGION}'"),
        ({"service": "s3"}, f"'{SERVICE}'"),
        ({"service": "socialmessaging"}, f"'{SERVICE}'"),
    ],
)
@FORMS
def test_a_signature_for_elsewhere_is_refused_with_what_was_expected(
    scope: dict[str, str], expected: str, expires: int | None
) -> None:
    request = sign(**scope, expires=expires).request  # type: ignore[arg-type]
    assert expected in refusal(IncompleteSignatureException, request)


def test_a_wrong_region_and_a_wrong_service_are_told_together() -> None:
    message = refusal(IncompleteSignatureException, sign(region="us-east-1", service="s3").request)
    assert REGION in message
    assert SERVICE in message


def test_a_re_scoped_signature_does_not_match() -> None:
    elsewhere = sign(region="us-east-1").request
    refusal(InvalidSignatureException, with_authorization(elsewhere, lambda t: t.replace("us-east-1", REGION)))


# --- time


@pytest.mark.parametrize("minutes", [-15, 0, 15])
def test_fifteen_minutes_either_way_are_allowed(minutes: int) -> None:
    check(sign().request, now=NOW + timedelta(minutes=minutes))


def test_a_replay_after_fifteen_minutes_is_refused() -> None:
    message = refusal(InvalidSignatureException, sign().request, now=NOW + timedelta(minutes=15, seconds=1))
    assert message == (
        "Signature expired: 20260314T150926Z is now earlier than 20260314T150927Z (20260314T152427Z - 15 min.)"
    )


@FORMS
def test_a_signature_more_than_fifteen_minutes_ahead_is_refused(expires: int | None) -> None:
    message = refusal(
        InvalidSignatureException, sign(expires=expires).request, now=NOW - timedelta(minutes=15, seconds=1)
    )
    assert message == (
        "Signature not yet current: 20260314T150926Z is still later than 20260314T150925Z (20260314T145425Z + 15 min.)"
    )


@pytest.mark.parametrize("seconds", [-900, 0, 60])
def test_a_presigned_request_is_good_until_it_expires(seconds: int) -> None:
    check(sign(expires=60).request, now=NOW + timedelta(seconds=seconds))


def test_a_presigned_request_may_live_for_a_week() -> None:
    check(sign(expires=604_800).request, now=NOW + timedelta(days=7))


def test_a_presigned_request_that_expired_is_refused_without_any_grace() -> None:
    message = refusal(InvalidSignatureException, sign(expires=60).request, now=NOW + timedelta(seconds=61))
    assert message == (
        "Signature expired: 20260314T151026Z (20260314T150926Z + 60 sec.) is now earlier than 20260314T151027Z"
    )


@pytest.mark.parametrize("year", [1, 9999])
@FORMS
def test_the_ends_of_the_calendar_are_refused_like_any_other_time(year: int, expires: int | None) -> None:
    request = sign(expires=expires).request
    date = f"{year:04d}1231"
    if expires is None:
        request = with_header(request, "x-amz-date", f"{date}T235959Z")
        request = with_authorization(request, lambda text: text.replace("/20260314/", f"/{date}/"))
    else:
        request = with_query(request, lambda text: text.replace("20260314T150926", f"{date}T235959"))
        request = with_query(request, lambda text: text.replace("20260314", date))
    refusal(InvalidSignatureException, request)


def test_the_clock_may_tell_any_time_zone() -> None:
    now = (NOW + timedelta(hours=1)).astimezone()
    assert "20260314T160926Z" in refusal(InvalidSignatureException, sign().request, now=now)


# --- nothing gets through, and nothing breaks


@given(
    path=st.binary(max_size=20),
    query=st.binary(max_size=40),
    extra=st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=20)), max_size=4),
    authorization=st.none() | st.binary(max_size=60),
    body=st.binary(max_size=10),
)
def test_arbitrary_bytes_are_refused_and_never_break_the_check(
    path: bytes,
    query: bytes,
    extra: list[tuple[bytes, bytes]],
    authorization: bytes | None,
    body: bytes,
) -> None:
    headers = [(b"host", HOST.encode()), (b"x-amz-date", STAMP.encode()), *extra]
    if authorization is not None:
        headers.append((b"authorization", b"AWS4-HMAC-SHA256 " + authorization))
    with pytest.raises(ApiError):
        check(HttpRequest("POST", path, query, headers, body))


@given(
    name=st.sampled_from([name.encode() for name in (*PRESIGNED_PARAMETERS, "X-Amz-Security-Token")]),
    value=st.binary(max_size=40),
)
def test_arbitrary_bytes_in_a_presigned_parameter_are_refused(name: bytes, value: bytes) -> None:
    request = sign(expires=60, token=TOKEN).request
    pairs = [pair for pair in request.query.split(b"&") if not pair.startswith(name + b"=")]
    with pytest.raises(ApiError):
        check(replace(request, query=b"&".join([*pairs, name + b"=" + value])))


@given(part=st.sampled_from(["path", "query", "body"]), junk=st.binary(min_size=1, max_size=20))
def test_arbitrary_bytes_in_a_signed_request_do_not_match(part: str, junk: bytes) -> None:
    request = sign(path="/a", query="q=1").request
    junk = b"&z=" + junk if part == "query" else b"z" + junk
    with pytest.raises(ApiError):
        check(replace(request, **{part: getattr(request, part) + junk}))


def test_what_is_printed_of_a_request_and_its_claim_holds_no_token_or_signature() -> None:
    signed = sign(expires=60, token=TOKEN)
    printed = repr(signed.request) + repr(parse(signed.request))
    assert signed.signature not in printed
    assert TOKEN not in printed
