"""The operations on message templates: what may be sent to people who have not written. Meta keeps and reviews them.

https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/template-management
https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/template-library
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from whaul.api.request import Members
from whaul.api.response import Document
from whaul.errors import InvalidParametersException
from whaul.graph.client import not_documented
from whaul.graph.errors import CallKind
from whaul.operations.call import AccountCall, Row, on_account
from whaul.operations.listing import listed
from whaul.operations.owned import not_owned
from whaul.operations.repeats import gone, moved, once
from whaul.operations.template_media import create_media, some_source
from whaul.operations.translation import document, fields, in_snake_case, meta_type, renamed

CREATING: Final = CallKind(is_repeatable=False, names_object=False, is_callers=True)
FILTERING: Final = CallKind(names_object=False, is_callers=True)
EDGE: Final = "message_templates"
TEMPLATE: Final = (
    "name,status,category,language,components,parameter_format,quality_score,rejected_reason,correct_category,"
    "previous_category,cta_url_link_tracking_opted_out,message_send_ttl_seconds,library_template_name"
)
"""What is asked of a template: what Meta shows by itself, and the rest that it is known to have."""
SUMMARY: Final = "name,status,quality_score,language,category,correct_category"
"""The same for a list. An unknown name would fail the call, and none is known to be AWS's `templateSource`."""
CREATED: Final = meta_type(
    "CreateWhatsAppMessageTemplateOutput", names={"metaTemplateId": "id", "templateStatus": "status"}
)
LIBRARY: Final = meta_type(
    "MetaLibraryTemplateDefinition",
    names={
        "templateName": "name",
        "templateLanguage": "language",
        "templateCategory": "category",
        "templateTopic": "topic",
        "templateUseCase": "usecase",
        "templateIndustry": "industry",
        "templateHeader": "header",
        "templateBody": "body",
        "templateButtons": "buttons",
        "templateId": "id",
        "templateBodyExampleParams": "body_params",
    },
)
FILTERS: Final = {
    "searchKey": "search",
    "topic": "topic",
    "usecase": "usecase",
    "industry": "industry",
    "language": "language",
}
"""AWS's filters of the library, and Meta's."""
_NAMES: Final = {
    "templateName": "name",
    "templateCategory": "category",
    "templateLanguage": "language",
    "templateComponents": "components",
}
_CHANGES: Final = ("templateCategory", "templateComponents", "parameterFormat", "ctaUrlLinkTrackingOptedOut")


class _Score(msgspec.Struct):
    score: str | None = None


class _Summary(msgspec.Struct):
    id: str
    name: str | None = None
    status: str | None = None
    language: str | None = None
    category: str | None = None
    correct_category: str | None = None
    quality_score: _Score | None = None


class _Named(msgspec.Struct):
    id: str
    name: str
    language: str


class _Success(msgspec.Struct):
    success: bool = False


_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_named_decoder = msgspec.json.Decoder(_Named)


async def create_template(call: AccountCall) -> Document:
    """CreateWhatsAppMessageTemplate: the definition goes to Meta as it came."""
    return await _create(call, call.members["templateDefinition"])


async def create_from_library(call: AccountCall) -> Document:
    """CreateWhatsAppMessageTemplateFromLibrary."""
    new = in_snake_case(call.members["metaLibraryTemplate"])
    for name in ("name", "category", "language"):
        new[name] = new.pop(f"template_{name}")
    for button in new.get("library_template_button_inputs", ()):
        if button.get("type") == "CALL":  # AWS's word for it
            button["type"] = "PHONE_NUMBER"
    return await _create(call, msgspec.json.encode(new))


async def get_template(call: AccountCall) -> Document:
    """GetWhatsAppMessageTemplate: by id, or by name and language; the id wins."""
    template_id = call.members.get("metaTemplateId")
    if template_id is None:
        _, template = await _by_name(call, TEMPLATE)
        return {"template": _text(template)}
    await _check_owner(call, template_id)
    return {"template": _text(await call.graph.get(template_id, msgspec.Raw, "reading the template", fields=TEMPLATE))}


