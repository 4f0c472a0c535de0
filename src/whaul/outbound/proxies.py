"""Which requests go through a proxy, by `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.

As with curl, a name in lower case wins over upper case, and an empty one does not count. `NO_PROXY` is a list with
commas or spaces: host names (each with its subdomains, with or without a dot or `*.` in front), addresses, networks, or
`*` for every host. Names and addresses may have a port.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from pyreqwest.http import Url
from pyreqwest.proxy import ProxyBuilder

SCHEMES = frozenset({"http", "https", "socks4", "socks4a", "socks5", "socks5h"})

_ENTRY = re.compile(r"(?P<host>\[[^]]*\]|[^:]*)(:(?P<port>\d+))?")
_BRACKETS = re.compile(r"^\[([^]]*)\](?!:)")


class ProxyError(Exception):
    """A variable is not the URL of a proxy. The message never shows its value, which may hold a password."""


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies, and what is called without one."""

    http: str | None = None
    https: str | None = None
    no_proxy: tuple[str, ...] = ()

    @classmethod
    def named_in(cls, environ: Mapping[str, str]) -> Self:
        """Read the environment. Raises `ProxyError`."""
        every = _proxy("all_proxy", environ)
        listed = _value("no_proxy", environ) or ""
        return cls(
            http=_proxy("http_proxy", environ) or every,
            https=_proxy("https_proxy", environ) or every,
            no_proxy=tuple(re.split(r"[,\s]+", listed.strip().lower())) if listed.strip() else (),
        )

    def is_used_for(self, url: Url) -> bool:
        """Whether the URL is called through a proxy."""
        if (self.https if url.scheme == "https" else self.http) is None:
            return False
        host = (url.host_str or "").strip("[]").rstrip(".")
        return not any(_matches(entry, host, url.port_or_known_default) for entry in self.no_proxy)


def _value(name: str, environ: Mapping[str, str]) -> str | None:
    return environ.get(name) or environ.get(name.upper()) or None


def _proxy(name: str, environ: Mapping[str, str]) -> str | None:
    value = (_value(name, environ) or "").strip()
    if not value:
        return None
    text = value if "://" in value else f"http://{value}"
    try:
        url = Url(text)
        ProxyBuilder.all(url)
        is_usable = url.scheme in SCHEMES and bool(url.host_str) and url.path in {"", "/"}
    except ValueError:
        is_usable = False
    if not is_usable:
        used = name if environ.get(name) else name.upper()
        raise ProxyError(f"{used}: is not the URL of a proxy; expected for example http://proxy.example:3128")
    return text


def _matches(entry: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    address = _address(host)
    if address is not None and (network := _network(entry)) is not None:
        return address in network
    match = _ENTRY.fullmatch(entry)
    if match is None or (match["port"] and int(match["port"]) != port):
        return False
    name = match["host"].strip("[]")
    if address is not None:
        return _address(name) == address
    name = name.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(_BRACKETS.sub(r"\1", text), strict=False)
    except ValueError:
        return None
