"""What is told of policies that can be evaluated, but say things that no call asks for."""

import json

import pytest

from whaul.api.service import OPERATIONS
from whaul.app import OPERATIONS as BUILT
from whaul.arns import Arns
from whaul.auth.policy import ALLOW_ALL, Policy
from whaul.auth.policy_check import line_of, unknown_action, warnings
from whaul.operations.actions import CONSOLE, GET_OBJECT, NO_RESOURCE, PUT_OBJECT, action_of, actions
from whaul.operations.roles import PLACEHOLDER, ROLES

ARNS = Arns("000000000000", "us-east-1")
ACTIONS = actions(ARNS)
PREFIX = "arn:aws:social-messaging:us-east-1:000000000000:"
NUMBER, ACCOUNT = f"{PREFIX}phone-number-id/{'7f' * 16}", f"{PREFIX}waba/{'0a' * 16}"
GET, SEND, LIST = map(
    action_of, ("GetWhatsAppMessageMedia", "SendWhatsAppMessage", "ListLinkedWhatsAppBusinessAccounts")
)


def told(action: str | list[str], resource: str | list[str], effect: str = "Allow") -> list[str]:
    document = json.dumps({"Statement": {"Effect": effect, "Action": action, "Resource": resource}})
    Policy.parse(document)
    return warnings(document, ACTIONS)


def test_every_operation_has_an_action_with_the_resource_that_it_is_asked_on() -> None:
    assert set(ACTIONS) == {*map(action_of, OPERATIONS), *CONSOLE, PUT_OBJECT, GET_OBJECT}
    for name, row in BUILT.items():
        assert row.names_resource == (ACTIONS[action_of(name)] != (NO_RESOURCE,))
    assert ACTIONS[GET] == (f"{PREFIX}phone-number-id/{'#' * 32}",)
    assert len(ACTIONS[action_of("TagResource")]) == 2


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("*", "*"),
        (GET, NUMBER),
        (GET.upper(), NUMBER),
        (GET, f"{PREFIX}phone-number-id/7f*"),
        (GET, f"{PREFIX}*"),
        (GET, "arn:aws:social-messaging:*:*:phone-number-id/????????????????????????????????"),
        ("social-messaging:*", NUMBER),
        ("social-messaging:Get*", [NUMBER, ACCOUNT]),
        (action_of("TagResource"), [NUMBER, ACCOUNT]),
        (LIST, "*"),
        (PUT_OBJECT, "arn:aws:s3:::in/*"),
        (PUT_OBJECT, "arn:aws:s3:::*"),
        (PUT_OBJECT, "arn:aws:s3:::in/a*b?c"),
        ("s3:*Object", "arn:aws:s3:*:*:in/a"),
        ([GET, PUT_OBJECT], [NUMBER, "arn:aws:s3:::in/*"]),
    ],
)
@pytest.mark.parametrize("effect", ["Allow", "Deny"])
def test_what_has_an_effect_is_not_told(action: str | list[str], resource: str | list[str], effect: str) -> None:
    assert told(action, resource, effect) == []


@pytest.mark.parametrize(
    ("action", "meant"),
    [
        ("social-messaging:GetWhatsappMessageMdia", GET),
        ("social-messaging:GetWhatsAppMedia", GET),
        ("socialmessaging:SendWhatsAppMessage", SEND),
        ("social-messaging:SendWhatsAppMesage*", SEND),
        ("s3:PutObjects", PUT_OBJECT),
        ("dynamodb:Scan", None),
        ("s3:ListBucket", None),
    ],
)
@pytest.mark.parametrize("effect", ["Allow", "Deny"])
def test_an_action_that_no_call_needs_is_told_with_the_one_that_was_meant(
    action: str, meant: str | None, effect: str
) -> None:
    advice = f"; did you mean {meant}?" if meant else ""
    assert told(action, "*", effect) == [f"Statement.Action: no call needs the action {action}{advice}"]
    assert unknown_action(action, ACTIONS) == f"no call needs the action {action}{advice}"


