"""Policy documents: what is allowed, by hand; what is refused, and where; and the matcher against a slow oracle."""

import json
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whaul.auth.policy import ALLOW_ALL, Decision, Policy, PolicyError, denial

GET = "social-messaging:GetWhatsAppMessageMedia"
PHONE = "arn:aws:social-messaging:eu-west-1:123456789012:phone-number-id/0123456789abcdef0123456789abcdef"
OTHER_PHONE = "arn:aws:social-messaging:eu-west-1:123456789012:phone-number-id/ffff456789abcdef0123456789abcdef"
WABA = "arn:aws:social-messaging:eu-west-1:123456789012:waba/0123456789abcdef0123456789abcdef"
PUT = "s3:PutObject"
OBJECT = "arn:aws:s3:::inbox/2026/03/photo.jpeg"


def allow(action: object, resource: object, **members: object) -> dict[str, object]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **members}


def deny(action: object, resource: object, **members: object) -> dict[str, object]:
    return {"Effect": "Deny", "Action": action, "Resource": resource, **members}


def document(*statements: object, **members: object) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **members})


def policy(*statements: object) -> Policy:
    return Policy.parse(document(*statements))


def refused(text: str | bytes) -> str:
    with pytest.raises(PolicyError) as caught:
        Policy.parse(text)
    return str(caught.value)


# --- IAM's own rules


IAM = "https://docs.aws.amazon.com/IAM/latest/UserGuide/"
EVALUATION = IAM + "reference_policies_evaluation-logic.html"
ACTION = IAM + "reference_policies_elements_action.html"
RESOURCE = IAM + "reference_policies_elements_resource.html"
REFERENCE = "https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsendusermessagingsocial.html"
LIST = "social-messaging:ListLinkedWhatsAppBusinessAccounts"
TAG = "social-messaging:TagResource"

IAM_RULES = [
    # By default, requests are denied.
    (EVALUATION, [allow(PUT, "*")], GET, PHONE, Decision(allowed=False, statement=None)),
    # An explicit allow overrides this default.
    (EVALUATION, [allow(GET, PHONE)], GET, PHONE, Decision(allowed=True, statement="Statement[0]")),
    # An explicit deny overrides any allows, wherever it stands.
    (EVALUATION, [allow("*", "*"), deny(GET, PHONE)], GET, PHONE, Decision(allowed=False, statement="Statement[1]")),
    (EVALUATION, [deny(GET, PHONE), allow("*", "*")], GET, PHONE, Decision(allowed=False, statement="Statement[0]")),
    # A deny of one resource leaves the others.
    (
        EVALUATION,
        [allow("*", "*"), deny(GET, OTHER_PHONE)],
        GET,
        PHONE,
        Decision(allowed=True, statement="Statement[0]"),
    ),
    # The prefix and the action name are case insensitive.
    (
        ACTION,
        [allow("Social-Messaging:getwhatsappmessagemedia", "*")],
        GET,
        PHONE,
        Decision(allowed=True, statement="Statement[0]"),
    ),
    # * and ? in the action name.
    (ACTION, [allow("social-messaging:*Tag*", "*")], TAG, WABA, Decision(allowed=True, statement="Statement[0]")),
    (ACTION, [allow("social-messaging:Ta?Resource", "*")], TAG, WABA, Decision(allowed=True, statement="Statement[0]")),
    (ACTION, [allow("social-messaging:Ta?gResource", "*")], TAG, WABA, Decision(allowed=False, statement=None)),
    # * and ? in the segments of an ARN; a * in the last one spans slashes and colons.
    (
        RESOURCE,
        [allow(GET, "arn:aws:social-messaging:*:123456789012:*")],
        GET,
        PHONE,
        Decision(allowed=True, statement="Statement[0]"),
    ),
    (
        RESOURCE,
        [allow(GET, "arn:aws:social-messaging:eu-west-?:*:*")],
        GET,
        PHONE,
        Decision(allowed=True, statement="Statement[0]"),
    ),
    (RESOURCE, [allow(GET, "arn:aws:social-messaging:us-*:*:*")], GET, PHONE, Decision(allowed=False, statement=None)),
    # Resources, unlike actions, are case sensitive.
    (RESOURCE, [allow(PUT, "arn:aws:s3:::Inbox/*")], PUT, OBJECT, Decision(allowed=False, statement=None)),
    # Tags are those of an account or of a phone number.
    (
        REFERENCE,
        [allow(TAG, WABA.replace("0123456789abcdef" * 2, "*"))],
        TAG,
        WABA,
        Decision(allowed=True, statement="Statement[0]"),
    ),
    (
        REFERENCE,
        [allow(TAG, WABA.replace("0123456789abcdef" * 2, "*"))],
        TAG,
        PHONE,
        Decision(allowed=False, statement=None),
    ),
    # The action has no resource types: the policy must say all resources, "*".
    (REFERENCE, [allow(LIST, "*")], LIST, "*", Decision(allowed=True, statement="Statement[0]")),
    (
        REFERENCE,
        [allow(LIST, "arn:aws:social-messaging:*:*:waba/*")],
        LIST,
        "*",
        Decision(allowed=False, statement=None),
    ),
    (REFERENCE, [allow(LIST, "arn:*:social-messaging:*:*:*")], LIST, "*", Decision(allowed=False, statement=None)),
]
"""Each row checked by hand against the page that it names."""


