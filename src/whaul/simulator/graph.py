"""The Graph API hop: media metadata and deletion, the account, its phone numbers.

Uploads are in `uploads`, messages in `messages`, the settings of a number in `calling`.
"""

import asyncio
import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from whaul.simulator.access import admit_to_graph
from whaul.simulator.answers import Answer, RefusedError, graph_error, graph_json, object_missing, text
from whaul.simulator.calling import settings
from whaul.simulator.desk import Desk, Respond
from whaul.simulator.faults import Fault, Hop
from whaul.simulator.lookaside import signed_url
from whaul.simulator.messages import Mailbox
from whaul.simulator.scripted import distort_members, regain_minutes
from whaul.simulator.signup import debug_token, register
from whaul.simulator.state import WABA_ID, Media, PhoneNumber, State
from whaul.simulator.uploads import receive

VERSION = re.compile(r"v\d{1,3}\.\d")
DEFAULT_PAGE = 25
NODE_HOPS: dict[str, Hop] = {"GET": "metadata", "DELETE": "delete"}
EDGE_HOPS: dict[tuple[str, str], Hop] = {
    ("GET", "phone_numbers"): "metadata",
    ("GET", "settings"): "metadata",
    ("POST", "media"): "upload",
    ("POST", "register"): "register",
    ("POST", "subscribed_apps"): "register",
    ("POST", "messages"): "send",
    ("POST", "settings"): "settings",
}

# Members beyond the defaults are given when `fields` names them, as Graph does.
ACCOUNT = {
    "id": WABA_ID,
    "name": "Whaul Harbour (simulated)",
    "timezone_id": "1",
    "message_template_namespace": "00000000_0000_4000_8000_000000000001",
    "currency": "USD",
    "country": "US",
    "account_review_status": "APPROVED",
    "business_verification_status": "verified",
    "status": "ACTIVE",
}
ACCOUNT_DEFAULTS = ("id", "name", "timezone_id", "message_template_namespace")
PHONE_NUMBER_DEFAULTS = (
    "verified_name",
    "code_verification_status",
    "display_phone_number",
    "quality_rating",
    "platform_type",
    "throughput",
    "id",
)


