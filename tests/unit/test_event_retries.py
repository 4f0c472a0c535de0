import random

import pytest

from whaul.events.delivery.retries import (
    DOWN_AFTER,
    MAX_PROBE_PAUSE,
    MAX_RETRY_AFTER,
    SCHEDULE,
    Health,
    Verdict,
    pause,
    verdict,
)
from whaul.events.model import Accepted, Failed

DOWN = Failed("down", "no connection")
REJECTED = Failed("rejected", "bad text")
REFUSED = Failed("refused", "HTTP 401")


def rng() -> random.Random:
    return random.Random(7)  # noqa: S311


def judge(outcome: Accepted | Failed, *, attempts: int = 1, age: float = 0.0, stopped: bool = False) -> Verdict:
    return verdict(outcome, attempts=attempts, age=age, period=1000.0, stopped=stopped, rng=rng())


@pytest.mark.parametrize("attempts", range(1, 15))
def test_a_pause_is_anything_up_to_the_schedule(attempts: int) -> None:
    longest = SCHEDULE[min(attempts, len(SCHEDULE)) - 1]
    pauses = [pause(attempts, random.Random(seed)) for seed in range(200)]  # noqa: S311
    assert 0 <= min(pauses) < longest / 10
    assert longest * 0.9 < max(pauses) <= longest


def test_what_was_accepted_is_done() -> None:
    assert judge(Accepted()).state == "done"


def test_what_can_never_pass_is_dead_at_once() -> None:
    assert judge(Failed("impossible", "too large"), stopped=True).state == "dead"


def test_what_failed_is_tried_again_within_the_period() -> None:
    found = judge(REJECTED, attempts=5, age=990)
    assert (found.state, found.wait, found.counted) == ("pending", 10, True)
    assert judge(REJECTED, age=1000).state == "dead"


def test_a_destination_that_asks_to_wait_is_heard_up_to_an_hour() -> None:
    patient = {"attempts": 1, "age": 0.0, "period": 10**6, "stopped": False, "rng": rng()}
    assert verdict(Failed("down", "", retry_after=90), **patient).wait == 90
    assert verdict(Failed("down", "", retry_after=10**9), **patient).wait == MAX_RETRY_AFTER


def test_a_destination_that_refuses_all_uses_up_no_attempt() -> None:
    assert judge(REFUSED, age=10**9, stopped=True) == Verdict("pending", counted=False)


def test_ten_failures_in_a_row_mean_down_and_one_answer_up() -> None:
    health = Health(rng())
    changes = [health.note(DOWN, "a", 0.0) for _ in range(DOWN_AFTER)]
    assert changes == [None] * (DOWN_AFTER - 1) + ["down"]
    assert health.is_down
    assert health.not_before > 0
    assert health.note(REJECTED, "a", 1.0) == "up"
    assert (health.is_down, health.not_before) == (False, 0.0)


def test_an_answer_in_between_begins_anew() -> None:
    health = Health(rng())
    for _ in range(DOWN_AFTER - 1):
        health.note(DOWN, "a", 0.0)
    health.note(Accepted(), "a", 0.0)
    assert health.note(DOWN, "a", 0.0) is None


def test_what_was_under_way_makes_no_pause_longer() -> None:
    health = Health(rng())
    for _ in range(DOWN_AFTER + 100):
        health.note(DOWN, "a", 0.0)
    assert health.not_before <= 1.0


def test_pauses_grow_to_a_minute() -> None:
    health, now, pauses = Health(rng()), 0.0, []
    for _ in range(DOWN_AFTER + 15):
        health.note(DOWN, "a", now)
        pauses.append(health.not_before - now)
        now = max(now, health.not_before)
    assert pauses[: DOWN_AFTER - 1] == [0.0] * (DOWN_AFTER - 1)
    assert MAX_PROBE_PAUSE / 2 <= pauses[-1] <= MAX_PROBE_PAUSE
    assert pauses[DOWN_AFTER] < 3


def test_a_busy_destination_gets_nothing_until_it_wants_more() -> None:
    health = Health(rng())
    health.note(Failed("down", "HTTP 429", retry_after=30), "a", 100.0)
    assert health.not_before == 130.0


def test_three_different_events_that_are_refused_open_it() -> None:
    health = Health(rng())
    assert [health.note(REFUSED, id_, 0.0) for id_ in ("a", "a", "a", "b", "c")] == [None] * 4 + ["open"]


def test_refusals_with_others_between_them_open_nothing() -> None:
    health = Health(rng())
    for id_ in "abcdef":
        assert health.note(REFUSED, id_, 0.0) is None
        assert health.note(REJECTED, "x", 0.0) is None


def test_some_answers_say_it_at_once() -> None:
    assert Health(rng()).note(Failed("closed", "no topic"), "a", 0.0) == "open"
    assert Health(rng()).note(Failed("gone", "HTTP 410"), "a", 0.0) == "disabled"
