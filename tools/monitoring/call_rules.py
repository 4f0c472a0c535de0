"""The alerts of calls and of Meta; see `rules`."""

from collections.abc import Sequence
from typing import Final

from tools.monitoring.rules import Alert, Group, share
from whaul.errors import (
    ApiError,
    DependencyException,
    InternalServiceException,
    ServiceUnavailable,
    ThrottledRequestException,
)

OURS: Final = (InternalServiceException, ServiceUnavailable)
"""Errors that neither a caller nor Meta nor a store can be blamed for."""
LATE: Final = 10
"""Seconds after which a call is slow; an upper bound of the buckets."""
BUDGET: Final = 0.01
"""The share of calls that may be slow."""


def codes(errors: Sequence[type[ApiError]]) -> str:
    """Write a matcher's regular expression of the outcomes that these errors are counted as."""
    return "|".join(error.__name__ for error in errors)


def failing(errors: Sequence[type[ApiError]], window: str) -> str:
    """Write the share of calls that end with one of these errors."""
    return share("whaul_calls_total", f'outcome=~"{codes(errors)}"', window)


def slow(window: str) -> str:
    """Write the share of calls that were slow."""
    return (
        f'1 - sum by (job) (rate(whaul_call_seconds_bucket{{le="{LATE}.0"}}[{window}]))\n'
        f"    / sum by (job) (rate(whaul_call_seconds_count[{window}]))"
    )


def burning(times: float, short: str, long: str) -> str:
    """Write that slow calls use up their budget so many times as fast as it grows, now and for a while."""
    limit = f"{times * BUDGET:g}"
    return f"(\n    {slow(short)} > {limit}\n  and\n    {slow(long)} > {limit}\n)"


