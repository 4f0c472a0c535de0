"""`WHAUL_DATABASE_URL`: which URLs name a database, and what they say.

Owns the forms of the URL. Opens nothing. A URL holds a password: no message repeats one, except as
`without_secrets` shows it.
"""

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

_SQLITE: Final = "sqlite:///"
_POSTGRESQL_SCHEMES: Final = {"postgresql", "postgres"}
_BEFORE_HOSTS: Final = re.compile(r"postgres(ql)?://([^/@:]+(:[^/@:]*)?@)?", re.IGNORECASE)
_TEXT: Final = re.compile(r"[^\s\x00-\x1f\x7f#]+")
_CHOICES: Final = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": ("any", "primary", "standby", "prefer-standby", "read-write", "read-only"),
}
_FILES: Final = {"sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile"}
SYSTEM_ROOTS: Final = "system"
"""As the value of `sslrootcert`: the certificate authorities that the system trusts, as in libpq 16."""
# Those of libpq that asyncpg knows too. https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
_OPTIONS: Final = _FILES | {
    "application_name",
    "host",
    "port",
    "sslmode",
    "sslnegotiation",
    "sslpassword",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "target_session_attrs",
}


def is_postgresql(url: str) -> bool:
    """Say whether a URL means PostgreSQL, usable or not."""
    return url.partition(":")[0].partition("+")[0].lower() in _POSTGRESQL_SCHEMES


def check_database_url(url: str) -> None:
    """Raise ValueError, which says what is expected, for a URL that cannot be used."""
    if is_postgresql(url):
        _check_postgresql(url)
    else:
        database_file(url)


def database_file(url: str) -> Path:
    """Read the file out of `sqlite:///relative.db` or `sqlite:////absolute/path.db`; ValueError for other URLs."""
    path = url.removeprefix(_SQLITE)
    if path == url or path in {"", "/", ":memory:"} or path.endswith("/") or "?" in path or "\0" in path:
        raise ValueError(
            "the database URL is not usable: expected sqlite:///relative.db or sqlite:////absolute/path.db, "
            "without options, or postgresql://user:password@host/database"
        )
    return Path(path).absolute()


def postgresql_options(url: str) -> dict[str, str]:
    """Read the options of a checked PostgreSQL URL."""
    return dict(parse_qsl(url.partition("?")[2], keep_blank_values=True))


def postgresql_servers(url: str) -> tuple[str, ...]:
    """Split a checked PostgreSQL URL into one URL for each server, in order."""
    before, hosts, database, query = _parts(url)
    if hosts:
        return tuple(f"{before}{host}/{database}{query}" for host in hosts.split(","))
    options = postgresql_options(url)
    folders, ports = options.get("host", "").split(","), options.get("port", "").split(",")
    if len(folders) == 1:
        return (url,)
    if len(ports) == 1:
        ports *= len(folders)
    return tuple(
        f"{before}/{database}?{urlencode(options | {'host': folder} | ({'port': port} if port else {}))}"
        for folder, port in zip(folders, ports, strict=True)
    )


def without_secrets(url: str) -> str:
    """A checked URL to show: without user and password, and without options."""
    if not is_postgresql(url):
        return url
    before, hosts, database, _ = _parts(url)
    user = "***@" if before.endswith("@") else ""
    return f"{before.partition('://')[0]}://{user}{hosts}/{database}"


def _parts(url: str) -> tuple[str, str, str, str]:
    """Split a URL into what is before the hosts, the hosts, the database, and the options with their question mark."""
    rest, mark, options = url.partition("?")
    scheme, slashes, rest = rest.partition("://")
    authority, _, database = rest.partition("/")
    user, at, hosts = authority.rpartition("@")
    return f"{scheme}{slashes}{user}{at}", hosts, database, mark + options


def _check_postgresql(url: str) -> None:
    before, hosts, database, query = _parts(url)
    if not _BEFORE_HOSTS.fullmatch(before) or not re.fullmatch(r"[^/@]+", database) or not _TEXT.fullmatch(url):
        raise ValueError(
            "the database URL is not usable: expected postgresql://user:password@host:5432/database, perhaps with "
            "?sslmode=verify-full (in user, password and database, other characters than letters, digits and -._~ "
            "are written as %XX)"
        )
    try:
        usable = not hosts or all(urlsplit(f"//{host}").hostname for host in hosts.split(","))
        ports = [urlsplit(f"//{host}").port for host in hosts.split(",")]
    except ValueError:
        usable = False
    if not usable or 0 in ports:
        raise ValueError("the host of the database URL is not usable: expected host, host:port, or several with commas")
    _check_options(query.removeprefix("?"))


def _check_options(query: str) -> None:
    options = parse_qsl(query, keep_blank_values=True)
    for name, value in options:
        if name not in _OPTIONS:
            # Not named: it may be a part of a password that was not escaped.
            raise ValueError(
                f"the database URL has an option that is not known; known are {', '.join(sorted(_OPTIONS))}"
            )
        if not value:
            raise ValueError(f"the option {name} of the database URL is empty")
        if name in _FILES and (name, value) != ("sslrootcert", SYSTEM_ROOTS) and not os.access(value, os.R_OK):
            raise ValueError(f"the file that {name} of the database URL names cannot be read")
    values = dict(options)
    for name, choices in _CHOICES.items():
        if values.get(name, choices[0]) not in choices:
            raise ValueError(f"{name} of the database URL must be one of {', '.join(choices)}")
    if values.get("sslrootcert") == SYSTEM_ROOTS and values.get("sslmode") != "verify-full":
        raise ValueError("sslrootcert=system of the database URL goes with sslmode=verify-full, as in libpq")
    port = values.get("port", "5432")
    if not re.fullmatch(r"\d{1,5}(,\d{1,5})*", port):
        raise ValueError("port of the database URL must be a number")
    if port.count(",") not in {0, values.get("host", "").count(",")}:
        raise ValueError("port of the database URL must be one number, or one for each host")
