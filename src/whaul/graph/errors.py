"""Which answer of Meta becomes which error, as data.

Meta's own tables disagree on HTTP statuses (a throttle comes as 400 and as 429; code 3 is a 500 that must not be
tried again), so an answer is classified by its `code` first, then by `is_transient`, then by its status.

Codes: https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from whaul.errors import (
    AccessDeniedByMetaException,
    ApiError,
    DependencyException,
    InvalidParametersException,
    LimitExceededException,
    ResourceNotFoundException,
    Retry,
    ThrottledRequestException,
)
from whaul.graph.usage import regain_seconds
from whaul.outbound.errors import HttpError
from whaul.outbound.http import Response

ACCESS_CODES = frozenset({0, 3, 10, 102, 104, 190, 368, 130497, 131005, 131031, *range(200, 300)})
"""The token or the account may not; trying again gets numbers blocked."""
THROTTLE_CODES = frozenset({4, 80007, 80008, 130429, 131048, 131056})
TRANSIENT_CODES = frozenset({131000, 131016, 131057, 133004})
TRANSIENT_WITH_5XX_CODES = frozenset({1, 2})
"""Transient only with a 5xx status or `is_transient`; else they are bad requests."""
UNDONE_CODES = frozenset({131016, 131057, 133004})
"""Passing faults that say that nothing was done: the service was not there. (131000 does not say.)"""
PAIR_RATE_CODE = 131056
PAIR_RATE_WAIT = 4.0
"""Seconds to wait first when too much went to one recipient; Meta says 4^X, X growing from 0.
https://developers.facebook.com/documentation/business-messaging/whatsapp/about-the-platform"""
SINGLE_CODES: Mapping[int, tuple[type[ApiError], str]] = {
    133000: (DependencyException, "An earlier deregistration of the number did not end; deregister it at Meta again."),
    133005: (InvalidParametersException, "The two-factor PIN is not the number's; reset it in WhatsApp Manager."),
    133006: (InvalidParametersException, "The number must be verified at Meta (again) before it is registered."),
    133008: (LimitExceededException, "Too many wrong PINs were tried; Meta takes none for a while."),
    133009: (ThrottledRequestException, "PINs were tried too fast; wait before the next."),
    133010: (DependencyException, "The number is not registered for the Cloud API; register it first."),
    133015: (ThrottledRequestException, "The number was deleted a moment ago; wait some minutes."),
    133016: (LimitExceededException, "The number was registered or deregistered too often within 72 hours."),
    131052: (InvalidParametersException, "Meta could not take the file from its sender, who must send it again."),
    131062: (
        InvalidParametersException,
        "This message cannot go to a business-scoped user id, only to a phone number: put that into `to`.",
    ),
}
"""Codes that say one thing each. None is tried again: Meta counts registrations, and a message stays what it is.

131052: https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes
131062: https://developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids
"""
INVALID_PARAMETER_CODE = 100
OBJECT_MISSING_SUBCODE = 33

PERMISSION_ADVICE = (
    "The access token or its app lacks a permission: it needs whatsapp_business_messaging and "
    "whatsapp_business_management, for this account."
)
TOKEN_ADVICE = "The access token is invalid or expired; link the account again with a new one (whaul link)."  # noqa: S105 - none, but advice
TOKEN_CODES = frozenset({0, 102, 190})
ADVICE: Mapping[int, str] = {
    **dict.fromkeys((3, 10, 131005, *range(200, 300)), PERMISSION_ADVICE),
    368: "Meta has restricted the account; see its Business Support page.",
    130497: "Meta has restricted the account; see its Business Support page.",
    131031: "Meta has locked the account; see its Business Support page.",
}
"""What to do, where the code alone says it."""
PROOF_ADVICE = "Meta wants an appsecret_proof; link the account with --app-secret-file."
MISSING_ADVICE = "The id does not exist, or belongs to another account than the token's."

UNKNOWN_END = "Whether Meta carried it out is not known, so it was not tried again."

_TRACE_ID = re.compile(r"[\w.+/=-]{1,64}")


@dataclass(frozen=True, slots=True)
class CallKind:
    """What decides about an error in addition to Meta's response."""

    is_repeatable: bool = True
    """Whether the call may reach Meta twice; if not, it is tried again only when Meta surely did nothing."""
    names_object: bool = True
    """Whether an invalid parameter is the object's id: the call has no other that can be wrong."""
    missing: str = MISSING_ADVICE
    """What to do if the object does not exist."""
    token: str = TOKEN_ADVICE
    """What to do if Meta does not accept the access token."""


