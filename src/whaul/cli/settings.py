"""`whaul settings`: what is set, to what, and by what."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whaul.cli import output

if TYPE_CHECKING:
    from whaul.settings import Settings

DEFAULT = "default"
MASK = "***"
AWS = "AWS's configuration of S3"


@dataclass(frozen=True, slots=True)
class Row:
    """One setting."""

    group: str
    name: str
    value: object
    """As JSON has it; secrets are masked."""
    source: str
    """The variable or file that it comes from, or `default`."""


def settings(
    changed: Annotated[bool, typer.Option("--changed", help="Only what differs from the default.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show every setting with its value, and where the value comes from. Secrets are masked.

    The settings are those of this shell: give it the environment of the server.

    Examples:
        whaul settings --changed
        whaul help WHAUL_PORT    # what a setting means
    """
    from whaul.settings import Settings

    loaded = Settings.load()
    rows = [*_of_whaul(loaded), *_of_aws(loaded)]
    if changed:
        rows = [row for row in rows if row.source != DEFAULT]
    if json:
        shown = [{"group": row.group, "name": row.name, "value": row.value, "source": row.source} for row in rows]
        output.document({"settings": shown})
    else:
        _print(rows)


def _of_whaul(loaded: "Settings") -> Iterator[Row]:
    from whaul.cli.reference import SETTING_GROUPS
    from whaul.environment import environment_name, given_by

    for group, names in SETTING_GROUPS.items():
        for name in names:
            source = given_by(name, type(loaded).model_fields[name]) or DEFAULT
            yield Row(group, environment_name(name), _value(loaded, name), source)


def _value(loaded: "Settings", name: str) -> object:
    from whaul.database_url import without_secrets
    from whaul.environment import is_secret
    from whaul.setting_types import written_duration

    value = getattr(loaded, name)
    if value is not None and name == "database_url":
        return without_secrets(value.get_secret_value())
    if is_secret(type(loaded).model_fields[name]):
        return MASK if value else None
    if isinstance(value, timedelta):
        return written_duration(value)
    return str(value) if isinstance(value, Path) else value


def _of_aws(loaded: "Settings") -> Iterator[Row]:
    import botocore.session

    from whaul.components import s3_config
    from whaul.outbound.aws_endpoints import configured_endpoint_source
    from whaul.outbound.certificates import PROFILE, named_bundles
    from whaul.storage.s3_config import profile_region

    config = s3_config(loaded)
    session = botocore.session.Session()
    yield Row(AWS, "profile", session.profile or "default", "AWS_PROFILE" if session.profile else DEFAULT)
    source = configured_endpoint_source(session, "s3")
    yield Row(AWS, "endpoint", config.endpoint(loaded.region), source[0] if source else DEFAULT)
    region = profile_region(session)
    if region is not None and region != loaded.region:
        yield Row(AWS, "region of the profile", region, "AWS profile; not used: set AWS_REGION to use it")
    yield Row(
        AWS, "checksum header", config.sends_checksums, DEFAULT if config.sends_checksums else "AWS configuration"
    )
    profile_bundle = session.get_scoped_config().get(PROFILE)
    for name, path in named_bundles(os.environ, profile_bundle):
        yield Row("Certificates and proxies", "trusted certificates", str(path), name)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        used = next((each for each in (name, name.upper()) if os.environ.get(each)), None)
        if used:
            value = os.environ[used] if name == "no_proxy" else _without_user(os.environ[used])
            yield Row("Certificates and proxies", name, value, used)


def _without_user(url: str) -> str:
    scheme, mark, rest = url.rpartition("://")
    _, at, place = rest.rpartition("@")
    return f"{scheme}{mark}{MASK}@{place}" if at else url


def _print(rows: list[Row]) -> None:
    from whaul.cli.reference import shown

    names = max((len(row.name) for row in rows), default=0)
    sources = max((len(row.source) for row in rows), default=0)
    group = ""
    for row in rows:
        if row.group != group:
            output.page(("\n" if group else "") + output.styled(row.group, "bold"))
            group = row.group
        value = "unset" if row.value is None else shown(row.value) or "empty"
        style = ("dim",) if row.source == DEFAULT else ("bold",)
        output.page(f"  {row.name:{names}}  {output.styled(f'{row.source:{sources}}', *style)}  {output.styled(value)}")
    if not rows:
        output.line("Everything has its default. `whaul settings` without --changed shows them.")