@pytest.mark.parametrize("row", IAM_RULES, ids=lambda row: f"{row[0].rpartition('/')[2]}-{row[2]}")
def test_a_policy_decides_as_iam_documents(row: tuple[str, list[object], str, str, Decision]) -> None:
    _, statements, action, resource, decision = row
    assert policy(*statements).evaluate(action, resource) == decision


# --- evaluation


@pytest.mark.parametrize(
    ("statements", "action", "resource"),
    [
        ([allow("*", "*")], GET, PHONE),
        ([allow(GET, PHONE)], GET, PHONE),
        ([allow("social-messaging:*", "*")], GET, PHONE),
        ([allow("social-messaging:Get*", "*")], GET, PHONE),
        ([allow("social-messaging:get*media", "*")], GET, PHONE),
        ([allow("SOCIAL-MESSAGING:GETWHATSAPPMESSAGEMEDIA", "*")], GET, PHONE),
        ([allow("s3:PutObjec?", "*")], PUT, OBJECT),
        ([allow(["s3:GetObject", PUT], ["arn:aws:s3:::outbox/*", "arn:aws:s3:::inbox/*"])], PUT, OBJECT),
        ([allow(PUT, "arn:aws:s3:::inbox/*.jpeg")], PUT, OBJECT),
        ([allow(PUT, "arn:aws:s3:::inbox/*/*/*")], PUT, OBJECT),
        ([allow(PUT, "arn:aws:s3:::*")], PUT, OBJECT),
        ([allow(PUT, "arn:aws:s3:::inbox/202?/0?/photo.jpeg")], PUT, OBJECT),
        ([allow(PUT, "arn:aws:s3:::**")], PUT, OBJECT),
        ([allow(GET, "arn:aws:social-messaging:*:*:phone-number-id/*")], GET, PHONE),
        ([allow(GET, "arn:aws:social-messaging:*:*:*:*")], GET, PHONE + ":x"),
        ([allow(GET, "arn:*:social-messaging:eu-*-?:*:phone-number-id/*")], GET, PHONE),
        ([allow(PUT, "arn:aws:s3:*:*:inbox/*")], PUT, OBJECT),
        ([allow(PUT, "arn:*:s3:**:*:inbox/*:*")], PUT, "arn:aws:s3:::inbox/a:b"),
        ([allow(GET, OTHER_PHONE), allow(GET, PHONE)], GET, PHONE),
        ([allow("*", "*"), deny(PUT, "*")], GET, PHONE),
        ([allow("*", "*"), deny("*", "arn:aws:s3:::*")], GET, PHONE),
        ([allow(PUT, "arn:aws:s3:::inbox/*")], PUT, "arn:aws:s3:::inbox/"),
        ([allow(PUT, "arn:aws:s3:::inbox/*")], PUT, "arn:aws:s3:::inbox/a\nb"),
        ([allow(PUT, "arn:aws:s3:::inbox/é?")], PUT, "arn:aws:s3:::inbox/é写"),
    ],
)
def test_what_a_statement_allows_is_allowed(statements: list[object], action: str, resource: str) -> None:
    decision = policy(*statements).evaluate(action, resource)
    assert decision.allowed
    assert decision.explicit


