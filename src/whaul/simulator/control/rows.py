"""What can be asked of the control endpoint: one row for each request, over the Python API.

The rows are also the OpenAPI document, and the table in `docs/simulator.md`.
"""

from collections.abc import Iterable
from typing import Any

from whaul.simulator.apps import ShownApp
from whaul.simulator.control import shown
from whaul.simulator.control.openapi import document
from whaul.simulator.control.row import Members, Row
from whaul.simulator.faults import parse
from whaul.simulator.flows import Flow
from whaul.simulator.media import MediaOptions, NewMedia
from whaul.simulator.settings import Settings
from whaul.simulator.webhooks.deliveries import Delivery, DeliveryState
from whaul.simulator.world import World

PREFIX = "/_simulator"


def table(world: World) -> list[Row]:
    """All requests."""
    rows: list[Row] = []

    def openapi() -> dict[str, Any]:
        return document(rows, PREFIX, world.state.origin)

    rows += [
        *_media_rows(world),
        *_webhook_rows(world),
        *_object_rows(world),
        *_world_rows(world),
        Row("GET", "/openapi.json", "this table as an OpenAPI document, with all members and answers", openapi),
    ]
    return rows


def _media_rows(world: World) -> list[Row]:
    """Files that Meta holds."""
    state = world.state

    def removed(_: Any, given: Members) -> shown.Removed:
        return {"removed": given["media_id"]}

    added: Members = {
        "show": lambda media_id, _: shown.media(state, media_id),
        "shows": shown.ShownMedia,
        "status": 201,
    }
    changed: Members = {"show": lambda _, given: shown.media(state, given["media_id"]), "shows": shown.ShownMedia}
    of_media: Members = {"names": {"media_id": "id"}}
    new: Members = {**of_media, "options": NewMedia}
    return [
        Row(
            "POST",
            "/media",
            "adds the body as a media; `Content-Type` is its type, and the members are in the query",
            world.add_file,
            takes_file=True,
            **added,
            **new,
        ),
        Row(
            "POST",
            "/media/generate",
            "adds a media of `size` bytes that are made from `seed` and stored nowhere",
            world.add_generated,
            **added,
            **new,
        ),
        Row(
            "PATCH",
            "/media/{id}",
            "changes how a media is shown; `null` goes back to the settings",
            world.change_media,
            options=MediaOptions,
            **changed,
            **of_media,
        ),
        Row("POST", "/media/{id}/expire", "ends its download URLs so far", world.expire_urls, **changed, **of_media),
        Row(
            "DELETE",
            "/media/{id}",
            "removes it, as if Meta had forgotten it",
            world.remove_media,
            removed,
            shows=shown.Removed,
            **of_media,
        ),
    ]


def _webhook_rows(world: World) -> list[Row]:
    """Messages both ways, webhooks, and the apps that get them."""
    state, webhooks = world.state, world.webhooks

    def list_messages() -> shown.Messages:
        return {"messages": [message.describe() for message in state.messages]}

    def list_deliveries(state: DeliveryState | None = None, app_id: str | None = None) -> shown.Deliveries:
        found = [one for one in webhooks.deliveries if state in {None, one.state} and app_id in {None, one.app.id}]
        return {"paused": webhooks.is_paused, "deliveries": [one.describe() for one in found]}

    def show_delivery(delivery_id: str) -> shown.DeliveryWithBody:
        delivery = webhooks.get(delivery_id)
        return {**delivery.describe(), "body": delivery.body.decode(errors="replace")}

    async def outcome(sent: Iterable[Delivery]) -> shown.Deliveries:
        """What the receivers answered, unless nothing is sent now."""
        if not webhooks.is_paused:
            await webhooks.answered(sent)
        return {"paused": webhooks.is_paused, "deliveries": [one.describe() for one in sent]}

    from_: Members = {"names": {"sender": "from"}}
    of_delivery: Members = {"names": {"delivery_id": "id"}}
    listed: Members = {"show": lambda *_: list_deliveries(), "shows": shown.Deliveries}
    app: Members = {"show": lambda app, _: app.describe(), "shows": ShownApp}
    return [
        Row("GET", "/messages", "what was sent or marked as read, oldest first", list_messages),
        Row(
            "DELETE", "/messages", "forgets it", state.clear_messages, lambda *_: list_messages(), shows=shown.Messages
        ),
        Row(
            "POST",
            "/messages/inbound",
            "lets a customer write, with a media that was added or `text`, and answers with Meta's webhook for it, "
            "which it also posts. `from` is a phone number or a business-scoped user id; with a user id, the webhook "
            "has a user name and no number",
            world.receive,
            status=201,
            **from_,
        ),
        Row(
            "POST",
            "/messages/status",
            "gives a message that was sent a `status` (`sent`, `delivered`, `read`, `failed`), and answers with Meta's "
            "webhook for it, which it also posts",
            world.status,
            status=201,
        ),
        Row(
            "POST",
            "/webhooks",
            "posts a webhook, waits for the answer, and shows the deliveries: an `example`, a `field` with its "
            "`value`, a whole `webhook` (it goes where its first change goes), or a `body` of any text",
            world.send_webhook,
            lambda sent, _: outcome(sent),
            201,
            shown.Deliveries,
            **from_,
        ),
        Row(
            "GET",
            "/webhooks/examples",
            "the names of the examples with their fields, and the faults with their parameters",
            shown.examples,
        ),
        Row(
            "GET",
            "/webhooks",
            "every delivery with its attempts, state (`due`, `sending`, `delivered`, `dropped`), and when it is due",
            list_deliveries,
        ),
        Row("DELETE", "/webhooks", "forgets them, and sends none of them any more", webhooks.clear, **listed),
        Row("GET", "/webhooks/{id}", "one delivery with its body", show_delivery, **of_delivery),
        Row(
            "POST",
            "/webhooks/{id}/redeliver",
            "posts it now, and shows what came back",
            webhooks.redeliver,
            lambda one, _: outcome([one]),
            shows=shown.Deliveries,
            **of_delivery,
        ),
        Row("POST", "/webhooks/pause", "holds all webhooks back", webhooks.pause, **listed),
        Row("POST", "/webhooks/resume", "sends them", webhooks.resume, **listed),
        Row("POST", "/apps", "adds an app", world.add_app, status=201, **app),
        Row(
            "PUT",
            "/apps/{id}/webhook",
            "sends the app's webhooks to `url`, without asking it first; `null`: nowhere. `fields` are all, unless "
            "some are named",
            world.set_webhook,
            names={"app_id": "id"},
            **app,
        ),
    ]


