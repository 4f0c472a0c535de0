"""The server's own S3 credentials, as botocore's chain finds them.

The chain reads files, calls out, starts programs, and would ask a person at a terminal. Here it does so in a thread,
for a bounded time, with nobody to ask; the event loop never waits for it. Whatever it raises is one error that tells
the operator to check the credentials. Credentials that are renewed, by botocore or in the shared files, are used
from then on; those at hand are kept until they expire.
"""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import botocore.session
import structlog
from botocore.config import Config
from botocore.credentials import ProcessProvider, ReadOnlyCredentials
from botocore.exceptions import ClientError

from whaul.errors import AccessDeniedException
from whaul.secrets import secret_word
from whaul.threads import in_daemon_thread

PATIENCE = 10.0
"""Seconds that a call waits for credentials."""
PROGRAM_SHARE = 0.8
"""Of that, what a program may take to print them, so that none is left behind when nobody waits any more."""
LOOK_EVERY = 1.0
"""Seconds between two looks at the shared files and at when the credentials expire."""
RELOAD_EVERY = 10.0
"""Seconds for which credentials are not loaded again only because the store refused them."""

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

    async def get(self) -> ReadOnlyCredentials:
        """Return the current credentials; raises `AccessDeniedException` when there are none."""
        if self._found is not None and self._clock() < self._next_look:
            return self._found.keys
        return (await self._look()).keys

    async def source(self) -> str:
        """Say where the credentials were found, in botocore's words: `env`, `shared-credentials-file`, …."""
        return str((await self._look()).chain.method)

    def refused(self) -> None:
        """Take note that the store does not know the credentials, or no longer: the next call looks for others."""
        if self._clock() - self._loaded_at >= RELOAD_EVERY:
            self._is_refused = True
            self._next_look = 0.0

    async def _look(self) -> "_Found":
        found, files = self._found, _shared_files()
        self._next_look = self._clock() + LOOK_EVERY
        is_outdated = found is None or self._is_refused or found.files != files
        if found is not None and not is_outdated and not needs_refresh(found.chain):
            return found
        if self._loading is None:
            old = None if is_outdated else found
            self._loading = in_daemon_thread(lambda: _refreshed(old) if old else _load(self._patience, self._profile))
            self._loading.add_done_callback(self._loaded)
        if found is not None and not is_outdated and not _is_expired(found.chain):
            return found  # botocore renews credentials long before they expire
        self._next_look = 0.0  # other calls wait, too
        try:
            return await asyncio.wait_for(asyncio.shield(self._loading), self._patience)
        except TimeoutError:
            denied = _not_loaded(f"no answer within {self._patience:g} seconds")
        except Exception as error:  # noqa: BLE001 - whatever files, programs and peers lead to
            denied = _translated(error)
        if found is None or self._is_refused or _is_expired(found.chain):
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
    chain: Any
    """botocore's object, which renews itself."""
    keys: ReadOnlyCredentials
    files: tuple[object, ...]
    """The shared files as they were before they were read."""


def needs_refresh(credentials: Any) -> bool:
    """Whether botocore would renew these credentials, if they were asked for now."""
    return bool(getattr(credentials, "refresh_needed", bool)())


def _is_expired(credentials: Any) -> bool:
    return hasattr(credentials, "refresh_needed") and bool(credentials.refresh_needed(refresh_in=0))


def _load(patience: float, profile: str | None) -> _Found:
    files = _shared_files()
    credentials = _session(patience, profile).get_credentials()
    if credentials is None:
        raise AccessDeniedException("whaul has no S3 credentials; its operator must configure them.")
    return _Found(credentials, _checked(credentials.get_frozen_credentials()), files)


def _refreshed(found: _Found) -> _Found:
    return _Found(found.chain, _checked(found.chain.get_frozen_credentials()), found.files)


def _session(patience: float, profile: str | None) -> botocore.session.Session:
    """Make a session whose chain asks nobody, and that gives up on what does not answer.

    botocore has no public way to give its default chain another prompt or another way to start programs.
    """
    session = botocore.session.Session(profile=profile)
    session.set_default_client_config(Config(connect_timeout=patience, read_timeout=patience))
    chain = session.get_component("credential_provider")
    start = partial(_Process, patience=patience * PROGRAM_SHARE)
    role = chain.get_provider("assume-role")
    role._prompter = _refuse_to_ask  # noqa: SLF001
    builder = role._profile_provider_builder  # noqa: SLF001
    builder._create_process_provider = lambda profile: ProcessProvider(  # noqa: SLF001
        profile, lambda: session.full_config, start
    )
    chain.get_provider("custom-process")._popen = start  # noqa: SLF001
    return session


def _refuse_to_ask(_prompt: str) -> str:
    raise AccessDeniedException(
        "whaul's S3 credentials need a second factor (mfa_serial), and there is nobody to ask; its operator must "
        "configure a role or a profile that needs none."
    )


class _Process(subprocess.Popen[bytes]):
    """A `credential_process` that can ask nobody, neither at standard input nor at a terminal, and that ends."""

    def __init__(self, command: list[str], *, patience: float, **options: Any) -> None:
        super().__init__(command, stdin=subprocess.DEVNULL, start_new_session=True, **options)
        self._patience = patience

    def communicate(self, input: bytes | None = None, timeout: float | None = None) -> tuple[bytes, bytes]:  # noqa: A002
        with self:  # waits for its end
            try:
                return super().communicate(input, timeout or self._patience)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                raise


def _checked(keys: ReadOnlyCredentials) -> ReadOnlyCredentials:
    """Trim the credentials; raise `AccessDeniedException` for those that no request can be signed or sent with."""
    try:
        key_id, secret = secret_word(keys.access_key or ""), secret_word(keys.secret_key or "")
        token = secret_word(keys.token) if keys.token and keys.token.strip() else None
    except ValueError as error:
        raise AccessDeniedException(
            f"whaul's S3 credentials cannot be used: one of them {error}; its operator must check them."
        ) from None
    return ReadOnlyCredentials(key_id, secret, token)


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


def _translated(error: Exception) -> AccessDeniedException:
    if isinstance(error, AccessDeniedException):
        return AccessDeniedException(error.message)  # a new one, since all that wait for a future share its own
    if isinstance(error, subprocess.TimeoutExpired):
        return _not_loaded("credential_process did not end in time")
    reason = type(error).__name__  # its text may hold anything
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        reason += f" {code}" if code.isalnum() and code.isascii() else ""
    return _not_loaded(reason)


def _not_loaded(reason: str) -> AccessDeniedException:
    return AccessDeniedException(
        f"whaul's S3 credentials could not be loaded ({reason}); its operator must check them."
    )