READING = CallKind()


class _ErrorBody(msgspec.Struct):
    """Members of another type than documented count as absent; the others still tell what happened."""

    code: Any = None
    error_subcode: Any = None
    is_transient: Any = None
    fbtrace_id: Any = None
    message: Any = None

    def __post_init__(self) -> None:
        self.code, self.error_subcode = _number(self.code), _number(self.error_subcode)


class _Envelope(msgspec.Struct):
    error: _ErrorBody


_decoder = msgspec.json.Decoder(_Envelope)


def call_error(failure: HttpError, doing: str, kind: CallKind = READING) -> DependencyException:
    """Turn a call without an answer into the error that callers see."""
    message = f"The call to Meta for {doing} failed: {failure}."
    if kind.is_repeatable or not failure.arrived:
        return DependencyException(message, retry=failure.retry)
    return DependencyException(f"{message} {UNKNOWN_END}", retry=Retry.NO)


def error_from(response: Response, doing: str, kind: CallKind = READING) -> ApiError:
    """Turn an answer that is not a success into the error that callers see.

    `doing` is the step in words ("reading the media's description"). Only the code, subcode and trace id of Meta's
    body are repeated, never its text.
    """
    try:
        body = _decoder.decode(response.body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        body = _ErrorBody()
    error, retry, advice = _classify(response.status, body, kind)
    if not kind.is_repeatable and error is not ThrottledRequestException and body.code not in UNDONE_CODES:
        retry = Retry.NO
    details = [f"HTTP status {response.status}"]
    details += [f"code {body.code}"] if body.code is not None else []
    details += [f"subcode {body.error_subcode}"] if body.error_subcode is not None else []
    if isinstance(body.fbtrace_id, str) and _TRACE_ID.fullmatch(body.fbtrace_id):
        details.append(f"fbtrace_id {body.fbtrace_id}")
    message = f"Meta answered {doing} with an error ({', '.join(details)}). {advice}".strip()
    wait = regain_seconds(response.headers)
    if wait is None and body.code == PAIR_RATE_CODE:
        wait = PAIR_RATE_WAIT
    return error(message, retry=retry, retry_after=wait)


def _number(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if type(value) is int and abs(value) < 10**9 else None


def _classify(  # noqa: PLR0911 - a table in order
    status: int, body: _ErrorBody, kind: CallKind
) -> tuple[type[ApiError], Retry, str]:
    code = body.code
    if code in ACCESS_CODES:
        advice = kind.token if code in TOKEN_CODES else ADVICE.get(code or 0, kind.token)
        return AccessDeniedByMetaException, Retry.NO, advice
    if code in THROTTLE_CODES or (status == 429 and code is None):
        return ThrottledRequestException, Retry.YES, "Try again later."
    if code in SINGLE_CODES:
        error, advice = SINGLE_CODES[code]
        return error, Retry.NO, advice
    if code in TRANSIENT_CODES:
        return DependencyException, Retry.YES, "Meta reports a passing fault; try again later."
    if code == INVALID_PARAMETER_CODE and body.error_subcode in {None, OBJECT_MISSING_SUBCODE}:
        if isinstance(body.message, str) and "appsecret_proof" in body.message:
            return AccessDeniedByMetaException, Retry.NO, PROOF_ADVICE
        if kind.names_object or body.error_subcode is not None:
            return ResourceNotFoundException, Retry.NO, kind.missing
    if body.is_transient is True or (code in TRANSIENT_WITH_5XX_CODES and status >= 500):
        return DependencyException, Retry.YES, "Meta reports a passing fault; try again later."
    if code is not None and status < 500 and status != 429:
        return DependencyException, Retry.NO, "Look the code up in Meta's list of error codes."
    return _classify_status(status, kind)


def _classify_status(status: int, kind: CallKind) -> tuple[type[ApiError], Retry, str]:
    if status in {401, 403}:
        return AccessDeniedByMetaException, Retry.NO, kind.token if status == 401 else PERMISSION_ADVICE
    if status == 404:
        return ResourceNotFoundException, Retry.NO, kind.missing
    if status == 429:
        return ThrottledRequestException, Retry.YES, "Try again later."
    if 400 <= status < 500:
        return DependencyException, Retry.NO, "Meta refused the request."
    return DependencyException, Retry.YES, "Try again later."
