"""Ids and ARNs of linked accounts and phone numbers: derived the same everywhere, and read back."""

import re

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whaul.arns import Arns, read_meta_id

ACCOUNT = "111122223333"
REGION = "eu-central-1"
HEX = "0123456789abcdef0123456789abcdef"
ARNS = Arns(ACCOUNT, REGION)


def test_ids_have_the_documented_form() -> None:
    assert re.fullmatch("phone-number-id-[0-9a-f]{32}", ARNS.phone_number_id("106540352242922"))
    assert re.fullmatch("waba-[0-9a-f]{32}", ARNS.waba_id("102290129340398"))


def test_ids_never_change_since_policies_name_them() -> None:
    assert ARNS.phone_number_id("106540352242922") == "phone-number-id-ac523b5e6b527a63c939fafd0342e870"
    assert ARNS.waba_id("102290129340398") == "waba-d591d26290e7a219668a0d6dac2d65e5"


def test_an_account_and_a_phone_number_with_the_same_meta_id_do_not_share_their_hex() -> None:
    assert ARNS.waba_id("1").removeprefix("waba-") != ARNS.phone_number_id("1")[-32:]


@given(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
def test_different_accounts_or_meta_ids_give_different_ids(a: str, b: str, c: str, d: str) -> None:
    assert (Arns(a, REGION).phone_number_id(b) == Arns(c, REGION).phone_number_id(d)) == ((a, b) == (c, d))


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("us-east-1", "aws"),
        ("cn-north-1", "aws-cn"),
        ("eusc-de-east-1", "aws-eusc"),
        ("us-iso-east-1", "aws-iso"),
        ("cn-northwest-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("us-gov-east-1", "aws-us-gov"),
    ],
)
def test_arns_name_the_partition_of_the_region(region: str, partition: str) -> None:
    assert botocore.session.get_session().get_partition_for_region(region) == partition
    assert (
        Arns(ACCOUNT, region).arn(f"phone-number-id-{HEX}")
        == f"arn:{partition}:social-messaging:{region}:{ACCOUNT}:phone-number-id/{HEX}"
    )
    assert Arns(ACCOUNT, region).arn(f"waba-{HEX}") == (
        f"arn:{partition}:social-messaging:{region}:{ACCOUNT}:waba/{HEX}"
    )


def test_arns_fit_the_patterns_and_lengths_of_the_service_model() -> None:
    model = botocore.session.get_session().get_service_model("socialmessaging")
    pattern = model.shape_for("LinkedWhatsAppBusinessAccountArn").metadata["pattern"]
    assert re.fullmatch(pattern, ARNS.arn(f"waba-{HEX}"))
    shape = model.operation_model("GetWhatsAppMessageMedia").input_shape.members["originationPhoneNumberId"]
    for region in ("us-east-1", "ap-southeast-2", "us-gov-west-1"):
        arn = Arns(ACCOUNT, region).arn(f"phone-number-id-{HEX}")
        assert re.match(shape.metadata["pattern"], arn)
        assert len(arn) <= 115


def test_a_phone_number_may_be_named_by_its_id() -> None:
    assert ARNS.read_phone_number(f"phone-number-id-{HEX}") == f"phone-number-id-{HEX}"


def test_a_phone_number_may_be_named_by_its_arn() -> None:
    id_ = ARNS.phone_number_id("1")
    assert ARNS.read_phone_number(ARNS.arn(id_)) == id_


def test_the_resource_of_an_arn_with_its_slash_replaced_is_the_id() -> None:
    id_ = ARNS.phone_number_id("1")
    resource = ARNS.arn(id_).split(":")[-1].replace("/", "-")
    assert ARNS.read_phone_number(resource) == id_


@pytest.mark.parametrize(
    "value",
    [
        "",
        "106540352242922",
        HEX,
        "phone-number-id-",
        f"phone-number-id-{HEX[:-1]}",
        f"phone-number-id-{HEX}0",
        f"phone-number-id-{HEX}\n",
        f" phone-number-id-{HEX}",
        f"phone-number-id-{HEX.upper()}",
        f"phone-number-id-{'g' * 32}",
        f"phone-number-id-{'٣' * 32}",
        f"PHONE-NUMBER-ID-{HEX}",
        f"phone-number-id/{HEX}",
        f"waba-{HEX}",
        f"arn:aws:social-messaging:{REGION}:999999999999:phone-number-id/{HEX}",
        f"arn:aws:social-messaging:us-east-1:{ACCOUNT}:phone-number-id/{HEX}",
        f"arn:aws-cn:social-messaging:{REGION}:{ACCOUNT}:phone-number-id/{HEX}",
        f"arn:aws:sms-voice:{REGION}:{ACCOUNT}:phone-number-id/{HEX}",
        f"arn:aws:social-messaging:{REGION}:{ACCOUNT}:waba/{HEX}",
        f"arn:aws:social-messaging:{REGION}:{ACCOUNT}:phone-number-id-{HEX}",
        f"arn:aws:social-messaging:{REGION}:{ACCOUNT}:phone-number-id/{HEX}/x",
        f"arn:aws:social-messaging:{REGION}:{ACCOUNT}:phone-number-id/*",
    ],
)
def test_nothing_else_names_a_phone_number(value: str) -> None:
    assert ARNS.read_phone_number(value) is None


def test_an_account_may_be_named_by_its_id_and_its_arn_but_not_by_those_of_a_phone_number() -> None:
    id_ = ARNS.waba_id("1")
    assert ARNS.read_waba(id_) == id_
    assert ARNS.read_waba(ARNS.arn(id_)) == id_
    assert ARNS.read_waba(ARNS.phone_number_id("1")) is None
    assert ARNS.read_waba("102290129340398") is None


@pytest.mark.parametrize(
    ("value", "meta_id"),
    [
        ("106540352242922", "106540352242922"),
        ("phone-number-id-106540352242922", "106540352242922"),
        ("waba-102290129340398", "102290129340398"),
        ("arn:aws:social-messaging:eu-central-1:111122223333:phone-number-id/106540352242922", "106540352242922"),
    ],
)
def test_metas_id_is_known_also_in_the_place_of_ours(value: str, meta_id: str) -> None:
    assert read_meta_id(value) == meta_id


@pytest.mark.parametrize(
    "value",
    [
        "",
        "1",
        "1065\u0660403",
        "106540352242922 ",
        "+15550100001",
        f"phone-number-id-{'1' * 32}",
        "1" * 32,
        "x-123456789",
    ],
)
def test_what_is_no_id_of_metas_is_none(value: str) -> None:
    assert read_meta_id(value) is None


def test_an_event_destination_is_read_back_from_its_arn() -> None:
    arn = ARNS.event_destination("orders")
    assert arn == f"arn:aws:social-messaging:{REGION}:{ACCOUNT}:event-destination/orders"
    assert ARNS.read_event_destination(arn) == "orders"
    for other in ("orders", ARNS.event_destination(""), arn.replace(REGION, "us-east-1"), ARNS.arn(f"waba-{HEX}")):
        assert ARNS.read_event_destination(other) is None
