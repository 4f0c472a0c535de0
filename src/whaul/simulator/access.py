"""Who may ask: the Bearer token, and `appsecret_proof` when there is an app secret.

The proof is the hex HMAC-SHA256 of the token, or of `token|unix_seconds` with `appsecret_time`, keyed with the app
secret: https://developers.facebook.com/docs/facebook-login/security
"""

import hashlib
import hmac
from typing import Any

from aiohttp import web

from whaul.simulator.calls import Call
from whaul.simulator.journal import TokenState
from whaul.simulator.responses import GRAPH_METHOD, RefusedError, graph_error, invalid
from whaul.simulator.state import WABA_ID, State

PROOF_LIFETIME = 5 * 60
SCOPES = ("whatsapp_business_management", "whatsapp_business_messaging")


def token_state(state: State, request: web.Request) -> TokenState:
    """What came as a token, in the header or as `access_token`."""
    token = _bearer(request) or request.query.get("access_token")
    if token is None:
        return "none"
    return "valid" if is_known(state, token) and not is_expired(state) else "invalid"


def admit_to_graph(state: State, request: web.Request) -> None:
    """Check a Graph call: token in the header or as `access_token`, then the proof."""
    _check_token(state, _bearer(request) or request.query.get("access_token"))
    if state.app_secret is not None:
        _check_proof(state, request, state.app_secret)


def admit_to_download(state: State, request: web.Request) -> None:
    """Check a download: the token in the header, nothing else."""
    _check_token(state, _bearer(request))


def _bearer(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def is_known(state: State, token: str) -> bool:
    """Whether it is the account's token, expired or not."""
    return hmac.compare_digest(token.encode(errors="replace"), state.token.encode())


def is_expired(state: State) -> bool:
    """Whether the account's token has expired."""
    return 0 < state.settings.token_expires_at <= state.now()


def _check_token(state: State, token: str | None) -> None:
    if token is None:
        raise RefusedError(graph_error(104))
    if not is_known(state, token):
        raise RefusedError(graph_error(190))
    if is_expired(state):
        raise RefusedError(graph_error(190, "Error validating access token: the session has expired.", subcode=463))


def _check_proof(state: State, request: web.Request, app_secret: str) -> None:
    proof = request.query.get("appsecret_proof")
    if proof is None:
        raise RefusedError(
            graph_error(
                100,
                "API calls from the server require an appsecret_proof argument",
                error_type=GRAPH_METHOD,
            )
        )
    message = state.token
    moment = request.query.get("appsecret_time")
    fresh = True
    if moment is not None:
        message += f"|{moment}"
        fresh = moment.isdecimal() and abs(state.now() - int(moment)) <= PROOF_LIFETIME
    expected = hmac.new(app_secret.encode(), message.encode(), hashlib.sha256).hexdigest()
    if not fresh or not hmac.compare_digest(proof.encode(errors="replace"), expected.encode()):
        raise RefusedError(
            graph_error(100, "The appsecret_proof of this call is wrong or out of date.", error_type=GRAPH_METHOD)
        )


async def debug_token(call: Call) -> Any:
    """`GET /debug_token?input_token=…`: what a token may do, and until when.

    https://developers.facebook.com/docs/graph-api/reference/debug_token
    """
    token = call.request.query.get("input_token")
    if not token:
        raise invalid("The parameter input_token is required.")
    if not is_known(call.state, token):
        return {"data": {"is_valid": False, "scopes": [], "error": {"code": 190, "message": "Invalid token."}}}
    granular = [{"scope": scope, "target_ids": [WABA_ID]} for scope in SCOPES]
    return {
        "data": {
            "is_valid": True,
            "type": "SYSTEM_USER",
            "expires_at": call.state.settings.token_expires_at,
            "data_access_expires_at": call.state.settings.token_data_access_expires_at,
            "scopes": list(SCOPES),
            "granular_scopes": granular,
        }
    }
