"""What policies can name: every action that a call may need, and the resources that it is needed on.

The actions of operations, built or not, are read from the service's model; the others are ours to list. In the form
of a resource `#` stands for a hexadecimal digit and `*` for any characters; the form `*` alone is that of an action
that takes no resource.
"""

from collections.abc import Mapping
from typing import Final

from whaul.api.service import OPERATIONS, SHAPES
from whaul.arns import Arns
from whaul.operations.call import ACCOUNT, NUMBER, RESOURCE, TARGETS, Target

PUT_OBJECT: Final = "s3:PutObject"
GET_OBJECT: Final = "s3:GetObject"
NO_RESOURCE: Final = "*"
_LINKED, _DESTINATION = "waba", "event-destination"
VIEW_MESSAGES: Final = "whaul:ViewMessages"
VIEW_CONTENT: Final = "whaul:ViewContent"
FETCH_AGAIN: Final = "whaul:FetchAgain"
VIEW_ARCHIVES: Final = "whaul:ViewArchives"
MANAGE_ARCHIVES: Final = "whaul:ManageArchives"
VIEW_ACCOUNTS: Final = "whaul:ViewAccounts"
VIEW_DELIVERIES: Final = "whaul:ViewDeliveries"
REPLAY_DELIVERY: Final = "whaul:ReplayDelivery"
MANAGE_DESTINATIONS: Final = "whaul:ManageDestinations"
VIEW_KEYS: Final = "whaul:ViewKeys"
MANAGE_KEYS: Final = "whaul:ManageKeys"
VIEW_SERVER: Final = "whaul:ViewServer"
USE_SIMULATOR: Final = "whaul:UseSimulator"

CONSOLE: Final[Mapping[str, str]] = {
    VIEW_MESSAGES: _LINKED,
    VIEW_CONTENT: _LINKED,
    FETCH_AGAIN: _LINKED,
    VIEW_ARCHIVES: _LINKED,
    MANAGE_ARCHIVES: _LINKED,
    VIEW_ACCOUNTS: _LINKED,
    VIEW_DELIVERIES: _DESTINATION,
    REPLAY_DELIVERY: _DESTINATION,
    MANAGE_DESTINATIONS: _DESTINATION,
    VIEW_KEYS: NO_RESOURCE,
    MANAGE_KEYS: NO_RESOURCE,
    VIEW_SERVER: NO_RESOURCE,
    USE_SIMULATOR: NO_RESOURCE,
}
"""Actions of the console, and what each is needed on."""


def action_of(operation: str) -> str:
    """Name the action that an operation needs."""
    return f"social-messaging:{operation}"


def actions(arns: Arns) -> Mapping[str, tuple[str, ...]]:
    """Return every action with the forms of its resources."""
    digits = "#" * 32
    number, account = (arns.arn(f"{kind}-{digits}") for kind in ("phone-number-id", "waba"))
    forms = {NUMBER: (number,), ACCOUNT: (account,), RESOURCE: (number, account), None: (NO_RESOURCE,)}
    objects = (object_arn(arns, "*", "*"),)
    of_console = {_LINKED: (account,), _DESTINATION: (arns.event_destination("*"),), NO_RESOURCE: (NO_RESOURCE,)}
    of_operations = {action_of(name): forms[_target(name)] for name in OPERATIONS}
    console = {action: of_console[kind] for action, kind in CONSOLE.items()}
    return {**of_operations, **console, PUT_OBJECT: objects, GET_OBJECT: objects}


def object_arn(arns: Arns, bucket: str, key: str) -> str:
    """Name an S3 object."""
    return f"arn:{arns.partition}:s3:::{bucket}/{key}"


def _target(operation: str) -> Target | None:
    members = SHAPES[OPERATIONS[operation].input].members.values()
    return next((TARGETS[member.shape] for member in members if member.shape in TARGETS), None)
