"""The types of settings: how the text of a variable is read, and what it must be. Each concerns one value.

Not in `settings`, since commands and pages read and write durations, times and addresses by them, without any settings.
"""

import ipaddress
import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pyreqwest.http import Url

from whaul.database_url import check_database_url
from whaul.environment import Commas, Pairs
from whaul.folders import data_folder
from whaul.outbound.netguard import ForbiddenUrlError, HostPattern, endpoint_url, is_loopback
from whaul.partitions import is_region
from whaul.secrets import secret_word, trimmed

MIN_ROOT_SECRET = 16
"""Characters."""
_SECONDS: Final[Mapping[str, int]] = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_BYTES: Final[Mapping[str, int]] = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}
_DURATION: Final = re.compile(r"([0-9]{1,9})([smhd])")
_SIZE: Final = re.compile(r"([0-9]{1,15}) ?((?:[KMGT]iB)?)")
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
"""https://www.rfc-editor.org/rfc/rfc6749#section-3.3"""
_APP_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def duration(text: str) -> timedelta:
    """Read a number of seconds, minutes, hours or days: `30s`, `15m`, `72h`, `7d`. Raises ValueError."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError("expected a number and its unit, for example 30s, 15m, 72h or 7d")
    return timedelta(seconds=int(found[1]) * _SECONDS[found[2]])


def written_duration(value: timedelta) -> str:
    """Write what `duration` reads, in the largest unit that fits."""
    seconds = int(value.total_seconds())
    unit, length = max((length, unit) for unit, length in _SECONDS.items() if seconds % length == 0)[::-1]
    return f"{seconds // length}{unit}"


def shown(value: object) -> str:
    """A value as it is written in the environment."""
    if isinstance(value, dict):
        return ",".join(f"{name}={text}" for name, text in value.items())
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    if isinstance(value, timedelta):
        return written_duration(value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _duration(value: object) -> object:
    return duration(value.strip()) if isinstance(value, str) else value


def _size(value: object) -> object:
    if not isinstance(value, str):
        return value
    found = _SIZE.fullmatch(value.strip())
    if found is None:
        raise ValueError("expected a number of bytes, or one with its unit, for example 512MiB or 64GiB")
    return int(found[1]) * _BYTES[found[2]]


def _words(value: object) -> object:
    if not isinstance(value, str):
        return value
    return [secret_word(word) for word in trimmed(value).split(",") if word.strip()]


def _app_secrets(value: object) -> object:
    """Read `app id=secret` pairs; messages name a pair by its place, since any part of it may be the secret."""
    if not isinstance(value, str):
        return value
    secrets: dict[str, list[str]] = {}
    pairs = [pair.partition("=") for pair in trimmed(value).split(",") if pair.strip()]
    for place, (app_id, equals, secret) in enumerate(pairs, start=1):
        if not equals or not _APP_ID.fullmatch(app_id.strip()):
            raise ValueError(f"part {place} of {len(pairs)} is not `app id=secret`; separate several by commas")
        try:
            word = secret_word(secret)
        except ValueError as error:
            raise ValueError(f"the secret in part {place} of {len(pairs)} {error}") from None
        known = secrets.setdefault(app_id.strip(), [])
        if word not in known:
            known.append(word)
    return secrets


def _extension_table(table: dict[str, str]) -> dict[str, str]:
    for mime_type, extension in table.items():
        if not re.fullmatch(r"[\w.+-]+/[\w.+-]+", mime_type):
            raise ValueError(f"{mime_type!r} is not a MIME type; expected for example image/jpeg=.jpg")
        if not re.fullmatch(r"(\.[A-Za-z0-9._-]+)?", extension):
            raise ValueError(f"{extension!r} is not a file extension; expected for example image/jpeg=.jpg")
    return {mime_type.lower(): extension for mime_type, extension in table.items()}


def _host_patterns(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        HostPattern.parse(text)
    return texts


def moment(text: str, now: datetime) -> datetime:
    """Read a time: RFC 3339, a day, or `15m`, `2h`, `7d` ago; without a time zone it is UTC. Raises ValueError."""
    try:
        found = now - duration(text) if _DURATION.fullmatch(text) else datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            "expected a time such as 2026-11-20T12:00:00Z, a day, or 15m, 2h or 7d for so long ago"
        ) from None


def default_database() -> SecretStr:
    """Name a file in the data directory; nothing for a user without a home folder, as containers may have one."""
    try:
        return SecretStr(f"sqlite:///{data_folder() / 'whaul.db'}")
    except RuntimeError:
        return SecretStr("")


def listen_parts(value: str) -> tuple[str, int]:
    """Take an address with its port apart; IPv6 is in brackets."""
    host, _, port = value.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _listen_address(value: str) -> str:
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", value)
    if found is None or int(found[2]) > 65535:
        raise ValueError("expected an address and a port, such as 127.0.0.1:8082 or [::1]:8082")
    return value


def _host_names(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", name):
            raise ValueError(f"{name}: expected names of hosts, without a port")
    return tuple(name.lower() for name in names)


def _server_urls(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(_server_url, values))


def _server_url(value: str) -> str:
    expected = "expected addresses such as http://whaul-1:8080, without a path"
    try:
        url = endpoint_url(value)
    except ForbiddenUrlError:
        raise ValueError(expected) from None
    if url.path not in {"", "/"} or url.query_string is not None:
        raise ValueError(expected)
    return str(url).rstrip("/")


def _header_text(value: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]+( [\x21-\x7e]+)*", value):
        raise ValueError("expected printable ASCII")
    return value


def _root_secret(value: SecretStr) -> SecretStr:
    word = secret_word(value.get_secret_value())
    if len(word) < MIN_ROOT_SECRET:
        raise ValueError(f"should have at least {MIN_ROOT_SECRET} characters")
    return SecretStr(word)


def _readable(value: Path) -> Path:
    if not os.access(value, os.R_OK):
        raise ValueError("expected a file that this process can read")
    return value


def _safe_for_tokens(value: str) -> str:
    return str(_safe_url(value)).rstrip("/")


def _issuer(value: str) -> str:
    _safe_url(value)
    return value  # a slash at the end makes it another one


def _safe_url(value: str) -> Url:
    expected = "expected https://host, or http:// with a loopback host"
    try:
        url = endpoint_url(value)
    except ForbiddenUrlError:
        raise ValueError(expected) from None
    if (url.scheme != "https" and not is_loopback(url.host_str or "")) or url.query_string is not None:
        raise ValueError(expected)
    return url


def _scopes(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not _SCOPE.fullmatch(name):
            raise ValueError(f"{name!r} is not a scope; separate several by commas")
    return tuple(dict.fromkeys(("openid", *names)))


def _group_keys(value: object) -> object:
    """Read `group=access key` pairs, or a JSON object: in that a group may have a comma in its name.

    It may always have an equals sign; an access key has none.
    """
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        pairs = _members(value)
    else:
        parts = [part.rpartition("=") for part in value.split(",") if part.strip()]
        pairs = [(group.strip(), key.strip()) for group, _, key in parts]
    if not all(group and key for group, key in pairs):
        raise ValueError("expected group=access key, separated by commas, or a JSON object of groups and access keys")
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a group is there twice")
    return dict(pairs)


def _members(text: str) -> list[tuple[str, str]]:
    """Read a JSON object's members, which are texts, also those of the same name."""
    try:
        found = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        raise ValueError("expected a JSON object, as it begins with {") from None
    if not all(isinstance(value, str) for _, value in found):
        raise ValueError("expected a JSON object whose values are access keys")
    return [(name, value) for name, value in found]


