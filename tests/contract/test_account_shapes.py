import json
from dataclasses import replace
from datetime import UTC, datetime

import botocore.session
import pytest
from botocore.model import ServiceModel, StructureShape
from botocore.parsers import create_parser

from whaul.model import LinkedAccount, LinkedPhoneNumber
from whaul.operations.shapes import linked_account, linked_account_summary, phone_number

NUMBER = LinkedPhoneNumber(
    id="phone-number-id-0123456789abcdef0123456789abcdef",
    arn="arn:aws:social-messaging:us-east-1:000000000000:phone-number-id/0123456789abcdef0123456789abcdef",
    meta_id="106540352242922",
    display_phone_number="+1 555-010-0100",
    verified_name="Lucky Shrub",
    quality_rating="GREEN",
)
ACCOUNT = LinkedAccount(
    id="waba-0123456789abcdef0123456789abcdef",
    arn="arn:aws:social-messaging:us-east-1:000000000000:waba/0123456789abcdef0123456789abcdef",
    meta_waba_id="102290129340398",
    name="Lucky Shrub",
    linked_at=datetime(2026, 3, 1, 12, 30, 0, 250000, tzinfo=UTC),
    has_app_secret=True,
    phone_numbers=(NUMBER,),
)


@pytest.fixture(scope="module")
def model() -> ServiceModel:
    return botocore.session.get_session().get_service_model("socialmessaging")


def _compare(shaped: dict[str, object], shape: StructureShape) -> None:
    assert set(shape.required_members) <= set(shaped)
    assert set(shaped) <= set(shape.members)


def test_a_linked_account_has_the_members_of_the_service_model(model: ServiceModel) -> None:
    _compare(linked_account(ACCOUNT), model.shape_for("LinkedWhatsAppBusinessAccount"))


def test_a_summary_has_the_members_of_the_service_model(model: ServiceModel) -> None:
    shaped = linked_account_summary(ACCOUNT)
    _compare(shaped, model.shape_for("LinkedWhatsAppBusinessAccountSummary"))
    assert "phoneNumbers" not in shaped


def test_a_phone_number_has_the_members_of_the_service_model(model: ServiceModel) -> None:
    _compare(phone_number(NUMBER), model.shape_for("WhatsAppPhoneNumberSummary"))


def test_botocore_reads_a_linked_account_back(model: ServiceModel) -> None:
    shape = model.operation_model("GetLinkedWhatsAppBusinessAccount").output_shape
    answer = {"status_code": 200, "headers": {}, "body": json.dumps({"account": linked_account(ACCOUNT)}).encode()}
    account = create_parser("rest-json").parse(answer, shape)["account"]
    assert account["linkDate"] == ACCOUNT.linked_at
    assert account["phoneNumbers"][0]["phoneNumberId"] == NUMBER.id
    assert account["eventDestinations"] == []


def test_statuses_are_those_of_the_service_model(model: ServiceModel) -> None:
    known = model.shape_for("RegistrationStatus").enum
    assert linked_account(ACCOUNT)["registrationStatus"] == "COMPLETE"
    assert linked_account(replace(ACCOUNT, phone_numbers=()))["registrationStatus"] == "INCOMPLETE"
    assert {"COMPLETE", "INCOMPLETE"} <= set(known)


def test_the_link_date_is_iso_8601_with_its_offset() -> None:
    assert linked_account(ACCOUNT)["linkDate"] == "2026-03-01T12:30:00.250000+00:00"


@pytest.mark.parametrize(
    "display",
    ["+1 555-010-0100", "15550100100", "+1 (555) 010‑0100", "+1.555.010.0100"],  # noqa: RUF001
)
def test_the_phone_number_is_written_in_e164(display: str) -> None:
    shaped = phone_number(replace(NUMBER, display_phone_number=display))
    assert shaped["phoneNumber"] == "+15550100100"
    assert shaped["displayPhoneNumber"] == display
