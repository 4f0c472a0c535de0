"""What the control endpoint shows. Its types are the answers' schemas in the OpenAPI document."""

from typing import Any, NotRequired, TypedDict

from whaul.simulator.apps import ShownApp
from whaul.simulator.faults import KINDS, parameters
from whaul.simulator.faults.queue import ShownFault
from whaul.simulator.flows import Flow
from whaul.simulator.journal import Exchange
from whaul.simulator.media import MediaOptions, Origin
from whaul.simulator.model import PhoneNumber, PublicKey, ShownMessage, VoiceCall
from whaul.simulator.settings import Settings
from whaul.simulator.state import WABA_ID, State
from whaul.simulator.templates import Template
from whaul.simulator.values import schema
from whaul.simulator.webhooks.contents import MESSAGES
from whaul.simulator.webhooks.deliveries import ShownDelivery
from whaul.simulator.webhooks.examples import SAMPLE
from whaul.simulator.webhooks.faults import KINDS as WIRE_FAULTS
from whaul.simulator.webhooks.fields import VALUES


class ShownMedia(TypedDict):
    """A media."""

    id: str
    mime_type: str
    size: int
    origin: Origin
    phone_number_id: str
    name: str | None
    expires_at: float | None
    options: MediaOptions


class Everything(TypedDict):
    """What can be seen of the simulated world."""

    now: float
    waba_id: str
    phone_numbers: list[PhoneNumber]
    media: list[ShownMedia]
    flows: list[Flow]
    templates: list[Template]
    public_keys: dict[str, PublicKey]
    calls: list[VoiceCall]
    apps: list[ShownApp]
    settings: Settings
    faults: list[ShownFault]


class Removed(TypedDict):
    """What is gone."""

    removed: str


class Now(TypedDict):
    """Unix time in this world."""

    now: float


class Templates(TypedDict):
    """The templates of all accounts."""

    templates: list[Template]


class ConversionEvents(TypedDict):
    """The conversion events that were received."""

    events: list[dict[str, Any]]


class Faults(TypedDict):
    """What is queued."""

    faults: list[ShownFault]


class Requests(TypedDict):
    """What was asked, oldest first, and how often: by id, at each hop and `completed_downloads`."""

    requests: list[Exchange]
    counts: dict[str, dict[str, int]]


class Messages(TypedDict):
    """What was sent or marked as read, oldest first."""

    messages: list[ShownMessage]


class Deliveries(TypedDict):
    """Webhooks, and whether they are held back."""

    paused: bool
    deliveries: list[ShownDelivery]


class DeliveryWithBody(ShownDelivery):
    """A webhook with what is posted."""

    body: str


class Kind(TypedDict):
    """A kind of fault: its parameters are JSON schemas by their names."""

    does: str
    parameters: dict[str, Any]


class Examples(TypedDict):
    """The names of examples with their fields, and what can be wrong with a POST."""

    examples: dict[str, str]
    faults: dict[str, Kind]


class Refusal(TypedDict):
    """What is wrong, and what would be right."""

    error: str
    allowed: NotRequired[Any]


def everything(state: State) -> Everything:
    """What can be seen of the simulated world, with the media folder read again."""
    state.scan()
    return {
        "now": state.now(),
        "waba_id": WABA_ID,
        "phone_numbers": list(state.phone_numbers.values()),
        "media": [media(state, media_id) for media_id in state.media],
        "flows": list(state.flows.values()),
        "templates": list(state.templates.values()),
        "public_keys": state.public_keys,
        "calls": list(state.voice_calls.values()),
        "apps": [app.describe() for app in state.apps],
        "settings": state.settings,
        "faults": state.faults.describe(),
    }


def media(state: State, media_id: str) -> ShownMedia:
    """One media."""
    found = state.media[media_id]
    return {
        "id": found.id,
        "mime_type": found.mime_type,
        "size": found.size,
        "origin": found.origin,
        "phone_number_id": found.phone_number_id,
        "name": state.name_of(found.id),
        "expires_at": found.expires_at,
        "options": found.options,
    }


def kinds() -> dict[str, Kind]:
    """Every kind of fault with its parameters, as JSON schemas."""
    return {name: {"does": kind.__doc__ or "", "parameters": parameters(kind)} for name, kind in sorted(KINDS.items())}


def examples() -> Examples:
    """What can be sent on command: examples with their fields, and what can be wrong with a POST."""
    names = {**dict.fromkeys(MESSAGES, "messages"), **{name: field for name, (field, _) in VALUES.items()}}
    faults: dict[str, Kind] = {
        name: {"does": kind.__doc__ or "", "parameters": schema(kind)} for name, kind in sorted(WIRE_FAULTS.items())
    }
    return {"examples": {**names, SAMPLE: "messages"}, "faults": faults}
