"""Message templates: what Meta refuses at once, and what becomes of the rest when it is reviewed. No HTTP.

https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/overview
https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/template-review
Subcodes that Meta does not document were seen in public code and issues.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from msgspec import Struct, field

from whaul.simulator.responses import RefusedError, graph_error, invalid

NAME: Final = re.compile(r"[a-z0-9_]{1,512}")
CATEGORIES: Final = ("AUTHENTICATION", "MARKETING", "UTILITY")
MEDIA: Final = frozenset({"IMAGE", "VIDEO", "DOCUMENT"})
WITHOUT_TEXT: Final = frozenset({"LOCATION", "PRODUCT"})
"""Formats of a header."""
OTHERS: Final = frozenset({"CALL_PERMISSION_REQUEST", "LIMITED_TIME_OFFER"})
"""Components that are not looked into."""
LIMITS: Final = {"HEADER": 60, "BODY": 1024, "FOOTER": 60}
"""Characters of a component's text."""
FORM: Final = {"HEADER": 2388047, "BODY": 2388072, "FOOTER": 2388073}
"""What is said of a component that is not of its form."""
EXAMPLES: Final = "/header-examples/"
"""The path of the links to examples that Meta shows. They are for looking, not for sending."""
MAX_BUTTONS: Final = 10
MAX_LABEL: Final = 25
TOO_LONG: Final = 2388040
NO_HANDLE: Final = 2388273
TOO_MANY_VARIABLES: Final = 2388293
VARIABLE_AT_THE_END: Final = 2388299
FULL: Final = 2388019
BEING_DELETED: Final = 2388023
EXISTS: Final = 2388024
NOT_EDITABLE: Final = 2388999
"""Made up: Meta's code for it is not known."""
PAUSES: Final = (3 * 3600, 6 * 3600)
"""Seconds of the first pause of a template that people dislike, and of the second; the third time it is disabled."""
_VARIABLE: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")

TemplateStatus = Literal[
    "APPROVED",
    "PENDING",
    "REJECTED",
    "PAUSED",
    "DISABLED",
    "IN_APPEAL",
    "PENDING_DELETION",
    "DELETED",
    "LIMIT_EXCEEDED",
    "FLAGGED",
    "REINSTATED",
    "ARCHIVED",
    "UNARCHIVED",
    "LOCKED",
]
Quality = Literal["GREEN", "YELLOW", "RED", "UNKNOWN"]


class Template(Struct, kw_only=True):
    """A template in one language."""

    id: str
    waba_id: str
    name: str
    language: str
    category: str
    components: list[dict[str, Any]]
    parameter_format: str = "POSITIONAL"
    status: TemplateStatus = "PENDING"
    rejected_reason: str = "NONE"
    quality: Quality = "UNKNOWN"
    previous_category: str | None = None
    correct_category: str | None = None
    library_template_name: str | None = None
    cta_url_link_tracking_opted_out: bool | None = None
    message_send_ttl_seconds: int | None = None
    review_at: float = 0.0
    """When it is reviewed, if it is PENDING."""
    paused_until: float = 0.0
    pauses: int = 0
    edits: list[float] = field(default_factory=list)
    """When it was changed while it was APPROVED."""

    def members(self) -> dict[str, Any]:
        """The members that the Graph API shows."""
        return {
            "id": self.id,
            "name": self.name,
            "language": self.language,
            "category": self.category,
            "status": self.status,
            "components": self.components,
            "parameter_format": self.parameter_format,
            "rejected_reason": self.rejected_reason,
            "quality_score": {"score": self.quality, "date": 0},
            "previous_category": self.previous_category,
            "correct_category": self.correct_category,
            "library_template_name": self.library_template_name,
            "cta_url_link_tracking_opted_out": self.cta_url_link_tracking_opted_out,
            "message_send_ttl_seconds": self.message_send_ttl_seconds,
        }


def refused(message: str, subcode: int | None = None) -> RefusedError:
    """A refusal of a template: code 100, told in the owner's language, too."""
    said = "Tu plantilla no es válida." if subcode is not None else None
    return RefusedError(graph_error(100, f"(#100) {message}", subcode=subcode, user_message=said))


def check_new(content: Mapping[str, Any]) -> None:
    """Refuse what cannot be a template."""
    if not isinstance(content.get("name"), str) or not NAME.fullmatch(content["name"]):
        raise invalid("Param name must be 1 to 512 lower case letters, digits and underscores.")
    if content.get("category") not in CATEGORIES:
        raise invalid(f"Param category must be one of {{{', '.join(CATEGORIES)}}}.")
    if not isinstance(content.get("language"), str) or not content["language"]:
        raise invalid("The parameter language is required.")


