"""What AssociateWhatsAppBusinessAccount refuses although it keeps the model's constraints, before Meta is asked."""

import json
from typing import Any

import pytest

from whaul.api.request import Reader, Request
from whaul.api.service import OPERATIONS
from whaul.errors import InvalidParametersException
from whaul.operations.signup import check_step

READER = Reader("AssociateWhatsAppBusinessAccount")
WABA = "waba-0123456789abcdef0123456789abcdef"
SECRET = "s3cr3t"
NUMBER = {"id": "501", "twoFactorPin": "012345"}
LEAST = {"associateInProgressToken": SECRET, "phoneNumbers": [NUMBER], "waba": {"id": "401"}}


def final(**members: Any) -> bytes:
    return json.dumps({"setupFinalization": {k: v for k, v in (LEAST | members).items() if v is not None}}).encode()


def refusal(body: bytes) -> str:
    members = READER.read(Request(b"", body))
    with pytest.raises(InvalidParametersException) as caught:
        check_step(members)
    assert SECRET not in caught.value.message
    assert "012345" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"signupCallback": {"accessToken": "EAAG" * 250}, "setupFinalization": None}).encode(),
        json.dumps({"signupCallback": {"accessToken": "EAAG", "callbackUrl": ""}}).encode(),
        final(),
        final(waba=None, phoneNumberParent=WABA),
        final(phoneNumbers=[]),
        final(waba={"id": "401", "eventDestinations": [], "tags": [{"key": "a", "value": "1"}, {"key": "b"}]}),
    ],
)
def test_either_step_is_taken(body: bytes) -> None:
    check_step(READER.read(Request(b"", body)))


@pytest.mark.parametrize(
    ("body", "advice"),
    [
        (b"{}", "either signupCallback or setupFinalization"),
        (final()[:-1] + b', "signupCallback": {"accessToken": "x"}}', "either signupCallback or setupFinalization"),
        (b'{"signupCallback": {"accessToken": ""}}', "empty"),
        ('{"signupCallback": {"accessToken": "ü"}}'.encode(), "not an access token"),
        (b'{"signupCallback": {"accessToken": "a\\r\\nx: y"}}', "not an access token"),
        (b'{"signupCallback": {"accessToken": "x", "callbackUrl": "https://example.com"}}', "callbackUrl"),
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
    assert advice in refusal(body)


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
    modelled = OPERATIONS[operation].errors
    assert not missing & modelled
    assert {"InvalidParametersException", "ValidationException", "AccessDeniedException"} <= modelled
