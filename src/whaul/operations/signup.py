"""AssociateWhatsAppBusinessAccount: a customer's accounts found with Meta's token, then one of them linked.

https://developers.facebook.com/documentation/business-messaging/whatsapp/embedded-signup/overview
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from whaul.api.request import Members
from whaul.api.response import Document
from whaul.arns import Arns
from whaul.errors import AccessDeniedByMetaException, ApiError, InvalidParametersException, ResourceNotFoundException
from whaul.events.receiving.subscriptions import PATH, Override, SubscriptionError, callback_url, subscribe
from whaul.graph.errors import CallKind
from whaul.model import GraphToken, LinkedPhoneNumber, MetaAccount, MetaPhoneNumber
from whaul.operations import event_destinations
from whaul.operations.call import ResourceCall, Row, on_service
from whaul.operations.shapes import phone_number
from whaul.operations.tags import tags_of, too_many
from whaul.operations.waba import LINKING, read_account, read_token, with_token
from whaul.outbound.netguard import ForbiddenUrlError, parse_url
from whaul.registry.errors import TooManyTagsError
from whaul.registry.signups import Signup
from whaul.registry.tags import MAX_TAGS, TagValues

TAG = "social-messaging:TagResource"
REGISTERING: Final = CallKind(is_repeatable=False, names_object=False)
"""Meta counts registrations, and locks a number after too many."""
_WEBHOOKS: Final = re.compile(rf"{PATH}(/[0-9]+)?/?")
MAX_ACCOUNTS = 20
"""Accounts of one token that are described; Meta names the newest first."""
PIN_DIGITS = 6


async def associate(call: ResourceCall) -> Document:
    """Do either step. Raises errors of those that the model has for this operation."""
    final = call.members.get("setupFinalization")
    try:
        async with call.attempts.bounded():
            return await (_begin(call) if final is None else _finish(call, final))
    except (AccessDeniedByMetaException, ResourceNotFoundException) as error:  # the model has neither here
        raise InvalidParametersException(error.message) from error


def check_step(members: Members) -> None:
    """Raise `InvalidParametersException` for what makes no sense together, or that this service cannot honour."""
    callback, final = members.get("signupCallback"), members.get("setupFinalization")
    if (callback is None) == (final is None):
        raise InvalidParametersException("Give either signupCallback or setupFinalization.")
    if final is not None:
        _check_finalization(final)
    elif callback is not None:
        _check_callback(callback)


OPERATIONS: Final[Mapping[str, Row]] = {"AssociateWhatsAppBusinessAccount": on_service(associate, check_step)}


def _check_callback(callback: Members) -> None:
    token = callback["accessToken"]
    url = callback.get("callbackUrl")
    if url and not _is_for_webhooks(url):
        raise InvalidParametersException(
            f"callbackUrl must be this server's URL for webhooks, such as https://hooks.example{PATH}. Leave it out "
            "where `whaul webhooks subscribe` is to have Meta send an account's webhooks here, or the app does it."
        )
    if not token.isascii() or not token.isprintable():
        raise InvalidParametersException("signupCallback.accessToken is not an access token of Meta's.")
    if not token:
        raise InvalidParametersException("signupCallback.accessToken is empty.")


def _is_for_webhooks(url: str) -> bool:
    """Whether it could be ours. Meta asks it before it takes it, with a token that only this installation knows."""
    try:
        parse_url(url)
    except ForbiddenUrlError:
        return False
    parts = urlsplit(url)
    return _WEBHOOKS.fullmatch(parts.path) is not None and not parts.query and not parts.fragment


def _check_finalization(final: Members) -> None:
    waba, numbers = final.get("waba") or {}, final["phoneNumbers"]
    if (waba.get("id") is None) == (final.get("phoneNumberParent") is None):
        raise InvalidParametersException(
            "Give either waba.id, to link an account, or phoneNumberParent, to add numbers to one that is linked."
        )
    if len({number["id"] for number in numbers}) != len(numbers):
        raise InvalidParametersException("A phone number is given twice.")
    for number in numbers:
        pin = number["twoFactorPin"]
        if len(pin) != PIN_DIGITS or not (pin.isascii() and pin.isdigit()):
            raise InvalidParametersException(f"A twoFactorPin has {PIN_DIGITS} digits.")
    for id_ in (waba.get("id"), *(number["id"] for number in numbers)):
        if id_ is not None and not (id_.isascii() and id_.isdigit()):
            raise InvalidParametersException("waba.id and phoneNumbers.id are Meta's ids, which are digits.")
    for tagged in (waba, *numbers):
        tags_of(tagged.get("tags"))


async def _begin(call: ResourceCall) -> Document:
    """Find the accounts that a token may manage, and keep it for the second step."""
    access_token = SecretStr(call.members["signupCallback"]["accessToken"])
    token = GraphToken(access_token)
    found = await call.attempts.run(lambda: read_token(call.components.graph, token))
    if not found.is_valid:
        raise InvalidParametersException("Meta says that the access token is not valid. Sign up again.")
    if not found.account_ids:
        raise InvalidParametersException(
            "The access token is bound to no WhatsApp Business Account (whatsapp_business_management). "
            "A system user's token is linked with `whaul link`."
        )
    url = call.members["signupCallback"].get("callbackUrl")
    callback = None if not url else _callback(url, found.app_id)
    accounts = {}
    for id_ in found.account_ids[:MAX_ACCOUNTS]:
        accounts[id_] = await _incomplete(call, id_, await _read_account(call, token, id_))
    in_progress = await call.components.registry.signups.begin(Signup(access_token, callback))
    result = {
        "associateInProgressToken": in_progress.get_secret_value(),
        "linkedAccountsWithIncompleteSetup": accounts,
    }
    return {"signupCallbackResult": result, "statusCode": 200}


def _callback(url: str, app_id: str | None) -> str:
    """Make the URL that Meta is given."""
    named = urlsplit(url).path.removeprefix(PATH).strip("/")
    if app_id is None or (named and named != app_id):
        raise InvalidParametersException(
            "callbackUrl ends in the id of another app than the access token's, or Meta does not say which app that is."
        )
    try:
        return callback_url(url, app_id)
    except SubscriptionError as error:
        raise InvalidParametersException(f"callbackUrl: {error}") from None


async def _read_account(call: ResourceCall, token: GraphToken, meta_waba_id: str) -> MetaAccount:
    return await call.attempts.run(lambda: read_account(call.components.graph, token, meta_waba_id, LINKING))


async def _incomplete(call: ResourceCall, meta_waba_id: str, account: MetaAccount) -> Document:
    """Shape a `LinkedWhatsAppBusinessAccountIdMetaData`."""
    id_ = call.components.rules.arns.waba_id(meta_waba_id)
    linked = await call.components.registry.accounts.find(id_)
    numbers = [_described(call, number) for number in account.phone_numbers]
    return {
        "accountName": account.name,
        "registrationStatus": "COMPLETE" if linked is not None and account.is_complete else "INCOMPLETE",
        "unregisteredWhatsAppPhoneNumbers": [phone_number(number) for number in numbers if not number.is_registered],
        "wabaId": id_,
    }


async def _finish(call: ResourceCall, final: Members) -> Document:
    """Register the numbers, and link their account. What Meta refuses leaves the sign-up to be finished."""
    registry, graph = call.components.registry, call.components.graph
    in_progress, chosen = SecretStr(final["associateInProgressToken"]), final["phoneNumbers"]
    meta_waba_id = await _meta_waba_id(call, final)
    tags = _authorized_tags(call, final, meta_waba_id)
    destinations = (final.get("waba") or {}).get("eventDestinations")
    destination = event_destinations.read(destinations or [])
    await event_destinations.authorize(call.caller, call.components.event_destinations, destination)
    signup = await registry.signups.find(in_progress)
    if signup is None:
        raise _unknown()
    token = GraphToken(signup.access_token)
    account = await _read_account(call, token, meta_waba_id)
    if not {number["id"] for number in chosen} <= {number.meta_id for number in account.phone_numbers}:
        raise InvalidParametersException("A phone number that is given is not one of the account's.")
    account = await with_token(graph, token, account)
    await _subscribe(call, token, account, signup.callback_url)
    for number in chosen:  # once: Meta counts attempts, and locks a number after too many
        doing = f"registering phone number {number['id']}"
        await graph.post(token, f"{number['id']}/register", _registration(number), Any, doing, call=REGISTERING)
    regions = {number["id"]: number.get("dataLocalizationRegion") for number in chosen}
    new = replace(
        account,
        phone_numbers=tuple(
            replace(number, status="CONNECTED", data_localization_region=regions[number.meta_id])
            if number.meta_id in regions
            else number
            for number in account.phone_numbers
        ),
    )
    try:
        linked = await registry.signups.finish(in_progress, new, token, tags)
    except TooManyTagsError:
        raise too_many() from None
    if linked is None:
        raise _unknown()
    if destinations is not None:
        await call.components.event_destinations.put(linked.id, destination)
    return {"statusCode": 200, "linkedWhatsAppBusinessAccountId": linked.id}


async def _subscribe(call: ResourceCall, token: GraphToken, account: MetaAccount, callback: str | None) -> None:
    """Subscribe the app to the account's webhooks, which go to `callback` if one is given."""
    graph = call.components.graph
    override = None if callback is None else Override(callback, await call.components.verify_tokens.current())
    await call.attempts.run(lambda: subscribe(graph, token, account.meta_waba_id, account.app_id, override))


