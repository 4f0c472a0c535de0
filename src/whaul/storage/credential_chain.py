"""botocore's credential chain, which reads files, calls out, starts programs, and would ask a person at a terminal.

Here there is nobody to ask, and each step has its time. Whatever the chain raises is one error that tells the operator
to check the credentials. botocore needs 8 MB for it, so only a process whose environment holds no keys loads this.
"""

import os
import signal
import subprocess
from functools import partial
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.credentials import ProcessProvider
from botocore.exceptions import ClientError

from whaul.errors import AccessDeniedException
from whaul.outbound.aws_signing import AwsKeys
from whaul.storage.errors import credentials_not_loaded

PROGRAM_SHARE = 0.8
"""Of the time that a call waits, what a program may take to print credentials, so that none is left behind when nobody
waits any more."""


class ChainCredentials:
    """What the chain found."""

    def __init__(self, credentials: Any) -> None:
        """`credentials` is botocore's object, which renews itself."""
        self._credentials = credentials
        self.source = str(credentials.method)

    def keys(self) -> AwsKeys:
        """Return the keys, renewed if it is time for that. It may take long; raises `AccessDeniedException`."""
        try:
            keys = self._credentials.get_frozen_credentials()
        except Exception as error:  # noqa: BLE001 - whatever files, programs and peers lead to
            raise _translated(error) from None
        return AwsKeys(str(keys.access_key or ""), str(keys.secret_key or ""), str(keys.token or ""))

    @property
    def needs_refresh(self) -> bool:
        """Whether `keys` would renew them now; botocore does so long before they expire."""
        return hasattr(self._credentials, "refresh_needed") and bool(self._credentials.refresh_needed())

    @property
    def is_expired(self) -> bool:
        """Whether the keys can no longer be used."""
        return hasattr(self._credentials, "refresh_needed") and bool(self._credentials.refresh_needed(refresh_in=0))


def find(patience: float, profile: str | None) -> ChainCredentials:
    """Go through the chain; it may take `patience` seconds and more. Raises `AccessDeniedException`."""
    try:
        credentials = _session(patience, profile).get_credentials()
    except Exception as error:  # noqa: BLE001 - as above
        raise _translated(error) from None
    if credentials is None:
        raise AccessDeniedException("whaul has no S3 credentials; its operator must configure them.")
    return ChainCredentials(credentials)


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


def _translated(error: Exception) -> AccessDeniedException:
    if isinstance(error, AccessDeniedException):
        return error
    if isinstance(error, subprocess.TimeoutExpired):
        return credentials_not_loaded("credential_process did not end in time")
    reason = type(error).__name__  # its text may hold anything
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        reason += f" {code}" if code.isalnum() and code.isascii() else ""
    return credentials_not_loaded(reason)
