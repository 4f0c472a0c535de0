"""Where the events of a linked account go, as the AWS API sets it.

https://docs.aws.amazon.com/social-messaging/latest/userguide/managing-event-destinations.html
"""

from collections.abc import Mapping
from typing import Final

from whaul.api.request import Members
from whaul.api.response import Document
from whaul.auth.caller import Caller
from whaul.errors import InvalidParametersException
from whaul.events.delivery.api_destinations import ApiDestinations, EventDestination
from whaul.events.targets import TargetError
from whaul.operations.actions import action_of
from whaul.operations.call import AccountCall, Row, on_account
from whaul.operations.components import Components

PUT: Final = "PutWhatsAppBusinessAccountEventDestinations"


async def put(call: AccountCall) -> Document:
    """PutWhatsAppBusinessAccountEventDestinations: replace the destination; an empty list ends it."""
    destination = read(call.members["eventDestinations"])
    await authorize(call.caller, call.components.event_destinations, destination)
    await call.components.event_destinations.put(call.resource_id, destination)
    return {}


def read(members: list[Members]) -> EventDestination | None:
    """Read the list, which the model bounds to one."""
    return next((EventDestination(one["eventDestinationArn"], one.get("roleArn")) for one in members), None)


async def authorize(caller: Caller, known: ApiDestinations, destination: EventDestination | None) -> None:
    """Ask the policy for the destination, too, so that nobody turns the server's own rights at AWS to their use.

    Raises `InvalidParametersException` for one that cannot be.
    """
    if destination is None:
        return
    caller.authorize(action_of(PUT), destination.arn)
    try:
        await known.check(destination)
    except TargetError as error:
        raise InvalidParametersException(str(error)) from None


async def of(components: Components, *account_ids: str) -> Mapping[str, list[Document]]:
    """Shape the `WhatsAppBusinessAccountEventDestinations` of accounts; those without any are left out."""
    found = await components.event_destinations.of(account_ids)
    return {account_id: [_shape(one) for one in destinations] for account_id, destinations in found.items()}


def _shape(destination: EventDestination) -> Document:
    role = {} if destination.role_arn is None else {"roleArn": destination.role_arn}
    return {"eventDestinationArn": destination.arn, **role}


OPERATIONS: Final[Mapping[str, Row]] = {PUT: on_account(put, guarded=False)}
