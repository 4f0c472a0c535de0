"""`WHAUL_DATABASE_URL`: which URLs name a database, and what they say.

Owns the forms of the URL. Opens nothing. A URL holds a password, so no message repeats any part of one.
"""

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote

_SQLITE: Final = "sqlite:///"
_POSTGRESQL_SCHEMES: Final = {"postgresql", "postgres"}
_POSTGRESQL: Final = re.compile(
    r"postgres(?:ql)?://(?:[^/?#@:]+(?::[^/?#@:]*)?@)?(?P<hosts>[^/?#@]*)/(?P<database>[^/?#@]+)(?:\?(?P<options>[^#?]*))?"
)
_HOST: Final = r"(?:\[[0-9A-Fa-f:.]+\]|[^:,\[\]]+)(?::\d{1,5})?"
_HOSTS: Final = re.compile(rf"{_HOST}(?:,{_HOST})*")
SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
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
    """Say whether a URL means PostgreSQL; it may be unusable all the same."""
    return url.partition(":")[0].partition("+")[0].lower() in _POSTGRESQL_SCHEMES


def check_database_url(url: str) -> None:
    """Raise ValueError, with what is expected, unless the URL names a database that can be used."""
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


def _check_postgresql(url: str) -> None:
    parts = _POSTGRESQL.fullmatch(url)
    if parts is None or not url.isprintable() or " " in url:
        raise ValueError(
            "the database URL is not usable: expected postgresql://user:password@host:5432/database, perhaps with "
            "?sslmode=verify-full (in user, password and database, other characters than letters, digits and -._~ "
            "are written as %XX)"
        )
    if parts["hosts"] and not _HOSTS.fullmatch(unquote(parts["hosts"])):
        raise ValueError("the host of the database URL is not usable: expected host, host:port, or several with commas")
    options = parse_qsl(parts["options"] or "", keep_blank_values=True)
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
    given = dict(options)
    mode = given.get("sslmode")
    if mode is not None and mode not in SSL_MODES:
        raise ValueError(f"sslmode of the database URL must be one of {', '.join(SSL_MODES)}")
    if given.get("sslrootcert") == SYSTEM_ROOTS and mode != "verify-full":
        raise ValueError("sslrootcert=system of the database URL goes with sslmode=verify-full, as in libpq")
    if not re.fullmatch(r"\d{1,5}(,\d{1,5})*", given.get("port", "5432")):
        raise ValueError("port of the database URL must be a number")
