"""Meta's own templates, ready to be used: some of them, with each kind of button.

https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/template-library
"""

from typing import Any, Final

from msgspec import Struct

from whaul.simulator.calls import Call
from whaul.simulator.responses import invalid
from whaul.simulator.state import State

PATH: Final = "message_template_library"
FILTERS: Final = ("search", "topic", "usecase", "industry", "language")


class LibraryTemplate(Struct, kw_only=True):
    """An entry."""

    id: str
    name: str
    language: str = "en_US"
    category: str = "UTILITY"
    topic: str
    usecase: str
    industry: tuple[str, ...] = ("E_COMMERCE",)
    header: str = ""
    body: str
    body_params: list[str] = []
    body_param_types: list[str] = []
    buttons: list[dict[str, Any]] = []

    def members(self) -> dict[str, Any]:
        """The members that the Graph API shows."""
        return {name: getattr(self, name) for name in self.__struct_fields__}

    def components(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The components of a template that is made of it, with the inputs of its buttons."""
        made: list[dict[str, Any]] = []
        if self.header:
            made.append({"type": "HEADER", "format": "TEXT", "text": self.header})
        made.append({"type": "BODY", "text": self.body, "example": {"body_text": [self.body_params]}})
        if self.buttons:
            made.append(
                {"type": "BUTTONS", "buttons": [_button(*pair) for pair in zip(self.buttons, inputs, strict=True)]}
            )
        return made


_TRACK = {"type": "URL", "text": "Track", "url": "https://www.example.com"}
_CALL = {"type": "PHONE_NUMBER", "text": "Call", "phone_number": "+15550100"}
_OTP = {"type": "OTP", "text": "Copy code", "otp_type": "COPY_CODE"}
_ORDER = ("ORDER_MANAGEMENT", ["Ana", "#1234"])

_ENTRIES: Final[tuple[dict[str, Any], ...]] = (
    {
        "name": "delivery_update_1",
        "topic": _ORDER[0],
        "usecase": "DELIVERY_UPDATE",
        "header": "On its way",
        "body": "Hello {{1}}, your order {{2}} has left our harbour today.",
        "body_params": _ORDER[1],
        "buttons": [_TRACK, _CALL],
    },
    {
        "name": "delivery_update_1",
        "language": "es",
        "topic": _ORDER[0],
        "usecase": "DELIVERY_UPDATE",
        "body": "Hola {{1}}, tu pedido {{2}} ha salido hoy de nuestro puerto.",
        "body_params": _ORDER[1],
        "buttons": [_TRACK, _CALL],
    },
    {
        "name": "order_confirmed",
        "topic": _ORDER[0],
        "usecase": "ORDER_CONFIRMATION",
        "body": "Thank you, {{1}}. We have your order {{2}} and are packing it.",
        "body_params": _ORDER[1],
    },
    {
        "name": "order_cancelled",
        "topic": _ORDER[0],
        "usecase": "ORDER_OR_TRANSACTION_CANCEL",
        "body": "Your order {{1}} was cancelled as you asked us to.",
        "body_params": ["#1234"],
    },
    {
        "name": "pickup_ready",
        "topic": _ORDER[0],
        "usecase": "ORDER_PICK_UP",
        "body": "Your order {{1}} can be picked up at our office from now on.",
        "body_params": ["#1234"],
    },
    {
        "name": "payment_received",
        "topic": "PAYMENTS",
        "usecase": "PAYMENT_CONFIRMATION",
        "industry": ("FINANCIAL_SERVICES",),
        "body": "We have received your payment of {{1}} and thank you for it.",
        "body_params": ["12.30 EUR"],
    },
    {
        "name": "payment_due",
        "topic": "PAYMENTS",
        "usecase": "PAYMENT_DUE_REMINDER",
        "industry": ("FINANCIAL_SERVICES",),
        "body": "Your payment of {{1}} will be due in a few days from now.",
        "body_params": ["12.30 EUR"],
    },
    {
        "name": "feedback_survey",
        "topic": "CUSTOMER_FEEDBACK",
        "usecase": "FEEDBACK_SURVEY",
        "body": "How was your last order {{1}} with us? We would like to hear it.",
        "body_params": ["#1234"],
        "buttons": [_TRACK],
    },
    {
        "name": "account_created",
        "topic": "ACCOUNT_UPDATE",
        "usecase": "ACCOUNT_CREATION_CONFIRMATION",
        "body": "Your account {{1}} is there now, and you can sign in with it.",
        "body_params": ["ana"],
    },
    {
        "name": "verify_code",
        "category": "AUTHENTICATION",
        "topic": "ACCOUNT_UPDATE",
        "usecase": "TWO_FACTOR_AUTHENTICATION",
        "body": "Your code is {{1}} and should be told to nobody at all.",
        "body_params": ["123456"],
        "buttons": [_OTP],
    },
)
TOPICS: Final = ("ACCOUNT_UPDATE", "CUSTOMER_FEEDBACK", "ORDER_MANAGEMENT", "PAYMENTS")
INDUSTRIES: Final = ("E_COMMERCE", "FINANCIAL_SERVICES")
LIBRARY: Final = tuple(
    LibraryTemplate(id=str(700_000_000_000_001 + number), **members) for number, members in enumerate(_ENTRIES)
)


def library(_: State, object_id: str) -> str | None:
    """Find the library."""
    return object_id if object_id == PATH else None


async def list_library(call: Call) -> Any:
    """`GET /message_template_library`."""
    query = call.request.query
    wanted = {name: query[name] for name in FILTERS if name in query}
    for name, known in (("topic", TOPICS), ("industry", INDUSTRIES)):
        if wanted.get(name, known[0]) not in known:
            raise invalid(f"Param {name} must be one of {{{', '.join(known)}}}.")
    found = [one for one in LIBRARY if all(_fits(one, name, value) for name, value in wanted.items())]
    return call.page(found, lambda one: call.select(one.members(), tuple(one.members())))


def entry(name: str, language: str, category: str, inputs: Any) -> LibraryTemplate:
    """Find the entry that a new template is made of; raises `RefusedError`."""
    found = next((one for one in LIBRARY if (one.name, one.language) == (name, language)), None)
    if found is None:
        raise invalid("Param library_template_name must be a template of the library in this language.")
    if found.category != category:
        raise invalid(f"Param category must be {found.category} for this template of the library.")
    if found.buttons and (not isinstance(inputs, list) or len(inputs) != len(found.buttons)):
        raise invalid("The parameter library_template_button_inputs is required, with an input for each button.")
    if found.buttons and [one.get("type") for one in inputs if isinstance(one, dict)] != [
        one["type"] for one in found.buttons
    ]:
        raise invalid("Param library_template_button_inputs must have the types of the buttons.")
    return found


def _button(button: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    url = given.get("url")
    return {**button, **given, **({"url": url.get("base_url")} if isinstance(url, dict) else {})}


def _fits(one: LibraryTemplate, name: str, value: str) -> bool:
    if name == "search":
        return value.lower() in f"{one.name} {one.header} {one.body}".lower()
    found = getattr(one, name)
    return value in found if isinstance(found, tuple) else bool(found == value)
