"""What all operations on a phone number share: may the caller use it, is it linked, and does Meta refuse it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Protocol

from whaul import arns
from whaul.auth.authenticator import Caller
from whaul.errors import AccessDeniedByMetaException, ResourceNotFoundException
from whaul.model import PhoneNumber
from whaul.outbound.circuit import Circuits
from whaul.telemetry.call import Call

MOST_REFUSALS = 20
"""A phone number that Meta refused so often in a row is left alone for `NUMBER_REST`."""
NUMBER_REST = 30.0
"""Seconds that Meta is not called for a phone number that it refused too often."""


class PhoneNumbers(Protocol):
    """Where linked phone numbers are found."""

    async def phone_number(self, phone_number_id: str) -> PhoneNumber | None:
        """Find a linked number with its token; None when it is not linked."""
        ...


class Numbers:
    """The linked phone numbers, as callers may use them."""

    def __init__(
        self, linked: PhoneNumbers, circuits: Circuits[AccessDeniedByMetaException], *, account_id: str, region: str
    ) -> None:
        """`circuits` are those of the phone numbers."""
        self._linked = linked
        self._circuits = circuits
        self._account_id = account_id
        self._region = region

    async def authorized(self, action: str, value: str, caller: Caller, call: Call) -> PhoneNumber:
        """Find the phone number that `value` (an id or ARN) names, for an action that the caller may do with it.

        The policy is asked first, so that it hides what is linked. Raises an `ApiError`.
        """
        number_id = arns.phone_number_id_from(value, self._account_id, self._region)
        if number_id is None:
            raise _not_linked()
        call.phone_number_id = number_id
        caller.authorize(action, arns.phone_number_arn(number_id, self._account_id, self._region))
        number = await self._linked.phone_number(number_id)
        if number is None:
            raise _not_linked()
        return number

    @asynccontextmanager
    async def circuit(self, number: PhoneNumber) -> AsyncGenerator[None]:
        """Refuse calls for a number that Meta refuses again and again; what Meta says of a media does not count."""
        # A circuit is a token's too: an account that was linked again with a new one starts anew.
        name = f"{number.id} {hash(number.token.access_token.get_secret_value())}"
        refusal = self._circuits.refusal(name)
        if refusal is not None:
            raise AccessDeniedByMetaException(
                f"{refusal.message} Meta is not asked again for a while, after {MOST_REFUSALS} such answers in a row."
            )
        try:
            yield
        except AccessDeniedByMetaException as error:
            self._circuits.failed(name, error)
            raise
        self._circuits.succeeded(name)


def _not_linked() -> ResourceNotFoundException:
    return ResourceNotFoundException(
        "No phone number with this id is linked in this account and region. `whaul accounts` lists what is linked."
    )
