"""The calls of the Graph API on templates, their review, and what Meta does to them later.

https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/template-management
"""

import ast
import json
import math
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

from whaul.simulator.access import app_of
from whaul.simulator.calls import Call
from whaul.simulator.responses import invalid
from whaul.simulator.state import State
from whaul.simulator.template_library import entry
from whaul.simulator.templates import (
    BEING_DELETED,
    CATEGORIES,
    EXAMPLES,
    EXISTS,
    FULL,
    NOT_EDITABLE,
    PAUSES,
    Quality,
    Template,
    TemplateStatus,
    check_components,
    check_new,
    kind_of,
    refused,
    rejection,
)
from whaul.simulator.values import BadValueError, MissingError
from whaul.simulator.webhooks.sender import Webhooks

DEFAULTS: Final = ("name", "parameter_format", "components", "language", "status", "category", "id")
BLOCKED: Final = 30 * 24 * 3600
"""Seconds for which the name of a deleted template that was approved cannot be used."""
DAY: Final = 24 * 3600
MONTH: Final = 30 * DAY
MAX_EDITS: Final = {DAY: 1, MONTH: 10}
"""Changes of an approved template in so many seconds."""
EDITABLE: Final = frozenset({"APPROVED", "REJECTED", "PAUSED"})


def template(state: State, object_id: str) -> Template | None:
    """Find a template."""
    return state.templates.get(object_id)


async def create_template(call: Call) -> Any:
    """`POST /{waba-id}/message_templates`."""
    content, state, owner = await call.body(), call.state, call.object["id"]
    check_new(content)
    name, language = content["name"], content["language"]
    if state.blocked_names.get((owner, name), 0.0) > state.now():
        raise refused("This name is being deleted.", BEING_DELETED)
    mine = [one for one in state.templates.values() if one.waba_id == owner]
    if any((one.name, one.language) == (name, language) for one in mine):
        raise refused("There is content in this language already.", EXISTS)
    if len(mine) >= state.settings.max_templates:
        raise refused("The account has as many templates as it may.", FULL)
    made = Template(
        id=state.new_id(),
        waba_id=owner,
        name=name,
        language=language,
        category=content["category"],
        components=[],
        parameter_format=str(content.get("parameter_format") or "POSITIONAL").upper(),
        library_template_name=content.get("library_template_name"),
        cta_url_link_tracking_opted_out=content.get("cta_url_link_tracking_opted_out"),
        message_send_ttl_seconds=content.get("message_send_ttl_seconds"),
    )
    if made.library_template_name is not None:
        inputs = _listed(content.get("library_template_button_inputs"))
        source = entry(made.library_template_name, language, made.category, inputs)
        made.components, made.status = source.components(inputs), "APPROVED"
        call.afterwards.append(lambda: Reviewing(state, call.webhooks).approve(made))
    else:
        check_components(content.get("components"), made.category, made.parameter_format, _handles(call))
        made.components = _with_links(state, content["components"])
        made.review_at = state.now() + state.settings.template_review_delay
        call.afterwards.append(lambda: Reviewing(state, call.webhooks).follow(made))
    state.templates[made.id] = made
    return {"id": made.id, "status": made.status, "category": made.category}


async def list_templates(call: Call) -> Any:
    """`GET /{waba-id}/message_templates`; `name` finds parts of names, too."""
    reviewing, query = Reviewing(call.state, call.webhooks), call.request.query
    found = [one for one in call.state.templates.values() if one.waba_id == call.object["id"]]
    for one in found:
        reviewing.look(one)
    found = [one for one in found if query.get("name", "") in one.name]
    for name in ("language", "status", "category"):
        found = [one for one in found if query.get(name, getattr(one, name)) == getattr(one, name)]
    return call.page(found, lambda one: call.select(one.members(), DEFAULTS))


async def read_template(call: Call) -> Any:
    """`GET /{template-id}`."""
    Reviewing(call.state, call.webhooks).look(call.object)
    return call.select(call.object.members(), DEFAULTS)


