"""Calls per second."""

import pytest

from whaul.errors import ThrottledRequestException
from whaul.server import limits
from whaul.server.limits import RateLimit
from whaul.testing import Clock

pytestmark = pytest.mark.anyio
FOR_EVER = float("inf")


def allowed(limit: RateLimit, caller: str = "a", own: float | None = None, burst: int | None = None) -> bool:
    try:
        limit.take(caller, own, burst)
    except ThrottledRequestException:
        return False
    return True


def test_without_a_limit_everything_is_allowed() -> None:
    limit = RateLimit(0, Clock())
    assert all(allowed(limit) for _ in range(1000))


def test_a_burst_of_one_seconds_worth_is_allowed_and_then_as_much_as_time_passes() -> None:
    clock = Clock()
    limit = RateLimit(4, clock)
    assert [allowed(limit) for _ in range(5)] == [True] * 4 + [False]
    clock.advance(0.25)
    assert [allowed(limit) for _ in range(2)] == [True, False]
    clock.advance(1000)
    assert [allowed(limit) for _ in range(5)] == [True] * 4 + [False]


def test_a_refused_call_costs_nothing() -> None:
    clock = Clock()
    limit = RateLimit(1, clock)
    assert [allowed(limit) for _ in range(50)] == [True] + [False] * 49
    clock.advance(1)
    assert allowed(limit)


def test_less_than_one_call_a_second_is_a_limit_too() -> None:
    clock = Clock()
    limit = RateLimit(0.5, clock)
    assert allowed(limit)
    clock.advance(1.5)
    assert not allowed(limit)
    clock.advance(0.5)
    assert allowed(limit)


@pytest.mark.parametrize(("burst", "at_once"), [(1, 1), (3, 3), (10, 10), (None, 4)])
def test_a_burst_is_as_large_as_it_is_set_and_no_larger_after_any_pause(burst: int | None, at_once: int) -> None:
    clock = Clock()
    limit = RateLimit(4, clock, burst)
    for _ in range(2):
        assert [allowed(limit) for _ in range(at_once + 1)] == [True] * at_once + [False]
        clock.advance(1000)


def test_after_a_burst_the_rate_holds() -> None:
    clock = Clock()
    limit = RateLimit(2, clock, 10)
    assert sum(allowed(limit) for _ in range(100)) == 10
    taken = 0
    for _ in range(1000):
        clock.advance(0.125)
        taken += allowed(limit)
    assert taken == 250


def test_a_limit_of_ones_own_stands_in_place_of_the_servers() -> None:
    limit = RateLimit(1, Clock())
    assert [allowed(limit, "own", 3) for _ in range(4)] == [True] * 3 + [False]
    assert [allowed(limit, "other") for _ in range(2)] == [True, False]


def test_a_limit_of_ones_own_holds_where_the_server_has_none() -> None:
    limit = RateLimit(0, Clock())
    assert [allowed(limit, "own", 1) for _ in range(2)] == [True, False]
    assert all(allowed(limit, "other") for _ in range(100))


def test_a_limit_of_ones_own_may_be_none_at_all() -> None:
    limit = RateLimit(1, Clock(), 1)
    assert all(allowed(limit, "own", 0) for _ in range(100))


@pytest.mark.parametrize(
    ("own", "burst", "at_once"),
    [
        (None, None, 7),  # the server's
        (None, 2, 2),
        (3, None, 3),  # one second's worth of its own
        (3, 5, 5),
        (0.5, None, 1),
        (10, 1, 1),
    ],
)
def test_a_burst_of_ones_own_stands_in_place_of_the_servers(own: float | None, burst: int | None, at_once: int) -> None:
    limit = RateLimit(1, Clock(), 7)
    assert sum(allowed(limit, "own", own, burst) for _ in range(100)) == at_once


def test_a_limit_that_is_changed_holds_from_the_next_call_on() -> None:
    clock = Clock()
    limit = RateLimit(0, clock)
    assert sum(allowed(limit, "a", 100) for _ in range(50)) == 50
    assert sum(allowed(limit, "a", 1) for _ in range(50)) == 1, "no more than the new burst is left"
    clock.advance(1)
    assert sum(allowed(limit, "a", 100) for _ in range(500)) == 100


def test_callers_do_not_use_up_each_others_share() -> None:
    limit = RateLimit(1, Clock())
    assert [allowed(limit, caller) for caller in ("a", "b", "a", "b")] == [True, True, False, False]


@pytest.mark.parametrize(
    ("per_second", "passed", "wait"), [(1, 0.0, 1.0), (1, 0.25, 0.75), (4, 0.0, 0.25), (0.5, 0, 2.0)]
)
def test_a_refusal_says_when_the_next_call_is_allowed(per_second: float, passed: float, wait: float) -> None:
    clock = Clock()
    limit = RateLimit(per_second, clock)
    while allowed(limit):
        pass
    clock.advance(passed)
    with pytest.raises(ThrottledRequestException, match="WHAUL_RATE_LIMIT") as caught:
        limit.take("a")
    assert caught.value.retry_after == pytest.approx(wait)
    clock.advance(wait)
    assert allowed(limit)


def test_callers_that_were_idle_longest_are_forgotten_first() -> None:
    limit = RateLimit(1, Clock())
    assert allowed(limit, "first")
    assert allowed(limit, "second")
    assert not allowed(limit, "first")  # seen again, so now `second` is idle longest
    for number in range(limits.IDLE_CALLERS - 1):
        allowed(limit, str(number))
    assert len(limit._buckets) == limits.IDLE_CALLERS
    assert not allowed(limit, "first")
    assert allowed(limit, "second")
