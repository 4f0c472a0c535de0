"""What says where events go and which, to `whaul destinations` and `whaul listen`: read and checked."""

import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, get_args

import typer

from whaul.cli.accounts import secret_from
from whaul.cli.failures import CommandError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from whaul.events.delivery.destinations import NewDestination
    from whaul.events.filters import Filter
    from whaul.events.targets import Options
    from whaul.settings import Settings

HTTPS: Final = ("https://", "http://")
BROKERS: Final = ("nats://", "tls://", "kafka://")
_HEADER: Final = re.compile(r"([^:\s]+)\s*:(.*)")
_PROPERTY: Final = re.compile(r"([^=:\s]+)\s*[=:](.*)")
_CREDS: Final = "-----BEGIN NATS USER JWT-----"


class Format(StrEnum):
    """What is sent."""

    AWS = "aws"
    META = "meta"
    CLOUDEVENTS = "cloudevents"


Fields = Annotated[list[str] | None, typer.Option("--field", help="Only events of this field; repeatable.")]
Kinds = Annotated[list[str] | None, typer.Option("--kind", help="Only message, status, …; repeatable.")]
Types = Annotated[
    list[str] | None, typer.Option("--type", metavar="TYPE", help="Only audio, delivered, …; repeatable.")
]
Numbers = Annotated[
    list[str] | None, typer.Option("--phone-number", metavar="ID", help="Only events of this number; repeatable.")
]
FormatOf = Annotated[
    Format,
    typer.Option("--format", metavar="FORMAT", help="aws: AWS's envelope; meta: Meta's own body; cloudevents."),
]
SecretFile = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="File with the secret to sign with; - for standard input. Default: a new one, shown."
    ),
]


def filter_of(fields: list[str] | None, kinds: list[str] | None, types: list[str] | None) -> "Filter":
    """Read which events are wanted, the phone numbers apart."""
    from whaul.events.filters import Filter
    from whaul.events.model import MEDIA_FIELD

    chosen = checked_kinds(kinds or ())
    if chosen == {"unparsed"}:
        raise typer.BadParameter("unparsed events are sent to nobody", param_hint="--kind")
    if chosen == {"media"} and MEDIA_FIELD not in (fields or ()):
        raise typer.BadParameter(f"media is only sent with --field {MEDIA_FIELD}", param_hint="--kind")
    return Filter(fields=frozenset(fields or ()), kinds=chosen, types=frozenset(types or ()))


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
    from whaul.events.receiving.signatures import check_secret, new_secret

    if not to.startswith(HTTPS):
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
    """Read a file of headers."""
    return _named("--headers-file", _read("--headers-file", file), _HEADER, "`Name: value`")


def credentials_of(file: Path) -> "dict[str, SecretStr]":
    """Read a file of credentials for a broker: `name=value` lines, or a .creds file of NATS."""
    from pydantic import SecretStr

    text = _read("--credentials-file", file)
    if _CREDS in text:
        return {"creds": SecretStr(text)}
    return _named("--credentials-file", text, _PROPERTY, "`name=value`")


def _read(option: str, file: Path) -> str:
    from whaul.secrets import read_secret

    try:
        with file.open("rb") as opened_file:
            return read_secret(opened_file)
    except OSError as error:
        raise CommandError(f"{option}: cannot read the file: {error.strerror}") from None
    except ValueError as error:
        raise CommandError(f"{option}: the file {error}") from None


def _named(option: str, text: str, form: re.Pattern[str], shown: str) -> "dict[str, SecretStr]":
    """Read lines. Messages name a line by its number: its text may be a secret."""
    from pydantic import SecretStr

    values: dict[str, SecretStr] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        found = form.fullmatch(line.strip())
        if line.strip().startswith("#") or not line.strip():
            continue
        if found is None:
            raise CommandError(f"{option}: line {number} is not {shown}")
        values[found[1]] = SecretStr(found[2].strip())
    return values


def outside_values(
    target: str, headers_file: Path | None, credentials_file: Path | None
) -> "dict[str, SecretStr] | None":
    """Read the headers of an HTTPS destination, or the credentials of a broker; None if neither is given."""
    if credentials_file is not None and not target.startswith(BROKERS):
        raise typer.BadParameter("only NATS and Kafka are logged in to with it", param_hint="--credentials-file")
    if headers_file is not None:
        if not target.startswith(HTTPS):
            raise typer.BadParameter("only HTTPS has headers", param_hint="--headers-file")
        return headers_of(headers_file)
    return None if credentials_file is None else credentials_of(credentials_file)


def check_options(new: "NewDestination") -> None:
    """Refuse options that this kind of target has no use for."""
    if new.attributes and not re.match(r"arn:[a-z-]+:(sns|sqs):", new.target):
        raise typer.BadParameter("only SNS and SQS have message attributes", param_hint="--attributes")


async def check_target(settings: "Settings", target: str, options: "Options") -> None:
    """Refuse what cannot be a destination, before it is one."""
    from whaul.components import event_targets, http_client
    from whaul.events.targets import TargetError

    async with http_client(settings) as http, event_targets(settings, http) as targets:
        try:
            made = targets.make(target, options)
        except TargetError as error:
            raise CommandError(str(error)) from None
        await made.close()
