"""What a key may hand on: by hand, and against every request of a small world."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whaul.auth.delegation import excess
from whaul.auth.policy import ALLOW_ALL, Policy

NUMBER = "arn:aws:social-messaging:us-east-1:000000000000:phone-number-id/1"


def statement(effect: str, action: object, resource: object = "*") -> dict[str, object]:
    return {"Effect": effect, "Action": action, "Resource": resource}


def policy(*statements: object) -> Policy:
    return Policy.parse(json.dumps({"Statement": list(statements)}))


VIEW = statement("Allow", "whaul:View*")
BLIND = statement("Deny", "whaul:ViewContent")


@pytest.mark.parametrize(
    "own",
    [
        policy(VIEW),
        policy(VIEW, BLIND),
        policy(statement("Allow", ["s3:GetObject", "whaul:ViewMessages"]), statement("Deny", "*", NUMBER)),
        Policy.parse(ALLOW_ALL),
    ],
)
def test_a_policy_may_be_handed_on_as_it_is(own: Policy) -> None:
    assert excess(own, own) is None


@pytest.mark.parametrize(
    ("given_", "own"),
    [
        (policy(statement("Allow", "WHAUL:ViewMessages")), policy(VIEW)),
        (policy(statement("Allow", "whaul:View?essages*")), policy(VIEW)),
        (policy(VIEW, statement("Allow", "s3:*", "arn:aws:s3:::inbox/*")), Policy.parse(ALLOW_ALL)),
        (policy(statement("Allow", "s3:PutObject", "arn:aws:s3:::inbox/a/*")), policy(statement("Allow", "s3:*"))),
        (policy(statement("Allow", "whaul:ViewKeys")), policy(VIEW, BLIND)),
        (policy(VIEW, statement("Deny", "whaul:*Content")), policy(VIEW, BLIND)),
        (policy(statement("Deny", "*")), policy(VIEW)),
    ],
)
def test_less_may_be_handed_on(given_: Policy, own: Policy) -> None:
    assert excess(given_, own) is None


@pytest.mark.parametrize(
    ("given_", "own", "told"),
    [
        (Policy.parse(ALLOW_ALL), policy(VIEW), "AllowAll allows * on *, which your key does not"),
        (policy(statement("Allow", "whaul:*")), policy(VIEW), "allows whaul:* on *"),
        (policy(VIEW), policy(VIEW, BLIND), "what Statement[1] of your key's policy denies"),
        (
            policy(statement("Allow", ["s3:GetObject", "s3:PutObject"])),
            policy(statement("Allow", "s3:GetObject"), statement("Allow", "s3:PutObject", "arn:aws:s3:::a/*")),
            "allows s3:PutObject on *",
        ),
        (
            policy(statement("Allow", "s3:GetObject", "arn:aws:s3:*:*:inbox/*")),
            policy(statement("Allow", "s3:GetObject", "arn:aws:s3:::inbox/*")),
            "arn:aws:s3:*:*:inbox/*",
        ),
        (policy(statement("Allow", "x:a*")), policy(statement("Allow", "x:a?*")), "allows x:a*"),
    ],
)
def test_more_may_not_be_handed_on(given_: Policy, own: Policy, told: str) -> None:
    assert told in (excess(given_, own) or "")


names = st.text("ab*?", min_size=1, max_size=4)
actions = st.builds("x:{}".format, names) | st.just("*")
resources = st.builds("arn:{}:s::{}:{}".format, names, names, names) | st.just("*")
policies = st.lists(
    st.builds(
        statement,
        st.sampled_from(["Allow", "Allow", "Deny"]),
        st.lists(actions, min_size=1, max_size=2),
        st.lists(resources, min_size=1, max_size=2),
    ),
    min_size=1,
    max_size=3,
).map(lambda statements: policy(*statements))
TEXTS = ["".join(each) for length in range(1, 4) for each in itertools.product("ab", repeat=length)]
REQUESTS = [
    (f"x:{action}", resource)
    for action in TEXTS
    for resource in ["*", *(f"arn:{first}:s::{first}:{last}" for first in ("a", "ab", "bb") for last in TEXTS)]
]


@given(policies, policies)
def test_what_is_handed_on_allows_no_request_that_its_maker_may_not_make(given_: Policy, own: Policy) -> None:
    if excess(given_, own) is None:
        for request in REQUESTS:
            assert own.evaluate(*request).allowed or not given_.evaluate(*request).allowed, request
