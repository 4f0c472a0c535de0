"""Which answer of an object store becomes which error, as data.

Codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

import re
from collections.abc import Mapping

from whaul.errors import (
    AccessDeniedException,
    ApiError,
    DependencyException,
    InvalidParametersException,
    ResourceNotFoundException,
    Retry,
    ThrottledRequestException,
)
from whaul.outbound.http import Answer

TRANSIENT_CODES = frozenset({"BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody", "RequestTimeout"})
"""4xx that blame the bytes on the way, not the request."""
THROTTLE_CODES = frozenset({"SlowDown", "RequestLimitExceeded", "TooManyRequests"})
CREDENTIAL_CODES = frozenset(
    {
        "ExpiredToken",
        "InvalidToken",
        "InvalidAccessKeyId",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)

_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>")


def s3_error(answer: Answer, *, reads: bool = False) -> ApiError:
    """Translate the answer to a PUT (or a GET, if it `reads`) that this server signed."""
    code = error_code(answer)
    told = _told("S3", answer, code)
    if code in CREDENTIAL_CODES:
        return AccessDeniedException(f"{told} The server's S3 credentials are not good; its operator must renew them.")
    if answer.status in {401, 403}:
        doing = "read this object, or it does not exist" if reads else "write this object"
        return AccessDeniedException(f"{told} The server's S3 credentials may not {doing}.")
    if code == "NoSuchBucket" or (reads and code == "NoSuchKey") or (answer.status == 404 and not code):
        missing = "source does not exist" if reads else "destination bucket does not exist"
        return ResourceNotFoundException(f"{told} The {missing}.")
    return _common_error(answer, code, told)


def presigned_error(answer: Answer, *, reads: bool = False) -> ApiError:
    """Translate the answer to a PUT (or a GET, if it `reads`) that the caller signed."""
    code = error_code(answer)
    told = _told("The presigned URL's host", answer, code)
    advice = "Make a new URL: it has expired, or was not signed for this request."
    if answer.status in {401, 403}:
        return AccessDeniedException(f"{told} {advice}")
    if code in CREDENTIAL_CODES:
        return InvalidParametersException(f"{told} {advice}")
    if reads and answer.status == 404:
        return ResourceNotFoundException(f"{told} The source does not exist.")
    return _common_error(answer, code, told)


def _common_error(answer: Answer, code: str, told: str) -> ApiError:
    if code in THROTTLE_CODES or answer.status in {429, 503}:
        return ThrottledRequestException(f"{told} Try again later.", retry_after=retry_after(answer.headers))
    if code in TRANSIENT_CODES or answer.status >= 500:
        return DependencyException(f"{told} Try again later.", retry=Retry.YES)
    if 300 <= answer.status < 400:
        return InvalidParametersException(f"{told} It redirects elsewhere; name the bucket's own endpoint.")
    if 400 <= answer.status < 500:
        return InvalidParametersException(f"{told} The store refuses this request; change it.")
    return DependencyException(f"{told} That is no answer that S3 gives.", retry=Retry.YES)


def error_code(answer: Answer) -> str:
    """The store's error code, empty when it gave none."""
    match = _CODE.search(answer.body)
    return match[1].decode() if match else ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from a `Retry-After` header; None without one, or for a date."""
    text = headers.get("retry-after", "")
    return float(text[:9]) if text.isdecimal() else None


def _told(who: str, answer: Answer, code: str) -> str:
    return f"{who} answered {code or 'without an error code'} (HTTP status {answer.status})."