@pytest.mark.parametrize(
    ("statements", "action", "resource"),
    [
        ([allow("social-messaging:SendWhatsAppMessage", "*")], GET, PHONE),
        ([allow("social-messaging:Get", "*")], GET, PHONE),
        ([allow("social-messaging:GetWhatsAppMessageMedi?a", "*")], GET, PHONE),
        ([allow("s3:*", "*")], GET, PHONE),
        ([allow("s3:*", "*")], "s3express:CreateSession", OBJECT),
        ([allow(GET, OTHER_PHONE)], GET, PHONE),
        ([allow(GET, WABA)], GET, PHONE),
        ([allow(GET, PHONE)], GET, PHONE + "0"),
        ([allow(GET, PHONE)], GET, "x" + PHONE),
        ([allow(GET, PHONE)], GET, PHONE + "\n"),
        ([allow(GET, PHONE)], GET, ""),
        ([allow(GET, PHONE)], "", PHONE),
        ([allow(GET, PHONE.replace("phone-number-id", "Phone-Number-Id"))], GET, PHONE),
        ([allow(GET, "arn:aws:social-messaging:us-*:*:*")], GET, PHONE),
        ([allow(GET, "arn:aws:social-messaging:*:999999999999:*")], GET, PHONE),
        ([allow(PUT, "arn:aws:s3:*:*:inbox/*")], PUT, "arn:aws:s3:::other/x:inbox/1.jpeg"),
        ([allow(PUT, "arn:aws:s3:*:*:inbox/*")], PUT, "arn:aws:s3:::other/x:y:z:inbox/1.jpeg"),
        ([allow(PUT, "arn:aws:s3:::inbox/*")], PUT, "arn:aws:s3:us-east-1::inbox/1.jpeg"),
        ([allow(PUT, "arn:*:s3:::inbox/*")], PUT, "arn:aws:s3:::other/x:s3:::inbox/1.jpeg"),
        ([allow(PUT, "arn:aws:s3:?:?:inbox/*")], PUT, OBJECT),
        ([allow(PUT, "arn:aws:s3:*?*:*:inbox/*")], PUT, "arn:aws:s3:::other/x:inbox/1.jpeg"),
        ([allow(GET, "arn:aws:social-messaging:*:*:phone-number-id/1")], GET, WABA + ":phone-number-id/1"),
        ([allow(PUT, "arn:aws:s3:::inbox")], PUT, OBJECT),
        ([allow(PUT, "arn:aws:s3:::inbox/")], PUT, OBJECT),
        ([allow(PUT, "arn:aws:s3:::INBOX/*")], PUT, OBJECT),
        ([allow(PUT, "arn:aws:s3:::inbox/*.png")], PUT, OBJECT),
        ([allow(PUT, "arn:aws:s3:::inbox/20?/*")], PUT, OBJECT),
        ([allow(PUT, "arn:aws:s3:::inbox/?")], PUT, "arn:aws:s3:::inbox/"),
        ([allow(PUT, "arn:aws:s3:::inbox/*")], PUT, "arn:aws:s3:::inbox-of-another/photo.jpeg"),
        ([allow(PUT, "arn:aws:s3:::inbox/*a*a")], PUT, "arn:aws:s3:::inbox/a"),
        ([allow(PUT, "arn:aws:s3:::in.ox/*")], PUT, OBJECT),
        ([allow(PUT, "arn:aws:s3:::[i]nbox/.*")], PUT, OBJECT),
        ([allow(PUT, "arn:aws:s3:::inbox/(?:2026)/*")], PUT, OBJECT),
        ([allow(PUT, "arn:aws:s3:::inbox/2026|x/*")], PUT, OBJECT),
        ([allow(PUT, "arn:aws:s3:::inbox/\\d+/*")], PUT, OBJECT),
    ],
)
def test_what_no_statement_allows_is_denied(statements: list[object], action: str, resource: str) -> None:
    assert policy(*statements).evaluate(action, resource) == Decision(allowed=False, statement=None)


