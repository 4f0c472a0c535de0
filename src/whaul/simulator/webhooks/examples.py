"""Examples of all webhooks by their names, one or many in a POST, and what else can be sent on command."""

from collections.abc import Mapping
from typing import Any

from whaul.simulator.values import BadValueError
from whaul.simulator.webhooks import envelope
from whaul.simulator.webhooks.contents import MESSAGES, WITHOUT_CONTACTS
from whaul.simulator.webhooks.fields import VALUES
from whaul.simulator.webhooks.scene import Scene

SAMPLE = "sample"
"""What Meta's dashboard sends when one presses its button: entry id 0, and a number that nobody has."""
NAMES = (*MESSAGES, *VALUES, SAMPLE)

_SAMPLE_VALUE = {
    "messaging_product": "whatsapp",
    "metadata": {"display_phone_number": "16505551111", "phone_number_id": "123456123"},
    "contacts": [{"profile": {"name": "test user name"}, "wa_id": "16315551181"}],
    "messages": [
        {
            "from": "16315551181",
            "id": "ABGGFlA5Fpa",
            "timestamp": "1504902988",
            "type": "text",
            "text": {"body": "this is a text message"},
        }
    ],
}


def content_of(
    scene: Scene,
    waba_id: str,
    *,
    example: str | None = None,
    field: str | None = None,
    value: Mapping[str, Any] | None = None,
    webhook: Mapping[str, Any] | None = None,
    body: str | None = None,
    count: int = 1,
) -> Mapping[str, Any] | bytes:
    """The body that is wanted: an example, a value of a field, a whole webhook, or any text.

    Raises `BadValueError` unless it is exactly one of them.
    """
    given = [
        name
        for name, one in {"example": example, "value": value, "webhook": webhook, "body": body}.items()
        if one is not None
    ]
    if len(given) != 1 or (value is None) != (field is None):
        raise BadValueError("Say what to send: `example`, `field` with `value`, `webhook`, or `body`.", NAMES)
    if example is not None:
        return compose(example, scene, waba_id, count)
    if field is not None and value is not None:
        return envelope.webhook(waba_id, field, [value] * count, scene.now)
    return webhook if webhook is not None else (body or "").encode(errors="surrogatepass")


def compose(name: str, scene: Scene, waba_id: str, count: int = 1) -> dict[str, Any]:
    """One POST's body with so many items of an example; raises `BadValueError` if there is none of that name.

    What concerns a number is joined into one change, anything else becomes a change for each.
    """
    if name not in NAMES:
        raise BadValueError(f"There is no example {name}.", NAMES)
    if name == SAMPLE:
        return envelope.webhook("0", "messages", [_SAMPLE_VALUE], scene.now)
    field = "messages" if name in MESSAGES else VALUES[name][0]
    values = [_value(name, scene) for _ in range(count)]
    if "messaging_product" in values[0]:
        values = [_joined(values)]
    return envelope.webhook(waba_id, field, values, scene.now)


def _value(name: str, scene: Scene) -> dict[str, Any]:
    if name not in MESSAGES:
        return VALUES[name][1](scene)
    messages = [scene.item(**MESSAGES[name](scene))]
    return scene.value(messages=messages) if name in WITHOUT_CONTACTS else scene.with_contact(messages=messages)


def _joined(values: list[dict[str, Any]]) -> dict[str, Any]:
    """One value with the lists of all; who is in `contacts` is there once."""
    first = dict(values[0])
    for name, member in first.items():
        if isinstance(member, list):
            first[name] = [item for value in values for item in value[name]]
        elif isinstance(member, Mapping) and name != "metadata":
            first[name] = _joined([value[name] for value in values])
    if "contacts" in first:
        first["contacts"] = [one for place, one in enumerate(first["contacts"]) if one not in first["contacts"][:place]]
    return first
