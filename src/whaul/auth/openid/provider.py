"""The provider: what it says of itself, its keys, and the ID token that it gives for a code.

Everything is read when it is needed and kept for a while. A token that names an unknown key makes the keys be read
again, since a provider changes them, but not more often than `KEYS_REST`: anybody can name a key.

https://openid.net/specs/openid-connect-discovery-1_0.html
"""

import asyncio
import json
import re
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote_plus, urlencode

from joserfc.jwk import Key
from pydantic import SecretStr
from pyreqwest.http import Url

from whaul.auth.openid.errors import OpenIdError, ProviderError, RefusedError
from whaul.auth.openid.tokens import key_id, suitable, usable_keys
from whaul.outbound.errors import HttpError
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import ForbiddenUrlError, endpoint_url, is_loopback

DISCOVERY: Final = "/.well-known/openid-configuration"
KEPT: Final = 600.0
"""Seconds for which what the provider said is taken to hold."""
KEYS_REST: Final = 30.0
"""Seconds between two readings of the keys."""
FAILURE_REST: Final = 5.0
"""Seconds for which a provider that failed is not asked again."""
PATIENCE: Final = 10.0
"""Seconds for each answer."""
_CODE: Final = re.compile(r"[a-z_]{1,40}")
_JSON: Final[Mapping[str, str]] = {"accept": "application/json"}


class Client(NamedTuple):
    """As whom the provider knows us."""

    issuer: str
    client_id: str
    client_secret: SecretStr | None


class Metadata(NamedTuple):
    """What the provider says of itself."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    end_session_endpoint: str | None
    posts_secret: bool
    """Whether the secret is a field of the form, not a header."""
    names_issuer: bool
    """Whether its answers have `iss`."""


class Tokens(NamedTuple):
    """What a code is good for."""

    id_token: str
    access_token: str | None


class Provider:
    """One provider."""

    def __init__(self, client: Client, http: HttpClient, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is monotonic, in seconds."""
        self.client = client
        self._http = http
        self._clock = clock
        self._reading = asyncio.Lock()
        self._metadata: Metadata | None = None
        self._metadata_at = 0.0
        self._keys: list[Key] = []
        self._keys_at: float | None = None
        self._failure: ProviderError | None = None
        self._failed_at = 0.0

    async def metadata(self) -> Metadata:
        """Return what the provider says of itself. Raises ProviderError."""
        async with self._reading:
            now = self._clock()
            if self._metadata is not None and now - self._metadata_at < KEPT:
                return self._metadata
            if self._failure is not None and now - self._failed_at < FAILURE_REST:
                raise self._failure.with_traceback(None)
            self._metadata = self._failure = None
            try:
                address = self.client.issuer.removesuffix("/") + DISCOVERY
                self._metadata = _metadata(self.client.issuer, await self._document(address))
            except ProviderError as error:
                self._failure, self._failed_at = error, now
                raise
            self._metadata_at = now
            return self._metadata

    async def keys(self, kid: str | None = None) -> list[Key]:
        """Return the provider's keys of a name, or all of them; none if it is unknown. Raises ProviderError."""
        metadata = await self.metadata()
        async with self._reading:
            age = KEPT if self._keys_at is None else self._clock() - self._keys_at
            if age >= KEPT or (age >= KEYS_REST and not suitable(self._keys, kid)):
                self._keys = usable_keys(await self._document(metadata.jwks_uri))
                self._keys_at = self._clock()
            return suitable(self._keys, kid)

    async def authorization_url(self, parameters: Mapping[str, str]) -> str:
        """Return where a browser is sent. Raises ProviderError."""
        endpoint = (await self.metadata()).authorization_endpoint
        return _asking(endpoint, {"response_type": "code", "client_id": self.client.client_id} | dict(parameters))

    async def sign_out_url(self, back: str) -> str | None:
        """Return where a browser signs out, to come `back`; None if the provider names no such place.

        It gets no `id_token_hint`: that would be a secret to keep. The provider may ask the person instead. Raises
        ProviderError. https://openid.net/specs/openid-connect-rpinitiated-1_0.html
        """
        endpoint = (await self.metadata()).end_session_endpoint
        if endpoint is None:
            return None
        return _asking(endpoint, {"client_id": self.client.client_id, "post_logout_redirect_uri": back})

    async def tokens(self, code: str, verifier: str, redirect_uri: str) -> Tokens:
        """Exchange a code, which is good once. Raises OpenIdError."""
        metadata = await self.metadata()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        headers = {**_JSON, "content-type": "application/x-www-form-urlencoded"}
        name, secret = self.client.client_id, self.client.client_secret
        if secret is None:
            form["client_id"] = name
        elif metadata.posts_secret:
            form |= {"client_id": name, "client_secret": secret.get_secret_value()}
        else:  # https://www.rfc-editor.org/rfc/rfc6749#section-2.3.1
            pair = f"{quote_plus(name)}:{quote_plus(secret.get_secret_value())}"
            headers["authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        status, answer = await self._answer("POST", metadata.token_endpoint, headers, urlencode(form).encode())
        if status != 200:
            raise _refusal(status, answer)
        id_token, access_token = answer.get("id_token"), answer.get("access_token")
        if not isinstance(id_token, str):
            raise ProviderError("The provider sent no ID token; is `openid` among the scopes that it allows?")
        is_usable = isinstance(access_token, str) and access_token.isascii() and access_token.isprintable()
        return Tokens(id_token, access_token if is_usable else None)

    async def more_claims(self, access_token: str, subject: str) -> Mapping[str, Any]:
        """Return what the provider says of a person beside the ID token; nothing if it says no more.

        Raises OpenIdError. https://openid.net/specs/openid-connect-core-1_0.html#UserInfo
        """
        endpoint = (await self.metadata()).userinfo_endpoint
        if endpoint is None:
            return {}
        claims = await self._document(endpoint, {"authorization": f"Bearer {access_token}"})
        if claims.get("sub") != subject:
            raise RefusedError("The provider speaks of two people (`sub` of the ID token and of `userinfo_endpoint`).")
        return claims

    async def keys_of(self, token: str) -> list[Key]:
        """Return the keys that a token may be signed with. Raises OpenIdError."""
        return await self.keys(key_id(token))

    async def _document(self, address: str, headers: Mapping[str, str] = _JSON) -> dict[str, Any]:
        status, answer = await self._answer("GET", address, {**_JSON, **headers}, b"")
        if status != 200:
            raise ProviderError(f"The provider answers {status} at {address}. Check WHAUL_OIDC_ISSUER.")
        return answer

    async def _answer(
        self, method: str, address: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, Any]]:
        """Call the provider; what is no JSON object counts as an empty one, unless it is needed."""
        place = address.partition("?")[0]
        try:
            async with asyncio.timeout(PATIENCE):
                response = await self._http.call(method, Url(address), headers, body)
        except (HttpError, TimeoutError) as error:
            why = str(error) or f"no answer within {PATIENCE:g} seconds"
            raise ProviderError(
                f"The provider does not answer at {place}: {why}. Try again later, or sign in in another way."
            ) from None
        try:
            answer = json.loads(response.body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict) and response.status == 200:
            raise ProviderError(f"The provider answers no JSON object at {place}. Check WHAUL_OIDC_ISSUER.")
        return response.status, answer if isinstance(answer, dict) else {}


