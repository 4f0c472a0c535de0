"""The control endpoint: JSON under `/_simulator/` onto the Python API, one row for each request.

The members of a request, in its path, query or JSON body, are the parameters of the function in its row, and are
checked by that function's annotations. No token is asked for: everything in the simulator is made up, and it listens
on the loopback interface by default.
"""

import inspect
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from whaul.documentation import HERE
from whaul.simulator.content import BLOCK
from whaul.simulator.faults import KINDS, parameters, parse
from whaul.simulator.flows import Flow
from whaul.simulator.media import MediaOptions, NewMedia
from whaul.simulator.settings import Settings
from whaul.simulator.state import WABA_ID, State
from whaul.simulator.values import BadValueError, MissingError, checked, schema
from whaul.simulator.webhooks.contents import MESSAGES
from whaul.simulator.webhooks.deliveries import Delivery, DeliveryState
from whaul.simulator.webhooks.examples import SAMPLE
from whaul.simulator.webhooks.faults import KINDS as WIRE_FAULTS
from whaul.simulator.webhooks.fields import VALUES

if TYPE_CHECKING:
    from whaul.simulator.server import Simulator

PREFIX = "/_simulator"

Members = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One request of the control endpoint."""

    method: str
    path: str
    call: Callable[..., Any]
    show: Callable[[Any, Members], Any] = lambda result, _: result
    """What the response shows: of what the function returned, and what it was given."""
    status: int = 200
    names: Mapping[str, str] = field(default_factory=dict)
    """Parameters that have another name as a member: parameter → member."""
    options: type[msgspec.Struct] | None = None
    """What the parameters may be that the function takes as `**`."""
    takes_body: str | None = None
    """The parameter that is the whole body."""

    @cached_property
    def shape(self) -> type[msgspec.Struct]:
        """The members that fit the function."""
        named = [p for p in inspect.signature(self.call).parameters.values() if p.kind is not p.VAR_KEYWORD]
        return msgspec.defstruct(
            "Members",
            [(p.name, p.annotation) if p.default is p.empty else (p.name, p.annotation, p.default) for p in named],
            bases=(self.options,) if self.options else (),
            kw_only=True,
            forbid_unknown_fields=True,
            rename=dict(self.names),
        )

    async def run(self, members: Members) -> web.Response:
        """Call the function with a request's members; raises `BadValueError` or `MissingError`."""
        found = checked(members, self.shape)
        names = zip(self.shape.__struct_fields__, self.shape.__struct_encode_fields__, strict=True)
        given = {name: getattr(found, name) for name, member in names if member in members}
        shown = self.show(self.call(**given), given)
        return _json(await shown if inspect.isawaitable(shown) else shown, self.status)


def routes(simulator: "Simulator") -> list[web.RouteDef]:
    """What the control endpoint answers."""
    upload, *others = [*_rows(simulator), *_webhook_rows(simulator)]

    async def add_media(request: web.Request) -> web.Response:
        """Store the raw body as a file; the other members are in the query."""
        path = simulator.state.store.new_file()
        try:
            with path.open("wb") as file:
                async for block in request.content.iter_chunked(BLOCK):
                    file.write(block)
            mime_type = request.headers.get("Content-Type", "application/octet-stream")
            return await upload.run({**request.query, "path": str(path), "mime_type": mime_type})
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    return [
        web.route(upload.method, PREFIX + upload.path, _refusing(add_media)),
        *(web.route(row.method, PREFIX + row.path, _refusing(_reading(row))) for row in others),
        web.route("*", PREFIX + "{_:.*}", _refusing(_unknown)),
    ]


