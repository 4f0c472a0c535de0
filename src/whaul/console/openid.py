"""Signing in at a provider: out with an attempt that only this browser can finish, back with somebody's groups.

An attempt is not kept here. It travels in a cookie, sealed with a key of this process: what the answer must repeat
(state, nonce), and what proves that we asked (PKCE's verifier). So nobody can fill a table by beginning attempts, and
an answer is worth nothing in another browser, nor a second time. The cookie is `SameSite=Lax`, since it has to come
with a navigation that begins at the provider; the session's own stays `Strict`.
"""

import asyncio
import hmac
import json
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken
from starlette.datastructures import QueryParams

from whaul.auth.openid.errors import OpenIdError, ProviderError, RefusedError
from whaul.auth.openid.person import Person, found_claim
from whaul.auth.openid.provider import Provider
from whaul.auth.openid.tokens import proven_claims
from whaul.terminal import visible

ATTEMPT_LIFE: Final = 600
"""Seconds until somebody has to be back."""
SIGN_OUT_PATIENCE: Final = 3.0
"""Seconds for the provider to say where people sign out."""
MAX_PARAMETER: Final = 8192
"""Characters of a code, and of other parts of the answer."""
_AGAIN: Final = "Sign in again, in one window."


@dataclass(frozen=True)
class Rules:
    """Who may come in, as what, and for how long."""

    scopes: tuple[str, ...]
    groups_claim: str
    access_keys: Mapping[str, str]
    """By group, in the order in which they count."""
    session: timedelta


@dataclass(frozen=True)
class Attempt:
    """What a browser is sent away with."""

    url: str
    sealed: str
    """For its cookie."""
    life: int = ATTEMPT_LIFE
    """Seconds."""


class OpenId:
    """Sign-ins at one provider."""

    def __init__(
        self,
        provider: Provider,
        rules: Rules,
        usable_keys: Callable[[str], Awaitable[list[str]]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`usable_keys` finds the ids of access keys by a name or id. `clock` is in seconds since 1970."""
        self.provider = provider
        self.rules = rules
        self._usable_keys = usable_keys
        self._clock = clock
        self._seal = Fernet(Fernet.generate_key())
        self._used: dict[str, float] = {}

    async def begin(self, redirect_uri: str) -> Attempt:
        """Begin an attempt, which the provider answers at `redirect_uri`. Raises ProviderError."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        challenge = urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        url = await self.provider.authorization_url(
            {
                "redirect_uri": redirect_uri,
                "scope": " ".join(self.rules.scopes),
                "state": state,
                "nonce": nonce,
                "code_challenge": challenge,
                "code_challenge_method": "S256",
            }
        )
        kept = {"state": state, "nonce": nonce, "verifier": verifier, "redirect_uri": redirect_uri}
        return Attempt(url, self._seal.encrypt_at_time(json.dumps(kept).encode(), int(self._clock())).decode())

    async def finish(self, answer: QueryParams, sealed: str | None, redirect_uri: str) -> Person:
        """Return whom the provider's answer names. Raises OpenIdError."""
        attempt = self._opened(sealed)
        if not hmac.compare_digest(_one(answer, "state").encode(), attempt["state"].encode()):
            raise RefusedError(f"The provider answered another attempt than that of this browser. {_AGAIN}")
        self._use_up(attempt["state"])
        if attempt["redirect_uri"] != redirect_uri:
            raise RefusedError(f"The provider sent you back to another address than you came from. {_AGAIN}")
        issuer = self.provider.client.issuer
        names_issuer = "iss" in answer or (await self.provider.metadata()).names_issuer
        if names_issuer and _one(answer, "iss") != issuer:
            raise RefusedError(f"Another provider answered than the one that you were sent to. {_AGAIN}")
        if "error" in answer:
            raise _told(_one(answer, "error"))
        tokens = await self.provider.tokens(_one(answer, "code"), attempt["verifier"], redirect_uri)
        claims = proven_claims(
            tokens.id_token,
            await self.provider.keys_of(tokens.id_token),
            issuer=issuer,
            client_id=self.provider.client.client_id,
            nonce=attempt["nonce"],
            now=self._clock(),
        )
        if tokens.access_token is not None and found_claim(claims, self.rules.groups_claim) is None:
            more = await self.provider.more_claims(tokens.access_token, claims["sub"])
            claims = {**more, **{name: value for name, value in claims.items() if value is not None}}
        return Person.of(claims, self.rules.groups_claim)

    async def access_key(self, person: Person) -> str:
        """Return the id of the access key that somebody signs in as. Raises OpenIdError."""
        group = next((group for group in self.rules.access_keys if group in person.groups), None)
        if group is None:
            raise RefusedError(
                f"The provider knows you as {person.name}, but none of your groups may sign in here. Ask whoever runs "
                "whaul for one of those that WHAUL_OIDC_ACCESS_KEYS names."
            )
        name = self.rules.access_keys[group]
        found = await self._usable_keys(name)
        if len(found) != 1:
            problem = "cannot be used (any more)" if not found else "is not the only one of its name"
            raise RefusedError(
                f"The group {group} signs in as the access key {name}, which {problem}. Tell whoever runs whaul."
            )
        return found[0]

    async def sign_out_url(self, back: str) -> str | None:
        """Return where somebody who has signed out here signs out of the provider, too; None if that is not known."""
        try:
            async with asyncio.timeout(SIGN_OUT_PATIENCE):
                return await self.provider.sign_out_url(back)
        except (ProviderError, TimeoutError):
            return None  # they are out here, which is what they asked for

    def _opened(self, sealed: str | None) -> dict[str, Any]:
        try:
            content = self._seal.decrypt_at_time((sealed or "").encode(), ATTEMPT_LIFE, int(self._clock()))
        except (InvalidToken, UnicodeEncodeError):
            raise RefusedError(
                f"This browser began no sign-in, or more than {ATTEMPT_LIFE // 60} minutes ago. {_AGAIN}"
            ) from None
        attempt: dict[str, Any] = json.loads(content)
        return attempt

    def _use_up(self, state: str) -> None:
        now = self._clock()
        self._used = {used: end for used, end in self._used.items() if end > now}
        if state in self._used:
            raise RefusedError(f"This answer of the provider was used before. {_AGAIN}")
        self._used[state] = now + ATTEMPT_LIFE + 1


def _one(answer: QueryParams, name: str) -> str:
    values = answer.getlist(name)
    if len(values) != 1 or not values[0] or len(values[0]) > MAX_PARAMETER or not values[0].isascii():
        raise RefusedError(f"The provider's answer has no usable `{name}`. {_AGAIN}")
    return values[0]


def _told(code: str) -> OpenIdError:
    """Say what an error of the provider's means: https://www.rfc-editor.org/rfc/rfc6749#section-4.1.2.1."""
    if code == "access_denied":
        return RefusedError("The provider did not let you in, or you turned back.")
    if code in {"server_error", "temporarily_unavailable"}:
        return ProviderError("The provider cannot sign anybody in now. Try again later, or sign in in another way.")
    named = visible(code)[:40]
    return ProviderError(
        f"The provider refuses to sign people in here ({named}). Check what it knows of this client, and "
        "WHAUL_OIDC_SCOPES."
    )