async def list_templates(call: AccountCall) -> Document:
    """ListWhatsAppMessageTemplates."""
    path, doing = f"{call.target.meta_id}/{EDGE}", "listing the templates"
    found, following = await listed(call, path, _Summary, doing, fields=SUMMARY)
    return {"templates": [_summary(template) for template in found]} | following


async def list_library(call: AccountCall) -> Document:
    """ListWhatsAppTemplateLibrary: Meta's own templates, the same for all accounts."""
    filters = {FILTERS[name]: value for name, value in (call.members.get("filters") or {}).items()}
    doing = "listing the template library"
    found, following = await listed(
        call, "message_template_library", LIBRARY, doing, first=FILTERING, fields=fields(LIBRARY), **filters
    )
    shown = [document(template) for template in found]
    for template in shown:
        if not template.get("templateHeader"):
            template.pop("templateHeader", None)
    return {"metaLibraryTemplates": shown} | following


async def update_template(call: AccountCall) -> Document:
    """UpdateWhatsAppMessageTemplate: Meta counts changes, so one call is one change."""
    doing, members = "changing the template", call.members
    changes = renamed(members, ("templateCategory", "parameterFormat", "ctaUrlLinkTrackingOptedOut"), _NAMES)
    if "parameter_format" in changes:
        changes["parameter_format"] = changes["parameter_format"].upper()
    if members.get("templateComponents") is not None:
        changes["components"] = msgspec.Raw(members["templateComponents"])
    body = msgspec.json.encode(changes)

    async def attempt() -> None:
        template_id = members.get("metaTemplateId")
        if template_id is None:
            template_id, _ = await _by_name(call, "name,language")
        else:
            await _check_owner(call, template_id)
        graph, token = call.components.graph, call.target.token
        if not (await graph.post(token, template_id, body, _Success, doing, call=CREATING)).success:
            raise not_documented(doing, CREATING)

    await once(call, attempt, doing)
    return {}


async def delete_template(call: AccountCall) -> Document:
    """DeleteWhatsAppMessageTemplate: one language by its id, or all that have the name."""
    doing, members = "deleting the template", call.members
    query = {"name": members["templateName"]}
    if members.get("metaTemplateId") is not None:
        query["hsm_id"] = members["metaTemplateId"]

    async def attempt() -> None:
        path = f"{call.target.meta_id}/{EDGE}"
        found = await call.components.graph.delete(call.target.token, path, _Success, doing, **query)
        if not found.success:
            raise not_documented(doing)

    await moved(call, attempt, gone, hop="delete")
    call.components.owned.forget(call.target.id, members.get("metaTemplateId") or "")
    return {}


def an_object(members: Members) -> None:
    """Raise `InvalidParametersException` for a definition that is no JSON object."""
    _checked("templateDefinition", members["templateDefinition"], _object_decoder, "a JSON object")


def named(members: Members) -> None:
    """Raise `InvalidParametersException` unless a template is named, by id or by name and language."""
    by_name = members.get("templateName") is not None and members.get("templateLanguageCode") is not None
    if members.get("metaTemplateId") is None and not by_name:
        raise InvalidParametersException("Give metaTemplateId, or both templateName and templateLanguageCode.")


def named_and_changed(members: Members) -> None:
    """Raise `InvalidParametersException` unless a template is named, and something of it is to be changed."""
    named(members)
    if all(members.get(name) is None for name in _CHANGES):
        raise InvalidParametersException(f"Give at least one of {', '.join(_CHANGES)}.")
    if members.get("templateComponents") is not None:
        _checked("templateComponents", members["templateComponents"], _list_decoder, "a JSON list")


def one_or_all(members: Members) -> None:
    """Raise `InvalidParametersException` unless it is said whether one language goes, or all of them."""
    if (members.get("metaTemplateId") is not None) == bool(members.get("deleteAllLanguages")):
        raise InvalidParametersException(
            "Give metaTemplateId to delete the template in one language, or deleteAllLanguages=true for all languages."
        )