@pytest.mark.parametrize(
    "statements",
    [
        [deny("*", "*", Sid="No")],
        [allow("*", "*"), deny("*", "*", Sid="No")],
        [deny("*", "*", Sid="No"), allow("*", "*")],
        [allow(GET, PHONE), deny(GET, PHONE, Sid="No"), allow(GET, PHONE)],
        [allow("*", "*"), deny("social-messaging:GET*", "*", Sid="No")],
        [allow("*", "*"), deny("*", "arn:aws:social-messaging:*:*:phone-number-id/0*", Sid="No")],
        [allow(GET, PHONE), deny([PUT, GET], [OBJECT, PHONE], Sid="No")],
    ],
)
def test_a_deny_beats_any_allow_wherever_it_stands(statements: list[object]) -> None:
    assert policy(*statements).evaluate(GET, PHONE) == Decision(allowed=False, statement="No")


@pytest.mark.parametrize(
    ("statements", "name"),
    [
        ([allow("*", "*", Sid="Everything")], "Everything"),
        ([allow("*", "*")], "Statement[0]"),
        ([allow("*", "*", Sid="")], "Statement[0]"),
        ([allow(PUT, "*"), allow("*", "*"), allow(GET, "*", Sid="Later")], "Statement[1]"),
        ([allow(PUT, "*", Sid="S3"), deny(GET, "*")], "Statement[1]"),
    ],
)
def test_a_decision_names_the_statement_that_made_it(statements: list[object], name: str) -> None:
    assert policy(*statements).evaluate(GET, PHONE).statement == name


def test_a_single_statement_needs_no_list() -> None:
    text = json.dumps({"Statement": allow(GET, PHONE)})
    assert Policy.parse(text).evaluate(GET, PHONE) == Decision(allowed=True, statement="Statement")


@pytest.mark.parametrize(
    "text",
    [
        document(allow("*", "*"), Version="2012-10-17"),
        document(allow("*", "*"), Version="2008-10-17"),
        json.dumps({"Statement": [allow("*", "*")]}),
        document(allow("*", "*"), Id="anything goes"),
        document(allow("*", "*")).encode(),
        f" \n\t{document(allow('*', '*'))}\r\n",
        document(allow("*", "*")) + " " * 10_000,
    ],
)
def test_every_form_of_a_document_is_read(text: str | bytes) -> None:
    assert Policy.parse(text).evaluate(GET, PHONE).allowed


def test_the_policy_that_allows_all_does() -> None:
    everything = Policy.parse(ALLOW_ALL)
    assert everything.evaluate(GET, PHONE) == Decision(allowed=True, statement="AllowAll")
    assert everything.evaluate(PUT, OBJECT).allowed


# --- denials


def test_an_implicit_denial_is_told_in_the_words_of_aws() -> None:
    decision = policy(allow(PUT, "*")).evaluate(GET, PHONE)
    assert denial("arn:aws:iam::123456789012:user/ann", GET, PHONE, decision) == (
        "User: arn:aws:iam::123456789012:user/ann is not authorized to perform: "
        "social-messaging:GetWhatsAppMessageMedia on resource: "
        "arn:aws:social-messaging:eu-west-1:123456789012:phone-number-id/0123456789abcdef0123456789abcdef "
        "because no identity-based policy allows the social-messaging:GetWhatsAppMessageMedia action"
    )


def test_an_explicit_denial_is_told_in_the_words_of_aws() -> None:
    decision = policy(deny("*", "*")).evaluate(PUT, OBJECT)
    assert denial("arn:aws:iam::123456789012:user/ann", PUT, OBJECT, decision) == (
        "User: arn:aws:iam::123456789012:user/ann is not authorized to perform: s3:PutObject "
        "on resource: arn:aws:s3:::inbox/2026/03/photo.jpeg with an explicit deny in an identity-based policy"
    )


