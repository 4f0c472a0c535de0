"""What stands before every page: who may connect, under which name, from which page, and with how large a body.

And the headers that each answer has. Cookies are `SameSite=Strict`, so that no other site makes a browser open a page
as somebody; here the same is checked for what changes something, by headers that a page cannot set.
https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Site
"""

import re
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from whaul.outbound.netguard import is_loopback
from whaul.server import asgi
from whaul.server.asgi import Application, Message, Receive, Scope, Send
from whaul.telemetry.clients import ClientAddress

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), hid=(), "
    "microphone=(), midi=(), payment=(), serial=(), usb=()",
    "cache-control": "no-store",
}
"""Of every answer, unless it has its own."""
_HOST: Final = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
READ: Final = frozenset({"GET", "HEAD"})
_ENCODED: Final = {name.encode(): value.encode() for name, value in HEADERS.items()}


class Guard:
    """An application that passes on what may be answered."""

    def __init__(
        self, application: Application, hosts: Collection[str], clients: ClientAddress, *, only_proxies: bool
    ) -> None:
        """`hosts` are names besides those of this machine; with `only_proxies` only those that are trusted connect."""
        self._application = application
        self._hosts = frozenset(hosts)
        self._clients = clients
        self._only_proxies = only_proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                known = {name.lower() for name, _ in message["headers"]}
                added = [(name, value) for name, value in _ENCODED.items() if name not in known]
                message = message | {"headers": [*message["headers"], *added]}
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._application(scope, receive, guarded)
        else:
            status, text = refusal
            headers = [("Connection", "close")]  # what else it has to say is not read
            await asgi.answer(guarded, status, "text/plain; charset=utf-8", headers, f"{text}\n".encode())

    def _refusal(self, scope: Scope) -> tuple[HTTPStatus, str] | None:
        peer = scope.get("client") or ("", 0)
        if self._only_proxies and not self._clients.is_trusted(peer[0]):
            return HTTPStatus.FORBIDDEN, "Only the proxies of WHAUL_TRUSTED_PROXIES may connect: there is no TLS here."
        hosts = _headers(scope, b"host")
        if len(hosts) != 1 or not self._is_known(hosts[0]):
            return HTTPStatus.MISDIRECTED_REQUEST, "This host is not in WHAUL_CONSOLE_HOSTS."
        if scope["method"] not in READ and not _is_of_our_own_page(scope, hosts[0]):
            return HTTPStatus.FORBIDDEN, "This request was not made by a page of the console."
        return None

    def _is_known(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        return found[1] in self._hosts or is_loopback(found[1].strip("[]"))


def _is_of_our_own_page(scope: Scope, host: str) -> bool:
    """Whether a browser says that one of our pages made the request; what says nothing is none.

    Since our pages send no referrer, a form of theirs has the origin `null`.
    """
    sites, origins = _headers(scope, b"sec-fetch-site"), _headers(scope, b"origin")
    if sites:
        return sites == ["same-origin"] and all(origin == "null" or _host_of(origin) == host for origin in origins)
    return len(origins) == 1 and _host_of(origins[0]) == host


def _host_of(origin: str) -> str:
    """Return the host that an origin names; nothing for a page in the clear, which somebody may have put there."""
    try:
        parts = urlsplit(origin)
        is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    except ValueError:
        return ""
    return parts.netloc if is_safe else ""


def _headers(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip().lower() for key, value in scope["headers"] if key == name]
