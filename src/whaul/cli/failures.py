"""What a command says when it fails: one message, and a traceback only with `--debug`."""

import re
import sys
import traceback
from pathlib import PurePath

from whaul.cli import output
from whaul.cli.output import OutputError


class CommandError(Exception):
    """A command failed; the message says why and what to do."""


def known() -> tuple[type[Exception], ...]:
    """The errors whose messages are meant for the operator."""
    from whaul.auth.policy import PolicyError
    from whaul.errors import ApiError
    from whaul.registry.errors import RegistryError
    from whaul.secrets import SecretKeyError
    from whaul.server.listener import ListenerError
    from whaul.settings import SettingsError
    from whaul.stack.processes import StackError

    ours = ApiError, CommandError, ListenerError, OutputError, PolicyError, RegistryError, SettingsError, StackError
    return *ours, SecretKeyError


def report(error: BaseException, *, debug: bool = False) -> None:
    """Print the error on standard error."""
    from whaul.settings import SettingsError
    from whaul.stack.processes import StackError

    text = _message(error)
    # These have messages of several lines. In any other message, a line end comes from somebody else.
    lines = text.split("\n") if isinstance(error, SettingsError | StackError) else [text]
    output.tell(f"whaul: {lines[0]}")
    for line in lines[1:]:
        output.tell(line)
    if isinstance(error, SettingsError) and (setting := setting_in(text)):
        output.tell(f"`whaul help {setting}` says what it means.")
    if debug:
        for line in _traceback(error):
            output.tell(line)


def setting_in(text: str) -> str | None:
    """Return the first setting that a message names."""
    from whaul.environment import variables
    from whaul.settings import Settings

    known = {variable for name, field in Settings.model_fields.items() for variable in variables(name, field)}
    return next((name for name in re.findall(r"\b[A-Z0-9_]+\b", text) if name in known), None)


def _message(error: BaseException) -> str:
    from whaul.errors import ApiError
    from whaul.registry.errors import RegistryUnavailableError

    cause = error.__cause__
    advice = "Check WHAUL_DATABASE_URL, or run this as its owner."
    if isinstance(error, RegistryUnavailableError) and isinstance(cause, PermissionError):
        return f"This user may not use the database at {cause.filename}: {cause.strerror}. {advice}"
    if isinstance(error, RegistryUnavailableError) and "readonly database" in error.reason:
        return f"This user may read the database, but not write to it. {advice}"
    if isinstance(error, RegistryUnavailableError) and error.reason:
        return f"{error} Its driver says: {' '.join(error.reason.split())}. Check WHAUL_DATABASE_URL."
    if isinstance(error, known()):
        return error.message if isinstance(error, ApiError) else str(error)
    return _foreign_message(error)


def _foreign_message(error: BaseException) -> str:
    """Describe an error without its own text, which may hold a secret, such as a header that cannot be sent."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {error.filename}" if error.filename else "") + "; --debug shows where"
    if isinstance(error, ModuleNotFoundError):
        return f"the Python package {error.name} is not installed; install it: pip install {error.name}"
    if isinstance(error, UnicodeError) and not all(argument.isprintable() for argument in sys.argv):
        return "an argument is not text in this terminal's encoding; write it in UTF-8, under a UTF-8 locale"
    if isinstance(error, RuntimeError) and "home directory" in str(error):
        return "this user has no home folder; set HOME"
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" at {PurePath(place[0].filename).name}:{place[0].lineno}" if place else ""
    return (
        f"unexpected error: {type(error).__qualname__}{where}; please report it with the output of --debug, "
        "which holds no secrets: only places in the code"
    )


def _traceback(error: BaseException) -> list[str]:
    """Format the traceback without the texts of errors and without local variables: both may hold secrets."""
    lines: list[str] = []
    told: BaseException | None = error
    seen: list[BaseException] = []
    while told is not None and told not in seen:
        seen.append(told)
        places = "".join(traceback.format_tb(told.__traceback__)).splitlines()
        kind = f"{type(told).__module__}.{type(told).__qualname__}"
        lines = ["Traceback (most recent call last):", *places, kind, *([""] if lines else []), *lines]
        told = told.__cause__ or (None if told.__suppress_context__ else told.__context__)
    return lines
