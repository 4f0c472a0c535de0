"""The input of AssociateWhatsAppBusinessAccount, with botocore as the oracle."""

import json
from typing import Any

import botocore.session
import pytest
from botocore.serialize import create_serializer
from pydantic import SecretStr

from whaul.api.service import ROUTES
from whaul.errors import ApiError, InvalidParametersException, SerializationException, ValidationException
from whaul.wire import signup
from whaul.wire.constraints import Constraint
from whaul.wire.signup import Finalization, Registration, associate

MODEL = botocore.session.Session().get_service_model("socialmessaging")
OPERATION = MODEL.operation_model("AssociateWhatsAppBusinessAccount")
WABA = "waba-0123456789abcdef0123456789abcdef"
SECRET = "s3cr3t"
NUMBER = {"id": "501", "twoFactorPin": "012345"}
LEAST = {"associateInProgressToken": SECRET, "phoneNumbers": [NUMBER], "waba": {"id": "401"}}


def written(**members: Any) -> bytes:
    request = create_serializer("rest-json").serialize_to_request(members, OPERATION)
    assert ROUTES[request["method"], request["url_path"]] == OPERATION.name
    return bytes(request["body"])


def final(**members: Any) -> bytes:
    return json.dumps({"setupFinalization": {k: v for k, v in (LEAST | members).items() if v is not None}}).encode()


def refusal(kind: type[ApiError], body: bytes) -> str:
    with pytest.raises(ApiError) as caught:
        associate(body)
    assert type(caught.value) is kind, caught.value.message
    assert SECRET not in caught.value.message
    assert "012345" not in caught.value.message
    return caught.value.message


def test_the_first_step_is_read() -> None:
    assert associate(written(signupCallback={"accessToken": "EAAG" * 250})) == SecretStr("EAAG" * 250)


def test_the_second_step_is_read() -> None:
    tags = [{"key": "a", "value": "1"}, {"key": "b"}]
    body = written(
        setupFinalization={
            "associateInProgressToken": SECRET,
            "phoneNumbers": [NUMBER | {"dataLocalizationRegion": "CH", "tags": tags}, {**NUMBER, "id": "502"}],
            "waba": {"id": "401", "eventDestinations": [], "tags": tags},
        }
    )
    number = Registration("501", SecretStr("012345"), "CH", {"a": "1", "b": ""})
    other = Registration("502", SecretStr("012345"), None, {})
    assert associate(body) == Finalization(SecretStr(SECRET), "401", None, {"a": "1", "b": ""}, (number, other))


def test_numbers_for_a_linked_account_are_read() -> None:
    found = associate(final(waba=None, phoneNumberParent=WABA))
    assert isinstance(found, Finalization)
    assert (found.meta_waba_id, found.parent) == (None, WABA)


def test_an_account_can_be_linked_without_registering_a_number() -> None:
    found = associate(final(phoneNumbers=[]))
    assert isinstance(found, Finalization)
    assert found.numbers == ()


@pytest.mark.parametrize(
    "body", [b"[]", b"{", b'{"signupCallback": 1}', b'{"setupFinalization": {"phoneNumbers": {}}}']
)
def test_what_is_not_of_these_types_is_refused(body: bytes) -> None:
    refusal(SerializationException, body)


@pytest.mark.parametrize(
    ("body", "violation"),
    [
        (b'{"signupCallback": {}}', "Value null at 'signupCallback.accessToken'"),
        (b'{"setupFinalization": {}}', "2 validation errors"),
        (json.dumps({"signupCallback": {"accessToken": SECRET * 200}}).encode(), "less than or equal to 1000"),
        (json.dumps({"signupCallback": {"accessToken": "x", "callbackUrl": "x" * 101}}).encode(), "equal to 100"),
        (final(associateInProgressToken=SECRET * 9), "less than or equal to 50"),
        (final(phoneNumbers=[{}]), "Value null at 'setupFinalization.phoneNumbers.1.member.id'"),
        (final(phoneNumbers=[NUMBER, {**NUMBER, "twoFactorPin": "0123456"}]), "phoneNumbers.2.member.twoFactorPin"),
        (final(phoneNumbers=[{**NUMBER, "twoFactorPin": ""}]), "greater than or equal to 1"),
        (final(phoneNumbers=[{**NUMBER, "dataLocalizationRegion": "ch"}]), "[A-Z]{2}"),
        (final(phoneNumbers=[{**NUMBER, "tags": [{}]}]), "member.tags.1.member.key"),
        (final(phoneNumberParent="401"), "phoneNumberParent"),
        (final(waba={"id": ""}), "'setupFinalization.waba.id'"),
        (final(waba={"id": "401", "tags": [{"key": "k" * 129}]}), "waba.tags.1.member.key"),
        (final(waba={"id": "401", "eventDestinations": [{}]}), "eventDestinations.1.member.eventDestinationArn"),
        (final(waba={"id": "4", "eventDestinations": [{"eventDestinationArn": "arn:x:sns"}] * 2}), "equal to 1"),
        (
            final(waba={"id": "4", "eventDestinations": [{"eventDestinationArn": "arn:x:sns", "roleArn": "x"}]}),
            "member.roleArn",
        ),
    ],
)
def test_what_breaks_a_constraint_is_refused(body: bytes, violation: str) -> None:
    assert violation in refusal(ValidationException, body)