async def update_template(call: Call) -> Any:
    """`POST /{template-id}`: the category, or all components."""
    content, state, found = await call.body(), call.state, call.object
    Reviewing(state, call.webhooks).look(found)
    _check_editable(found, content, state.now())
    if content.get("category") not in {None, *CATEGORIES}:
        raise invalid(f"Param category must be one of {{{', '.join(CATEGORIES)}}}.")
    category = content.get("category") or found.category
    parameter_format = str(content.get("parameter_format") or found.parameter_format).upper()
    if "components" in content:
        check_components(content["components"], category, parameter_format, _handles(call))
        found.components = _with_links(state, content["components"])
    found.parameter_format, found.category = parameter_format, category
    found.cta_url_link_tracking_opted_out = content.get(
        "cta_url_link_tracking_opted_out", found.cta_url_link_tracking_opted_out
    )
    if found.status == "APPROVED":
        found.edits.append(state.now())
    if found.status != "APPROVED" or state.settings.template_edit == "PENDING":
        found.status, found.review_at = "PENDING", state.now() + state.settings.template_review_delay

    def follow() -> None:
        reviewing = Reviewing(state, call.webhooks)
        if "components" in content:
            reviewing.tell(found, "message_template_components_update", message_template_element=_body(found))
        reviewing.follow(found)

    call.afterwards.append(follow)
    return {"success": True}


async def delete_template(call: Call) -> Any:
    """`DELETE /{waba-id}/message_templates`: `name` deletes all languages, with `hsm_id` that one."""
    query, state, owner = call.request.query, call.state, call.object["id"]
    if "name" not in query:
        raise invalid("The parameter name is required.")
    found = [one for one in state.templates.values() if (one.waba_id, one.name) == (owner, query["name"])]
    found = [one for one in found if one.status != "PENDING_DELETION"]
    if "hsm_id" in query:
        found = [one for one in found if one.id == query["hsm_id"]]
    if not found:
        raise invalid("Message template not found.")
    if any(one.status == "DISABLED" for one in found):
        raise refused("A disabled template cannot be deleted.", NOT_EDITABLE)
    for one in found:
        if one.status == "APPROVED":
            state.blocked_names[owner, one.name] = state.now() + BLOCKED
        Reviewing(state, call.webhooks).delete(one, call.afterwards)
    return {"success": True}