def _object_rows(world: World) -> list[Row]:
    """What else an account has, and what Meta and people do to it."""
    state = world.state

    def list_templates() -> shown.Templates:
        return {"templates": list(state.templates.values())}

    def list_conversion_events() -> shown.ConversionEvents:
        return {"events": world.conversion_events}

    return [
        Row("GET", "/templates", "the templates of all accounts", list_templates),
        Row(
            "PATCH",
            "/templates/{id}",
            "what Meta does to a template: `status` (with the `reason` of a rejection), `category`, `quality`; RED "
            "pauses it for 3 hours, then for 6, then for good; told by webhooks",
            world.templates.change,
            names={"template_id": "id"},
        ),
        Row(
            "POST",
            "/flows",
            "adds a flow: its `name`, and any member that the Graph API shows of it",
            world.add_flow,
            lambda flow_id, _: state.flows[flow_id],
            201,
            Flow,
            options=Flow,
        ),
        Row(
            "PATCH",
            "/flows/{id}",
            "changes the `status` of a flow, as Meta does, and tells it by a webhook",
            world.change_flow,
            names={"flow_id": "id"},
        ),
        Row(
            "POST",
            "/flows/{id}/alerts",
            "warns of a flow by a webhook; `alert_state` is `DEACTIVATED` when it is over",
            world.warn_of_flow,
            status=201,
            names={"flow_id": "id"},
        ),
        Row(
            "POST",
            "/call-permissions",
            "lets a person (`user`, by number or user id) permit calls; told by a webhook",
            world.calling.permit,
            status=201,
        ),
        Row("POST", "/calls", "lets a person call; told by a webhook", world.calling.ring, status=201),
        Row(
            "PATCH",
            "/calls/{id}",
            "lets the person at the other end `accept`, `reject` or `terminate`; told by a webhook",
            world.calling.act,
            names={"call_id": "id"},
        ),
        Row("GET", "/conversion-events", "the conversion events that were received", list_conversion_events),
        Row("POST", "/phone-numbers", "adds a number to the account", world.add_phone_number, status=201),
        Row(
            "PATCH",
            "/phone-numbers/{id}",
            "changes what Meta says of a number",
            world.change_phone_number,
            names={"number_id": "id"},
        ),
    ]


def _world_rows(world: World) -> list[Row]:
    """Faults, what was asked, settings, time."""
    state = world.state

    def show_everything() -> shown.Everything:
        return shown.everything(state)

    def list_faults() -> shown.Faults:
        return {"faults": state.faults.describe()}

    def add_faults(faults: Any) -> None:
        parsed = [parse(raw) for raw in (faults if isinstance(faults, list) else [faults])]
        for fault in parsed:  # none if one is bad
            state.faults.add(fault)

    def list_requests(media_id: str | None = None) -> shown.Requests:
        journal = state.journal
        return {
            "requests": [one for one in list(journal.exchanges) if media_id in {None, one.object_id}],
            "counts": {name: journal.count(name) for name in journal.counters if media_id in {None, name}},
        }

    def show_settings() -> Settings:
        return state.settings

    def now(*_: Any) -> shown.Now:
        return {"now": state.now()}

    faults: Members = {"show": lambda *_: list_faults(), "shows": shown.Faults}
    return [
        Row("GET", "/faults", "the faults that are queued, with their hits", list_faults),
        Row("POST", "/faults", "queues one, or a list", add_faults, status=201, takes_body="faults", **faults),
        Row("DELETE", "/faults", "clears all, or those of one id", world.clear_faults, **faults),
        Row("GET", "/faults/kinds", "every kind with its parameters as JSON schemas", shown.kinds),
        Row("GET", "/requests", "what was asked and how often, of all ids or one", list_requests),
        Row("DELETE", "/requests", "forgets it", state.journal.clear, lambda *_: list_requests(), shows=shown.Requests),
        Row("GET", "/settings", "the settings", show_settings),
        Row(
            "PATCH",
            "/settings",
            "changes some of them",
            world.configure,
            lambda *_: state.settings,
            shows=Settings,
            options=Settings,
        ),
        Row(
            "POST",
            "/clock",
            "lets seconds pass at once, for URLs, ids and answers that wait",
            world.advance,
            now,
            shows=shown.Now,
            names={"seconds": "advance"},
        ),
        Row(
            "GET",
            "/state",
            "account, numbers, media, flows, templates, calls, apps, settings, faults, time",
            show_everything,
        ),
        Row(
            "POST",
            "/reset",
            "everything as at the start; ids are not used twice, and requests that are still being answered are not "
            "listed afterwards",
            world.reset,
            now,
            shows=shown.Now,
        ),
    ]