def _rows(simulator: "Simulator") -> list[Row]:
    """All requests; the first is the one whose body is a file."""
    state = simulator.state

    def media(media_id: str) -> Any:
        return _describe(state, media_id)

    def list_faults() -> Any:
        return {"faults": state.faults.describe()}

    def add_faults(faults: Any) -> None:
        parsed = [parse(raw) for raw in (faults if isinstance(faults, list) else [faults])]
        for fault in parsed:  # none if one is bad
            state.faults.add(fault)

    def list_requests(media_id: str | None = None) -> Any:
        journal = state.journal
        return {
            "requests": [e.describe() for e in list(journal.exchanges) if media_id in {None, e.object_id}],
            "counts": {name: journal.count(name) for name in journal.counters if media_id in {None, name}},
        }

    def list_messages() -> Any:
        return {"messages": [message.describe() for message in state.messages]}

    def now(*_: Any) -> Any:
        return {"now": state.now()}

    def removed(_: Any, given: Members) -> Any:
        return {"removed": given["media_id"]}

    added: dict[str, Any] = {"show": lambda media_id, _: media(media_id), "status": 201}
    changed: dict[str, Any] = {"show": lambda _, given: media(given["media_id"])}
    of_media: dict[str, Any] = {"names": {"media_id": "id"}}
    new: dict[str, Any] = {**of_media, "options": NewMedia}
    return [
        Row("POST", "/media", simulator.add_file, **added, **new),
        Row("POST", "/media/generate", simulator.add_generated, **added, **new),
        Row("PATCH", "/media/{id}", simulator.change_media, **changed, **of_media, options=MediaOptions),
        Row("POST", "/media/{id}/expire", simulator.expire_urls, **changed, **of_media),
        Row("DELETE", "/media/{id}", simulator.remove_media, removed, **of_media),
        Row("GET", "/state", lambda: _everything(state)),
        Row("POST", "/flows", simulator.add_flow, lambda flow_id, _: state.flows[flow_id], 201, options=Flow),
        Row("PATCH", "/flows/{id}", simulator.change_flow, names={"flow_id": "id"}),
        Row("POST", "/flows/{id}/alerts", simulator.warn_of_flow, status=201, names={"flow_id": "id"}),
        Row("GET", "/templates", lambda: {"templates": list(state.templates.values())}),
        Row("PATCH", "/templates/{id}", simulator.templates.change, names={"template_id": "id"}),
        Row("POST", "/call-permissions", simulator.calling.permit, status=201),
        Row("POST", "/calls", simulator.calling.ring, status=201),
        Row("PATCH", "/calls/{id}", simulator.calling.act, names={"call_id": "id"}),
        Row("GET", "/conversion-events", lambda: {"events": simulator.conversion_events}),
        Row("POST", "/phone-numbers", simulator.add_phone_number, status=201),
        Row("PATCH", "/phone-numbers/{id}", simulator.change_phone_number, names={"number_id": "id"}),
        Row("GET", "/faults", list_faults),
        Row("POST", "/faults", add_faults, lambda *_: list_faults(), status=201, takes_body="faults"),
        Row("DELETE", "/faults", simulator.clear_faults, lambda *_: list_faults()),
        Row("GET", "/faults/kinds", _kinds),
        Row("GET", "/requests", list_requests),
        Row("DELETE", "/requests", state.journal.clear, lambda *_: {"requests": []}),
        Row("GET", "/messages", list_messages),
        Row("DELETE", "/messages", state.clear_messages, lambda *_: {"messages": []}),
        Row("POST", "/messages/inbound", simulator.receive, status=201, names={"sender": "from"}),
        Row("POST", "/messages/status", simulator.status, status=201),
        Row("GET", "/settings", lambda: state.settings),
        Row("PATCH", "/settings", simulator.configure, lambda *_: state.settings, options=Settings),
        Row("POST", "/clock", simulator.advance, now, names={"seconds": "advance"}),
        Row("POST", "/reset", simulator.reset, now),
    ]


