"""What may go wrong in a known way, told in one message without a traceback."""

import sys

from whaul.auth.policy import PolicyError
from whaul.errors import ApiError
from whaul.registry.errors import RegistryError, RegistryUnavailable
from whaul.secrets import WrongSecretKey
from whaul.settings import SettingsError
from whaul.stack.processes import StackFailed


class CommandFailed(Exception):  # noqa: N818 - what happened
    """A command cannot do what was asked; the message says why and what to do."""


KNOWN: tuple[type[Exception], ...] = (
    ApiError,
    CommandFailed,
    PolicyError,
    RegistryError,
    SettingsError,
    StackFailed,
    WrongSecretKey,
)


def report(error: Exception) -> None:
    """Print the error on standard error."""
    message = error.message if isinstance(error, ApiError) else str(error)
    if isinstance(error, RegistryUnavailable) and error.reason:
        message = f"{message} Its driver says: {error.reason}"
    print(f"whaul: {message}", file=sys.stderr)  # noqa: T201 - this is the command line's voice