# --- refused documents


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        (allow(GET, "*", Condition={"Bool": {"aws:SecureTransport": "true"}}), "Statement[1].Condition"),
        (allow(GET, "*", Condition={}), "Statement[1].Condition"),
        (allow(GET, "*", NotAction=PUT), "Statement[1].NotAction"),
        ({"Effect": "Allow", "NotAction": PUT, "Resource": "*"}, "Statement[1].NotAction"),
        ({"Effect": "Deny", "Action": PUT, "NotResource": OBJECT}, "Statement[1].NotResource"),
        (allow(GET, "*", Principal="*"), "Statement[1].Principal"),
        (allow(GET, "*", NotPrincipal={"AWS": "*"}), "Statement[1].NotPrincipal"),
        (allow(GET, "*", effect="Deny"), "Statement[1].'effect'"),
        (allow(GET, "*", Comment="hello"), "Statement[1].'Comment'"),
        ({"Action": GET, "Resource": "*"}, "Statement[1].Effect: is missing"),
        ({"Effect": "Allow", "Resource": "*"}, "Statement[1].Action: is missing"),
        ({"Effect": "Allow", "Action": GET}, "Statement[1].Resource: is missing"),
        (allow(GET, "*") | {"Effect": "allow"}, "Statement[1].Effect"),
        (allow(GET, "*") | {"Effect": "DENY"}, "Statement[1].Effect"),
        (allow(GET, "*") | {"Effect": ["Allow"]}, "Statement[1].Effect"),
        (allow(GET, "*") | {"Effect": None}, "Statement[1].Effect"),
        (allow(GET, "*", Sid="First"), "Statement[1].Sid"),
        (allow(GET, "*", Sid="with space"), "Statement[1].Sid"),
        (allow(GET, "*", Sid="é"), "Statement[1].Sid"),
        (allow(GET, "*", Sid="x\n"), "Statement[1].Sid"),
        (allow(GET, "*", Sid=1), "Statement[1].Sid"),
        (allow(GET, "*", Sid=None), "Statement[1].Sid"),
        (allow([], "*"), "Statement[1].Action: is empty"),
        (allow("", "*"), "Statement[1].Action"),
        (allow(None, "*"), "Statement[1].Action"),
        (allow({"a": GET}, "*"), "Statement[1].Action"),
        (allow([GET, 5], "*"), "Statement[1].Action[1]"),
        (allow([[GET]], "*"), "Statement[1].Action[0]"),
        (allow("GetWhatsAppMessageMedia", "*"), "Statement[1].Action"),
        (allow(["*", "Get*"], "*"), "Statement[1].Action[1]"),
        (allow("*:*", "*"), "Statement[1].Action"),
        (allow("s?:PutObject", "*"), "Statement[1].Action"),
        (allow("s3:", "*"), "Statement[1].Action"),
        (allow(":PutObject", "*"), "Statement[1].Action"),
        (allow("s3:Put:Object", "*"), "Statement[1].Action"),
        (allow("s3:Put Object", "*"), "Statement[1].Action"),
        (allow("s3:PutObject\n", "*"), "Statement[1].Action"),
        (allow("s3:PutObject, s3:GetObject", "*"), "Statement[1].Action"),
        (allow("**", "*"), "Statement[1].Action"),
        (allow("s3:PutObjét", "*"), "Statement[1].Action"),
        (allow("s3:${aws:PrincipalTag/x}", "*"), "Statement[1].Action: policy variables"),
        (allow(GET, []), "Statement[1].Resource: is empty"),
        (allow(GET, ""), "Statement[1].Resource"),
        (allow(GET, 7), "Statement[1].Resource"),
        (allow(GET, ["*", None]), "Statement[1].Resource[1]"),
        (allow(GET, ["*", "inbox/*"]), "Statement[1].Resource[1]"),
        (allow(GET, "ARN:aws:s3:::inbox/*"), "Statement[1].Resource"),
        (allow(GET, "*rn:aws:s3:::inbox/*"), "Statement[1].Resource"),
        (allow(GET, " arn:aws:s3:::inbox/*"), "Statement[1].Resource"),
        (allow(GET, "**"), "Statement[1].Resource"),
        (allow(GET, "arn:*"), "Statement[1].Resource"),
        (allow(GET, "arn:*:*:*:*:*"), "Statement[1].Resource"),
        (allow(GET, "arn:aws:s?:::inbox/*"), "Statement[1].Resource"),
        (deny(GET, "arn:aws:social-*:eu-west-1:123456789012:*"), "Statement[1].Resource"),
        (deny(GET, "arn:aws:S3:::inbox/*"), "Statement[1].Resource"),
        (deny(GET, "arn:aws::::inbox/*"), "Statement[1].Resource"),
        (allow(GET, "arn:aws:s3::inbox/*"), "Statement[1].Resource"),
        (allow(GET, "arn:aws:s3:::"), "Statement[1].Resource"),
        (allow(GET, "arn:aws:s3:::${aws:username}/*"), "Statement[1].Resource: policy variables"),
        (allow(GET, "arn:aws:s3:::a${*}b"), "Statement[1].Resource: policy variables"),
        ("Allow", "Statement[1]: must be a JSON object"),
        ([], "Statement[1]: must be a JSON object"),
        (None, "Statement[1]: must be a JSON object"),
    ],
)
def test_a_statement_that_is_not_wholly_understood_is_refused_by_its_place(statement: object, place: str) -> None:
    assert refused(document(allow("*", "*", Sid="First"), statement)).startswith(place)