CALLS: Final = Group(
    "whaul-calls",
    "Calls",
    [
        Alert(
            name="WhaulCallErrors",
            severity="critical",
            expr=f"{failing(OURS, '5m')} > 0.01",
            wait="5m",
            summary="{{ $value | humanizePercentage }} of calls fail by whaul's own fault",
            meaning="More than 1 % of calls end with `InternalServiceException` or `ServiceUnavailable`, for which "
            "neither callers nor Meta nor a store are to blame.",
            advice=[
                "`ServiceUnavailable`: see [WhaulDatabaseDown](#whauldatabasedown).",
                (
                    "`InternalServiceException`: a mistake in whaul. The log has `unforeseen` with its place, and the "
                    "request's id; please report it."
                ),
            ],
            fires={
                'whaul_calls_total{job="whaul",operation="A",outcome="ok"}': "0+95x20",
                'whaul_calls_total{job="whaul",operation="A",outcome="InternalServiceException"}': "0+5x20",
            },
            labels={"job": "whaul"},
            says="5% of calls fail by whaul's own fault",
            silent={
                'whaul_calls_total{job="whaul",operation="A",outcome="ok"}': "0+95x20",
                'whaul_calls_total{job="whaul",operation="A",outcome="DependencyException"}': "0+5x20",
            },
        ),
        Alert(
            name="WhaulDependencyErrors",
            severity="warning",
            expr=f"{failing([DependencyException], '10m')} > 0.1",
            wait="10m",
            summary="{{ $value | humanizePercentage }} of calls fail at Meta or at a store",
            meaning="More than a tenth of calls end with `DependencyException`: Meta or the store did not answer, or "
            "not properly, as often as whaul tried within the call's deadline.",
            advice=[
                "The `message` in the [log](observe.md#logs) says who it was, with Meta's code or the store's status.",
                "The board's row *Meta and stores* shows which part of a call fails or takes long.",
                "`whaul doctor --bucket NAME` asks both from here. Meta tells of its outages on its status page.",
            ],
            fires={
                'whaul_calls_total{job="whaul",operation="A",outcome="ok"}': "0+75x30",
                'whaul_calls_total{job="whaul",operation="A",outcome="DependencyException"}': "0+25x30",
            },
            labels={"job": "whaul"},
            says="25% of calls fail at Meta or at a store",
            silent={
                'whaul_calls_total{job="whaul",operation="A",outcome="ok"}': "0+75x30",
                'whaul_calls_total{job="whaul",operation="A",outcome="ResourceNotFoundException"}': "0+25x30",
            },
            at="30m",
        ),
        Alert(
            name="WhaulCallsSlow",
            severity="warning",
            expr=f"{burning(14.4, '5m', '1h')}\nor\n{burning(6, '30m', '6h')}",
            wait="2m",
            summary="{{ $value | humanizePercentage }} of calls take more than 10 s",
            meaning="Too many calls take more than 10 s: 14 % of them for an hour, or 6 % for six hours. One in a "
            "hundred is what this alert takes for usual; at these shares, a month's slow calls are used up in two "
            "days, or in five. Large files take longer by nature: change the time if you move many.",
            advice=[
                (
                    "The board's row *Meta and stores* shows which part takes long: `get` and `describe` are Meta, "
                    "`put` is the store, `wait` is the server's own queue."
                ),
                "If it is `wait`, see [WhaulSlotsFull](#whaulslotsfull).",
                (
                    "If it is all of them, look at the CPU time in the row *Process*: "
                    "[more workers](scale.md#several-workers)."
                ),
            ],
            fires={
                'whaul_call_seconds_bucket{job="whaul",operation="A",le="10.0"}': "0+80x90",
                'whaul_call_seconds_count{job="whaul",operation="A"}': "0+100x90",
            },
            labels={"job": "whaul"},
            says="20% of calls take more than 10 s",
            silent={
                'whaul_call_seconds_bucket{job="whaul",operation="A",le="10.0"}': "0+100x80 8000+80x10",
                'whaul_call_seconds_count{job="whaul",operation="A"}': "0+100x90",
            },
            at="85m",
        ),
        Alert(
            name="WhaulSlotsFull",
            severity="warning",
            expr="min_over_time(whaul_waiting_calls[5m]) > 0",
            wait="5m",
            summary="{{ $value }} calls wait for a transfer slot of whaul at {{ $labels.instance }}",
            meaning="All transfer slots have been taken for minutes, and calls wait. Waiting counts against a call's "
            "deadline; when the queue is full, calls get `ThrottledRequestException`.",
            advice=[
                "If the CPU is not busy, raise [`WHAUL_MAX_TRANSFERS`](settings.md#whaul_max_transfers).",
                "If it is, run [more workers](scale.md#several-workers) or servers.",
                "If Meta or the store has become slow, slots are held longer: see [WhaulCallsSlow](#whaulcallsslow).",
            ],
            fires={'whaul_waiting_calls{job="whaul",instance="a:8080"}': "3x20"},
            labels={"job": "whaul", "instance": "a:8080"},
            says="3 calls wait for a transfer slot of whaul at a:8080",
            silent={'whaul_waiting_calls{job="whaul",instance="a:8080"}': "9 0 9 9 0 9 0 0 9 9 0 9 9 9 0 9 9 9 0 9 9"},
        ),
        Alert(
            name="WhaulCallsThrottled",
            severity="warning",
            expr=f"{failing([ThrottledRequestException], '10m')} > 0.05",
            wait="10m",
            summary="{{ $value | humanizePercentage }} of calls are throttled",
            meaning="More than a twentieth of calls are turned away by a limit: Meta's, the store's, or whaul's.",
            advice=[
                (
                    "The `message` in the [log](observe.md#logs) says whose limit it is; "
                    "[Scale](scale.md#limits-of-a-worker) says what to do about whaul's own."
                ),
                "If it is Meta's, see [WhaulMetaUsageHigh](#whaulmetausagehigh).",
            ],
            fires={
                'whaul_calls_total{job="whaul",operation="A",outcome="ok"}': "0+80x30",
                'whaul_calls_total{job="whaul",operation="A",outcome="ThrottledRequestException"}': "0+20x30",
            },
            labels={"job": "whaul"},
            says="20% of calls are throttled",
            silent={
                'whaul_calls_total{job="whaul",operation="A",outcome="ok"}': "0+99x30",
                'whaul_calls_total{job="whaul",operation="A",outcome="ThrottledRequestException"}': "0+1x30",
            },
            at="30m",
        ),
        Alert(
            name="WhaulCircuitOpen",
            severity="warning",
            expr="whaul_open_circuits > 0",
            wait="2m",
            summary="whaul at {{ $labels.instance }} leaves {{ $value }} of kind {{ $labels.kind }} alone",
            meaning="A host, a phone number or an account failed so often in a row that it is "
            "[left alone for a while](how-it-works.md#when-something-fails): calls to it fail at once.",
            advice=[
                "`whaul_circuit_probe_timestamp_seconds > 0` names it, and [the console](console.md#transfers) does.",
                "`host`: the store or Meta does not answer.",
                "`phone_number`, `account`: Meta refuses it; see [WhaulTokenRefused](#whaultokenrefused).",
                "It ends by itself, with the first call that succeeds. Until somebody calls, it counts as open.",
            ],
            fires={'whaul_open_circuits{job="whaul",instance="a:8080",kind="host"}': "1x20"},
            labels={"job": "whaul", "instance": "a:8080", "kind": "host"},
            says="whaul at a:8080 leaves 1 of kind host alone",
            silent={'whaul_open_circuits{job="whaul",instance="a:8080",kind="host"}': "0 1 0 0 1 1 0x20"},
        ),
    ],
)

