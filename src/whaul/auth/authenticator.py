"""Who calls: from a signed request to a `Caller` with its policy."""

import hmac
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Protocol

from pydantic import SecretStr

from whaul import sigv4
from whaul.auth.caller import Caller
from whaul.auth.local_callers import check_local
from whaul.auth.policy import ALLOW_ALL, Policy, PolicyError
from whaul.errors import AccessDeniedException, ExpiredTokenException, UnrecognizedClientException
from whaul.model import AccessKey
from whaul.sigv4 import HttpRequest

SERVICE = "social-messaging"
CACHED_KEYS = 1024
"""Derived signing keys, and parsed policies, that are kept."""


class AccessKeys(Protocol):
    """Where access keys are found."""

    async def access_key(self, access_key_id: str) -> AccessKey | None:
        """Return the key, expired or not, or None if it is unknown or disabled."""
        ...


class Authenticator:
    """Verifies signatures against the access keys."""

    def __init__(
        self,
        keys: AccessKeys,
        *,
        account_id: str,
        region: str,
        now: Callable[[], datetime],
        partition: str = "aws",
        root: AccessKey | None = None,
        required: bool = True,
        service: str = SERVICE,
    ) -> None:
        """`root` is a key that is not in the registry; `required=False` lets everyone in as `anonymous`.

        `service` is what a signature must be scoped to.
        """
        self._keys = keys
        self._arn_prefix = f"arn:{partition}:iam::{account_id}:user/"
        self._region = region
        self._now = now
        self._root = root
        self._required = required
        self._service = service
        # Deriving a key takes four HMACs, parsing a policy takes JSON; both give the same result in every call.
        self._signing_key = lru_cache(CACHED_KEYS)(sigv4.signing_key)
        self._policy = lru_cache(CACHED_KEYS)(Policy.parse)

    def admit(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Refuse, with `AccessDeniedException`, who may not even try: a page in a browser, where no key is needed."""
        if not self._required:
            check_local(headers)

    async def authenticate(
        self, method: str, path: bytes, query: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes
    ) -> Caller:
        """Return who sent the request, which is passed as it was received.

        Raises the errors of `sigv4` and of the key look-up.
        """
        if not self._required:
            return self._caller(AccessKey("anonymous", "anonymous", SecretStr(""), ALLOW_ALL))
        request = HttpRequest(method, path, query, headers, body)
        claim = sigv4.parse(request)
        sigv4.check_scope(claim, self._region, self._service)
        sigv4.check_time(claim, self._now())
        key = await self._find(claim.access_key_id)
        _check_session_token(claim.session_token, key)
        secret = key.secret_access_key.get_secret_value()
        sigv4.verify(request, claim, self._signing_key(secret, claim.date, claim.region, claim.service))
        return self._current(key)

    async def caller(self, access_key_id: str) -> Caller:
        """Return the caller of an access key that was proven before. Raises unless the key can still be used."""
        return self._current(await self._find(access_key_id))

    def _current(self, key: AccessKey) -> Caller:
        if key.expires_at is not None and key.expires_at <= self._now():
            raise ExpiredTokenException
        return self._caller(key)

    async def _find(self, access_key_id: str) -> AccessKey:
        if self._root is not None and self._root.access_key_id == access_key_id:
            return self._root
        key = await self._keys.access_key(access_key_id)
        if key is None:
            raise UnrecognizedClientException
        return key

    def _caller(self, key: AccessKey) -> Caller:
        return Caller(
            key.access_key_id,
            key.name,
            self._arn_prefix + key.name,
            self._readable_policy(key),
            rate_limit=key.rate_limit,
            rate_burst=key.rate_burst,
        )

    def _readable_policy(self, key: AccessKey) -> Policy:
        try:
            return self._policy(key.policy)
        except PolicyError as error:  # an older version accepted it
            raise AccessDeniedException(
                f"The policy of the access key cannot be evaluated. {error} Replace it: whaul keys policy."
            ) from error


def _check_session_token(given: str | None, key: AccessKey) -> None:
    expected = key.session_token.get_secret_value() if key.session_token else None
    if given is None and expected is None:
        return
    if given is None or expected is None or not hmac.compare_digest(given.encode(), expected.encode()):
        raise UnrecognizedClientException