class Reviewing:
    """What Meta does to templates by itself, or on command. Everything is told by a webhook."""

    def __init__(self, state: State, webhooks: Webhooks) -> None:
        self._state = state
        self._webhooks = webhooks

    def look(self, found: Template) -> None:
        """Review a template if it is time, and end a pause that is over."""
        now = self._state.now()
        if found.review_at <= now:
            self._review(found, found.review_at)
        if 0 < found.paused_until <= now:
            self._end_pause(found, found.paused_until)

    def follow(self, found: Template) -> None:
        """Review a template when it is time, also if nobody reads it until then."""
        self.look(found)
        if found.status == "PENDING":
            at = found.review_at
            self._webhooks.later(at, lambda: self._review(found, at))

    def approve(self, found: Template) -> None:
        """Approve a template, whatever it is."""
        self._become(found, "APPROVED")

    def delete(self, found: Template, afterwards: list[Callable[[], object]]) -> None:
        """Delete a template, at once or after 30 days, as the setting says; it is told when the call is over."""
        status, name = self._state.settings.template_deletion, (found.waba_id, found.name)
        if status == "DELETED":
            del self._state.templates[found.id]
        else:
            found.status = status
            end = self._state.blocked_names[name] = self._state.now() + BLOCKED
            self._webhooks.later(end, lambda: self._state.templates.pop(found.id, None))
        afterwards.append(lambda: self._become(found, status))

    def change(
        self,
        template_id: str,
        *,
        status: TemplateStatus | None = None,
        reason: str | None = None,
        category: str | None = None,
        quality: Quality | None = None,
    ) -> Template:
        """Change a template as Meta does. RED quality pauses it: for 3 hours, then for 6, then for good.

        A `status` stays until it is changed again; `reason` is that of a rejection. `KeyError` if there is no such
        template, `ValueError` if there is no such category.
        """
        if template_id not in self._state.templates:
            raise MissingError(f"There is no template {template_id}.")
        if category not in {None, *CATEGORIES}:
            raise BadValueError(f"There is no category {category}.", CATEGORIES)
        found = self._state.templates[template_id]
        if category is not None:
            self._recategorise(found, category)
        if quality is not None:
            told = {"previous_quality_score": found.quality, "new_quality_score": quality}
            found.quality = quality
            self.tell(found, "message_template_quality_update", **told)
            if quality == "RED":
                self._pause(found)
        if status is not None:
            found.review_at, found.paused_until = math.inf, 0.0  # what was set stays
            self._become(found, status, reason or ("INVALID_FORMAT" if status == "REJECTED" else "NONE"))
        return found

    def tell(self, found: Template, name: str, **members: Any) -> None:
        """Post the webhook of a field."""
        about = {
            "message_template_id": int(found.id),
            "message_template_name": found.name,
            "message_template_language": found.language.replace("_", "-"),  # as seen; the API says `en_US`
        }
        self._webhooks.emit(found.waba_id, name, {**about, **members})

    def _review(self, found: Template, at: float) -> None:
        if (found.status, found.review_at) != ("PENDING", at) or self._state.templates.get(found.id) is not found:
            return
        reason = rejection(found)
        if reason is not None:
            self._become(found, "REJECTED", reason)
            return
        if found.category == "UTILITY" and "promo" in found.name:
            self._recategorise(found, "MARKETING")
        self.approve(found)

    def _recategorise(self, found: Template, category: str) -> None:
        found.previous_category, found.category = found.category, category
        told = {"previous_category": found.previous_category, "new_category": category}
        self.tell(found, "template_category_update", **told)

    def _pause(self, found: Template) -> None:
        if found.pauses == len(PAUSES):
            self._become(found, "DISABLED")
            return
        title = ("FIRST_PAUSE", "SECOND_PAUSE")[found.pauses]
        found.paused_until = self._state.now() + PAUSES[found.pauses]
        found.pauses += 1
        self._become(found, "PAUSED", other_info={"title": title, "description": "Its quality is low."})
        end = found.paused_until
        self._webhooks.later(end, lambda: self._end_pause(found, end))

    def _end_pause(self, found: Template, end: float) -> None:
        if (found.status, found.paused_until) == ("PAUSED", end) and self._state.templates.get(found.id) is found:
            self.approve(found)

    def _become(self, found: Template, status: TemplateStatus, reason: str = "NONE", **more: Any) -> None:
        found.status, found.rejected_reason = status, reason
        told = {"event": status, "reason": reason, "message_template_category": found.category, **more}
        self.tell(found, "message_template_status_update", **told)


def _check_editable(found: Template, content: Mapping[str, Any], now: float) -> None:
    if found.status not in EDITABLE:
        raise refused("A template can be edited when it is approved, rejected or paused.", NOT_EDITABLE)
    if found.status == "APPROVED":
        if content.get("category") not in {None, found.category}:
            raise refused("An approved template keeps its category.", NOT_EDITABLE)
        if any(sum(at > now - span for at in found.edits) >= most for span, most in MAX_EDITS.items()):
            raise refused("An approved template can be edited once a day, and ten times in 30 days.", NOT_EDITABLE)


def _handles(call: Call) -> frozenset[str]:
    """Those of the app whose token came."""
    app_id = app_of(call).id
    return frozenset(handle for handle, owner in call.state.handles.items() if owner == app_id)


def _with_links(state: State, components: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Components as Meta shows them: with a link to a header's example, which is no handle, and not to be sent."""
    return [
        one | {"example": {"header_handle": [f"{state.origin}{EXAMPLES}{secrets.token_urlsafe(24)}"]}}
        if kind_of(one) == "HEADER" and "header_handle" in one.get("example", {})
        else one
        for one in components
    ]


def _body(found: Template) -> str:
    bodies = [one.get("text") for one in found.components if kind_of(one) == "BODY"]
    return str(bodies[0]) if bodies else ""


def _listed(inputs: Any) -> Any:
    """Inputs come as a list, or as a text: in Meta's own sample with quotation marks that no JSON has."""
    if not isinstance(inputs, str):
        return inputs
    for read in (json.loads, ast.literal_eval):
        try:
            return read(inputs)
        except (ValueError, SyntaxError):
            continue
    raise invalid("Param library_template_button_inputs is no list.")