@pytest.mark.parametrize(
    ("body", "advice"),
    [
        (b"{}", "either signupCallback or setupFinalization"),
        (final()[:-1] + b', "signupCallback": {"accessToken": "x"}}', "either signupCallback or setupFinalization"),
        (b'{"signupCallback": {"accessToken": ""}}', "empty"),
        ('{"signupCallback": {"accessToken": "ü"}}'.encode(), "not an access token"),
        (b'{"signupCallback": {"accessToken": "a\\r\\nx: y"}}', "not an access token"),
        (b'{"signupCallback": {"accessToken": "x", "callbackUrl": "https://example.com"}}', "callbackUrl"),
        (final(waba={"id": "4", "eventDestinations": [{"eventDestinationArn": "arn:x:sns"}]}), "eventDestinations"),
        (final(waba=None), "either waba.id"),
        (final(waba={}), "either waba.id"),
        (final(phoneNumberParent=WABA), "either waba.id"),
        (final(phoneNumbers=[NUMBER, NUMBER]), "twice"),
        (final(phoneNumbers=[{**NUMBER, "twoFactorPin": "12345"}]), "6 digits"),
        (final(phoneNumbers=[{**NUMBER, "twoFactorPin": "12345x"}]), "6 digits"),
        (final(phoneNumbers=[{**NUMBER, "twoFactorPin": "१२३४५६"}]), "6 digits"),
        (final(phoneNumbers=[{**NUMBER, "id": "501/register?x="}]), "digits"),
        (final(waba={"id": "../401"}), "digits"),
        (final(waba={"id": WABA}), "digits"),
        (final(waba={"id": "401", "tags": [{"key": "aws:x"}]}), "aws:"),
        (final(phoneNumbers=[{**NUMBER, "tags": [{"key": "a"}, {"key": "a"}]}]), "twice"),
    ],
)
def test_what_makes_no_sense_is_refused_with_advice(body: bytes, advice: str) -> None:
    assert advice in refusal(InvalidParametersException, body)


def test_secrets_are_in_no_representation() -> None:
    assert "012345" not in repr(associate(final()))
    assert SECRET not in repr(associate(final()))


@pytest.mark.parametrize(
    ("shape", "constraint"),
    [
        ("WhatsAppSignupCallbackAccessTokenString", signup.ACCESS_TOKEN),
        ("WhatsAppSignupCallbackCallbackUrlString", signup.CALLBACK_URL),
        ("AssociateInProgressToken", signup.IN_PROGRESS_TOKEN),
        ("WhatsAppBusinessAccountId", signup.META_WABA_ID),
        ("WhatsAppPhoneNumber", signup.META_NUMBER_ID),
        ("TwoFactorPin", signup.PIN),
        ("IsoCountryCode", signup.COUNTRY),
        ("EventDestinationArn", signup.DESTINATION_ARN),
        ("RoleArn", signup.ROLE_ARN),
    ],
)
def test_a_constraint_is_the_models(shape: str, constraint: Constraint) -> None:
    metadata = MODEL.shape_for(shape).metadata
    assert (constraint.least, constraint.most) == (metadata.get("min", 0), metadata.get("max"))
    assert constraint.pattern == metadata.get("pattern")
    assert constraint.sensitive or not metadata.get("sensitive")


@pytest.mark.parametrize(
    ("shape", "members", "required"),
    [
        ("AssociateWhatsAppBusinessAccountInput", "signupCallback setupFinalization", ""),
        ("WhatsAppSignupCallback", "accessToken callbackUrl", "accessToken"),
        (
            "WhatsAppSetupFinalization",
            "associateInProgressToken phoneNumbers phoneNumberParent waba",
            "associateInProgressToken phoneNumbers",
        ),
        ("WabaPhoneNumberSetupFinalization", "id twoFactorPin dataLocalizationRegion tags", "id twoFactorPin"),
        ("WabaSetupFinalization", "id eventDestinations tags", ""),
        ("WhatsAppBusinessAccountEventDestination", "eventDestinationArn roleArn", "eventDestinationArn"),
        ("WhatsAppSignupCallbackResult", "associateInProgressToken linkedAccountsWithIncompleteSetup", ""),
        (
            "LinkedWhatsAppBusinessAccountIdMetaData",
            "accountName registrationStatus unregisteredWhatsAppPhoneNumbers wabaId",
            "",
        ),
        (
            "AssociateWhatsAppBusinessAccountOutput",
            "signupCallbackResult statusCode linkedWhatsAppBusinessAccountId",
            "",
        ),
    ],
)
def test_the_model_has_no_member_that_is_not_known_here(shape: str, members: str, required: str) -> None:
    found = MODEL.shape_for(shape)
    assert (set(found.members), set(found.required_members)) == (set(members.split()), set(required.split()))


@pytest.mark.parametrize(
    ("operation", "missing"),
    [
        ("AssociateWhatsAppBusinessAccount", {"AccessDeniedByMetaException", "ResourceNotFoundException"}),
        ("TagResource", {"ResourceNotFoundException", "LimitExceededException"}),
        ("UntagResource", {"ResourceNotFoundException"}),
        ("ListTagsForResource", {"ResourceNotFoundException"}),
    ],
)
def test_the_errors_that_others_stand_in_for_are_still_not_modelled(operation: str, missing: set[str]) -> None:
    modelled = {shape.name for shape in MODEL.operation_model(operation).error_shapes}
    assert not missing & modelled
    assert {"InvalidParametersException", "ValidationException", "AccessDeniedException"} <= modelled
