"""The server's own S3 credentials, as any AWS tool finds them.

Keys in the environment are at hand. All others are for botocore's chain to find, in a thread, for a bounded time: the
event loop never waits for it. Credentials that are renewed, by botocore or in the shared files, are used from then on;
those at hand are kept until they expire.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from whaul.errors import AccessDeniedException
from whaul.outbound.aws_signing import AwsKeys
from whaul.secrets import secret_word
from whaul.storage.errors import credentials_not_loaded
from whaul.threads import in_daemon_thread

if TYPE_CHECKING:
    from whaul.storage.credential_chain import ChainCredentials

PATIENCE = 10.0
"""Seconds that a call waits for credentials."""
LOOK_EVERY = 1.0
"""Seconds between two looks at the shared files and at when the credentials expire."""
RELOAD_EVERY = 10.0
"""Seconds for which credentials are not loaded again only because the store refused them."""
_LEFT_TO_THE_CHAIN = frozenset({"AWS_CREDENTIAL_EXPIRATION", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"})
"""Variables that keys in the environment may depend on: it refuses a profile that is not there, say."""

log = structlog.get_logger()


class CredentialChain:
    """Finds the credentials, and keeps them current."""

    def __init__(
        self,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
        *,
        profile: str | None = None,
    ) -> None:
        """`patience` is in seconds, as is the monotonic `clock`. `profile` is another than the environment names."""
        self._profile = profile
        self._patience = patience
        self._clock = clock
        self._found: _Found | None = None
        self._loading: asyncio.Future[_Found] | None = None
        self._next_look = 0.0
        self._loaded_at = 0.0
        self._is_refused = False
        self._warned_of: tuple[object, ...] | None = None

    async def get(self) -> AwsKeys:
        """Return the current credentials; raises `AccessDeniedException` when there are none."""
        if self._found is not None and self._clock() < self._next_look:
            return self._found.keys
        return (await self._look()).keys

    async def source(self) -> str:
        """Say where the credentials were found, in botocore's words: `env`, `shared-credentials-file`, …."""
        return (await self._look()).source

    def refused(self) -> None:
        """Take note that the store does not know the credentials, or no longer: the next call looks for others."""
        if self._clock() - self._loaded_at >= RELOAD_EVERY:
            self._is_refused = True
            self._next_look = 0.0

    async def _look(self) -> "_Found":
        found, files = self._found, _shared_files()
        self._next_look = self._clock() + LOOK_EVERY
        is_outdated = found is None or self._is_refused or found.files != files
        if found is not None and not is_outdated and not found.needs_refresh:
            return found
        if self._loading is None:
            old = None if is_outdated else found
            self._loading = in_daemon_thread(lambda: old.renewed() if old else _load(self._patience, self._profile))
            self._loading.add_done_callback(self._loaded)
        if found is not None and not is_outdated and not found.is_expired:
            return found  # botocore renews credentials long before they expire
        self._next_look = 0.0  # other calls wait, too
        try:
            return await asyncio.wait_for(asyncio.shield(self._loading), self._patience)
        except TimeoutError:
            denied = credentials_not_loaded(f"no answer within {self._patience:g} seconds")
        except AccessDeniedException as error:
            denied = AccessDeniedException(error.message)  # a new one, since all that wait for a future share its own
        if found is None or self._is_refused or found.is_expired:
            raise denied
        self._next_look = self._clock() + LOOK_EVERY
        if self._warned_of != files:
            self._warned_of = files
            log.warning("the shared AWS files were changed; the former S3 credentials are kept", reason=denied.message)
        return found

    def _loaded(self, loading: "asyncio.Future[_Found]") -> None:
        self._loading = None
        if loading.cancelled() or loading.exception() is not None:
            return
        self._found = loading.result()
        self._loaded_at = self._clock()
        self._next_look = self._loaded_at + LOOK_EVERY
        self._is_refused = False


@dataclass(frozen=True, slots=True)
class _Found:
    keys: AwsKeys
    files: tuple[object, ...]
    """The shared files as they were before they were read."""
    chain: "ChainCredentials | None" = None
    """What finds the keys again; None for those of the environment, which stay what they are."""

    @property
    def source(self) -> str:
        return self.chain.source if self.chain else "env"

    @property
    def needs_refresh(self) -> bool:
        return self.chain is not None and self.chain.needs_refresh

    @property
    def is_expired(self) -> bool:
        return self.chain is not None and self.chain.is_expired

    def renewed(self) -> "_Found":
        return replace(self, keys=_checked(self.chain.keys())) if self.chain else self


def _load(patience: float, profile: str | None) -> _Found:
    files = _shared_files()
    keys = _of_environment(os.environ) if profile is None else None
    if keys is not None:
        return _Found(_checked(keys), files)
    from whaul.storage.credential_chain import find  # noqa: PLC0415 - 8 MB

    chain = find(patience, profile)
    return _Found(_checked(chain.keys()), files, chain)


def _of_environment(environ: Mapping[str, str]) -> AwsKeys | None:
    """Take the keys that are the first that botocore's chain would find; None if it must be asked."""
    key_id, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if not key_id or not secret or not _LEFT_TO_THE_CHAIN.isdisjoint(environ):
        return None
    return AwsKeys(key_id, secret, environ.get("AWS_SECURITY_TOKEN") or environ.get("AWS_SESSION_TOKEN"))


def _checked(keys: AwsKeys) -> AwsKeys:
    """Trim the credentials; raise `AccessDeniedException` for those that no request can be signed or sent with."""
    try:
        key_id, secret = secret_word(keys.access_key), secret_word(keys.secret_key)
        token = secret_word(keys.token) if keys.token and keys.token.strip() else None
    except ValueError as error:
        raise AccessDeniedException(
            f"whaul's S3 credentials cannot be used: one of them {error}; its operator must check them."
        ) from None
    return AwsKeys(key_id, secret, token)


def _shared_files() -> tuple[object, ...]:
    """Say which state the shared files are in; another state means that somebody has written to them."""
    states: list[object] = []
    for name, default in (("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials")):
        path = os.environ.get(name) or os.path.join("~", ".aws", default)  # noqa: PTH118 - as botocore has it
        try:
            state = os.stat(os.path.expanduser(path))  # noqa: PTH111, PTH116 - Path.expanduser fails without a home
        except (OSError, ValueError):
            states.append(None)
        else:
            states.append((state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns))
    return tuple(states)
