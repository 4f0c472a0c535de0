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
    ConflictException,
    DependencyException,
    InvalidParametersException,
    LimitExceededException,
    ResourceNotFoundException,
    Retry,
    ThrottledRequestException,
)
from whaul.graph.usage import regain_seconds
from whaul.outbound.errors import HttpError
from whaul.outbound.response import Response

ACCESS_CODES = frozenset({0, 3, 10, 102, 104, 190, 368, 130497, 131005, 131031, *range(200, 300)})
"""The token or the account may not; trying again gets numbers blocked."""
THROTTLE_CODES = frozenset({4, 613, 80007, 80008, 130429, 131048, 131056, 138002, 138005})
TRANSIENT_CODES = frozenset({131000, 131016, 131057, 133004})
TRANSIENT_WITH_5XX_CODES = frozenset({1, 2})
"""Transient only with a 5xx status or `is_transient`; else they are bad requests."""
UNDONE_CODES = frozenset({131016, 131057, 133004})
"""Passing faults that say that nothing was done: the service was not there. (131000 does not say.)"""
PAIR_RATE_CODE = 131056
PAIR_RATE_WAIT = 4.0
"""Seconds to wait first when too much went to one recipient; Meta says 4^X, X growing from 0.
https://developers.facebook.com/documentation/business-messaging/whatsapp/about-the-platform"""
_NOT_OURS = (
    "Meta asked the webhook URL, and it did not answer as this server does: it must be this server's, run, and be "
    "reached from the internet."
)
_NOT_PUBLISHED = (
    "Meta does not publish the flow, and does not say why: it must be a draft of a supported version, without "
    "validation errors. With an endpoint it also needs an app, a phone number with a valid public key, webhooks, and "
    "an endpoint that answers."
)
SINGLE_CODES: Mapping[int, tuple[type[ApiError], str]] = {
    2200: (InvalidParametersException, _NOT_OURS),
    2201: (InvalidParametersException, _NOT_OURS),
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
    132000: (DependencyException, "The message has not as many parameters as the template has variables."),
    132001: (DependencyException, "The template is not there in this language, or not approved; `en` is not `en_US`."),
    132005: (DependencyException, "With these parameters the template's text is too long."),
    132007: (DependencyException, "Meta does not take the characters of a parameter in this template."),
    132012: (DependencyException, "A parameter is not of the form that the template wants."),
    132015: (DependencyException, "Meta has paused the template, since people disliked it; the pause ends by itself."),
    132016: (DependencyException, "Meta has disabled the template, since people disliked it; create another."),
    132068: (DependencyException, "Meta has blocked the flow; mend it first."),
    132069: (DependencyException, "Meta sends the flow only a few times an hour now; mend it first."),
    803: (ResourceNotFoundException, "The object does not exist, or the access token does not reach it."),
    131030: (
        InvalidParametersException,
        "The recipient is not among those that a test number may reach; add it in Meta's app dashboard.",
    ),
    131044: (DependencyException, "Meta wants a payment method; add one to the account in WhatsApp Manager."),
    131055: (InvalidParametersException, "The phone number takes calls by SIP; this API takes none for it."),
    138000: (InvalidParametersException, "Calls are switched off for the phone number; switch them on at Meta first."),
    138001: (InvalidParametersException, "This person cannot be called: their WhatsApp takes no such calls."),
    138003: (ConflictException, "A call with this person is under way; end it first."),
    138004: (DependencyException, "The call could not be connected; start a new one."),
    138006: (InvalidParametersException, "This person has not permitted calls; ask for the permission first."),
    138007: (DependencyException, "Connecting the call took too long; start a new one."),
    138009: (InvalidParametersException, "This person was asked too often for permission to call; wait."),
    138012: (InvalidParametersException, "This person was called as often as Meta allows in a day; wait."),
    138013: (InvalidParametersException, "Meta does not offer such calls from this number, or to this country."),
    138014: (InvalidParametersException, "Meta has switched calls off for this number, since people disliked them."),
    138015: (InvalidParametersException, "Calls cannot be switched on for this number; Meta says when they can."),
    138017: (InvalidParametersException, "This person permits calls for good; there is nothing to ask for."),
    138018: (InvalidParametersException, "Calls cannot be switched on for this number; Meta says when they can."),
    139000: (
        AccessDeniedByMetaException,
        "Meta does not let this account create or publish flows; see its Business Support page.",
    ),
    139001: (
        InvalidParametersException,
        "Meta cannot use the flow JSON, or the flow cannot be changed in its present state.",
    ),
    139002: (InvalidParametersException, _NOT_PUBLISHED),
    139003: (InvalidParametersException, "Only a published flow can be deprecated."),
    139004: (InvalidParametersException, "Only a draft can be deleted; deprecate a published flow."),
}
"""Codes that say one thing each. None is tried again: Meta counts registrations, and a message stays what it is.

131052: https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes
131062: https://developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids
"""
INVALID_PARAMETER_CODE = 100
OBJECT_MISSING_SUBCODE = 33
INVALID_CODES = frozenset({INVALID_PARAMETER_CODE, 131008, 131009})
"""What a caller wrote is wrong, or lacks something."""
INVALID_PARAMETERS: Mapping[int, str] = {
    2388019: "The account has as many templates as Meta allows; delete some.",
    2388023: "A template of this name is being deleted, and the name is blocked for 30 days; take another.",
    2388024: "There is a template of this name in this language already; update it, or take another name.",
    2388025: "A template of this name is being deleted, and the name is blocked for 30 days; take another.",
    2388040: "A part of the template is too long: 60 characters for a header or footer, 1,024 for the body.",
    2388047: "The header is not of the form that Meta takes.",
    2388072: "The body is not of the form that Meta takes.",
    2388073: "The footer is not of the form that Meta takes.",
    2388273: "A header with media needs an `example` whose `header_handle` CreateWhatsAppMessageTemplateMedia gave.",
    2388293: "There are too many variables for so few words; write more text, or use fewer variables.",
    2388299: "A variable is at the beginning or at the end of the text; put words there.",
    2804066: "Meta takes no event of this name from WhatsApp: Purchase, LeadSubmitted, InitiateCheckout, AddToCart and "
    "ViewContent are taken.",
    2804087: "The `ctwa_clid` is not one of Meta's; a message that came from an ad holds it in its `referral`.",
}
"""What a subcode of an invalid parameter says, whoever wrote it.

https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes
2388019 to 2388025, 2388273, 2804066 and 2804087 are not documented, but seen in public code and issues.
"""

