"""Policy documents: read whole or refused; and what a policy allows agrees with a slow and simple reading of it."""

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.examples import examples, json_values, spoilt
from whaul.auth.policy import ALLOW_ALL, Policy, PolicyError

GOOD: dict[str, Any] = {
    "Version": "2012-10-17",
    "Id": "a",
    "Statement": [
        {"Sid": "A", "Effect": "Allow", "Action": ["s3:PutObject", "social-messaging:Get*"], "Resource": "*"},
        {"Sid": "B", "Effect": "Deny", "Action": "s3:*", "Resource": ["arn:aws:s3:::inbox/x?/*", "arn:aws:s3:::b/*"]},
    ],
}
MEMBERS = ["Version", "Id", "Statement", "Sid", "Effect", "Action", "Resource", "Condition", "NotAction", "Principal"]
WORDS = ["Allow", "Deny", "allow", "*", "s3:*", "s3:PutObject", "arn:aws:s3:::b/*", "2012-10-17", "${aws:username}", ""]
TEXT = st.sampled_from([*MEMBERS, *WORDS]) | st.text(max_size=6)


def read(document: str | bytes) -> Policy | None:
    """Read a policy; None when it was refused as it should be."""
    try:
        return Policy.parse(document)
    except PolicyError as error:
        str(error).encode()
        return None


@examples(150)
@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_refused(document: bytes) -> None:
    assert read(document) is None


@examples(200)
@given(json_values(TEXT))
def test_any_json_is_read_or_refused(document: Any) -> None:
    read(json.dumps(document))


@examples(250)
@given(st.data())
def test_a_spoilt_policy_is_refused_or_says_what_other_parsers_say(data: st.DataObject) -> None:
    document = data.draw(spoilt(json.dumps(GOOD).encode()))
    policy = read(document)
    if policy is None:
        return
    assert all(
        set(statement) <= {"Sid", "Effect", "Action", "Resource"} for statement in json.loads(document)["Statement"]
    )
    check_like_the_simple_reading(json.loads(document), policy, "s3:PutObject", "arn:aws:s3:::inbox/x1/a.jpeg")
    check_like_the_simple_reading(json.loads(document), policy, "social-messaging:GetX", "arn:aws:s3:::b/a")


SHORT = "ab:/*?"
ACTIONS = st.text("ABab*?", min_size=1, max_size=6).map(lambda name: "s3:" + name) | st.just("*")
RESOURCES = (
    st.text(SHORT, min_size=1, max_size=10).map(lambda name: "arn:aws:s3:::" + name)
    | st.tuples(st.text("as3*?", max_size=3), st.text("ab*?", max_size=3), st.text(SHORT, min_size=1, max_size=8)).map(
        lambda fields: "arn:{}:s3:{}:*:{}".format(*fields)
    )
    | st.just("*")
)
STATEMENTS = st.fixed_dictionaries(
    {
        "Effect": st.sampled_from(["Allow", "Deny"]),
        "Action": ACTIONS | st.lists(ACTIONS, min_size=1, max_size=3),
        "Resource": RESOURCES | st.lists(RESOURCES, min_size=1, max_size=3),
    }
)


@examples(300)
@given(
    st.lists(STATEMENTS, min_size=1, max_size=4),
    st.text("ABab*?", min_size=1, max_size=8),
    st.text(SHORT + "\n", min_size=1, max_size=14),
)
def test_a_decision_is_that_of_the_simple_reading(statements: list[dict[str, Any]], action: str, name: str) -> None:
    document = {"Version": "2012-10-17", "Statement": statements}
    policy = Policy.parse(json.dumps(document))
    check_like_the_simple_reading(document, policy, f"s3:{action}", f"arn:aws:s3:::{name}")


def check_like_the_simple_reading(document: dict[str, Any], policy: Policy, action: str, resource: str) -> None:
    effects = set()
    for statement in document["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
        if any(matches(a.lower(), action.lower()) for a in actions) and any(covers(r, resource) for r in resources):
            effects.add(statement["Effect"])
    assert policy.evaluate(action, resource).allowed == (effects == {"Allow"})


def covers(pattern: str, arn: str) -> bool:
    """Match field by field."""
    fields, parts = pattern.split(":", 5), arn.split(":", 5)
    return pattern == "*" or all(map(matches, fields, parts))


@cache
def matches(pattern: str, text: str) -> bool:
    """Match one character at a time, trying everything."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return matches(pattern[1:], text) or (bool(text) and matches(pattern, text[1:]))
    return bool(text) and pattern[0] in {"?", text[0]} and matches(pattern[1:], text[1:])


@pytest.mark.parametrize(
    "pattern",
    [
        "*a" * 1500,
        "*?" * 1500,
        "a*" * 1500,
        "*" * 3000,
        "*aa?" * 700 + "b",
        "?" * 3000,
        "*a*b" * 700,
        "*" + "a?" * 1400,
    ],
    ids=lambda pattern: pattern[:8],
)
def test_no_pattern_makes_a_decision_slow(pattern: str) -> None:
    policy = Policy.parse(
        json.dumps({"Statement": {"Effect": "Allow", "Action": "*", "Resource": f"arn:aws:s3:::{pattern}"}})
    )
    policy.evaluate("s3:PutObject", "arn:aws:s3:::inbox/" + "a" * 1024)


@pytest.mark.parametrize(
    "document",
    [
        "[" * 6000,
        '{"Statement":' * 400 + "0" + "}" * 400,
        '{"Statement": ' + "9" * 6000 + "}",
        '{"Version": 1e999, "Statement": []}',
        '{"Version": NaN, "Statement": []}',
        ALLOW_ALL + " " * 100_000 + "x",
        ALLOW_ALL.replace('"Allow"', '"Allow", "Effect": "Deny"'),
        ALLOW_ALL.replace('"Effect"', '"Condition": {}, "Effect"'),
        ALLOW_ALL.replace('"Effect"', '"\\u0045ffect": "Deny", "Effect"'),
        ALLOW_ALL.replace('"Action": "*"', '"Action": "*:*"'),
        ALLOW_ALL.replace('"Action": "*"', '"Action": "s3:Put\\u0000Object"'),
        ALLOW_ALL.replace('"Action": "*"', '"Action": "s3:\\ud800"'),
        "\ufeff" + ALLOW_ALL,
    ],
    ids=lambda document: document[:24],
)
def test_a_document_that_could_be_read_in_two_ways_is_refused(document: str) -> None:
    assert read(document) is None
