"""SendWhatsAppMessage: a message object goes to Meta as it came, once."""

import asyncio
import hashlib

from whaul import wire
from whaul.api.request import Request
from whaul.api.response import Response
from whaul.auth.authenticator import Caller
from whaul.errors import DependencyException, Retry
from whaul.graph.client import GraphClient
from whaul.model import PhoneNumber, SendMessage
from whaul.operations.numbers import Numbers
from whaul.telemetry.call import Call
from whaul.transfer.attempts import Attempts
from whaul.transfer.idempotency import Invocations

SEND_MESSAGE = "social-messaging:SendWhatsAppMessage"


class MessageOperations:
    """The operations on messages, over their parts."""

    def __init__(self, *, numbers: Numbers, graph: GraphClient, deadline: float) -> None:
        """`deadline` is in seconds from the start of a call."""
        self._numbers = numbers
        self._graph = graph
        self._deadline = deadline
        self._invocations: Invocations[str | None] = Invocations()

    async def send(self, given: Request, caller: Caller, call: Call) -> Response:
        """Answer SendWhatsAppMessage. Raises an `ApiError`."""
        request = wire.send_message(given.body)
        number = await self._numbers.authorized(SEND_MESSAGE, request.phone_number_id, caller, call)
        invocation = given.invocation_id
        if invocation is None:
            message_id = await self._send(request, number, call)
        else:
            key = _identity(invocation, caller, number, request)
            message_id = await self._invocations.once(key, lambda: self._send(request, number, call))
        return wire.send_message_answer(message_id), []

    async def land(self) -> None:
        """Wait for the messages under way that no call waits for any more."""
        await self._invocations.land()

    async def _send(self, request: SendMessage, number: PhoneNumber, call: Call) -> str | None:
        """Send the message; return Meta's id of it, if it gave one."""
        token = number.token
        attempts = Attempts(asyncio.get_running_loop().time() + self._deadline)

        async def attempt() -> str | None:
            return await self._graph.send_message(token, number.meta_id, request.api_version, request.message)

        async with self._numbers.circuit(number):
            try:
                # Not `attempts.bounded`: what an earlier attempt met says nothing about the one that is broken off.
                with call.timed("send"):
                    async with asyncio.timeout_at(attempts.deadline):
                        return await attempts.run(attempt)
            except TimeoutError:
                raise DependencyException(
                    "Meta did not answer within the call's deadline (WHAUL_DEADLINE). Whether it sent the message is "
                    "not known.",
                    retry=Retry.NO,
                ) from None


def _identity(invocation: bytes, caller: Caller, number: PhoneNumber, request: SendMessage) -> bytes:
    """What makes two requests attempts of one call: the id alone is the client's word."""
    digest = hashlib.sha256()
    for part in (invocation, caller.access_key_id.encode(), number.id.encode(), request.api_version.encode()):
        digest.update(part + b"\n")
    digest.update(request.message)
    return digest.digest()
