"""The operations on linked accounts: list, show, unlink."""

from datetime import datetime

from whaul import arns
from whaul.api import response
from whaul.api.request import Request
from whaul.api.response import Response
from whaul.auth.authenticator import Caller
from whaul.errors import ResourceNotFoundException, ValidationException
from whaul.operations.refresh import Refreshes
from whaul.registry import shapes
from whaul.registry.accounts import Accounts
from whaul.registry.errors import PageTokenError
from whaul.telemetry.call import Call
from whaul.wire import accounts as inputs

LIST = "social-messaging:ListLinkedWhatsAppBusinessAccounts"
GET = "social-messaging:GetLinkedWhatsAppBusinessAccount"
GET_NUMBER = "social-messaging:GetLinkedWhatsAppBusinessAccountPhoneNumber"
DISASSOCIATE = "social-messaging:DisassociateWhatsAppBusinessAccount"


class AccountOperations:
    """The operations over the registry. Each raises an `ApiError`.

    Policies are asked before anything is looked up, so that they hide what is linked.
    """

    def __init__(self, accounts: Accounts, refreshes: Refreshes, *, account_id: str, region: str) -> None:
        self._accounts = accounts
        self._refreshes = refreshes
        self._account_id = account_id
        self._region = region

    async def list(self, given: Request, caller: Caller, call: Call) -> Response:
        """Answer ListLinkedWhatsAppBusinessAccounts: the first linked first."""
        most, token = inputs.list_accounts(given.query)
        caller.authorize(LIST, "*")  # the action has no resources at AWS
        try:
            page = await self._accounts.account_page(most, token)
        except PageTokenError:
            raise ValidationException(
                "1 validation error detected: Value at 'nextToken' failed to satisfy constraint: Member must be the "
                "nextToken of an earlier answer to this operation, unchanged"
            ) from None
        self._refreshes.served(page.accounts, call)
        answer: shapes.Shape = {
            "linkedAccounts": [shapes.linked_account_summary(account, _epoch) for account in page.accounts]
        }
        if page.next_token is not None:
            answer["nextToken"] = page.next_token
        return response.body(answer), []

    async def get(self, given: Request, caller: Caller, call: Call) -> Response:
        """Answer GetLinkedWhatsAppBusinessAccount."""
        id_ = self._authorized(GET, inputs.waba_id(given.query), caller)
        account = await self._accounts.account(id_)
        if account is None:
            raise _not_linked("account")
        self._refreshes.served([account], call)
        return response.body({"account": shapes.linked_account(account, _epoch)}), []

    async def get_number(self, given: Request, caller: Caller, call: Call) -> Response:
        """Answer GetLinkedWhatsAppBusinessAccountPhoneNumber."""
        value = inputs.phone_number_id(given.query)
        id_ = arns.phone_number_id_from(value, self._account_id, self._region)
        if id_ is None:
            raise _not_linked("phone number")
        call.phone_number_id = id_
        caller.authorize(GET_NUMBER, arns.phone_number_arn(id_, self._account_id, self._region))
        account = await self._accounts.account_with(id_)
        # An account is read before its numbers, and one of them may have gone in between.
        number = next((number for number in account.phone_numbers if number.id == id_), None) if account else None
        if account is None or number is None:
            raise _not_linked("phone number")
        self._refreshes.served([account], call)
        return response.body(
            {"phoneNumber": shapes.phone_number(number), "linkedWhatsAppBusinessAccountId": account.id}
        ), []

    async def disassociate(self, given: Request, caller: Caller, _call: Call) -> Response:
        """Answer DisassociateWhatsAppBusinessAccount: the account, its numbers, its token and the tags are gone."""
        id_ = self._authorized(DISASSOCIATE, inputs.waba_id(given.query), caller)
        if not await self._accounts.unlink(id_):
            raise _not_linked("account")
        return response.body({}), []

    def _authorized(self, action: str, value: str, caller: Caller) -> str:
        """The account id that `value` (an id or ARN) names, if the caller may do this with it."""
        id_ = arns.waba_id_from(value, self._account_id, self._region)
        if id_ is None:
            raise _not_linked("account")
        caller.authorize(action, arns.waba_arn(id_, self._account_id, self._region))
        return id_


def _epoch(date: datetime) -> float:
    """Write a date as rest-json does: seconds since 1970, to the millisecond.

    https://smithy.io/2.0/spec/protocol-traits.html#timestampformat-trait
    """
    return round(date.timestamp(), 3)


def _not_linked(what: str) -> ResourceNotFoundException:
    return ResourceNotFoundException(
        f"No {what} with this id is linked in this account and region. `whaul accounts` lists what is linked."
    )