@pytest.mark.parametrize(
    ("action", "resource", "why"),
    [
        (PUT_OBJECT, "arn:aws:s3:::in", "expected <bucket>/<key> at its end"),
        (PUT_OBJECT, "arn:aws-cn:s3:::in/*", "the partition here is aws, not aws-cn"),
        (PUT_OBJECT, "arn:aws:s3:us-east-1::in/*", "the region here is empty, not us-east-1"),
        (PUT_OBJECT, NUMBER, "needed on arn:aws:s3:::<bucket>/<key>"),
        (GET, NUMBER.replace("us-east-1", "eu-west-1"), "the region here is us-east-1, not eu-west-1"),
        (GET, NUMBER.replace("0" * 12, "1" * 12), f"the account number here is {'0' * 12}, not {'1' * 12}"),
        (GET, f"{PREFIX}phone-number-id/500000000000001", "expected phone-number-id/<32 hex> at its end"),
        (GET, NUMBER.replace("7f", "7F"), "expected phone-number-id/<32 hex> at its end"),
        (GET, f"{PREFIX}phone-number-id/{'#' * 32}", "expected phone-number-id/<32 hex> at its end"),
        (GET, f"{PREFIX}phone-number-id/phone-number-id-{'7f' * 16}", "expected phone-number-id/<32 hex> at its end"),
        (GET, ACCOUNT, "expected phone-number-id/<32 hex> at its end"),
        (LIST, ACCOUNT, "needed on *, as it takes no resource"),
    ],
)
def test_a_resource_that_can_never_match_is_told_with_what_is_expected(action: str, resource: str, why: str) -> None:
    [warning] = told(action, resource)
    assert warning.startswith(f"Statement.Resource: {resource} matches nothing")
    assert why in warning


def test_an_action_whose_resource_is_missing_beside_those_of_others_is_told() -> None:
    [warning] = told([GET, PUT_OBJECT], ["arn:aws:s3:::in/*"])
    assert warning.startswith(f"Statement.Action[0]: {GET} is not needed on any of the resources here")
    assert f"{PREFIX}phone-number-id/<32 hex>" in warning


def test_each_statement_is_looked_over_and_named() -> None:
    good = json.loads(ALLOW_ALL)["Statement"][0]
    document = {"Statement": [good, {"Effect": "Allow", "Action": [GET, "s3:Put"], "Resource": "*"}]}
    assert warnings(ALLOW_ALL, ACTIONS) == []
    assert warnings(json.dumps(document), ACTIONS) == ["Statement[1].Action[1]: no call needs the action s3:Put"]


def test_the_longest_policy_is_looked_over_in_no_time() -> None:
    assert told(PUT_OBJECT, "arn:aws:s3:::" + "*a?" * 1900 + "b") == []


@pytest.mark.parametrize("name", ROLES)
def test_everything_in_a_role_has_an_effect(name: str) -> None:
    document = ROLES[name].policy(ARNS)
    assert warnings(document, ACTIONS) == []
    assert (PLACEHOLDER in document) is not ROLES[name].is_whole


DOCUMENT = """{
  "Version": "2012-10-17",
  "Statement": [
    {"Sid": "a]}\\"", "Action": ["a:b",
      "c"],
     "Resource": "*"},
    {"Effect": "Allw"}
  ]
}"""


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ("Version: must be", 2),
        ("Statement[0].Action[1]: must be", 5),
        ("Statement[0].Resource: arn:aws:s3:::a matches nothing", 6),
        ("Statement[1].Effect: must be", 7),
        ("Statement[1].Resource: is missing", 7),
        ("Statement[1].'Foo': is not", 7),
        ("Statement[9]: is not", 3),
        ("The document is nested", None),
        ("'Foo': is not", None),
    ],
)
def test_a_place_is_found_by_its_line(told: str, line: int | None) -> None:
    assert line_of(DOCUMENT, told) == line
    for wrong in ("", "[", "{}", "[1]", '{"Statement":', '{"Statement": 1}', '{"Statement": [1,', "1" * 5000):
        assert line_of(wrong, told) in (None, 1)
