"""Circuits: when one opens, what it refuses, and how it closes."""

import pytest

from whaul.outbound.circuit import MAX_CIRCUITS, Circuits


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told() -> list[tuple[str, float | None]]:
    return []


@pytest.fixture
def circuits(clock: Clock, told: list[tuple[str, float | None]]) -> Circuits[ValueError]:
    return Circuits(3, 10.0, clock, lambda name, seconds: told.append((name, seconds)))


def fail(circuits: Circuits[ValueError], times: int, name: str = "a") -> None:
    for number in range(times):
        circuits.failed(name, ValueError(f"failure {number + 1}"))


def test_a_circuit_without_failures_refuses_nothing(circuits: Circuits[ValueError]) -> None:
    assert circuits.refusal("a") is None


def test_fewer_failures_than_it_takes_refuse_nothing(circuits: Circuits[ValueError]) -> None:
    fail(circuits, 2)
    assert circuits.refusal("a") is None


def test_failures_in_a_row_open_it_with_the_last_error(circuits: Circuits[ValueError]) -> None:
    fail(circuits, 3)
    assert str(circuits.refusal("a")) == "failure 3"


def test_a_success_between_failures_starts_the_count_again(circuits: Circuits[ValueError]) -> None:
    fail(circuits, 2)
    circuits.succeeded("a")
    fail(circuits, 2)
    assert circuits.refusal("a") is None


def test_one_name_does_not_refuse_another(circuits: Circuits[ValueError]) -> None:
    fail(circuits, 3)
    assert circuits.refusal("b") is None


def test_an_open_circuit_lets_one_probe_through_when_its_time_is_over(
    circuits: Circuits[ValueError], clock: Clock
) -> None:
    fail(circuits, 3)
    clock.now += 9.9
    assert circuits.refusal("a") is not None
    clock.now += 0.1
    assert circuits.refusal("a") is None
    assert circuits.refusal("a") is not None


def test_a_probe_that_fails_opens_it_for_another_while(circuits: Circuits[ValueError], clock: Clock) -> None:
    fail(circuits, 3)
    clock.now += 10
    assert circuits.refusal("a") is None
    fail(circuits, 1)
    clock.now += 9.9
    assert circuits.refusal("a") is not None


def test_a_probe_that_succeeds_closes_it(circuits: Circuits[ValueError], clock: Clock) -> None:
    fail(circuits, 3)
    clock.now += 10
    assert circuits.refusal("a") is None
    circuits.succeeded("a")
    fail(circuits, 2)
    assert circuits.refusal("a") is None


def test_a_probe_whose_end_is_never_told_is_followed_by_another(circuits: Circuits[ValueError], clock: Clock) -> None:
    fail(circuits, 3)
    clock.now += 10
    assert circuits.refusal("a") is None
    clock.now += 10
    assert circuits.refusal("a") is None


def test_which_are_open_and_until_when_is_told(
    circuits: Circuits[ValueError], clock: Clock, told: list[tuple[str, float | None]]
) -> None:
    fail(circuits, 3)
    fail(circuits, 3, name="b")
    circuits.succeeded("a")
    circuits.succeeded("never failed")
    fail(circuits, 1, name="c")
    circuits.succeeded("c")
    assert told == [("a", 10.0), ("b", 10.0), ("a", None)]
    clock.now += 10.0
    assert circuits.refusal("b") is None
    assert told[3:] == [("b", 10.0)], "its probe is under way"


def test_only_so_many_circuits_are_remembered(circuits: Circuits[ValueError]) -> None:
    fail(circuits, 3, name="first")
    for number in range(MAX_CIRCUITS):
        circuits.failed(str(number), ValueError())
    assert circuits.refusal("first") is None
