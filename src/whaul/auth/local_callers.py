"""Who may call without a key (`WHAUL_AUTH=none`): programs on this machine, not the pages in its browser.

A browser lets any page send requests to this machine. It says which page, in headers that the page cannot change: in
`Origin`, `Referer` and `Sec-Fetch-Site`. A page can also give its own name this machine's address (DNS rebinding);
then `Host` holds that name.
https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Site
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from whaul.errors import AccessDeniedException
from whaul.outbound.netguard import is_loopback


def check_local(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raise `AccessDeniedException` for a request that a browser makes for another page, or to another host's name."""
    found = [(name, value.decode("latin-1").strip().lower()) for name, value in headers]
    hosts = [value for name, value in found if name == b"host"]
    if not all(map(_is_local, hosts)):
        raise AccessDeniedException(
            "WHAUL_AUTH=none is for programs on this machine: the Host header must name it, as localhost or a "
            "loopback address does."
        )
    for name, value in found:
        if (name == b"sec-fetch-site" and value not in {"none", "same-origin"}) or (
            name in {b"origin", b"referer"} and _host_of(value) not in hosts
        ):
            raise AccessDeniedException(
                "WHAUL_AUTH=none is for programs on this machine: a browser made this request for a page of another "
                "origin."
            )


def _is_local(host: str) -> bool:
    name = _name_of(host).rstrip(".")
    return name.endswith(".localhost") or is_loopback(name)


def _name_of(host: str) -> str:
    """Take the port away."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and not name.endswith(":") else host


def _host_of(url: str) -> str:
    """The host and port of a page's address or origin; empty for what is none, such as `null`."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""
