"""Who may ask: the Bearer token, and `appsecret_proof` when there is an app secret.

The proof is the hex HMAC-SHA256 of the token, or of `token|unix_seconds` with `appsecret_time`, keyed with the app
secret: https://developers.facebook.com/docs/facebook-login/security
"""

import hashlib
import hmac

from aiohttp import web

from whaul.simulator.answers import GRAPH_METHOD, RefusedError, graph_error
from whaul.simulator.journal import TokenState
from whaul.simulator.state import State

PROOF_LIFETIME = 5 * 60


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