def test_a_place_in_a_single_statement_has_no_number() -> None:
    text = json.dumps({"Statement": allow(GET, ["*", "inbox"])})
    assert refused(text).startswith("Statement.Resource[1]: ")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not JSON"),
        ("Allow", "not JSON"),
        ("{", "line 1, column 2"),
        ("{'Statement': []}", "not JSON"),
        (document(allow("*", "*"))[:-1], "not JSON"),
        (document(allow("*", "*")) + "{}", "not JSON"),
        ("\ufeff" + document(allow("*", "*")), "not JSON"),
        (b"\xff\xfe{}", "not UTF-8"),
        (document(allow("*", "*")).encode("utf-16"), "not UTF-8"),
        ("[]", "must be a JSON object"),
        ("null", "must be a JSON object"),
        ('"*"', "must be a JSON object"),
        ("NaN", "must be a JSON object"),
        ("{}", "Statement: is missing"),
        ('{"Version": "2012-10-17"}', "Statement: is missing"),
        (document(), "Statement: must be"),
        ('{"Statement": "*"}', "Statement: must be"),
        ('{"Statement": null}', "Statement: must be"),
        (document(allow("*", "*"), Version="2012-10-18"), "Version: must be"),
        (document(allow("*", "*"), Version=2012), "Version: must be"),
        (document(allow("*", "*"), Version=None), "Version: must be"),
        (document(allow("*", "*"), Version=["2012-10-17"]), "Version: must be"),
        (document(allow("*", "*"), Id=5), "Id: must be"),
        (document(allow("*", "*"), Name="x"), "'Name': is not a member"),
        (document(allow("*", "*"), version="2012-10-17"), "'version': is not a member"),
        (document(allow("*", "*"), Condition={}), "Condition: is not evaluated"),
        (document(allow("*", "*"), **{"\ud800": 1}), "is not a member"),
        ('{"Statement": [], "Statement": []}', "'Statement' is given twice"),
        (document(allow("*", "*")).replace('"Action"', '"Effect": "Deny", "Action"'), "'Effect' is given twice"),
        (document(allow("*", "*"), Id="x" * 6_144), "6144 are allowed"),
        ('{"Id": ' + "[" * 5_000 + "]" * 1_000 + "}", "The document is n"),  # not JSON, or nested too deeply
        ('{"Id": ' + "9" * 5_000 + "}", "Statement: is missing"),
    ],
)
def test_a_document_that_is_no_policy_is_refused(text: str | bytes, told: str) -> None:
    assert told in refused(text)


