"""AWS Signature Version 4: whether a request is signed as it says, for this service, and now.

Owns the reading of a signature, its canonical form and the comparison. Pure: no I/O, no clock, no cache. Whose
a key is, its secret and its session token are the caller's. A request is checked in the order of this file:

    claim = parse(request)                 what the request says of itself, whole and unambiguous
    check_scope(claim, region, service)    meant for this gateway
    check_time(claim, now)                 made about now
    key = signing_key(secret, ...)         by the caller, who may keep it for the day
    verify(request, claim, key)            and made with the secret

A claim is only words until `verify` returns. No message repeats a credential, a signature or a token.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from whaul.errors import IncompleteSignatureException as Incomplete
from whaul.errors import InvalidSignatureException, MissingAuthenticationTokenException

ALGORITHM: Final = "AWS4-HMAC-SHA256"
TERMINATOR: Final = "aws4_request"
MAX_SKEW: Final = timedelta(minutes=15)
MAX_EXPIRES: Final = 604_800
"""Seconds; seven days, AWS's bound for a presigned request."""

# The parts of a signature as a query names them; an Authorization header drops the prefix of three of them.
_HEADER_PARTS: Final = ("X-Amz-Credential", "X-Amz-SignedHeaders", "X-Amz-Signature")
_QUERY_PARTS: Final = ("X-Amz-Algorithm", *_HEADER_PARTS, "X-Amz-Date", "X-Amz-Expires")
_QUERY_NAMES: Final = frozenset(name.encode() for name in (*_QUERY_PARTS, "X-Amz-Security-Token"))
_TIMESTAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_SIGNATURE = re.compile(r"[0-9a-f]{64}")
_EXPIRES = re.compile(r"[0-9]{1,6}")


# Neither is `frozen`, which makes an object three times as slow to build: each call builds them.
@dataclass(slots=True)
class HttpRequest:
    """What is signed: the request as it came over the wire, nothing decoded."""

    method: str
    path: bytes
    query: bytes = field(repr=False)
    headers: Sequence[tuple[bytes, bytes]] = field(repr=False)
    body: bytes = field(repr=False)
    values: Mapping[bytes, Sequence[bytes]] = field(init=False, repr=False)
    """Of each header, whose names are in lower case here."""

    def __post_init__(self) -> None:
        self.values = _by_name(self.headers)


@dataclass(slots=True)
class SignedClaim:
    """What a signed request says of itself, well formed but not yet proven."""

    access_key_id: str
    date: str
    """The day of the credential scope, YYYYMMDD; the same day as `timestamp`."""
    region: str
    service: str
    signed_headers: tuple[bytes, ...]
    signature: str = field(repr=False)
    timestamp: str
    """`X-Amz-Date` as it was signed, YYYYMMDD'T'HHMMSS'Z'."""
    signed_at: datetime
    """`timestamp`, in UTC."""
    expires: int | None
    """Seconds after `signed_at`; None in the header form, which lasts as long as the skew."""
    session_token: str | None = field(repr=False)

    @property
    def scope(self) -> str:
        """The credential scope: day, region, service, terminator."""
        return f"{self.date}/{self.region}/{self.service}/{TERMINATOR}"


def parse(request: HttpRequest) -> SignedClaim:
    """Read the signature of a request, from its `Authorization` header or from its query.

    Raises MissingAuthenticationTokenException when it has none, and IncompleteSignatureException when it has one
    that is not whole, is ambiguous, or leaves out what must be signed. The time must be in `X-Amz-Date`: a `Date`
    header, which a proxy may rewrite, is not read.
    """
    headers = request.values
    in_query = [pair for pair in _pairs(request.query) if pair[0] in _QUERY_NAMES]
    if in_query and b"authorization" in headers:
        raise Incomplete("The request is signed in the Authorization header and in the query: sign it once.")
    if in_query:
        parts = _read_query(in_query)
    elif b"authorization" in headers:
        parts = _read_authorization(headers)
    else:
        raise MissingAuthenticationTokenException

    if parts["X-Amz-Algorithm"] != ALGORITHM:
        raise Incomplete(f"Unsupported AWS 'algorithm'; the only one is '{ALGORITHM}'.")
    key_id, date, region, service = _credential(parts["X-Amz-Credential"])
    timestamp = parts["X-Amz-Date"]
    signed_at = _instant(timestamp)
    if date != timestamp[:8]:
        raise Incomplete(f"Date in Credential scope does not match YYYYMMDD of X-Amz-Date, '{timestamp[:8]}'.")
    signed_headers = _signed_headers(parts["X-Amz-SignedHeaders"], headers)
    if not _SIGNATURE.fullmatch(parts["X-Amz-Signature"]):
        raise Incomplete("Signature must be 64 lower-case hexadecimal digits.")
    _check_declared_hash(headers, request.body)
    return SignedClaim(
        access_key_id=key_id,
        date=date,
        region=region,
        service=service,
        signed_headers=signed_headers,
        signature=parts["X-Amz-Signature"],
        timestamp=timestamp,
        signed_at=signed_at,
        expires=_expires(parts["X-Amz-Expires"]) if in_query else None,
        session_token=parts.get("X-Amz-Security-Token"),
    )