def known_filters(members: Members) -> None:
    """Raise `InvalidParametersException` for a filter that there is not: without it the list would be longer."""
    if unknown := (members.get("filters") or {}).keys() - FILTERS.keys():
        raise InvalidParametersException(
            f"filters takes {', '.join(FILTERS)}; {len(unknown)} of those given are others."
        )


OPERATIONS: Final[Mapping[str, Row]] = {
    "CreateWhatsAppMessageTemplate": on_account(create_template, an_object, guarded=False),
    "CreateWhatsAppMessageTemplateFromLibrary": on_account(create_from_library, guarded=False),
    "CreateWhatsAppMessageTemplateMedia": on_account(create_media, some_source, guarded=False),
    "GetWhatsAppMessageTemplate": on_account(get_template, named),
    "ListWhatsAppMessageTemplates": on_account(list_templates),
    "ListWhatsAppTemplateLibrary": on_account(list_library, known_filters),
    "UpdateWhatsAppMessageTemplate": on_account(update_template, named_and_changed, guarded=False),
    "DeleteWhatsAppMessageTemplate": on_account(delete_template, one_or_all),
}


async def _create(call: AccountCall, body: bytes) -> Document:
    doing, path = "creating the template", f"{call.target.meta_id}/{EDGE}"

    async def attempt() -> Any:
        created = await call.components.graph.post(call.target.token, path, body, CREATED, doing, call=CREATING)
        if created.metaTemplateId is None:
            raise not_documented(doing, CREATING)
        return created

    created = await once(call, attempt, doing)
    call.components.owned.add(call.target.id, created.metaTemplateId)
    return document(created)


async def _by_name(call: AccountCall, wanted: str) -> tuple[str, msgspec.Raw]:
    """Find the id of the template of a name and language, and how Meta shows it. Meta's own filter finds more."""
    name, language = call.members["templateName"], call.members["templateLanguageCode"]
    for found, template in await _filtered(call, name, language, wanted):
        if (found.name, found.language) == (name, language):
            call.components.owned.add(call.target.id, found.id)
            return found.id, template
    raise not_owned("template", "name and language")


async def _filtered(call: AccountCall, name: str, language: str, wanted: str) -> list[tuple[_Named, msgspec.Raw]]:
    path, doing = f"{call.target.meta_id}/{EDGE}", "looking up the template"
    found = await call.graph.pages(path, msgspec.Raw, doing, fields=wanted, name=name, language=language)
    try:
        return [(_named_decoder.decode(template), template) for template in found]
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise not_documented(doing) from None


async def _check_owner(call: AccountCall, template_id: str) -> None:
    """Raise `ResourceNotFoundException` unless the template is the account's; it does not name its account."""

    async def look() -> bool:
        doing = "looking up whose template it is"
        known = await call.graph.get(template_id, _Named, doing, fields="name,language")
        found = await _filtered(call, known.name, known.language, "name,language")
        return template_id in {template.id for template, _ in found}

    await call.components.owned.check(call.target.id, template_id, look, "template")


def _summary(template: _Summary) -> Document:
    shown = {
        "templateName": template.name,
        "metaTemplateId": template.id,
        "templateStatus": template.status,
        "templateQualityScore": template.quality_score.score if template.quality_score else None,
        "templateLanguage": template.language,
        "templateCategory": template.category,
        "correctCategory": template.correct_category if template.correct_category != template.category else None,
    }
    return {name: value for name, value in shown.items() if value is not None}


def _text(template: msgspec.Raw) -> str:
    return bytes(template).decode(errors="replace")


def _checked(name: str, content: bytes, decoder: msgspec.json.Decoder[Any], what: str) -> None:
    try:
        decoder.decode(content.decode())  # as text: what is not decoded further must be UTF-8, too
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidParametersException(f"{name} must be {what} (with an SDK: its bytes, not base64).") from None
