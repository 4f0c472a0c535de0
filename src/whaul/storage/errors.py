"""Which response of an object store becomes which error.

Codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

import codecs
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
from whaul.outbound.response import Download, Response

CHECKSUM_CODES = frozenset({"BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"})
"""The bytes do not fit a checksum. If it is ours, they were changed on the way; if the caller's, it cannot fit."""
TRANSIENT_CODES = frozenset(
    {
        "ConcurrentModification",
        "ConditionalRequestConflict",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
    }
)
"""Codes for what may be over in a moment, whatever their status."""
THROTTLE_CODES = frozenset(
    {
        "BandwidthLimitExceeded",
        "RequestLimitExceeded",
        "RequestThrottled",
        "ServiceUnavailable",
        "SlowDown",
        "SlowDownRead",
        "SlowDownWrite",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
    }
)
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

STORE_HEADERS = frozenset({"x-amz-request-id", "x-amz-id-2", "x-amz-bucket-region"})
"""Every response of S3 has one of them. CloudFront and API Gateway send other headers that begin with `x-amz`."""
LASTING_STATUSES = frozenset({405, 407, 411, 413, 414, 431, 501, 505, 511})
"""Statuses that a proxy would send again for the same request."""
PASSING_STATUSES = frozenset({408, 421, 425})
"""4xx for what may be over in a moment."""

_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9.]{1,64})\s*</Code>")
_SAYS_AGAIN = re.compile(rb"<Message>[^<]{0,1000}try again", re.IGNORECASE)


def s3_error(response: Response, *, reads: bool = False) -> ApiError:
    """Translate the response to a PUT (or a GET, if it `reads`) that this server signed."""
    code = error_code(response)
    summary = _summary("S3", response, code)
    if not is_of_a_store(response):
        return _foreign_error("S3", response)
    if code in CREDENTIAL_CODES:
        return AccessDeniedException(f"{summary} whaul's S3 credentials are not good; its operator must renew them.")
    if code in CHECKSUM_CODES or code == "TemporaryRedirect":  # the latter for a bucket that is new
        return DependencyException(f"{summary} Try again later.", retry=Retry.YES)
    if response.status in {401, 403} and code not in THROTTLE_CODES | TRANSIENT_CODES:
        doing = "read this object, or it does not exist" if reads else "write this object"
        return AccessDeniedException(f"{summary} whaul's S3 credentials may not {doing}.")
    if code == "NoSuchBucket" or (reads and code == "NoSuchKey") or (response.status == 404 and not code):
        missing = "source does not exist" if reads else "destination bucket does not exist"
        return ResourceNotFoundException(f"{summary} The {missing}.")
    return _common_error(response, code, summary)


def presigned_error(response: Response, *, reads: bool = False) -> ApiError:
    """Translate the response to a PUT (or a GET, if it `reads`) that the caller signed."""
    code = error_code(response)
    summary = _summary("The presigned URL's host", response, code)
    advice = "Make a new URL: it has expired, or was not signed for this request."
    if not is_of_a_store(response):
        return _foreign_error("The presigned URL's host", response)
    if response.status in {401, 403} and code not in THROTTLE_CODES | TRANSIENT_CODES:
        return AccessDeniedException(f"{summary} {advice}")
    if code in CREDENTIAL_CODES:
        return InvalidParametersException(f"{summary} {advice}")
    if code in CHECKSUM_CODES:
        return InvalidParametersException(
            f"{summary} The URL or its headers have a checksum that is not the file's. Sign it without one; the AWS "
            "SDK for JavaScript adds none with requestChecksumCalculation: 'WHEN_REQUIRED'."
        )
    if reads and response.status == 404:
        return ResourceNotFoundException(f"{summary} The source does not exist.")
    return _common_error(response, code, summary)


def _common_error(response: Response, code: str, summary: str) -> ApiError:
    if code in THROTTLE_CODES or response.status in {429, 503}:
        return ThrottledRequestException(f"{summary} Try again later.", retry_after=retry_after(response.headers))
    if code == "NotImplemented" or response.status == 501:
        return InvalidParametersException(f"{summary} The store does not have what this request needs; change it.")
    says_again = response.status == 409 and _SAYS_AGAIN.search(response.body)
    if code in TRANSIENT_CODES or says_again or response.status >= 500:
        return DependencyException(f"{summary} Try again later.", retry=Retry.YES)
    if 300 <= response.status < 400:
        return InvalidParametersException(f"{summary} It redirects elsewhere; name the bucket's own endpoint.")
    if 400 <= response.status < 500:
        return InvalidParametersException(f"{summary} The store refuses this request; change it.")
    return DependencyException(f"{summary} That is no answer that S3 gives.", retry=Retry.YES)


def _foreign_error(who: str, response: Response) -> ApiError:
    """Translate the response of a proxy, a load balancer or a login page that stands in for the store."""
    summary = f"{who} answered with HTTP status {response.status}, but not as an S3 store does"
    if 300 <= response.status < 400:
        return DependencyException(f"{summary}; it redirects elsewhere, so name the store itself.", retry=Retry.NO)
    wait = retry_after(response.headers)
    if response.status == 429 or (response.status == 503 and not response.body):
        return ThrottledRequestException(f"{summary}. Try again later.", retry_after=wait)
    if response.status in LASTING_STATUSES:
        retry = Retry.NO
    else:
        retry = Retry.YES if response.status >= 500 or response.status in PASSING_STATUSES else Retry.FEW
    return DependencyException(
        f"{summary}; look for a proxy or another server in between.", retry=retry, retry_after=wait
    )


def is_of_a_store(response: Response) -> bool:
    """Whether an S3 store can have sent this response: it has S3's XML, or no body but S3's headers."""
    return bool(error_code(response)) or (not response.body and not STORE_HEADERS.isdisjoint(response.headers))


def is_stored(response: Response) -> bool:
    """Whether the response to a PUT says that the object is stored, and is not a login page, say."""
    text = response.body.removeprefix(codecs.BOM_UTF8).lstrip()
    is_page = bool(text) and (text.startswith(b"<") or _is_html(response.headers.get("content-type")))
    return 200 <= response.status < 300 and ("etag" in response.headers or not is_page)


def is_page(download: Download) -> bool:
    """Whether an HTML page came instead of an object, which would have an ETag."""
    return download.header("etag") is None and _is_html(download.header("content-type"))


def _is_html(content_type: str | None) -> bool:
    return (content_type or "").lower().startswith("text/html")


def error_code(response: Response) -> str:
    """The store's error code; empty if there is none."""
    start = response.body.find(b"<Error")
    match = _CODE.search(response.body, start) if start >= 0 else None
    return match[1].decode() if match else ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from a `Retry-After` header; None without one, or if it holds a date."""
    text = headers.get("retry-after", "")
    return float(text[:9]) if text.isdecimal() else None


def _summary(who: str, response: Response, code: str) -> str:
    return f"{who} answered {code or 'without an error code'} (HTTP status {response.status})."


def credentials_not_loaded(reason: str) -> AccessDeniedException:
    """Make the error that tells the operator to check the server's own credentials."""
    return AccessDeniedException(
        f"whaul's S3 credentials could not be loaded ({reason}); its operator must check them."
    )
