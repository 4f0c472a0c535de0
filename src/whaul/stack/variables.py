"""The environment of the local stack: which settings it obeys, and what it hands to the programs that use it."""

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from whaul.environment import GIVEN_BY_DEV, PREFIX, is_link

OWN = frozenset(
    {
        "WHAUL_HOST",
        "WHAUL_WEBHOOK_HOST",
        "WHAUL_WEBHOOK_PORT",
        "WHAUL_CONSOLE_HOSTS",
        "WHAUL_DATABASE_URL",
        "WHAUL_GRAPH_URL",
        "WHAUL_MEDIA_HOSTS",
        "WHAUL_ROOT_ACCESS_KEY_ID",
        "WHAUL_TLS_CERT_FILE",
        "WHAUL_TLS_KEY_FILE",
        *(
            f"WHAUL_{name}{file}"
            for name in ("DATABASE_URL", "SECRET_KEY", "ROOT_SECRET_ACCESS_KEY")
            for file in ("", "_FILE")
        ),
    }
)
"""Settings that the stack itself must set, or leave unset: its addresses, its database, its keys."""
PORT = "WHAUL_PORT"
RIVALS = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")
"""Variables by which AWS tools would use another key, or sign with a token that is of another key."""
READ_ALIKE = re.compile(r"[\w./:@%+,=*-]*", re.ASCII)
"""Values that shells, Docker and direnv read alike."""


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The settings that the stack obeys; they are the gateway's, and those of the programs that use the stack."""
    return {name: value for name, value in _settings(environ).items() if name not in {*OWN, PORT}} | _region(environ)


def ignored(environ: Mapping[str, str], set_by_stack: Mapping[str, str]) -> list[str]:
    """Names of settings that the stack ignores; none whose value is the stack's own."""
    return sorted(name for name, value in _settings(environ).items() if name in OWN and value != set_by_stack.get(name))


def port(environ: Mapping[str, str]) -> str | None:
    """The gateway's port, if it is a setting."""
    return _settings(environ).get(PORT)


def _settings(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environ.items()
        if name.startswith(PREFIX) and value and name not in GIVEN_BY_DEV and not is_link(name, value)
    }


def _region(environ: Mapping[str, str]) -> dict[str, str]:
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    return {"AWS_REGION": region} if region else {}


def environment_of_command(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of a program that uses the stack: ours, with the stack's variables and none against them."""
    ours = {name: value for name, value in os.environ.items() if name not in {*RIVALS, *OWN}}
    return ours | dict(variables)


def write_env_file(path: Path, variables: Mapping[str, str]) -> list[str]:
    """Write the variables for their owner only, all or nothing; return the names of those that are not in it.

    In it are those that `docker --env-file`, `. FILE` in a shell and direnv's `dotenv` all read alike: they have
    different rules for quotes and spaces.
    """
    held = {name: value for name, value in variables.items() if READ_ALIKE.fullmatch(value)}
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.writelines(f"{name}={value}\n" for name, value in held.items())
    Path(file.name).replace(path)
    return [name for name in variables if name not in held]