def _secret(value: SecretStr) -> SecretStr:
    return SecretStr(secret_word(value.get_secret_value()))


def _region_name(value: str) -> str:
    if not is_region(value):
        raise ValueError("expected letters, digits and hyphens, for example eu-west-1 or auto")
    return value


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    bare = tuple(text.replace("[", "").replace("]", "") for text in value)
    for text in bare:
        ipaddress.ip_network(text, strict=False)
    return bare


def _known_database(value: SecretStr) -> SecretStr:
    url = trimmed(value.get_secret_value())
    if not url:
        raise ValueError(
            "unset, and this user has no home folder for a database; set it, for example to "
            "sqlite:////var/lib/whaul/whaul.db"
        )
    if re.search(r"[\x00-\x1f\x7f]", url):
        raise ValueError("the database URL holds a line end or another control character")
    check_database_url(url)
    return SecretStr(url)


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Size = Annotated[int, BeforeValidator(_size)]
"""Bytes."""
Hosts = Annotated[Commas, AfterValidator(_host_patterns)]
ListenAddress = Annotated[str, AfterValidator(_listen_address)]
HostNames = Annotated[Commas, AfterValidator(_host_names)]
ServerUrls = Annotated[Commas, AfterValidator(_server_urls)]
HeaderText = Annotated[str, AfterValidator(_header_text)]
Extensions = Annotated[Pairs, AfterValidator(_extension_table)]
RootSecret = Annotated[SecretStr, AfterValidator(_root_secret)]
ReadableFile = Annotated[Path, AfterValidator(_readable)]
GraphUrl = Annotated[str, AfterValidator(_safe_for_tokens)]
Issuer = Annotated[str, AfterValidator(_issuer)]
Scopes = Annotated[Commas, AfterValidator(_scopes)]
GroupKeys = Annotated[dict[str, str], BeforeValidator(_group_keys)]
"""Access keys by groups, in the order in which they count."""
SecretWord = Annotated[SecretStr, AfterValidator(_secret)]
Region = Annotated[str, AfterValidator(_region_name)]
Networks = Annotated[Commas, AfterValidator(_networks)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_known_database)]
SecretWords = Annotated[tuple[SecretStr, ...], BeforeValidator(_words)]
AppSecrets = Annotated[dict[str, tuple[SecretStr, ...]], BeforeValidator(_app_secrets)]
"""Secrets by the id of their app, the newest first."""
