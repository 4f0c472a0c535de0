"""AssociateWhatsAppBusinessAccount: a customer's accounts found with Meta's token, then one of them linked."""

import asyncio
from dataclasses import replace

from pydantic import SecretStr

from whaul import arns
from whaul.api import response
from whaul.api.request import Request
from whaul.api.response import Response
from whaul.auth.authenticator import Caller
from whaul.errors import AccessDeniedByMetaException, ApiError, InvalidParametersException, ResourceNotFoundException
from whaul.graph.accounts import AccountCalls, MetaAccount
from whaul.model import GraphToken
from whaul.operations.tags import TAG, too_many
from whaul.registry import shapes
from whaul.registry.errors import TooManyTagsError
from whaul.registry.records import LinkedPhoneNumber, NewAccount, NewPhoneNumber, Tags
from whaul.registry.signups import Signups
from whaul.registry.tags import MOST_TAGS
from whaul.telemetry.call import Call
from whaul.transfer.attempts import Attempts
from whaul.wire.signup import Finalization, Registration, associate

ASSOCIATE = "social-messaging:AssociateWhatsAppBusinessAccount"
MOST_ACCOUNTS = 20
"""Accounts of one token that are described; Meta names the newest first."""


class SignupOperation:
    """The operation over the registry and the Graph API."""

    def __init__(self, signups: Signups, graph: AccountCalls, *, account_id: str, region: str, deadline: float) -> None:
        """`deadline` is in seconds, for one call."""
        self._signups = signups
        self._graph = graph
        self._account_id = account_id
        self._region = region
        self._deadline = deadline

    async def associate(self, given: Request, caller: Caller, _call: Call) -> Response:
        """Answer either step. Raises an `ApiError`, of those that the model has for this operation."""
        step = associate(given.body)
        caller.authorize(ASSOCIATE, "*")  # the action has no resources at AWS
        attempts = Attempts(asyncio.get_running_loop().time() + self._deadline)
        try:
            async with attempts.bounded():
                if isinstance(step, Finalization):
                    return await self._finish(step, caller, attempts), []
                return await self._begin(step, attempts), []
        except (AccessDeniedByMetaException, ResourceNotFoundException) as error:  # the model has neither here
            raise InvalidParametersException(error.message) from error

    async def _begin(self, access_token: SecretStr, attempts: Attempts) -> bytes:
        """Find the accounts that a token may manage, and keep it for the second step."""
        token = GraphToken(access_token)
        found = await attempts.run(lambda: self._graph.token(token))
        if not found.is_valid:
            raise InvalidParametersException("Meta says that the access token is not valid. Sign up again.")
        if not found.account_ids:
            raise InvalidParametersException(
                "The access token is bound to no WhatsApp Business Account (whatsapp_business_management). "
                "A system user's token is linked with `whaul link`."
            )
        accounts = {}
        for id_ in found.account_ids[:MOST_ACCOUNTS]:
            account = await attempts.run(lambda id_=id_: self._graph.account(token, id_))  # type: ignore[misc]
            accounts[id_] = await self._incomplete(id_, account)
        in_progress = await self._signups.begin_signup(access_token)
        result = {
            "associateInProgressToken": in_progress.get_secret_value(),
            "linkedAccountsWithIncompleteSetup": accounts,
        }
        return response.body({"signupCallbackResult": result, "statusCode": 200})

    async def _incomplete(self, meta_waba_id: str, account: MetaAccount) -> shapes.Shape:
        """Shape a `LinkedWhatsAppBusinessAccountIdMetaData`."""
        id_ = arns.waba_id(self._account_id, meta_waba_id)
        linked = await self._signups.account(id_)
        numbers = [self._described(number) for number in _numbers(account)]
        complete = linked is not None and bool(numbers) and all(number.is_registered for number in numbers)
        return {
            "accountName": account.name,
            "registrationStatus": "COMPLETE" if complete else "INCOMPLETE",
            "unregisteredWhatsAppPhoneNumbers": [
                shapes.phone_number(number) for number in numbers if not number.is_registered
            ],
            "wabaId": id_,
        }

    async def _finish(self, step: Finalization, caller: Caller, attempts: Attempts) -> bytes:
        """Register the numbers, and link their account. What Meta refuses leaves the sign-up to be finished."""
        meta_waba_id = await self._meta_waba_id(step)
        tags = self._authorized_tags(step, meta_waba_id, caller)
        access_token = await self._signups.signup(step.token)
        if access_token is None:
            raise _unknown()
        token = GraphToken(access_token)
        account = await attempts.run(lambda: self._graph.account(token, meta_waba_id))
        known = {number.meta_id for number in account.phone_numbers}
        if not {number.meta_id for number in step.numbers} <= known:
            raise InvalidParametersException("A phone number that is given is not one of the account's.")
        for number in step.numbers:  # once: Meta counts attempts, and locks a number after too many
            await self._graph.register(token, number.meta_id, number.pin, number.region)
        await attempts.run(lambda: self._graph.subscribe(token, meta_waba_id))
        registered = {number.meta_id: number for number in step.numbers}
        new = NewAccount(
            meta_waba_id=meta_waba_id,
            name=account.name,
            access_token=access_token,
            app_secret=None,
            phone_numbers=tuple(_registered(number, registered.get(number.meta_id)) for number in _numbers(account)),
            token_expires_at=await self._graph.token_expiry(token),
        )
        try:
            linked = await self._signups.finish_signup(step.token, new, tags)
        except TooManyTagsError:
            raise too_many() from None
        if linked is None:
            raise _unknown()
        return response.body({"statusCode": 200, "linkedWhatsAppBusinessAccountId": linked.id})

    async def _meta_waba_id(self, step: Finalization) -> str:
        if step.meta_waba_id is not None:
            return step.meta_waba_id
        id_ = arns.waba_id_from(step.parent or "", self._account_id, self._region)
        parent = await self._signups.account(id_) if id_ is not None else None
        if parent is None:
            raise InvalidParametersException("phoneNumberParent names nothing linked in this account and region.")
        return parent.meta_waba_id

    def _authorized_tags(self, step: Finalization, meta_waba_id: str, caller: Caller) -> dict[str, Tags]:
        """The tags by resource id; setting them is an action of its own."""
        waba_id = arns.waba_id(self._account_id, meta_waba_id)
        named = [(waba_id, arns.waba_arn(waba_id, self._account_id, self._region), step.tags)]
        for number in step.numbers:
            id_ = arns.phone_number_id(self._account_id, number.meta_id)
            named.append((id_, arns.phone_number_arn(id_, self._account_id, self._region), number.tags))
        for _, arn, tags in named:
            if tags:
                caller.authorize(TAG, arn)
            if len(tags) > MOST_TAGS:  # told before Meta registers anything
                raise too_many()
        return {id_: tags for id_, _, tags in named if tags}

    def _described(self, number: NewPhoneNumber) -> LinkedPhoneNumber:
        id_ = arns.phone_number_id(self._account_id, number.meta_id)
        return LinkedPhoneNumber(
            id=id_,
            arn=arns.phone_number_arn(id_, self._account_id, self._region),
            meta_id=number.meta_id,
            display_phone_number=number.display_phone_number,
            verified_name=number.verified_name,
            quality_rating=number.quality_rating,
            status=number.status,
        )


def _numbers(account: MetaAccount) -> tuple[NewPhoneNumber, ...]:
    return tuple(
        NewPhoneNumber(n.meta_id, n.display_phone_number, n.verified_name, n.quality_rating, n.status)
        for n in account.phone_numbers
    )


def _registered(number: NewPhoneNumber, registration: Registration | None) -> NewPhoneNumber:
    if registration is None:
        return number
    return replace(number, status="CONNECTED", data_localization_region=registration.region)


def _unknown() -> ApiError:
    return InvalidParametersException(
        "This associateInProgressToken is unknown, used, or older than an hour. Begin again with signupCallback."
    )
