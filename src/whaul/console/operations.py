"""Operations that pages do: by the code that answers calls of SDKs, so with the same checks, policies and limits."""

import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from whaul.api import response
from whaul.api.request import Members, Request
from whaul.api.service import OPERATIONS, SHAPES
from whaul.auth.caller import Caller
from whaul.operations import accounts, event_destinations, messages, tags, templates
from whaul.operations.call import Row, operation
from whaul.operations.components import Components
from whaul.server.limits import RateLimit
from whaul.settings import Settings
from whaul.telemetry.call import Call

ROWS: Final[Mapping[str, Row]] = {
    **accounts.OPERATIONS,
    **event_destinations.OPERATIONS,
    **messages.OPERATIONS,
    **tags.OPERATIONS,
    **templates.OPERATIONS,
}


class Operations:
    """Those that pages may do."""

    def __init__(self, components: Components, settings: Settings) -> None:
        self.components = components
        self._limit = RateLimit(settings.rate_limit, time.monotonic, settings.rate_burst)
        self._operations = {name: operation(name, row, components) for name, row in ROWS.items()}

    def take(self, caller: Caller) -> None:
        """Count a call of a caller's. Raises ThrottledRequestException beyond its rate limit."""
        self._limit.take(caller.access_key_id, caller.rate_limit, caller.rate_burst)

    async def do(self, caller: Caller, name: str, members: Members, invocation: str | None = None) -> dict[str, Any]:
        """Do an operation; return the members of its output. Raises ApiError, and RegistryUnavailableError.

        What Meta must not get twice is done once for each `invocation`, however often the form is sent.
        """
        self.take(caller)
        record = Call(response.request_id(), name, access_key_id=caller.access_key_id, caller=caller.name)
        body, _ = await self._operations[name](request_of(name, members, invocation), caller, record)
        found: dict[str, Any] = msgspec.json.decode(body)
        return found


def request_of(name: str, members: Members, invocation: str | None = None) -> Request:
    """Write a request of an operation, as an SDK does; members that are None are left out."""
    facts = SHAPES[OPERATIONS[name].input].members
    given = {member: value for member, value in members.items() if value is not None}
    query = {
        facts[member].location_name or member: value
        for member, value in given.items()
        if facts[member].location == "querystring"
    }
    body = {member: value for member, value in given.items() if facts[member].location == "body"}
    headers = () if invocation is None else ((b"amz-sdk-invocation-id", invocation.encode()),)
    return Request(urlencode(query).encode(), msgspec.json.encode(body), headers)
