"""The download hop: the bytes behind `download_urls`."""

from aiohttp import web

from whaul.simulator.access import admit_to_download
from whaul.simulator.download_urls import PATH, media_of
from whaul.simulator.faults import Fault
from whaul.simulator.faults.effects import PAGE, expired
from whaul.simulator.handler import Handler
from whaul.simulator.media import Media
from whaul.simulator.responses import RefusedError, Response, text
from whaul.simulator.state import State

UNSUPPORTED_BROWSER = "/unsupportedbrowser"


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
            media = media_of(self._state, mid, query.get("ext", ""), query.get("hash", ""))
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
