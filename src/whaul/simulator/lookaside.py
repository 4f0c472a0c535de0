"""The download hop: short-lived signed URLs, and the bytes behind them.

    {base}/whatsapp_business/attachments/?mid=…&ext=<Unix time of expiry>&hash=…

A URL lives five minutes and works any number of times until then; the Bearer token is needed as well.
"""

import base64
import hashlib
import hmac
from urllib.parse import urlencode

from aiohttp import web

from whaul.simulator.access import admit_to_download
from whaul.simulator.faults import Fault
from whaul.simulator.faults.effects import PAGE, expired
from whaul.simulator.handler import Handler
from whaul.simulator.media import URL_LIFETIME, Media
from whaul.simulator.responses import RefusedError, Response, text
from whaul.simulator.state import State

PATH = "/whatsapp_business/attachments/"
UNSUPPORTED_BROWSER = "/unsupportedbrowser"


def signed_url(state: State, media: Media, origin: str) -> str:
    """A new download URL for a media; `origin` is scheme and host, as the client knows this server."""
    base = (state.settings.media_base_url or origin).rstrip("/")
    expiry = str(int(state.now()) + URL_LIFETIME)
    query = {"mid": media.id, "ext": expiry, "hash": _signature(state, media, expiry)}
    return f"{base}{PATH}?{urlencode(query)}"


def _signature(state: State, media: Media, expiry: str) -> str:
    message = f"{media.id}\n{media.url_generation}\n{expiry}".encode()
    digest = hmac.new(state.url_key, message, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest[:24]).decode()


def _resolve(state: State, mid: str, expiry: str, signature: str) -> Media | None:
    """The media of a URL that is whole, young and still known."""
    media = state.find(mid)
    if media is None or not (expiry.isascii() and expiry.isdecimal()) or state.now() >= int(expiry):
        return None
    expected = _signature(state, media, expiry)
    return media if hmac.compare_digest(signature.encode(errors="replace"), expected.encode()) else None


class Lookaside:
    """The routes of the download host."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._state = handler.state

    def routes(self) -> list[web.RouteDef]:
        """What this hop answers."""
        return [
            web.get(PATH, self.download, allow_head=False),
            web.get(UNSUPPORTED_BROWSER, self.unsupported_browser, allow_head=False),
        ]

    async def download(self, request: web.Request) -> web.StreamResponse:
        """Stream the file. `Range` and `Accept-Encoding` are not honoured: Meta documents neither."""
        query = request.query
        mid = query.get("mid", "")

        async def respond(_: Fault | None) -> Response:
            media = _resolve(self._state, mid, query.get("ext", ""), query.get("hash", ""))
            if media is None:
                raise RefusedError(expired())
            return Response(200, media.content, {"Content-Type": self._content_type(media)})

        def admit(state: State, request: web.Request) -> None:
            self._check_user_agent(request)
            admit_to_download(state, request)

        return await self._handler.handle(request, hop="download", object_id=mid, admit=admit, respond=respond)

    async def unsupported_browser(self, request: web.Request) -> web.StreamResponse:
        """The page where downloads without a User-Agent may end."""

        async def respond(_: Fault | None) -> Response:
            return text(PAGE, content_type="text/html; charset=utf-8")

        return await self._handler.handle(request, hop=None, object_id="", admit=lambda *_: None, respond=respond)

    def _content_type(self, media: Media) -> str:
        chosen = media.options.content_type or self._state.settings.content_type
        return media.mime_type if chosen == "media" else chosen

    def _check_user_agent(self, request: web.Request) -> None:
        rule = self._state.settings.user_agent
        if rule == "any" or request.headers.get("User-Agent"):
            return
        if rule == "required-500":
            raise RefusedError(text("", status=500))
        moved = text("", status=302)
        raise RefusedError(Response(302, moved.content, {**moved.headers, "Location": UNSUPPORTED_BROWSER}))