META: Final = Group(
    "whaul-meta",
    "Meta",
    [
        Alert(
            name="WhaulMetaUsageHigh",
            severity="warning",
            expr="max by (job, kind) (whaul_meta_usage_percent) > 80",
            wait="5m",
            summary="{{ $value }} % of Meta's rate limit ({{ $labels.kind }}) is used",
            meaning="More than four fifths of Meta's rate limit are used, as Meta said with its last answers. At 100 "
            "% it throttles the app or the business, whatever "
            "server the calls come from.",
            advice=[
                (
                    "Call less often: keep what does not change, such as names and templates; fetch a file once, or "
                    "let the [archive](archive.md) do it."
                ),
                (
                    "More servers do not help. [Meta's limits](https://developers.facebook.com/docs/graph-api/overview/"
                    "rate-limiting/) grow with the use of the app."
                ),
            ],
            fires={'whaul_meta_usage_percent{job="whaul",instance="a:8080",kind="business"}': "85x20"},
            labels={"job": "whaul", "kind": "business"},
            says="85 % of Meta's rate limit (business) is used",
            silent={'whaul_meta_usage_percent{job="whaul",instance="a:8080",kind="business"}': "79x20"},
        ),
        Alert(
            name="WhaulTokenRefused",
            severity="critical",
            expr="sum by (job) (increase("
            'whaul_calls_total{outcome="AccessDeniedByMetaException"}[15m])) > 0\n'
            'or\nsum by (job) (increase(whaul_refreshes_total{outcome="AccessDeniedByMetaException"}[15m])) > 0\n'
            'or\nsum by (job) (increase(whaul_archive_files_total{outcome="parked"}[15m])) > 0',
            wait="5m",
            summary="Meta refuses a token, or what it may do",
            meaning="Calls end with `AccessDeniedByMetaException`, or files cannot be archived: the token of an "
            "account has ended, was revoked, or lacks a permission. Files wait for a new one for as long as Meta keeps "
            "them, up to 7 days.",
            advice=[
                "`whaul doctor` names the account, and says what is wrong with its token.",
                "Link it again: `whaul link --waba-id ID --token-file FILE`. What waits goes on by itself.",
            ],
            fires={'whaul_archive_files_total{job="whaul",instance="a:8080",outcome="parked"}': "0+1x30"},
            labels={"job": "whaul"},
            says="Meta refuses a token, or what it may do",
            silent={
                'whaul_archive_files_total{job="whaul",instance="a:8080",outcome="parked"}': "5x30",
                'whaul_calls_total{job="whaul",operation="A",outcome="AccessDeniedException"}': "0+9x30",
            },
        ),
        Alert(
            name="WhaulTokenEndsSoon",
            severity="warning",
            expr="min by (job, account) (whaul_token_expiry_timestamp_seconds) - time() < 7 * 86400",
            summary="The token of {{ $labels.account }} ends in {{ $value | humanizeDuration }}",
            meaning="The token of a linked account, or its access to data, ends within 7 days. Then every call for "
            "the account fails, and its files are not archived.",
            advice=[
                (
                    "Make a new token, and link the account again: `whaul link --waba-id ID --token-file FILE`. A "
                    "[system user's token](getting-started.md) need not end at all."
                ),
            ],
            fires={'whaul_token_expiry_timestamp_seconds{job="whaul",instance="a:8080",account="waba-1"}': "260400x20"},
            labels={"job": "whaul", "account": "waba-1"},
            says="The token of waba-1 ends in 3d 0h 0m 0s",
            silent={
                'whaul_token_expiry_timestamp_seconds{job="whaul",instance="a:8080",account="waba-1"}': "864000x20"
            },
        ),
        Alert(
            name="WhaulTokenEnded",
            severity="critical",
            expr="min by (job, account) (whaul_token_expiry_timestamp_seconds) <= time()",
            summary="The token of {{ $labels.account }} has ended",
            meaning="Every call for this account fails, and its files are not archived; Meta keeps them for 7 days.",
            advice=["Link the account again now: `whaul link --waba-id ID --token-file FILE`."],
            fires={'whaul_token_expiry_timestamp_seconds{job="whaul",instance="a:8080",account="waba-1"}': "600x20"},
            labels={"job": "whaul", "account": "waba-1"},
            says="The token of waba-1 has ended",
            silent={'whaul_token_expiry_timestamp_seconds{job="whaul",instance="a:8080",account="waba-1"}': "1800x20"},
        ),
    ],
)
