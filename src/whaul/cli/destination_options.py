"""What `whaul destinations add` and `rotate` are given: read and checked."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

import typer

from whaul.cli.accounts import secret_from
from whaul.cli.failures import CommandError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from whaul.events.destinations import NewDestination
    from whaul.settings import Settings

_HEADER: Final = re.compile(r"\s*([^:\s]+)\s*:(.*)")


def checked_kinds(names: Iterable[str]) -> frozenset[str]:
    """Refuse what is no kind of event."""
    from whaul.events.model import Kind

    found = frozenset(names)
    for name in sorted(found):
        if name not in get_args(Kind):
            raise typer.BadParameter(f"{name} is none of {', '.join(get_args(Kind))}", param_hint="--kind")
    return found


def secret_of(to: str, format_: str, file: str | None) -> "SecretStr | None":
    """Read the secret, or make one; None where nothing is signed."""
    from whaul.events.signatures import check_secret, new_secret

    if not to.startswith(("https://", "http://")):
        if file is not None:
            raise typer.BadParameter("only what is sent by HTTPS is signed", param_hint="--secret-file")
        return None
    if file is None:
        return new_secret()
    secret = secret_from("--secret-file", file)
    if format_ != "meta":
        try:
            check_secret(secret)
        except ValueError as error:
            raise CommandError(f"--secret-file: {error}") from None
    return secret


def headers_of(file: Path) -> "dict[str, SecretStr]":
    """Read a file of headers. Messages name a line by its number: its text may be a secret."""
    from pydantic import SecretStr

    from whaul.secrets import read_secret

    try:
        with file.open("rb") as opened_file:
            text = read_secret(opened_file)
    except OSError as error:
        raise CommandError(f"--headers-file: cannot read the file: {error.strerror}") from None
    except ValueError as error:
        raise CommandError(f"--headers-file: the file {error}") from None
    headers: dict[str, SecretStr] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        found = _HEADER.fullmatch(line.strip())
        if found is not None:
            headers[found[1]] = SecretStr(found[2].strip())
        elif line.strip():
            raise CommandError(f"--headers-file: line {number} is not `Name: value`")
    return headers


def check_options(new: "NewDestination") -> None:
    """Refuse options that this kind of target has no use for."""
    is_https = new.target.startswith(("https://", "http://"))
    if new.headers and not is_https:
        raise typer.BadParameter("only HTTPS has headers", param_hint="--headers-file")
    if new.attributes and not re.match(r"arn:[a-z-]+:(sns|sqs):", new.target):
        raise typer.BadParameter("only SNS and SQS have message attributes", param_hint="--attributes")


async def check_target(settings: "Settings", new: "NewDestination") -> None:
    """Refuse what cannot be a destination, before it is one."""
    from whaul.components import event_targets, http_client
    from whaul.events.targets import Options, TargetError

    options = Options(
        format=new.format,
        attributes=new.attributes,
        secrets=() if new.secret is None else (new.secret,),
        headers={name: value.get_secret_value() for name, value in new.headers.items()},
    )
    async with http_client(settings) as http, event_targets(settings, http) as targets:
        try:
            target = targets.make(new.target, options)
        except TargetError as error:
            raise CommandError(str(error)) from None
        await target.close()