def check_components(components: Any, category: str, parameter_format: str, handles: frozenset[str]) -> None:
    """Refuse components that are not of their form; `handles` are those of files that were uploaded for the app."""
    if not any(kind_of(one) == "BODY" for one in _listed(components)):
        raise invalid("A template needs a BODY.")
    for component in components:
        _check(component, category, parameter_format, handles)


def kind_of(component: Mapping[str, Any]) -> str:
    """A component's type, which may come in small letters."""
    return str(component.get("type", "")).upper()


def rejection(template: Template) -> str | None:
    """Why a review rejects a template; None if it does not. A name with `reject` in it is rejected."""
    if template.parameter_format == "POSITIONAL" and any(
        not name.isdigit() for component in template.components for name in _variables(component)
    ):
        return "INVALID_FORMAT"
    return "INCORRECT_CATEGORY" if "reject" in template.name else None


def _listed(components: Any) -> list[dict[str, Any]]:
    if not isinstance(components, list) or not all(isinstance(one, dict) for one in components):
        raise invalid("The parameter components is required.")
    return components


def _check(component: Mapping[str, Any], category: str, parameter_format: str, handles: frozenset[str]) -> None:
    kind = kind_of(component)
    form = str(component.get("format", "TEXT")).upper() if kind == "HEADER" else "TEXT"
    if kind == "BUTTONS":
        _check_buttons(component)
    elif kind == "CAROUSEL":
        for card in _listed(component.get("cards")):
            for inner in _listed(card.get("components")):
                _check(inner, category, parameter_format, handles)
    elif form in MEDIA:
        _check_handle(component, handles)
    elif kind in LIMITS:
        # The words of an AUTHENTICATION template are Meta's.
        if form not in WITHOUT_TEXT and (category != "AUTHENTICATION" or "text" in component):
            _check_text(component, kind, parameter_format)
    elif kind not in OTHERS:
        raise invalid(f"There is no component {kind}.")


def _check_text(component: Mapping[str, Any], kind: str, parameter_format: str) -> None:
    text = component.get("text")
    names = _variables(component)
    if not isinstance(text, str) or (kind == "FOOTER" and names) or (kind == "HEADER" and len(names) > 1):
        raise refused(f"The {kind} is not of its form.", FORM[kind])
    if len(text) > LIMITS[kind]:
        raise refused(f"The {kind} is too long.", TOO_LONG)
    if not names:
        return
    words = _VARIABLE.sub(" ", text).split()
    if kind == "BODY" and len(words) < 2 * len(names):
        raise refused("There are too many variables for the words.", TOO_MANY_VARIABLES)
    if kind == "BODY" and (_VARIABLE.match(text.strip()) or text.strip().endswith("}}")):
        raise refused("A variable is at the beginning or the end.", VARIABLE_AT_THE_END)
    if not _has_examples(component.get("example"), kind, len(names), parameter_format):
        raise invalid(f"The {kind} needs an example for each variable.")


def _has_examples(example: Any, kind: str, count: int, parameter_format: str) -> bool:
    """Whether there are examples, for a body with numbers as a list of lists."""
    if not isinstance(example, Mapping):
        return False
    part = kind.lower()
    if parameter_format == "NAMED":
        named = example.get(f"{part}_text_named_params")
        return isinstance(named, Sequence) and len(named) == count
    found = example.get(f"{part}_text")
    if kind == "BODY":
        return isinstance(found, list) and all(isinstance(row, list) and len(row) == count for row in found)
    return isinstance(found, list) and len(found) == count


def _check_buttons(component: Mapping[str, Any]) -> None:
    buttons = _listed(component.get("buttons"))
    if not 0 < len(buttons) <= MAX_BUTTONS:
        raise invalid(f"Buttons are 1 to {MAX_BUTTONS}.")
    if any(len(str(button.get("text", ""))) > MAX_LABEL for button in buttons):
        raise refused("The label of a button is too long.", TOO_LONG)


def _check_handle(component: Mapping[str, Any], handles: frozenset[str]) -> None:
    example = component.get("example")
    given = example.get("header_handle") if isinstance(example, Mapping) else None
    if not isinstance(given, list) or not given or given[0] not in handles:
        raise refused("The header needs an example: the handle of an uploaded file.", NO_HANDLE)


def _variables(component: Mapping[str, Any]) -> list[str]:
    return list(_names(component.get("text")))


def _names(text: Any) -> Iterator[str]:
    if isinstance(text, str):
        yield from _VARIABLE.findall(text)
