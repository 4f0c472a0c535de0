"""The shapes of AssociateWhatsAppBusinessAccount."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import msgspec
from pydantic import SecretStr

from whaul.errors import InvalidParametersException
from whaul.wire.constraints import WABA_ID, Constraint, Member, check, too_many
from whaul.wire.protocol import decoded
from whaul.wire.tags import Tag, tag_members, tags_of

ACCESS_TOKEN = Constraint(required=True, most=1000, sensitive=True)
CALLBACK_URL = Constraint(most=100)
IN_PROGRESS_TOKEN = Constraint(required=True, most=50, sensitive=True)
META_WABA_ID = Constraint(least=1, most=100)
META_NUMBER_ID = Constraint(required=True, least=1, most=100)
PIN = Constraint(required=True, least=1, most=6, sensitive=True)
COUNTRY = Constraint(pattern="[A-Z]{2}")
DESTINATION_ARN = Constraint(required=True, most=2048, pattern="arn:.*:[a-z-]+([/:](.*))?")
ROLE_ARN = Constraint(pattern=r"arn:.*:iam::\d{12}:role\/[a-zA-Z0-9+=,.@\-_]+")
MOST_DESTINATIONS = 1
PIN_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Registration:
    """A phone number to register at Meta."""

    meta_id: str
    pin: SecretStr
    region: str | None
    tags: dict[str, str]


@dataclass(frozen=True, slots=True)
class Finalization:
    """The second step: what to link and register. Either the account is given or the linked one to add numbers to."""

    token: SecretStr
    meta_waba_id: str | None
    parent: str | None
    """The id or ARN of a linked account."""
    tags: dict[str, str]
    numbers: tuple[Registration, ...] = field(repr=False)


class _Callback(msgspec.Struct, rename="camel"):
    access_token: str | None = None
    callback_url: str | None = None


class _Destination(msgspec.Struct, rename="camel"):
    event_destination_arn: str | None = None
    role_arn: str | None = None


class _Account(msgspec.Struct, rename="camel"):
    id: str | None = None
    event_destinations: list[_Destination] | None = None
    tags: list[Tag] | None = None


class _Number(msgspec.Struct, rename="camel"):
    id: str | None = None
    two_factor_pin: str | None = None
    data_localization_region: str | None = None
    tags: list[Tag] | None = None


class _Finalization(msgspec.Struct, rename="camel"):
    associate_in_progress_token: str | None = None
    phone_numbers: list[_Number] | None = None
    phone_number_parent: str | None = None
    waba: _Account | None = None


class _Associate(msgspec.Struct, rename="camel"):
    signup_callback: _Callback | None = None
    setup_finalization: _Finalization | None = None


_decoder = msgspec.json.Decoder(_Associate)


def associate(body: bytes) -> SecretStr | Finalization:
    """Read the input: Meta's access token for the first step, or what the second one needs.

    Raises `SerializationException`, `ValidationException`, and `InvalidParametersException` for members that make no
    sense together or that this service cannot honour.
    """
    given = decoded(_decoder, body)
    callback, final = given.signup_callback, given.setup_finalization
    if callback is not None:
        check(
            [
                (ACCESS_TOKEN, "signupCallback.accessToken", callback.access_token),
                (CALLBACK_URL, "signupCallback.callbackUrl", callback.callback_url),
            ]
        )
    if final is not None:
        destinations = final.waba.event_destinations if final.waba else None
        path = "setupFinalization.waba.eventDestinations"
        check(list(_members(final)), too_many(path, destinations, MOST_DESTINATIONS))
    if (callback is None) == (final is None):
        raise InvalidParametersException("Give either signupCallback or setupFinalization.")
    if final is not None:
        return _finalization(final)
    assert callback is not None  # noqa: S101 - one of the two is there
    if callback.callback_url:
        raise InvalidParametersException(
            "whaul receives no webhooks: leave callbackUrl out, and set it in the App Dashboard of your Meta app."
        )
    if not (callback.access_token or "").isascii() or not (callback.access_token or "").isprintable():
        raise InvalidParametersException("signupCallback.accessToken is not an access token of Meta's.")
    if not callback.access_token:
        raise InvalidParametersException("signupCallback.accessToken is empty.")
    return SecretStr(callback.access_token)


def _members(final: _Finalization) -> Iterator[Member]:
    path = "setupFinalization"
    present = None if final.phone_numbers is None else ""
    yield IN_PROGRESS_TOKEN, f"{path}.associateInProgressToken", final.associate_in_progress_token
    yield Constraint(required=True), f"{path}.phoneNumbers", present
    yield replace(WABA_ID, required=False), f"{path}.phoneNumberParent", final.phone_number_parent
    for place, number in enumerate(final.phone_numbers or (), start=1):
        at = f"{path}.phoneNumbers.{place}.member"
        yield META_NUMBER_ID, f"{at}.id", number.id
        yield PIN, f"{at}.twoFactorPin", number.two_factor_pin
        yield COUNTRY, f"{at}.dataLocalizationRegion", number.data_localization_region
        yield from tag_members(f"{at}.tags", number.tags)
    if final.waba is not None:
        yield META_WABA_ID, f"{path}.waba.id", final.waba.id
        for place, destination in enumerate(final.waba.event_destinations or (), start=1):
            at = f"{path}.waba.eventDestinations.{place}.member"
            yield DESTINATION_ARN, f"{at}.eventDestinationArn", destination.event_destination_arn
            yield ROLE_ARN, f"{at}.roleArn", destination.role_arn
        yield from tag_members(f"{path}.waba.tags", final.waba.tags)


def _finalization(final: _Finalization) -> Finalization:
    account, numbers = final.waba or _Account(), final.phone_numbers or []
    if account.event_destinations:
        raise InvalidParametersException(
            "whaul has no event destinations: leave eventDestinations out or empty; Meta's webhooks go to your app."
        )
    if (account.id is None) == (final.phone_number_parent is None):
        raise InvalidParametersException(
            "Give either waba.id, to link an account, or phoneNumberParent, to add numbers to one that is linked."
        )
    if len({number.id for number in numbers}) != len(numbers):
        raise InvalidParametersException("A phone number is given twice.")
    for number in numbers:
        pin = number.two_factor_pin or ""
        if len(pin) != PIN_DIGITS or not (pin.isascii() and pin.isdigit()):
            raise InvalidParametersException(f"A twoFactorPin has {PIN_DIGITS} digits.")
    for id_ in (account.id, *(number.id for number in numbers)):
        if id_ is not None and not (id_.isascii() and id_.isdigit()):
            raise InvalidParametersException("waba.id and phoneNumbers.id are Meta's ids, which are digits.")
    return Finalization(
        token=SecretStr(final.associate_in_progress_token or ""),
        meta_waba_id=account.id,
        parent=final.phone_number_parent,
        tags=tags_of(account.tags),
        numbers=tuple(
            Registration(
                number.id or "",
                SecretStr(number.two_factor_pin or ""),
                number.data_localization_region,
                tags_of(number.tags),
            )
            for number in numbers
        ),
    )
