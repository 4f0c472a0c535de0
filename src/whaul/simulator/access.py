"""Who may ask: the Bearer token, and `appsecret_proof` when there is an app secret.

The token is that of an app's system user. An app token (`app id|secret`) is good for the app itself and `debug_token`.

The proof is the hex HMAC-SHA256 of the token, or of `token|unix_seconds` with `appsecret_time`, keyed with the app
secret: https://developers.facebook.com/docs/facebook-login/security
"""

import hashlib
import hmac
from typing import Any

from aiohttp import web

from whaul.simulator.apps import App
from whaul.simulator.calls import Call
from whaul.simulator.journal import TokenState
from whaul.simulator.responses import GRAPH_METHOD, RefusedError, graph_error, invalid, object_missing
from whaul.simulator.state import WABA_ID, State

PROOF_LIFETIME = 5 * 60
RIGHT_TO_EVENTS = "whatsapp_business_manage_events"


def token_state(state: State, request: web.Request) -> TokenState:
    """What came as a token, in the header or as `access_token`."""
    token = _token(request)
    if token is None:
        return "none"
    by_user = state.apps.by_token(token) is not None and not is_expired(state)
    return "valid" if by_user or state.apps.by_app_token(token) else "invalid"


def admit_to_graph(state: State, request: web.Request) -> None:
    """Check a Graph call: token in the header or as `access_token`, then the proof."""
    token = _token(request)
    if token is not None and (app := state.apps.by_app_token(token)):
        object_id = request.match_info["id"]
        if object_id not in {app.id, "debug_token"}:
            raise RefusedError(object_missing(object_id, request.method))
        return
    app = _check_token(state, token)
    if state.app_secret is not None:
        _check_proof(state, request, app)


def admit_to_download(state: State, request: web.Request) -> None:
    """Check a download: the token in the header, nothing else."""
    _check_token(state, _bearer(request))


def app_of(call: Call) -> App:
    """The app whose token came with a call, and not an app token."""
    return _check_token(call.state, _token(call.request))


def is_app_token_of(call: Call, app: App) -> bool:
    """Whether the app token of this app came with a call."""
    token = _token(call.request)
    return token is not None and call.state.apps.by_app_token(token) is app


def _token(request: web.Request) -> str | None:
    return _bearer(request) or request.query.get("access_token")


def _bearer(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() in {"bearer", "oauth"} else None


def is_expired(state: State) -> bool:
    """Whether the tokens of system users have expired."""
    return 0 < state.settings.token_expires_at <= state.now()


def _check_token(state: State, token: str | None) -> App:
    if token is None:
        raise RefusedError(graph_error(104))
    app = state.apps.by_token(token)
    if app is None:
        raise RefusedError(graph_error(190))
    if is_expired(state):
        raise RefusedError(graph_error(190, "Error validating access token: the session has expired.", subcode=463))
    return app


def _check_proof(state: State, request: web.Request, app: App) -> None:
    proof = request.query.get("appsecret_proof")
    if proof is None:
        raise RefusedError(
            graph_error(
                100,
                "API calls from the server require an appsecret_proof argument",
                error_type=GRAPH_METHOD,
            )
        )
    message = app.token
    moment = request.query.get("appsecret_time")
    fresh = True
    if moment is not None:
        message += f"|{moment}"
        fresh = moment.isdecimal() and abs(state.now() - int(moment)) <= PROOF_LIFETIME
    expected = hmac.new(app.secret.encode(), message.encode(), hashlib.sha256).hexdigest()
    if not fresh or not hmac.compare_digest(proof.encode(errors="replace"), expected.encode()):
        raise RefusedError(
            graph_error(100, "The appsecret_proof of this call is wrong or out of date.", error_type=GRAPH_METHOD)
        )


def has_right(state: State, scope: str) -> bool:
    """Whether the tokens of system users have a permission."""
    return scope in state.settings.token_scopes


async def debug_token(call: Call) -> Any:
    """`GET /debug_token?input_token=…`: what a token may do, and until when.

    https://developers.facebook.com/docs/graph-api/reference/debug_token
    """
    token = call.request.query.get("input_token")
    if not token:
        raise invalid("The parameter input_token is required.")
    apps = call.state.apps
    app = apps.by_token(token) or apps.by_app_token(token)
    if app is None:
        return {"data": {"is_valid": False, "scopes": [], "error": {"code": 190, "message": "Invalid token."}}}
    of_app = {"app_id": app.id, "application": app.name}
    if apps.by_token(token) is None:
        return {"data": {**of_app, "type": "APP", "is_valid": True, "scopes": []}}
    scopes = call.state.settings.token_scopes
    granular = [{"scope": scope, "target_ids": [WABA_ID]} for scope in scopes]
    return {
        "data": {
            **of_app,
            "is_valid": True,
            "type": "SYSTEM_USER",
            "expires_at": call.state.settings.token_expires_at,
            "data_access_expires_at": call.state.settings.token_data_access_expires_at,
            "scopes": list(scopes),
            "granular_scopes": granular,
        }
    }
