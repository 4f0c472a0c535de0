"""UpdateLinkedWhatsAppBusinessAccountPhoneNumber: how a phone number takes calls is set at Meta, and kept there."""

import asyncio

from whaul.api.request import Request
from whaul.api.response import Response
from whaul.auth.authenticator import Caller
from whaul.graph.calling import CallingCalls
from whaul.operations.numbers import Numbers
from whaul.telemetry.call import Call
from whaul.transfer.attempts import Attempts
from whaul.wire.calling import update_number, update_number_answer

UPDATE_NUMBER = "social-messaging:UpdateLinkedWhatsAppBusinessAccountPhoneNumber"


class CallingOperations:
    """The operations on how phone numbers take calls, over their parts."""

    def __init__(self, *, numbers: Numbers, graph: CallingCalls, deadline: float) -> None:
        """`deadline` is in seconds from the start of a call."""
        self._numbers = numbers
        self._graph = graph
        self._deadline = deadline

    async def update_number(self, given: Request, caller: Caller, call: Call) -> Response:
        """Answer UpdateLinkedWhatsAppBusinessAccountPhoneNumber. Raises an `ApiError`."""
        id_, settings = update_number(given)
        number = await self._numbers.authorized(UPDATE_NUMBER, id_, caller, call)
        token = number.token
        attempts = Attempts(asyncio.get_running_loop().time() + self._deadline)
        async with self._numbers.circuit(number), attempts.bounded():
            await attempts.run(lambda: self._graph.change_calling(token, number.meta_id, settings))
        return update_number_answer(number.id), []
