"""ID tokens: whether the provider signed one, for us, now, and for this attempt.

https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation
"""

import hmac
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from joserfc import jws, jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey

from whaul.auth.openid.errors import ProviderError, RefusedError

ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"),
    *("EdDSA", "Ed25519", "Ed448"),
)
"""Those with a public key. With `none` anybody could sign, and with a shared secret whoever knows the public one."""
MIN_RSA_BITS: Final = 2048
LEEWAY: Final = 60.0
"""Seconds that the clocks may differ."""
MAX_HEADER: Final = 16 * 1024
"""Bytes of a token's header: it may hold certificates."""
_NOT_UNDERSTOOD: Final = "The provider sent an ID token that cannot be read."
_CLOCK: Final = "Set the clock of the machine that the console runs on, for example by NTP; then sign in again."


def usable_keys(document: Any) -> list[Key]:
    """Return the keys of a key set that can prove a signature; those of other kinds are passed over.

    https://www.rfc-editor.org/rfc/rfc7517#section-5
    """
    found = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise ProviderError("The provider's keys (`jwks_uri`) are no JSON Web Key Set.")
    return [key for key in map(_key, found) if key is not None]


def suitable(keys: Iterable[Key], kid: str | None) -> list[Key]:
    """Return the keys of a name; all of them for a token that names none."""
    return [key for key in keys if kid is None or key.get("kid") == kid]


def key_id(token: str) -> str | None:
    """Return which key a token says it is signed with; None if it does not say. Raises RefusedError."""
    try:
        header = jws.extract_compact(token.encode(), None, _registry()).headers()
    except (JoseError, ValueError, TypeError):
        raise RefusedError(_NOT_UNDERSTOOD) from None
    if header.get("alg") not in ALGORITHMS:
        raise RefusedError("The provider signed with an algorithm that cannot be trusted; have it use RS256 or ES256.")
    kid = header.get("kid")
    return kid if isinstance(kid, str) else None


def proven_claims(
    token: str, keys: Sequence[Key], *, issuer: str, client_id: str, nonce: str, now: float
) -> Mapping[str, Any]:
    """Return what an ID token says, once all of it is proven. Raises RefusedError. `now` is in seconds since 1970."""
    claims = _signed(token, keys)
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
    party = claims.get("azp")
    if claims.get("iss") != issuer:
        raise RefusedError("The ID token is of another issuer than WHAUL_OIDC_ISSUER.")
    if client_id not in audiences or (party is None and len(audiences) > 1) or party not in {None, client_id}:
        raise RefusedError("The ID token is for another client than WHAUL_OIDC_CLIENT_ID.")
    if not _is_moment(claims.get("exp")) or not _is_moment(claims.get("iat")):
        raise RefusedError("The ID token does not say from when until when it is good.")
    if not now < claims["exp"] + LEEWAY:
        raise RefusedError(f"The ID token has expired already. {_CLOCK}")
    begins = claims.get("nbf", claims["iat"])
    if not _is_moment(begins) or not max(begins, claims["iat"]) <= now + LEEWAY:
        raise RefusedError(f"The ID token is of a time to come. {_CLOCK}")
    given = claims.get("nonce")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(errors="replace"), nonce.encode()):
        raise RefusedError("The ID token is the answer to another attempt. Sign in again.")
    if not isinstance(claims.get("sub"), str) or not claims["sub"]:
        raise RefusedError("The ID token does not say whose it is (`sub`).")
    return claims


def _signed(token: str, keys: Sequence[Key]) -> Mapping[str, Any]:
    for key in keys:
        try:
            with warnings.catch_warnings():  # EdDSA has a newer name, which providers do not use yet
                warnings.simplefilter("ignore", SecurityWarning)
                return jwt.decode(token, key, list(ALGORITHMS), _registry()).claims
        except (JoseError, ValueError, TypeError):
            continue  # by another key, perhaps
    raise RefusedError("The ID token is not signed by a key of the provider.")


def _key(document: Any) -> Key | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)
            key = JWKRegistry.import_key(document)
    except (JoseError, ValueError, TypeError, AttributeError):
        return None
    if isinstance(key, RSAKey) and key.public_key.key_size < MIN_RSA_BITS:
        return None
    return key if isinstance(key, RSAKey | ECKey | OKPKey) and key.get("use") in {None, "sig"} else None


def _registry() -> jws.JWSRegistry:
    registry = jws.JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
    registry.max_header_length = MAX_HEADER
    return registry


def _is_moment(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