def _asking(endpoint: str, parameters: Mapping[str, str]) -> str:
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"


def _metadata(issuer: str, document: Mapping[str, Any]) -> Metadata:
    if document.get("issuer") != issuer:
        named = str(document.get("issuer"))[:200]
        raise ProviderError(
            f"The provider calls itself {named}, which is not WHAUL_OIDC_ISSUER to the letter. If that is the one that "
            "you mean, set it so."
        )
    methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    is_near = is_loopback(Url(issuer).host_str or "")
    return Metadata(
        _endpoint(document, "authorization_endpoint", is_near=is_near),
        _endpoint(document, "token_endpoint", is_near=is_near),
        _endpoint(document, "jwks_uri", is_near=is_near),
        _endpoint(document, "userinfo_endpoint", is_near=is_near) if "userinfo_endpoint" in document else None,
        _end_session_endpoint(document, is_near=is_near),
        posts_secret=isinstance(methods, list) and "client_secret_basic" not in methods,
        names_issuer=document.get("authorization_response_iss_parameter_supported") is True,
    )


def _endpoint(document: Mapping[str, Any], name: str, *, is_near: bool) -> str:
    """Return an address that the provider names: https, unless all of it is on this machine."""
    try:
        url = endpoint_url(document[name] if isinstance(document.get(name), str) else "")
    except ForbiddenUrlError:
        raise ProviderError(f"The provider names no usable `{name}`. Check WHAUL_OIDC_ISSUER.") from None
    if url.scheme != "https" and not (is_near and is_loopback(url.host_str or "")):
        raise ProviderError(f"The provider's `{name}` is not https.")
    return str(url)


def _end_session_endpoint(document: Mapping[str, Any], *, is_near: bool) -> str | None:
    """Return where people sign out. Nobody needs it to come in, so one that cannot be used counts as none."""
    try:
        return _endpoint(document, "end_session_endpoint", is_near=is_near)
    except ProviderError:
        return None


def _refusal(status: int, answer: Mapping[str, Any]) -> OpenIdError:
    """Say why a code was not taken: https://www.rfc-editor.org/rfc/rfc6749#section-5.2."""
    code = answer.get("error")
    if code == "invalid_grant":
        return RefusedError("The provider does not take the code (any more). Sign in again.")
    if code in {"invalid_client", "unauthorized_client"} or status == 401:
        return ProviderError("The provider does not know us: check WHAUL_OIDC_CLIENT_ID and WHAUL_OIDC_CLIENT_SECRET.")
    named = f" ({code})" if isinstance(code, str) and _CODE.fullmatch(code) else ""
    return ProviderError(f"The provider answers {status}{named} when it is asked for an ID token.")
