"""Responses of the Graph API: bodies, error bodies and headers in Meta's shape. Knows no state and no socket.

Codes and HTTP statuses are those of Meta's error table [1]; where Meta's own tables disagree, the first is used
and a fault can name another. Slashes are escaped in JSON, as Graph does.

[1] https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes
"""

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from whaul.simulator.content import Content, InMemory

OAUTH = "OAuthException"
GRAPH_METHOD = "GraphMethodException"
INVALID_TOKEN_CODES = frozenset({0, 102, 190})

# code: (HTTP status, message)
KNOWN_ERRORS: dict[int, tuple[int, str]] = {
    0: (401, "The app user could not be authenticated."),
    1: (400, "The request failed for an unknown reason."),
    2: (503, "The service is temporarily not available."),
    3: (500, "The app lacks a capability or permission for this call."),
    4: (400, "The app has reached its limit of calls."),
    10: (403, "The permission for this call is not granted."),
    33: (400, "The business phone number has been deleted."),
    100: (400, "A parameter of the request is not valid."),
    102: (401, "The session is not valid any more."),
    104: (401, "This request needs an access token."),
    190: (401, "The access token is not valid."),
    200: (403, "The permission for this call is not granted."),
    368: (403, "The account is blocked for a breach of policy."),
    80007: (400, "The WhatsApp Business Account has reached its limit of calls."),
    80008: (400, "The WhatsApp Business Account has made too many calls."),
    130429: (400, "The throughput of this phone number is used up."),
    130497: (403, "The account may not message people in this country."),
    131000: (500, "Something went wrong."),
    131005: (403, "Access is denied."),
    131008: (400, "A required parameter is missing."),
    131009: (400, "The value of a parameter is not valid."),
    131016: (500, "The service is not available."),
    131031: (403, "The account is locked."),
    131042: (400, "There is a problem with the payment method."),
    131048: (400, "The phone number has reached its spam limit."),
    131051: (400, "This type of message is not supported."),
    131052: (400, "The media could not be downloaded."),
    131053: (400, "The media could not be uploaded."),
    131056: (400, "Too many messages to the same recipient."),
    131057: (500, "The account is in maintenance mode."),
    131062: (400, "Business-scoped user id recipients are not supported for this message."),
    138000: (401, "Calling is not enabled for this phone number."),
    138001: (400, "The recipient cannot be called."),
    138002: (429, "Too many calls at once."),
    138003: (400, "A call with this user is under way."),
    138004: (500, "The call could not be connected."),
    138005: (429, "Too many calls in a short time."),
    138006: (401, "The user has not permitted calls."),
    138007: (500, "Connecting the call timed out."),
    138009: (400, "Too many requests for permission to call."),
    138012: (400, "Too many calls to this user."),
    138013: (400, "Calling is not available here."),
    139000: (400, "The integrity of the account does not allow flows to be created or published."),
    139001: (400, "The flow cannot be updated."),
    139002: (400, "The flow cannot be published."),
    139003: (400, "The flow cannot be deprecated."),
    139004: (400, "The flow cannot be deleted."),
    613: (400, "Calls to this API have exceeded the rate limit."),
    803: (404, "Some of the aliases requested do not exist."),
    132001: (404, "The template does not exist in this language."),
    132015: (400, "The template is paused because of its quality."),
    132016: (400, "The template is disabled because of its quality."),
    132068: (400, "The flow is blocked."),
    133004: (503, "The server is temporarily not available."),
    133005: (400, "The two-step verification PIN does not match."),
    133006: (400, "The phone number needs to be verified again."),
    133008: (400, "Too many guesses of the two-step verification PIN."),
    133009: (400, "The two-step verification PIN was guessed too fast."),
    133010: (400, "The phone number is not registered."),
    133015: (400, "The phone number was deleted a moment ago."),
    133016: (400, "Too many attempts to register this phone number."),
}


@dataclass(frozen=True, slots=True)
class Response:
    """A whole HTTP response, not yet sent."""

    status: int
    content: Content
    headers: Mapping[str, str] = field(default_factory=dict)


class RefusedError(Exception):
    """The request ends here, with this response."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def status_of(code: int) -> int:
    """HTTP status that Meta's table gives to an error code."""
    if code in KNOWN_ERRORS:
        return KNOWN_ERRORS[code][0]
    return 403 if 200 <= code <= 299 else 400


def text(body: str, *, status: int = 200, content_type: str = "text/plain; charset=utf-8") -> Response:
    """Build a response of text."""
    return Response(status, InMemory(body.encode()), {"Content-Type": content_type})


def graph_json(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Build a JSON response as Graph writes it."""
    body = json.dumps(value, separators=(",", ":")).replace("/", "\\/")
    return Response(
        status,
        InMemory(body.encode()),
        {"Content-Type": "application/json; charset=UTF-8", **(headers or {})},
    )


def graph_error(
    code: int,
    message: str | None = None,
    *,
    status: int | None = None,
    error_type: str = OAUTH,
    subcode: int | None = None,
    is_transient: bool | None = None,
    title: str | None = None,
    user_message: str | None = None,
    details: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Build an error response; `status` and `message` default to what belongs to the code."""
    message = message or KNOWN_ERRORS.get(code, (0, "The request failed."))[1]
    error: dict[str, Any] = {"message": message, "type": error_type, "code": code}
    optional = {
        "error_subcode": subcode,
        "is_transient": is_transient,
        "error_user_title": title,
        "error_user_msg": user_message,
        "error_data": {"messaging_product": "whatsapp", "details": details} if details else None,
    }
    error |= {name: value for name, value in optional.items() if value is not None}
    error["fbtrace_id"] = "A" + secrets.token_urlsafe(16)
    challenge = {"WWW-Authenticate": _challenge(code, message)} if error_type == OAUTH else {}
    return graph_json(
        {"error": error},
        status=status if status is not None else status_of(code),
        headers={**challenge, "Cache-Control": "no-store", **(headers or {})},
    )


def invalid(message: str, details: str | None = None) -> RefusedError:
    """A refusal of a parameter: code 100."""
    return RefusedError(graph_error(100, f"(#100) {message}", details=details))


def _challenge(code: int, message: str) -> str:
    """Graph's own `WWW-Authenticate` form, which is not a challenge in the sense of RFC 9110."""
    kind = "invalid_token" if code in INVALID_TOKEN_CODES else "invalid_request"
    quotable = re.sub(r"[^ !#-~]", "'", message)
    return f'OAuth "Facebook Platform" "{kind}" "{quotable}"'


def object_missing(object_id: str, method: str = "GET") -> Response:
    """Never existed, deleted, expired, or not visible to this token: Graph does not tell these apart."""
    return graph_error(
        100,
        f"Unsupported {method.lower()} request. Object with ID '{object_id}' does not exist, "
        "or this token may not see it, or it does not take this operation.",
        error_type=GRAPH_METHOD,
        subcode=33,
    )
