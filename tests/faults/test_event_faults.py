"""Some of the event faults of the bench, in short; `./run faults --events` is the whole of it."""

from collections.abc import Iterator

import pytest

from tools.faults.event_faults import SCENARIOS, SHORT, EventWorld, Scenario, event_world, tell_events

pytestmark = pytest.mark.long

CHOSEN = [(scenario, database) for scenario in SCENARIOS for database in scenario.short]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EventWorld]:
    with event_world(tmp_path_factory.mktemp("events")) as running:
        yield running


@pytest.mark.parametrize(("scenario", "database"), CHOSEN, ids=[f"{one.name} on {kind}" for one, kind in CHOSEN])
def test_a_fault_loses_no_event(shared: EventWorld, scenario: Scenario, database: str) -> None:
    story = tell_events(shared, scenario, database, SHORT)
    if story.skipped:
        pytest.skip(story.skipped)
    assert story.losses == []
    assert story.misses == []
    assert story.injected, "nothing struck"
