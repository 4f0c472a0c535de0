"""Environment variables that are settings: names, lists, secrets from files, and what is wrong with them.

Does not know what a setting means or which values are valid.
"""

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from whaul.secrets import read_secret
from whaul.terminal import suggestion

PREFIX = "WHAUL_"
CREDENTIALS = "CREDENTIALS_DIRECTORY"
"""The folder of a service's credentials. https://systemd.io/CREDENTIALS/"""
GIVEN_BY_DEV = frozenset({"WHAUL_DEV_BUCKET", "WHAUL_DEV_PHONE_NUMBER_ID"})
"""What `whaul dev` tells the programs that use its stack; no settings."""

# What a Kubernetes Service named `whaul`, or `whaul-database`, and a container link of that name put into the
# environment. https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables and
# https://docs.docker.com/engine/network/links/#environment-variables
_LINKED = r"WHAUL(_[A-Z0-9_]+)?"
_LINK_NAME = re.compile(
    rf"{_LINKED}_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR|START|END))?|ENV_\w+)"
)
_LINK_VALUES = {
    re.compile(rf"{_LINKED}_PORT"): re.compile(r"(tcp|udp|sctp)://.*"),
    re.compile(rf"{_LINKED}_NAME"): re.compile(r"/[^/]+/[^/]+"),
}
"""Names that count as a link's if the value is one."""


def _commas(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _pairs(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = [part.partition("=") for part in value.split(",") if part.strip()]
    if not all(equals for _, equals, _ in parts):
        raise ValueError("expected name=value pairs, separated by commas")
    return {name.strip(): text.strip() for name, _, text in parts}


Pairs = Annotated[dict[str, str], BeforeValidator(_pairs)]
Commas = Annotated[tuple[str, ...], BeforeValidator(_commas)]

Fields = Mapping[str, FieldInfo]
"""Settings by the names of their fields."""


def environment_name(field_name: str) -> str:
    """The environment variable of a field."""
    return "AWS_REGION" if field_name == "region" else PREFIX + field_name.upper()


def is_secret(field: FieldInfo) -> bool:
    """Whether the field's value must never be shown, and may come from a file."""
    return "SecretStr" in str(field.annotation)


def variables(field_name: str, field: FieldInfo) -> list[str]:
    """The variables that may give a setting; the first is its name, and counts first."""
    name = environment_name(field_name)
    further = ["AWS_DEFAULT_REGION"] if field_name == "region" else [f"{name}_FILE"] if is_secret(field) else []
    return [name, *further]


def given_by(field_name: str, field: FieldInfo, environ: Mapping[str, str] = os.environ) -> str | None:
    """What gives a setting, under the name that the user chose: a variable, or a credential; None for its default."""
    names = variables(field_name, field)
    variable = next((each for each in names if environ.get(each) and not is_link(each, environ[each])), None)
    if variable is None and is_secret(field) and _credential(names[0], environ):
        return f"credential {names[0]}"
    return variable


def values_given(fields: Fields, environ: Mapping[str, str]) -> dict[str, str]:
    """The values by field that variables hold themselves; `secret_files` has those of files."""
    sources = {name: given_by(name, field, environ) or "" for name, field in fields.items()}
    return {
        name: environ[source]
        for name, source in sources.items()
        if source in environ and source != f"{environment_name(name)}_FILE"
    }


def is_under_dev(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is of `whaul dev`, or of somebody who has its variables."""
    return all(environ.get(name) for name in GIVEN_BY_DEV)


def unknown_names(fields: Fields) -> list[str]:
    """List variables that look like settings but are not."""
    known = {variable for name, field in fields.items() for variable in variables(name, field)} | GIVEN_BY_DEV
    unknown = sorted(
        name
        for name, value in os.environ.items()
        if name.upper().startswith(PREFIX) and name not in known and not is_link(name, value)
    )
    otherwise = "; check the spelling or unset it"
    return [f"{name}: there is no such setting{suggestion(name.upper(), known) or otherwise}" for name in unknown]


def is_link(name: str, value: str) -> bool:
    """Whether Kubernetes or a container engine put the variable there: it tells where a service named `whaul…` is."""
    if _LINK_NAME.fullmatch(name):
        return True
    return any(names.fullmatch(name) and values.fullmatch(value) for names, values in _LINK_VALUES.items())


def secret_files(fields: Fields) -> tuple[dict[str, str], list[str]]:
    """Read the files named by `<NAME>_FILE`, and credentials: the values by field, and what was wrong."""
    values, problems = {}, []
    for field_name, field in fields.items():
        if not is_secret(field):
            continue
        name = environment_name(field_name)
        source, path = f"{name}_FILE", os.environ.get(f"{name}_FILE")
        if not path:
            source, path = f"credential {name}", _credential(name, os.environ)
        if not path:
            continue
        if os.environ.get(name):
            problems.append(f"{name}: given both directly and as {source}; keep one")
            continue
        try:
            with Path(path).open("rb") as file:
                values[field_name] = read_secret(file)
        except OSError as error:  # the path is not repeated: it may be the secret itself
            problems.append(f"{source}: cannot read the file: {error.strerror}")
        except ValueError as error:
            problems.append(f"{source}: the file {error}")
    return values, problems


def _credential(name: str, environ: Mapping[str, str]) -> str | None:
    """The file of a credential that systemd gave to the service under the name of a setting."""
    folder = environ.get(CREDENTIALS)
    return path if folder and os.access(path := f"{folder}/{name}", os.F_OK) else None


def problem(fields: Fields, detail: Any, options: Collection[str] = ()) -> str:
    """What is wrong with a setting, from a detail of Pydantic's, under the name that the user gave it.

    `options` are the fields that an option of the command line gave.
    """
    field_name = str(detail["loc"][0])
    field, value = fields[field_name], detail["input"]
    if field_name in options:
        name = "--" + field_name.replace("_", "-")
    else:
        name = given_by(field_name, field) or environment_name(field_name)
    expected = str(detail["msg"]).removeprefix("Value error, ").replace("Input should", "should")
    expected = expected.partition(", unable to parse")[0].rstrip(".")
    # A URL's user information and query may be secret.
    if not isinstance(value, str):
        value = os.environ.get(name, value)  # as the user wrote it
    is_shown = value not in (None, {}) and not is_secret(field) and not re.search("[@?]", str(value))
    return f"{name}={value!s:.80}: {expected}" if is_shown else f"{name}: {expected}"
