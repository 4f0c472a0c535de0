"""Data sets, and the conversion events that are sent to them.

https://developers.facebook.com/docs/marketing-api/conversions-api/business-messaging
"""

import secrets
from collections.abc import Mapping
from typing import Any, Final

from whaul.simulator.access import RIGHT_TO_EVENTS, has_right
from whaul.simulator.calls import Call
from whaul.simulator.model import Dataset
from whaul.simulator.responses import RefusedError, graph_error, object_missing
from whaul.simulator.state import State

NAMES: Final = frozenset({"Purchase", "LeadSubmitted", "InitiateCheckout", "AddToCart", "ViewContent"})
"""Events that Meta takes with business messaging; seen, not documented."""
BAD_NAME: Final = 2804066
BAD_CLICK: Final = 2804087
MAX_AGE: Final = 7 * 24 * 3600
"""Seconds."""


def dataset(state: State, object_id: str) -> Dataset | None:
    """Find a data set."""
    return next((one for one in state.datasets.values() if one.id == object_id), None)


async def create_dataset(call: Call) -> Any:
    """`POST /{waba-id}/dataset`: the account has one, which is made the first time."""
    _check_right(call, call.object["id"])
    waba_id = call.object["id"]
    if waba_id not in call.state.datasets:
        call.state.datasets[waba_id] = Dataset(call.state.new_id(), waba_id)
    return {"id": call.state.datasets[waba_id].id}


async def read_dataset(call: Call) -> Any:
    """`GET /{waba-id}/dataset`."""
    found = call.state.datasets.get(call.object["id"])
    return {} if found is None else {"id": found.id}


async def receive_events(call: Call) -> Any:
    """`POST /{dataset-id}/events`."""
    found: Dataset = call.object
    _check_right(call, found.id)
    events = (await call.body()).get("data")
    if not isinstance(events, list) or not events:
        raise _refused("The parameter data is required.")
    for event in events:
        _check(call, event, found)
    call.state.conversion_events += [{"dataset_id": found.id, **event} for event in events]
    return {"events_received": len(events), "messages": [], "fbtrace_id": "A" + secrets.token_urlsafe(16)}


def _check(call: Call, event: Any, of: Dataset) -> None:
    if not isinstance(event, Mapping):
        raise _refused("An event is an object.")
    user = event.get("user_data")
    if event.get("event_name") not in NAMES:
        raise _refused("This event_name is not taken with business messaging.", BAD_NAME)
    if not isinstance(user, Mapping) or user.get("whatsapp_business_account_id") != of.waba_id:
        raise _refused("user_data needs the whatsapp_business_account_id of the data set's account.")
    if not isinstance(user.get("ctwa_clid"), str) or not user["ctwa_clid"]:
        raise _refused("The ctwa_clid is not valid.", BAD_CLICK)
    at = event.get("event_time")
    if not isinstance(at, int) or not call.state.now() - MAX_AGE <= at <= call.state.now() + 60:
        raise _refused("The event_time is more than 7 days old, or still to come.")


def _check_right(call: Call, object_id: str) -> None:
    """A token without the permission does not see data sets."""
    if not has_right(call.state, RIGHT_TO_EVENTS):
        raise RefusedError(object_missing(object_id, "POST"))


def _refused(message: str, subcode: int | None = None) -> RefusedError:
    return RefusedError(graph_error(100, f"(#100) {message}", subcode=subcode))