def _webhook_rows(simulator: "Simulator") -> list[Row]:
    """Requests about webhooks and the apps that get them."""
    webhooks = simulator.webhooks

    def list_deliveries(state: DeliveryState | None = None, app_id: str | None = None) -> Any:
        found = [one for one in webhooks.deliveries if state in {None, one.state} and app_id in {None, one.app.id}]
        return {"paused": webhooks.is_paused, "deliveries": [one.describe() for one in found]}

    def show_delivery(delivery_id: str) -> Any:
        delivery = webhooks.get(delivery_id)
        return delivery.describe() | {"body": delivery.body.decode(errors="replace")}

    async def outcome(sent: Iterable[Delivery]) -> Any:
        """What the receivers answered, unless nothing is sent now."""
        if not webhooks.is_paused:
            await webhooks.answered(sent)
        return {"paused": webhooks.is_paused, "deliveries": [one.describe() for one in sent]}

    of_delivery: dict[str, Any] = {"names": {"delivery_id": "id"}}
    return [
        Row("POST", "/apps", simulator.add_app, lambda app, _: app.describe(), 201),
        Row("PUT", "/apps/{id}/webhook", simulator.set_webhook, lambda app, _: app.describe(), names={"app_id": "id"}),
        Row("GET", "/webhooks", list_deliveries),
        Row("POST", "/webhooks", simulator.send_webhook, lambda sent, _: outcome(sent), 201, names={"sender": "from"}),
        Row("DELETE", "/webhooks", webhooks.clear, lambda *_: list_deliveries()),
        Row("GET", "/webhooks/examples", _examples),
        Row("POST", "/webhooks/pause", webhooks.pause, lambda *_: list_deliveries()),
        Row("POST", "/webhooks/resume", webhooks.resume, lambda *_: list_deliveries()),
        Row("GET", "/webhooks/{id}", show_delivery, **of_delivery),
        Row("POST", "/webhooks/{id}/redeliver", webhooks.redeliver, lambda one, _: outcome([one]), **of_delivery),
    ]


def _everything(state: State) -> Any:
    """What can be seen of the simulated world, with the media folder read again."""
    state.scan()
    return {
        "now": state.now(),
        "waba_id": WABA_ID,
        "phone_numbers": list(state.phone_numbers.values()),
        "media": [_describe(state, media_id) for media_id in state.media],
        "flows": list(state.flows.values()),
        "templates": list(state.templates.values()),
        "public_keys": state.public_keys,
        "calls": list(state.voice_calls.values()),
        "apps": [app.describe() for app in state.apps],
        "settings": state.settings,
        "faults": state.faults.describe(),
    }


def _describe(state: State, media_id: str) -> Any:
    media = state.media[media_id]
    return {
        "id": media.id,
        "mime_type": media.mime_type,
        "size": media.size,
        "origin": media.origin,
        "phone_number_id": media.phone_number_id,
        "name": state.name_of(media.id),
        "expires_at": media.expires_at,
        "options": media.options,
    }


def _kinds() -> Any:
    """Every kind of fault with its parameters, as JSON schemas."""
    return {name: {"does": kind.__doc__, "parameters": parameters(kind)} for name, kind in sorted(KINDS.items())}


def _examples() -> Any:
    """What can be sent on command: examples with their fields, and what can be wrong with a POST."""
    examples = {**dict.fromkeys(MESSAGES, "messages"), **{name: field for name, (field, _) in VALUES.items()}}
    faults = {name: {"does": kind.__doc__, "parameters": schema(kind)} for name, kind in sorted(WIRE_FAULTS.items())}
    return {"examples": {**examples, SAMPLE: "messages"}, "faults": faults}


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _reading(row: Row) -> Answer:
    """Run a row with the members of a request."""

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        if row.takes_body:
            return await row.run({row.takes_body: body})
        if not isinstance(body, dict):
            raise BadValueError("The body is not a JSON object.")
        if fixed := sorted(body.keys() & request.match_info.keys()):
            raise BadValueError(f"`{fixed[0]}` is in the path and cannot be changed.")
        return await row.run({**request.match_info, **request.query, **body})

    return answer


def _refusing(answer: Answer) -> Answer:
    """Turn what is refused into a JSON response that says what would be right."""

    async def answer_or_refuse(request: web.Request) -> web.StreamResponse:
        try:
            return await answer(request)
        except MissingError as exc:
            return _json({"error": str(exc)}, 404)
        except BadValueError as exc:
            return _json({"error": str(exc)} | ({} if exc.allowed is None else {"allowed": exc.allowed}), 400)

    return answer_or_refuse


async def _unknown(request: web.Request) -> web.StreamResponse:
    raise MissingError(f"The control endpoint has no {request.method} {request.path}. See simulator.md; {HERE} it is.")


async def _body(request: web.Request) -> Any:
    raw = await request.read()
    try:
        return json.loads(raw) if raw else {}
    except (ValueError, RecursionError) as exc:
        raise BadValueError("The body is not JSON.") from exc


def _json(value: Any, status: int) -> web.Response:
    try:
        body = msgspec.json.encode(value)
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can only escape
        body = json.dumps(msgspec.to_builtins(value)).encode()
    return web.Response(body=body, status=status, content_type="application/json")