def test_the_size_limit_counts_all_but_white_space() -> None:
    bare = len("".join(document(allow("*", "*"), Id="").split()))
    fits = document(allow("*", "*"), Id="x" * (6_144 - bare))
    assert Policy.parse(fits.replace(",", " , \n")).evaluate(GET, PHONE).allowed
    assert "6145 characters" in refused(document(allow("*", "*"), Id="x" * (6_145 - bare)))


def test_a_repeated_sid_is_refused_even_when_the_statements_are_the_same() -> None:
    assert '"Same" is taken' in refused(document(*[allow("*", "*", Sid="Same")] * 2))


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["Version", "Statement", "Sid", "Effect", "Action", "Resource", "x"]), inner, max_size=4
            )
        ),
        max_leaves=12,
    )
)
def test_arbitrary_json_is_refused_and_breaks_nothing(value: object) -> None:
    with pytest.raises(PolicyError):
        Policy.parse(json.dumps(value))


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_refused_and_break_nothing(data: bytes) -> None:
    with pytest.raises(PolicyError):
        Policy.parse(data)


# --- the matcher


def oracle(pattern: str, text: str) -> bool:
    """Match by definition, trying every possibility."""

    @cache
    def matches(i: int, j: int) -> bool:
        if i == len(pattern):
            return j == len(text)
        if pattern[i] == "*":
            return matches(i + 1, j) or (j < len(text) and matches(i, j + 1))
        return j < len(text) and pattern[i] in {"?", text[j]} and matches(i + 1, j + 1)

    return matches(0, 0)


BUCKET = "arn:aws:s3:::"
tight = st.text(alphabet=st.sampled_from("ab*?"), min_size=1, max_size=14)
loose = st.text(alphabet=st.sampled_from("ab*?/:.[](){}\\^+|-$é\n"), min_size=1, max_size=14)


@given(pattern=tight | loose, text=st.text(alphabet=st.sampled_from("ab"), max_size=20))
def test_a_pattern_matches_what_it_matches_by_definition(pattern: str, text: str) -> None:
    if "${" not in pattern:
        decision = policy(allow("*", BUCKET + pattern)).evaluate(PUT, BUCKET + text)
        assert decision.allowed == oracle(pattern, text)


@given(pattern=loose, text=st.text(alphabet=st.sampled_from("ab/:.[](){}\\^+|-$é\n*?"), max_size=20))
def test_a_pattern_has_no_other_magic_characters(pattern: str, text: str) -> None:
    if "${" not in pattern:
        decision = policy(allow("*", BUCKET + pattern)).evaluate(PUT, BUCKET + text)
        assert decision.allowed == oracle(pattern, text)


@given(
    pattern=st.text(alphabet=st.sampled_from("aAbB*?"), min_size=1, max_size=10),
    name=st.text(alphabet=st.sampled_from("aAbB"), min_size=1, max_size=14),
)
def test_an_action_pattern_matches_by_definition_in_any_case(pattern: str, name: str) -> None:
    decision = policy(allow(f"s3:{pattern}", "*")).evaluate(f"S3:{name}", OBJECT)
    assert decision.allowed == oracle(pattern.lower(), name.lower())


@pytest.mark.parametrize(
    "pattern",
    [
        "*a" * 20 + "*b",
        "*a" * 2_900 + "*b",
        "*" * 5_900 + "b",
        "*?" * 2_900 + "b",
        "*a?" * 1_900 + "b",
        "?" * 5_900,
        "*" + "a" * 900 + "b*b",
        "*" + "?a" * 500 + "b*" + "?a" * 500 + "b",
    ],
    ids=["short", "many stars", "one run of stars", "stars and ?", "mixed", "only ?", "long run", "two long runs"],
)
def test_a_hostile_pattern_costs_little_time(pattern: str) -> None:
    hostile = policy(allow("*", BUCKET + pattern))
    resource = BUCKET + "a" * 2_000
    assert not hostile.evaluate(PUT, resource).allowed