class Graph:
    """The routes under `/{version}/`."""

    def __init__(self, state: State, desk: Desk, mailbox: Mailbox) -> None:
        self._state = state
        self._desk = desk
        self._mailbox = mailbox

    def routes(self) -> list[web.RouteDef]:
        """What this hop answers."""
        return [
            web.route("*", "/{version}/{id}", self.node),
            web.route("*", "/{version}/{id}/{edge:.+}", self.edge),
            web.route("*", "/{_:.*}", self.elsewhere),
        ]

    async def node(self, request: web.Request) -> web.StreamResponse:
        """`GET` and `DELETE` of an object."""
        object_id = request.match_info["id"]
        hop = NODE_HOPS.get(request.method)

        async def respond(fault: Fault | None) -> Answer:
            if request.method == "GET":
                return await self._read(request, object_id, fault)
            media = self._state.find(object_id)
            if request.method != "DELETE" or media is None:
                raise RefusedError(object_missing(object_id, request.method))
            self._check_number(request, media)
            self._state.remove(object_id)
            return graph_json({"success": True})

        return await self._handle(request, hop, object_id, respond)

    async def edge(self, request: web.Request) -> web.StreamResponse:
        """`GET …/phone_numbers` and `…/settings`; `POST …/media`, `…/messages`, `…/register`, `…/settings`, …."""
        object_id = request.match_info["id"]
        call = (request.method, request.match_info["edge"].rstrip("/"))
        hop = EDGE_HOPS.get(call)

        async def respond(fault: Fault | None) -> Answer:
            if call == ("GET", "phone_numbers") and object_id == WABA_ID:
                return graph_json(distort_members(fault, self._page(request)))
            if call == ("POST", "media") and object_id in self._state.phone_numbers:
                return await receive(self._state, request, object_id)
            if call == ("POST", "register") and object_id in self._state.phone_numbers:
                return await register(self._state, request, object_id)
            if call == ("POST", "subscribed_apps") and object_id == WABA_ID:
                return graph_json({"success": True})
            if call == ("POST", "messages") and object_id in self._state.phone_numbers:
                return await self._mailbox.accept(self._state, request, object_id)
            if hop is not None and call[1] == "settings" and object_id in self._state.phone_numbers:
                return await settings(self._state, request, object_id, fault)
            if hop is None:
                raise RefusedError(graph_error(2500, f"There is no {call[0]} /…/{call[1]} here."))
            raise RefusedError(object_missing(object_id, request.method))

        return await self._handle(request, hop, object_id, respond)

    async def elsewhere(self, request: web.Request) -> web.StreamResponse:
        """Any other path; noted, so that a test sees who followed a redirect, and with which token."""

        async def respond(_: Fault | None) -> Answer:
            return text("There is nothing here. A Graph path is /v25.0/{id}.\n", status=404)

        return await self._desk.handle(request, hop=None, object_id="", admit=lambda *_: None, respond=respond)

    async def _handle(
        self, request: web.Request, hop: Hop | None, object_id: str, respond: Respond
    ) -> web.StreamResponse:
        version = request.match_info["version"]
        if not VERSION.fullmatch(version):
            return await self.elsewhere(request)

        def finish(answer: Answer, fault: Fault | None) -> Answer:
            headers = {"Facebook-API-Version": version, **self._usage(fault), **answer.headers}
            return replace(answer, headers=headers)

        return await self._desk.handle(
            request, hop=hop, object_id=object_id, admit=admit_to_graph, respond=respond, finish=finish
        )

    async def _read(self, request: web.Request, object_id: str, fault: Fault | None) -> Answer:
        state = self._state
        if object_id == "debug_token":
            return graph_json(distort_members(fault, debug_token(state, request)))
        if object_id == WABA_ID:
            return graph_json(distort_members(fault, _select(request, ACCOUNT, ACCOUNT_DEFAULTS)))
        if object_id in state.phone_numbers:
            members = _phone_number(state.phone_numbers[object_id])
            return graph_json(distort_members(fault, _select(request, members, PHONE_NUMBER_DEFAULTS)))
        media = state.find(object_id)
        if media is None:
            raise RefusedError(object_missing(object_id))
        self._check_number(request, media)
        digest = await asyncio.to_thread(media.sha256)
        members = self._describe(request, media, digest)
        return graph_json(distort_members(fault, _select(request, members, tuple(members))))

    def _describe(self, request: web.Request, media: Media, digest: bytes) -> dict[str, Any]:
        settings, options = self._state.settings, media.options
        as_text = (options.file_size or settings.file_size) == "string"
        in_hex = (options.sha256 or settings.sha256) == "hex"
        return {
            "messaging_product": "whatsapp",
            "url": signed_url(self._state, media, str(request.url.origin())),
            "mime_type": media.mime_type,
            "sha256": digest.hex() if in_hex else base64.b64encode(digest).decode(),
            "file_size": str(media.size) if as_text else media.size,
            "id": media.id,
        }

    def _check_number(self, request: web.Request, media: Media) -> None:
        """`phone_number_id` is for uploads on that number; with a media from a customer it is a trap.

        https://github.com/chatwoot/chatwoot/pull/13319
        """
        number = request.query.get("phone_number_id")
        if number is None or (media.origin == "upload" and media.phone_number_id == number):
            return
        raise RefusedError(
            graph_error(100, "Param phone_number_id is not a valid whatsapp business phone number id ID")
        )

    def _page(self, request: web.Request) -> dict[str, Any]:
        numbers = list(self._state.phone_numbers.values())
        limit = request.query.get("limit", str(DEFAULT_PAGE))
        if not re.fullmatch(r"[1-9]\d{0,5}", limit):
            raise RefusedError(graph_error(100, "Param limit must be a number of 1 or more."))
        after, before = request.query.get("after"), request.query.get("before")
        start = _place(numbers, after) + 1 if after else 0
        if before and not after:
            start = max(0, _place(numbers, before) - int(limit))
        page = numbers[start : start + int(limit)]
        data = [_select(request, _phone_number(number), PHONE_NUMBER_DEFAULTS) for number in page]
        if not page:
            return {"data": data}
        cursors = {"before": _cursor(page[0]), "after": _cursor(page[-1])}
        paging: dict[str, Any] = {"cursors": cursors}
        query = {name: value for name, value in request.query.items() if name in {"fields", "limit"}}
        here = request.url.with_query(query)
        if page[-1] is not numbers[-1]:
            paging["next"] = str(here.update_query(after=cursors["after"]))
        if start:
            paging["previous"] = str(here.update_query(before=cursors["before"]))
        return {"data": data, "paging": paging}

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


def _phone_number(number: PhoneNumber) -> dict[str, Any]:
    return {
        "verified_name": number.verified_name,
        "code_verification_status": "VERIFIED",
        "display_phone_number": number.display_phone_number,
        "quality_rating": number.quality_rating,
        "platform_type": "CLOUD_API",
        "throughput": {"level": "STANDARD"},
        "id": number.id,
        "name_status": "APPROVED",
        "status": number.status,
        "account_mode": "LIVE",
        "messaging_limit_tier": "TIER_1K",
        "is_official_business_account": False,
    }


def _select(request: web.Request, members: Mapping[str, Any], defaults: tuple[str, ...]) -> dict[str, Any]:
    """The members that `fields` names, and the id; without `fields` the default ones."""
    fields = request.query.get("fields")
    if not fields:
        return {name: members[name] for name in defaults}
    names = [name.strip() for name in fields.split(",") if name.strip()]
    unknown = [name for name in names if name not in members]
    if unknown:
        raise RefusedError(graph_error(100, f"(#100) There is no field ({unknown[0]}) on this object."))
    return {name: members[name] for name in [*names, "id"]}


def _cursor(number: PhoneNumber) -> str:
    return base64.urlsafe_b64encode(f"at:{number.id}".encode()).decode().rstrip("=")


def _place(numbers: list[PhoneNumber], cursor: str) -> int:
    try:
        named = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        return [f"at:{number.id}" for number in numbers].index(named)
    except (ValueError, binascii.Error) as exc:
        raise RefusedError(graph_error(100, "The cursor of this page is not valid.")) from exc