PERMISSION_ADVICE = (
    "The access token or its app lacks a permission: it needs whatsapp_business_messaging and "
    "whatsapp_business_management, for this account."
)
TOKEN_ADVICE = "The access token is invalid or expired; link the account again with a new one (whaul link)."  # noqa: S105 - none, but advice
TOKEN_CODES = frozenset({0, 102, 104, 190})
ADVICE: Mapping[int, str] = {
    368: "Meta has restricted the account; see its Business Support page.",
    130497: "Meta has restricted the account; see its Business Support page.",
    131031: "Meta has locked the account; see its Business Support page.",
}
"""What to do about a code of `ACCESS_CODES` that is about neither the token nor a permission."""
PROOF_ADVICE = "Meta wants an appsecret_proof; link the account with --app-secret-file."
CALLERS_ADVICE = "Meta refuses a parameter of the request; compare it with what Meta documents."
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
    refused: str = CALLERS_ADVICE
    """What to do if Meta refuses what the caller wrote, and no subcode says why."""
    missing: str = MISSING_ADVICE
    """What to do if the object does not exist."""
    token: str = TOKEN_ADVICE
    """What to do if Meta does not accept the access token."""
    permission: str = PERMISSION_ADVICE
    """What to do if the token lacks a permission."""
    not_passing: frozenset[int] = frozenset()
    """Codes of passing faults that do not pass in this call."""
    is_callers: bool = False
    """Whether the caller wrote what Meta is sent: then an invalid parameter is theirs, and repeating it is no use."""


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


_Class = tuple[type[ApiError], Retry, str]


def _classify(status: int, body: _ErrorBody, kind: CallKind) -> _Class:  # noqa: PLR0911 - a table in order
    code = body.code
    if code in ACCESS_CODES:
        advice = kind.token if code in TOKEN_CODES else ADVICE.get(code or 0, kind.permission)
        return AccessDeniedByMetaException, Retry.NO, advice
    if code in THROTTLE_CODES or (status == 429 and code is None):
        return ThrottledRequestException, Retry.YES, "Try again later."
    if code in SINGLE_CODES:
        error, advice = SINGLE_CODES[code]
        return error, Retry.NO, advice
    if code in kind.not_passing:
        return DependencyException, Retry.NO, "Meta could not do it, and trying again at once does not help."
    if code in TRANSIENT_CODES:
        return DependencyException, Retry.YES, "Meta reports a passing fault; try again later."
    if code in INVALID_CODES and (found := _classify_invalid(body, kind)):
        return found
    if body.is_transient is True or (code in TRANSIENT_WITH_5XX_CODES and status >= 500):
        return DependencyException, Retry.YES, "Meta reports a passing fault; try again later."
    if code is not None and status < 500 and status != 429:
        return DependencyException, Retry.NO, "Look the code up in Meta's list of error codes."
    return _classify_status(status, kind)


def _classify_invalid(body: _ErrorBody, kind: CallKind) -> _Class | None:
    if body.code == INVALID_PARAMETER_CODE:
        if body.error_subcode in INVALID_PARAMETERS:
            return InvalidParametersException, Retry.NO, INVALID_PARAMETERS[body.error_subcode]
        if body.error_subcode in {None, OBJECT_MISSING_SUBCODE}:
            if isinstance(body.message, str) and "appsecret_proof" in body.message:
                return AccessDeniedByMetaException, Retry.NO, PROOF_ADVICE
            if kind.names_object or body.error_subcode is not None:
                return ResourceNotFoundException, Retry.NO, kind.missing
    return (InvalidParametersException, Retry.NO, kind.refused) if kind.is_callers else None


def _classify_status(status: int, kind: CallKind) -> _Class:
    if status in {401, 403}:
        return AccessDeniedByMetaException, Retry.NO, kind.token if status == 401 else kind.permission
    if status == 404:
        return ResourceNotFoundException, Retry.NO, kind.missing
    if status == 429:
        return ThrottledRequestException, Retry.YES, "Try again later."
    if 400 <= status < 500:
        return DependencyException, Retry.NO, "Meta refused the request."
    return DependencyException, Retry.YES, "Try again later."
