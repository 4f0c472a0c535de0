"""Which answer of Meta becomes which error: every code of its table, and what comes first when they disagree."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whaul.api import response
from whaul.errors import (
    AccessDeniedByMetaException,
    ApiError,
    ConflictException,
    DependencyException,
    InvalidParametersException,
    LimitExceededException,
    ResourceNotFoundException,
    Retry,
    ThrottledRequestException,
)
from whaul.graph import errors as table
from whaul.graph.errors import CallKind, call_error, error_from
from whaul.graph.usage import MAX_REGAIN, regain_seconds, usage_percent
from whaul.outbound.errors import HttpError
from whaul.outbound.response import Response

DENIED = (AccessDeniedByMetaException, Retry.NO)
THROTTLED = (ThrottledRequestException, Retry.YES)
PASSING = (DependencyException, Retry.YES)
REFUSED = (DependencyException, Retry.NO)
MISSING = (ResourceNotFoundException, Retry.NO)
INVALID = (InvalidParametersException, Retry.NO)

METAS_TABLE: list[tuple[int, int, tuple[type[ApiError], Retry]]] = [
    # code, HTTP status in Meta's table or as seen, what it becomes
    (0, 401, DENIED),
    (1, 400, REFUSED),
    (1, 500, PASSING),
    (2, 503, PASSING),
    (2, 500, PASSING),
    (2, 400, REFUSED),
    (3, 500, DENIED),  # never again, despite the 500
    (4, 400, THROTTLED),
    (4, 429, THROTTLED),
    (10, 403, DENIED),
    *[(code, 403, DENIED) for code in (200, 201, 250, 299)],
    (300, 403, REFUSED),
    (33, 400, REFUSED),
    (100, 400, MISSING),
    (102, 401, DENIED),
    (104, 401, DENIED),
    (190, 401, DENIED),
    (190, 400, DENIED),
    (368, 403, DENIED),
    (130497, 403, DENIED),
    (131031, 403, DENIED),
    (131005, 403, DENIED),
    (80007, 400, THROTTLED),
    (80008, 400, THROTTLED),
    (130429, 400, THROTTLED),
    (130429, 429, THROTTLED),
    (131048, 400, THROTTLED),
    (131056, 400, THROTTLED),
    (131000, 500, PASSING),
    (131016, 500, PASSING),
    (131057, 500, PASSING),
    (133004, 503, PASSING),
    (131008, 400, REFUSED),
    (131009, 400, REFUSED),
    (131042, 400, REFUSED),
    (131051, 400, REFUSED),
    (131053, 400, REFUSED),
    (133000, 500, REFUSED),
    (133005, 400, (InvalidParametersException, Retry.NO)),
    (133006, 400, (InvalidParametersException, Retry.NO)),
    (133008, 400, (LimitExceededException, Retry.NO)),
    (133009, 400, (ThrottledRequestException, Retry.NO)),
    (133010, 400, REFUSED),
    (133015, 400, (ThrottledRequestException, Retry.NO)),
    (133016, 400, (LimitExceededException, Retry.NO)),
    (131052, 400, (InvalidParametersException, Retry.NO)),
    (131062, 400, (InvalidParametersException, Retry.NO)),
    *[(code, 400, REFUSED) for code in (132000, 132005, 132007, 132012, 132015, 132016, 132068, 132069)],
    (132001, 404, REFUSED),
    (613, 400, THROTTLED),
    (803, 404, MISSING),
    (2200, 400, INVALID),
    (2201, 400, INVALID),
    (131030, 400, INVALID),
    (131044, 400, REFUSED),
    (131055, 400, INVALID),
    (138000, 401, INVALID),  # none of the token's troubles, despite the 401
    (138001, 400, INVALID),
    (138002, 429, THROTTLED),
    (138003, 400, (ConflictException, Retry.NO)),
    (138004, 500, REFUSED),
    (138005, 429, THROTTLED),
    (138006, 401, INVALID),
    (138007, 500, REFUSED),
    *[(code, 400, INVALID) for code in (138009, 138012, 138013, 138014, 138015, 138017, 138018)],
    (139000, 400, DENIED),
    *[(code, 400, INVALID) for code in (139001, 139002, 139003, 139004)],
    (999999, 400, REFUSED),
    (999999, 429, THROTTLED),
    (999999, 500, PASSING),
]


def error(status: int, body: dict[str, Any] | bytes | None = None, **headers: str) -> ApiError:
    raw = body if isinstance(body, bytes) else json.dumps({"error": body or {}}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return error_from(Response(status, named, raw), "reading the media's description")


def kind_and_retry(found: ApiError) -> tuple[type[ApiError], Retry]:
    return type(found), found.retry


@pytest.mark.parametrize(("code", "status", "expected"), METAS_TABLE)
def test_a_code_of_metas_table_becomes(code: int, status: int, expected: tuple[type[ApiError], Retry]) -> None:
    found = error(status, {"code": code, "message": "m", "type": "OAuthException"})
    assert kind_and_retry(found) == expected
    assert f"code {code}" in found.message
    assert f"HTTP status {status}" in found.message


def test_every_code_that_is_classified_is_in_the_table_of_this_test() -> None:
    tested = {code for code, _, _ in METAS_TABLE}
    classified = table.THROTTLE_CODES | table.TRANSIENT_CODES | table.TRANSIENT_WITH_5XX_CODES
    classified |= {code for code in table.ACCESS_CODES if not 200 <= code < 300} | {table.INVALID_PARAMETER_CODE}
    assert classified <= tested
    assert {*table.ADVICE, *table.SINGLE_CODES} - {*range(200, 300)} <= tested
    assert set(range(200, 300)) <= table.ACCESS_CODES


def test_no_code_is_in_two_classes() -> None:
    sets = [table.ACCESS_CODES, table.THROTTLE_CODES, table.TRANSIENT_CODES, table.TRANSIENT_WITH_5XX_CODES]
    sets.append(frozenset(table.SINGLE_CODES))
    assert sum(map(len, sets)) == len(frozenset().union(*sets))


@pytest.mark.parametrize("code", [0, 3, 10, 190, 200, 368, 131031])
@pytest.mark.parametrize("status", [400, 429, 500, 503])
@pytest.mark.parametrize("is_transient", [True, False, None])
def test_a_denial_is_never_tried_again_whatever_else_the_answer_says(
    code: int, status: int, is_transient: bool | None
) -> None:
    assert kind_and_retry(error(status, {"code": code, "is_transient": is_transient})) == DENIED


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        # the code comes first
        (503, {"code": 4, "is_transient": False}, THROTTLED),
        (400, {"code": 131000, "is_transient": False}, PASSING),
        # then is_transient
        (400, {"code": 1, "is_transient": True}, PASSING),
        (400, {"code": 131009, "is_transient": True}, PASSING),
        (400, {"code": 999, "is_transient": True}, PASSING),
        (403, {"is_transient": True}, PASSING),
        # an invalid parameter: without a subcode, or with 33, the object; else the request
        (400, {"code": 100, "error_subcode": 33}, MISSING),
        (400, {"code": 100, "error_subcode": None}, MISSING),
        (400, {"code": 100, "error_subcode": 2018001}, REFUSED),
        (500, {"code": 100, "error_subcode": 33}, MISSING),
        # then the status
        (400, {}, REFUSED),
        (401, {}, DENIED),
        (403, {}, DENIED),
        (404, {}, MISSING),
        (418, {}, REFUSED),
        (429, {}, THROTTLED),
        (500, {}, PASSING),
        (502, {}, PASSING),
        (503, {}, PASSING),
        (302, {}, PASSING),
    ],
)
def test_codes_come_before_is_transient_and_that_before_the_status(
    status: int, body: dict[str, Any], expected: tuple[type[ApiError], Retry]
) -> None:
    assert kind_and_retry(error(status, body)) == expected


SENDING = CallKind(is_repeatable=False, names_object=False)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        # Meta did nothing: a throttle, or a service that is not there
        (400, {"code": 4}, THROTTLED),
        (400, {"code": 80007}, THROTTLED),
        (400, {"code": 130429}, THROTTLED),
        (400, {"code": 131056}, THROTTLED),
        (429, {}, THROTTLED),
        (500, {"code": 131016}, PASSING),
        (500, {"code": 131057}, PASSING),
        (503, {"code": 133004}, PASSING),
        # Meta does not say what it did
        (500, {"code": 131000}, REFUSED),
        (503, {"code": 2}, REFUSED),
        (400, {"code": 1, "is_transient": True}, REFUSED),
        (500, {}, REFUSED),
        (502, {}, REFUSED),
        (302, {}, REFUSED),
        # what is wrong is the message
        (400, {"code": 100}, REFUSED),
        (400, {"code": 131009}, REFUSED),
        # and here the phone number
        (400, {"code": 100, "error_subcode": 33}, MISSING),
        (401, {"code": 190}, DENIED),
    ],
)
def test_a_call_that_may_not_come_twice_is_tried_again_only_when_meta_surely_did_nothing(
    status: int, body: dict[str, Any], expected: tuple[type[ApiError], Retry]
) -> None:
    found = error_from(Response(status, {}, json.dumps({"error": body}).encode()), "sending the message", SENDING)
    assert kind_and_retry(found) == expected


@pytest.mark.parametrize(
    ("kind", "arrived", "retry"),
    [
        (CallKind(), True, Retry.YES),
        (CallKind(), False, Retry.YES),
        (SENDING, False, Retry.YES),
        (SENDING, True, Retry.NO),
    ],
)
def test_a_call_without_an_answer_is_tried_again_when_that_can_do_no_harm(
    kind: CallKind, arrived: bool, retry: Retry
) -> None:
    found = call_error(HttpError("the connection broke", arrived=arrived), "sending the message", kind)
    assert kind_and_retry(found) == (DependencyException, retry)
    assert ("not known" in found.message) == (retry is Retry.NO)


WRITTEN = CallKind(names_object=False, is_callers=True)


@pytest.mark.parametrize("code", [100, 131008, 131009])
@pytest.mark.parametrize("status", [400, 500])
def test_what_the_caller_wrote_and_meta_refuses_is_the_callers_to_mend(code: int, status: int) -> None:
    body = {"error": {"code": code, "error_subcode": 7, "is_transient": True}}
    found = error_from(Response(status, {}, json.dumps(body).encode()), "creating the template", WRITTEN)
    assert kind_and_retry(found) == INVALID


@pytest.mark.parametrize("subcode", table.INVALID_PARAMETERS)
def test_a_subcode_that_says_what_is_wrong_is_said_in_our_words(subcode: int) -> None:
    found = error(400, {"code": 100, "error_subcode": subcode, "error_user_msg": "Quelque chose"})
    assert kind_and_retry(found) == INVALID
    assert found.message.endswith(table.INVALID_PARAMETERS[subcode])


def test_too_much_to_one_recipient_waits_as_meta_asks() -> None:
    assert error(400, {"code": 131056}).retry_after == 4
    assert error(400, {"code": 4}).retry_after is None


NOT_METAS = [b"", b"<html>", b"[]", b"null", b"{}", b'{"error": null}', b'{"error": "x"}', b'{"error": {}}', b"\xff"]
NOT_METAS += [b'{"error": {"code": "x"}}', b'{"error": {"code": true}}', b'{"error": {"code": 1e400}}', b"[" * 100_000]
NOT_METAS += [b'{"error": {"code": ' + b"9" * 5000 + b"}}"]


@pytest.mark.parametrize("body", NOT_METAS)
def test_an_answer_that_is_not_metas_json_is_judged_by_its_status(body: bytes) -> None:
    assert kind_and_retry(error(401, body)) == DENIED
    assert kind_and_retry(error(404, body)) == MISSING
    assert kind_and_retry(error(500, body)) == PASSING


def test_a_member_of_another_type_than_documented_leaves_the_others_their_say() -> None:
    odd = b'{"error": {"code": "190", "error_subcode": [], "is_transient": "yes", "message": 7}}'
    assert kind_and_retry(error(404, odd)) == DENIED
    assert kind_and_retry(error(400, b'{"error": {"code": 100, "error_subcode": "33"}}')) == MISSING


@pytest.mark.parametrize("trace", ["AbC-1_2.3/4+5=", "A" * 64])
def test_metas_trace_id_is_repeated(trace: str) -> None:
    assert f"fbtrace_id {trace}" in error(400, {"code": 1, "fbtrace_id": trace}).message


@pytest.mark.parametrize("trace", ["", "a b", "A" * 65, "<x>", "a\n", "é\u2028", 7, None, ["a"], {"a": "b"}])
def test_a_trace_id_of_another_form_is_not(trace: object) -> None:
    assert "fbtrace" not in error(400, {"code": 1, "fbtrace_id": trace}).message


@pytest.mark.parametrize("code", [0, 1, 2, 4, 10, 33, 100, 190, 200, 368, 131000, 999, None])
def test_metas_own_text_is_never_repeated(code: int | None) -> None:
    told = {name: f"S3CR3T {name}" for name in ("message", "type", "error_user_title", "error_user_msg")}
    found = error(400, {"code": code, "error_data": {"details": "S3CR3T"}, "error_subcode": 463, **told})
    assert "S3CR3T" not in found.message
    assert "subcode 463" in found.message
    assert "reading the media's description" in found.message


@pytest.mark.parametrize(
    ("body", "advice"),
    [
        ({"code": 190}, "whaul link"),
        ({"code": 10}, "whatsapp_business_messaging"),
        ({"code": 368}, "Business Support"),
        ({"code": 0}, "access token"),
        ({"code": 210}, "whatsapp_business_management"),
        ({"code": 131005}, "lacks a permission"),
        ({"code": 4}, "Try again later"),
        ({"code": 100, "error_subcode": 33}, "belongs to another account"),
        (
            {"code": 100, "message": "API calls from the server require an appsecret_proof argument"},
            "--app-secret-file",
        ),
        ({"code": 131009}, "Meta's list"),
        ({"code": 131062}, "only to a phone number"),
    ],
)
def test_the_message_says_what_to_do(body: dict[str, Any], advice: str) -> None:
    assert advice in error(400, body).message


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (404, {}, "look for it"),
        (400, {"code": 100, "error_subcode": 33}, "look for it"),
        (401, {"code": 190}, "bring another"),
        (401, {}, "bring another"),
        (400, {"code": 102}, "bring another"),
        (400, {"code": 0}, "bring another"),
        (403, {"code": 210}, "let it"),
        (403, {}, "let it"),
    ],
)
def test_a_call_may_have_its_own_words_for_what_is_missing_and_for_its_token(
    status: int, body: dict[str, Any], told: str
) -> None:
    call = CallKind(missing="look for it", token="bring another", permission="let it")
    response = Response(status, {}, json.dumps({"error": body}).encode())
    assert error_from(response, "reading", call).message.endswith(told)


# --- usage headers


def business(*usages: dict[str, Any]) -> str:
    return json.dumps({"400000000000001": list(usages)})


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-7"}, None),
        ({"retry-after": "7.5"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "²"}, None),
        ({"x-business-use-case-usage": business({"estimated_time_to_regain_access": 2})}, 120.0),
        (
            {"x-business-use-case-usage": business({"estimated_time_to_regain_access": 2}, {"call_count": 1})},
            120.0,
        ),
        ({"x-business-use-case-usage": business({"estimated_time_to_regain_access": 0})}, None),
        ({"x-business-use-case-usage": business({"estimated_time_to_regain_access": -3})}, None),
        ({"retry-after": "300", "x-business-use-case-usage": business({"estimated_time_to_regain_access": 2})}, 300.0),
        ({"retry-after": "30", "x-business-use-case-usage": business({"estimated_time_to_regain_access": 2})}, 120.0),
        ({"x-business-use-case-usage": "[]"}, None),
        ({"x-business-use-case-usage": "{"}, None),
        ({"x-business-use-case-usage": '{"1": {}}'}, None),
        ({"x-business-use-case-usage": '{"1": [{"estimated_time_to_regain_access": "soon"}]}'}, None),
        ({"x-business-use-case-usage": "[" * 100_000}, None),
        ({"x-business-use-case-usage": business({"estimated_time_to_regain_access": 1e308})}, MAX_REGAIN),
        ({"retry-after": "9" * 400}, MAX_REGAIN),
    ],
)
def test_how_long_meta_asks_to_be_left_alone(headers: dict[str, str], seconds: float | None) -> None:
    assert regain_seconds(headers) == seconds
    found = error_from(Response(429, headers, b""), "the download")
    assert found.retry_after == seconds
    assert ("Retry-After" in dict(response.error(found)[1])) == (seconds is not None)


@given(st.dictionaries(st.sampled_from(["retry-after", "x-business-use-case-usage", "x-app-usage"]), st.text()))
def test_no_header_of_meta_can_break_an_answer(headers: dict[str, str]) -> None:
    response.error(error_from(Response(429, headers, b""), "the download"))
    usage_percent(headers)


@pytest.mark.parametrize(
    ("headers", "percent"),
    [
        ({}, {}),
        ({"x-app-usage": '{"call_count": 10, "total_cputime": 30, "total_time": 20}'}, {("app", ""): 30.0}),
        ({"x-app-usage": "{}"}, {("app", ""): 0.0}),
        ({"x-app-usage": "nonsense"}, {}),
        (
            {"x-business-use-case-usage": business({"call_count": 5, "type": "whatsapp"}, {"total_time": 80})},
            {("business", "400000000000001"): 80.0},
        ),
        ({"x-business-use-case-usage": "{}"}, {}),
        ({"x-business-use-case-usage": '{"1": []}'}, {}),
    ],
)
def test_the_highest_percentage_of_each_usage_header_counts(
    headers: dict[str, str], percent: dict[tuple[str, str], float]
) -> None:
    assert usage_percent(headers) == percent