def check_scope(claim: SignedClaim, region: str, service: str) -> None:
    """Refuse, with IncompleteSignatureException, a signature that was made for another region or service."""
    wrong = []
    if claim.region != region:
        wrong.append(f"Credential should be scoped to a valid region: '{region}'.")
    if claim.service != service:
        wrong.append(f"Credential should be scoped to correct service: '{service}'.")
    if wrong:
        raise Incomplete(" ".join(wrong))


def check_time(claim: SignedClaim, now: datetime) -> None:
    """Refuse, with InvalidSignatureException, a signature that is too old at `now`, or not yet good."""
    # Differences, not sums: year 9999 plus a week is no datetime.
    if claim.signed_at - now > MAX_SKEW:
        raise InvalidSignatureException(
            f"Signature not yet current: {claim.timestamp} is still later than "
            f"{_stamp(now + MAX_SKEW)} ({_stamp(now)} + 15 min.)"
        )
    age = now - claim.signed_at
    if claim.expires is not None:
        if age > timedelta(seconds=claim.expires):
            end = claim.signed_at + timedelta(seconds=claim.expires)
            raise InvalidSignatureException(
                f"Signature expired: {_stamp(end)} ({claim.timestamp} + {claim.expires} sec.) "
                f"is now earlier than {_stamp(now)}"
            )
    elif age > MAX_SKEW:
        raise InvalidSignatureException(
            f"Signature expired: {claim.timestamp} is now earlier than "
            f"{_stamp(now - MAX_SKEW)} ({_stamp(now)} - 15 min.)"
        )


def signing_key(secret: str, date: str, region: str, service: str) -> hmac.HMAC:
    """Prepare what signs for one day, region and service; worth caching for that day, and only ever copied."""
    return hmac.new(derived_key(secret, date, region, service), digestmod="sha256")


def derived_key(secret: str, date: str, region: str, service: str) -> bytes:
    """Derive the 32-byte key for one day, region and service."""
    key = b"AWS4" + secret.encode()
    for step in (date, region, service, TERMINATOR):
        key = hmac.digest(key, step.encode(), "sha256")
    return key


def signature(key: hmac.HMAC, text: bytes) -> str:
    """Sign a text, in lower-case hex."""
    mac = key.copy()
    mac.update(text)
    return mac.hexdigest()


def verify(request: HttpRequest, claim: SignedClaim, key: hmac.HMAC) -> None:
    """Prove the claim: raise InvalidSignatureException unless `key` signs this very request so."""
    canonical = canonical_request(request, claim.signed_headers)
    expected = signature(key, string_to_sign(claim, canonical))
    if not hmac.compare_digest(expected, claim.signature):
        raise InvalidSignatureException(
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method."
        )


def string_to_sign(claim: SignedClaim, canonical: bytes) -> bytes:
    """Compose what the signing key signs: the time, the scope and the hash of the canonical request."""
    return f"{ALGORITHM}\n{claim.timestamp}\n{claim.scope}\n{sha256(canonical).hexdigest()}".encode()


def canonical_request(request: HttpRequest, signed_headers: Sequence[bytes]) -> bytes:
    """Write the request in the one form that both sides hash; the body's own hash always ends it."""
    headers = request.values
    lines = [request.method.encode(), _canonical_path(request.path), _canonical_query(request.query)]
    # White space around a value goes, runs inside it become one space; repeated headers are joined by commas.
    lines += [
        name + b":" + b",".join([b" ".join(value.split()) for value in headers.get(name, ())])
        for name in signed_headers
    ]
    lines += [b"", b";".join(signed_headers), sha256(request.body).hexdigest().encode()]
    return b"\n".join(lines)


def _canonical_path(path: bytes) -> bytes:
    """Drop dot segments and doubled slashes, then encode once more; only S3 is signed without either."""
    if b"//" in path or b"/." in path or not path:
        kept: list[bytes] = []
        for segment in path.split(b"/"):
            if segment == b"..":
                del kept[-1:]
            elif segment not in {b"", b"."}:
                kept.append(segment)
        path = b"/" + b"/".join(kept) + (b"/" if kept and path.endswith(b"/") else b"")
    return quote_from_bytes(path, safe="/").encode()


def _canonical_query(query: bytes) -> bytes:
    """Sort by key, then value, as received; a key without `=` gets one. A signature does not sign itself."""
    return b"&".join([k + b"=" + v for k, v in sorted(_pairs(query)) if k != b"X-Amz-Signature"])


