"""The Graph API hop: from a path to the row of `objects` that answers it."""

import json
import re
from collections.abc import Callable
from dataclasses import replace

from aiohttp import web

from whaul.simulator.access import admit_to_graph
from whaul.simulator.calls import Call
from whaul.simulator.faults import Fault
from whaul.simulator.faults.effects import distort_members, regain_minutes
from whaul.simulator.handler import Handler
from whaul.simulator.objects import ROWS
from whaul.simulator.responses import RefusedError, Response, graph_error, graph_json, object_missing, text
from whaul.simulator.state import WABA_ID
from whaul.simulator.webhooks.sender import Webhooks

VERSION = re.compile(r"v\d{1,3}\.\d")


class Graph:
    """The routes under `/{version}/`, and of paths that do not exist."""

    def __init__(self, handler: Handler, webhooks: Webhooks) -> None:
        self._handler = handler
        self._webhooks = webhooks
        self._state = handler.state

    def routes(self) -> list[web.RouteDef]:
        """What this hop answers."""
        return [
            web.route("*", "/{version}/{id}", self.call),
            web.route("*", "/{version}/{id}/{edge:.+}", self.call),
            web.route("*", "/{_:.*}", self.elsewhere),
        ]

    async def call(self, request: web.Request) -> web.StreamResponse:
        """A call of an object, or of one of its edges."""
        version, object_id = request.match_info["version"], request.match_info["id"]
        edge = request.match_info.get("edge", "").rstrip("/")
        if not VERSION.fullmatch(version):
            return await self.elsewhere(request)
        rows = [row for row in ROWS if (row.method, row.edge) == (request.method, edge)]

        afterwards: list[Callable[[], object]] = []

        async def respond(fault: Fault | None) -> Response:
            for row in rows:
                found = row.find(self._state, object_id)
                if found is not None:
                    value = await row.respond(Call(self._state, request, self._webhooks, afterwards, found))
                    return graph_json(distort_members(fault, value))
            if edge and not rows:
                raise RefusedError(graph_error(2500, f"There is no {request.method} /…/{edge} here."))
            raise RefusedError(object_missing(object_id, request.method))

        def finish(response: Response, fault: Fault | None) -> Response:
            headers = {"Facebook-API-Version": version, **self._usage(fault), **response.headers}
            return replace(response, headers=headers)

        hop = rows[0].hop if rows else None
        try:
            return await self._handler.handle(
                request, hop=hop, object_id=object_id, admit=admit_to_graph, respond=respond, finish=finish
            )
        finally:  # also when the client left before it was told
            for follow in afterwards:
                follow()

    async def elsewhere(self, request: web.Request) -> web.StreamResponse:
        """Any other path; noted, so that a test sees who followed a redirect, and with which token."""

        async def respond(_: Fault | None) -> Response:
            return text("There is nothing here. A Graph path is /v25.0/{id}.\n", status=404)

        return await self._handler.handle(request, hop=None, object_id="", admit=lambda *_: None, respond=respond)

    def _usage(self, fault: Fault | None) -> dict[str, str]:
        """`X-App-Usage` and `X-Business-Use-Case-Usage`: percentages, and minutes until calls work again."""
        settings = self._state.settings
        regain = regain_minutes(fault)
        if not settings.usage_headers and regain is None:
            return {}
        usage = {
            "call_count": 100 if regain else settings.call_count,
            "total_cputime": settings.total_cputime,
            "total_time": settings.total_time,
        }
        minutes = settings.estimated_time_to_regain_access if regain is None else regain
        business = {"type": "whatsapp", **usage, "estimated_time_to_regain_access": minutes}
        return {
            "X-App-Usage": json.dumps(usage, separators=(",", ":")),
            "X-Business-Use-Case-Usage": json.dumps({WABA_ID: [business]}, separators=(",", ":")),
        }
