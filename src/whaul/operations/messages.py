"""SendWhatsAppMessage: a message object goes to Meta as it came, once."""

import asyncio

from whaul import wire
from whaul.auth import Caller
from whaul.errors import DependencyException, Retry
from whaul.graph.calls import Access
from whaul.graph.client import GraphClient
from whaul.operations.numbers import Numbers
from whaul.retry import Attempts
from whaul.telemetry.call import Call

SEND_MESSAGE = "social-messaging:SendWhatsAppMessage"


class MessageOperations:
    """The operations on messages, over their parts."""

    def __init__(self, *, numbers: Numbers, graph: GraphClient, deadline: float) -> None:
        """`deadline` is in seconds from the start of a call."""
        self._numbers = numbers
        self._graph = graph
        self._deadline = deadline

    async def send(self, given: wire.Input, caller: Caller, call: Call) -> wire.Answer:
        """Answer SendWhatsAppMessage. Raises an `ApiError`."""
        request = wire.send_message(given.body)
        number = await self._numbers.authorized(SEND_MESSAGE, request.phone_number_id, caller, call)
        access = Access(number.access_token, number.app_secret)
        attempts = Attempts(asyncio.get_running_loop().time() + self._deadline)

        async def attempt() -> str | None:
            return await self._graph.send_message(access, number.meta_id, request.api_version, request.message)

        async with self._numbers.circuit(number):
            try:
                # Not `attempts.bounded`: what an earlier attempt met says nothing about the one that is broken off.
                with call.timed("send"):
                    async with asyncio.timeout_at(attempts.deadline):
                        message_id = await attempts.run(attempt)
            except TimeoutError:
                raise DependencyException(
                    "Meta did not answer within the call's deadline (WHAUL_DEADLINE). Whether it sent the message is "
                    "not known.",
                    retry=Retry.NO,
                ) from None
        return wire.send_message_answer(message_id), []