def _read_authorization(headers: Mapping[bytes, Sequence[bytes]]) -> dict[str, str]:
    algorithm, _, components = _only(headers, b"authorization").partition(" ")
    parts = {"X-Amz-Algorithm": algorithm}
    if algorithm != ALGORITHM:  # then its components are not ours to read
        return parts
    for component in components.split(","):
        name, _, value = component.strip().partition("=")
        name = f"X-Amz-{name}"
        if name not in _HEADER_PARTS or name in parts:
            raise Incomplete(
                "Authorization header must hold Credential=, SignedHeaders= and Signature=, each once, "
                "with commas between them and nothing else."
            )
        parts[name] = value
    for header, name in ((b"x-amz-date", "X-Amz-Date"), (b"x-amz-security-token", "X-Amz-Security-Token")):
        if header in headers:
            parts[name] = _only(headers, header)
    missing = [f"'{name.removeprefix('X-Amz-')}' parameter" for name in _HEADER_PARTS if not parts.get(name)]
    missing += [] if parts.get("X-Amz-Date") else ["existence of a 'X-Amz-Date' header"]
    if missing:
        raise Incomplete(" ".join(f"Authorization header requires {what}." for what in missing))
    return parts


def _read_query(pairs: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    parts: dict[str, str] = {}
    for key, value in pairs:
        name = key.decode()
        if name in parts:
            raise Incomplete(f"AWS query-string parameter '{name}' is given more than once.")
        parts[name] = _text(name, unquote_to_bytes(value))
    if missing := [name for name in _QUERY_PARTS if not parts.get(name)]:
        raise Incomplete(" ".join(f"AWS query-string parameters must include '{name}'." for name in missing))
    return parts


def _credential(text: str) -> tuple[str, str, str, str]:
    elements = text.split("/")
    if len(elements) != 5 or not all(elements):
        raise Incomplete("Credential must have 5 slash-delimited elements, keyid/date/region/service/term.")
    key_id, date, region, service, terminator = elements
    if terminator != TERMINATOR:
        raise Incomplete(f"Credential should be scoped with a valid terminator: '{TERMINATOR}'.")
    return key_id, date, region, service


def _instant(timestamp: str) -> datetime:
    try:
        if _TIMESTAMP.fullmatch(timestamp):
            return datetime.fromisoformat(timestamp)
    except ValueError:  # such as a 30 February
        pass
    raise Incomplete("X-Amz-Date must be a date and time in UTC, YYYYMMDD'T'HHMMSS'Z'.")


def _signed_headers(text: str, headers: Mapping[bytes, object]) -> tuple[bytes, ...]:
    """Check that what must be signed is, and that what is said to be signed is there."""
    names = text.encode().split(b";")
    signed = set(names)
    if text != text.lower() or names != sorted(signed):
        raise Incomplete("SignedHeaders must be in lower case, sorted, and each name once.")
    for name in (b"host", *headers):
        if name not in signed and (name == b"host" or name.startswith(b"x-amz-")):
            raise Incomplete(f"'{_printable(name)}' must be a 'SignedHeader' in the AWS Authorization.")
    for name in names:
        if name not in headers:
            raise Incomplete(f"SignedHeaders names '{_printable(name)}', a header that the request does not have.")
    return tuple(names)


def _expires(text: str) -> int:
    if _EXPIRES.fullmatch(text) and 1 <= int(text) <= MAX_EXPIRES:
        return int(text)
    raise Incomplete(f"X-Amz-Expires must be from 1 to {MAX_EXPIRES} seconds.")


def _check_declared_hash(headers: Mapping[bytes, Sequence[bytes]], body: bytes) -> None:
    declared = headers.get(b"x-amz-content-sha256")
    if declared is not None and declared != [sha256(body).hexdigest().encode()]:
        raise Incomplete(
            "X-Amz-Content-SHA256 must be the SHA-256 of the request body in lower-case hexadecimal digits; "
            "UNSIGNED-PAYLOAD and streaming signatures are not accepted."
        )


def _by_name(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, list[bytes]]:
    grouped: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        grouped.setdefault(name.lower(), []).append(value)
    return grouped


def _pairs(query: bytes) -> list[tuple[bytes, bytes]]:
    """Split a query, decoding nothing."""
    if not query:
        return []
    return [(key, value) for key, _, value in (pair.partition(b"=") for pair in query.split(b"&"))]


def _only(headers: Mapping[bytes, Sequence[bytes]], name: bytes) -> str:
    values = headers[name]
    if len(values) != 1:
        raise Incomplete(f"Header '{_printable(name)}' is given more than once.")
    return _text(_printable(name), values[0].strip())


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode("ascii")
    except UnicodeDecodeError:
        raise Incomplete(f"'{name}' holds characters outside ASCII.") from None


def _printable(name: bytes) -> str:
    return name.decode("ascii", "backslashreplace")


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