def _registration(number: Members) -> dict[str, str]:
    """Write what registers a number for the Cloud API, and where its data is kept (ISO 3166, two letters).

    https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/registration
    """
    region = number.get("dataLocalizationRegion")
    body = {"messaging_product": "whatsapp", "pin": number["twoFactorPin"]}
    return body | ({"data_localization_region": region} if region is not None else {})


async def _meta_waba_id(call: ResourceCall, final: Members) -> str:
    id_ = (final.get("waba") or {}).get("id")
    if id_ is not None:
        return str(id_)
    parent_id = call.components.rules.arns.read_waba(final["phoneNumberParent"])
    parent = await call.components.registry.accounts.find(parent_id) if parent_id is not None else None
    if parent is None:
        raise InvalidParametersException("phoneNumberParent names nothing linked in this account and region.")
    return parent.meta_waba_id


def _authorized_tags(call: ResourceCall, final: Members, meta_waba_id: str) -> dict[str, TagValues]:
    """The tags by resource id; setting them is an action of its own."""
    arns, found = call.components.rules.arns, {}
    for id_, tags in _tagged(final, arns, meta_waba_id):
        if tags:
            call.caller.authorize(TAG, arns.arn(id_))
            found[id_] = tags
        if len(tags) > MAX_TAGS:  # told before Meta registers anything
            raise too_many()
    return found


def _tagged(final: Members, arns: Arns, meta_waba_id: str) -> Iterator[tuple[str, TagValues]]:
    yield arns.waba_id(meta_waba_id), tags_of((final.get("waba") or {}).get("tags"))
    for number in final["phoneNumbers"]:
        yield arns.phone_number_id(number["id"]), tags_of(number.get("tags"))


def _described(call: ResourceCall, number: MetaPhoneNumber) -> LinkedPhoneNumber:
    arns = call.components.rules.arns
    id_ = arns.phone_number_id(number.meta_id)
    return LinkedPhoneNumber(
        id=id_,
        arn=arns.arn(id_),
        meta_id=number.meta_id,
        display_phone_number=number.display_phone_number,
        verified_name=number.verified_name,
        quality_rating=number.quality_rating,
        status=number.status,
    )


def _unknown() -> ApiError:
    return InvalidParametersException(
        "This associateInProgressToken is unknown, used, or older than an hour. Begin again with signupCallback."
    )
