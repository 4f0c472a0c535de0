"""How often anybody's question whether calls can be served leads to a look."""

import asyncio

import pytest
import structlog

from whaul.errors import DependencyException
from whaul.registry.errors import RegistryUnavailableError
from whaul.server.readiness import MAX_AGE, Readiness, announced
from whaul.testing import Clock

pytestmark = pytest.mark.anyio


class Looks:
    def __init__(self) -> None:
        self.count = 0
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> None:
        self.count += 1
        await self.gate.wait()
        if self.failure:
            raise self.failure


async def test_a_look_is_for_all_who_ask_within_a_second() -> None:
    looks, clock = Looks(), Clock()
    readiness = Readiness(looks, clock=clock)
    assert await asyncio.gather(*(readiness.unready() for _ in range(100))) == [[]] * 100
    looks.failure = RegistryUnavailableError()
    clock.advance(MAX_AGE / 2)
    assert await readiness.unready() == []
    assert looks.count == 1
    clock.advance(MAX_AGE / 2)
    assert await readiness.unready() == [str(RegistryUnavailableError())]
    assert looks.count == 2


async def test_a_look_that_takes_long_is_joined_and_survives_who_gives_up() -> None:
    looks, clock = Looks(), Clock()
    readiness = Readiness(looks, clock=clock)
    looks.gate.clear()
    impatient = asyncio.create_task(readiness.unready())
    patient = asyncio.create_task(readiness.unready())
    await asyncio.sleep(0)
    clock.advance(10 * MAX_AGE)
    late = asyncio.create_task(readiness.unready())
    await asyncio.sleep(0)
    impatient.cancel()
    looks.gate.set()
    assert await asyncio.gather(patient, late) == [[], []]
    assert looks.count == 1
    assert await readiness.unready() == []
    assert looks.count == 2


async def test_what_every_check_misses_is_told() -> None:
    database, credentials, other = Looks(), Looks(), Looks()
    database.failure, credentials.failure = RegistryUnavailableError(), DependencyException("No S3 credentials.")
    readiness = Readiness(database, other, credentials)
    assert await readiness.unready() == [str(RegistryUnavailableError()), "No S3 credentials."]


async def test_an_error_that_nobody_foresaw_is_a_reason_without_its_text() -> None:
    looks, clock = Looks(), Clock()
    looks.failure = ZeroDivisionError("https://host/?access_token=EAAG")
    readiness = Readiness(looks, clock=clock)
    with structlog.testing.capture_logs() as lines:
        assert await readiness.unready() == ["An internal error; the log says where."]
    looks.failure = None
    clock.advance(MAX_AGE)
    assert await readiness.unready() == []
    assert [line["event"] for line in lines] == ["unforeseen"]
    assert "EAAG" not in str(lines)


async def test_a_server_that_starts_says_what_is_missing_once_and_when_it_is_ready() -> None:
    answers = [["no credentials"], ["no credentials", "no database"], ["no database"], []]
    is_ready = asyncio.Event()

    async def unready() -> list[str]:
        return answers.pop(0)

    with structlog.testing.capture_logs() as lines:
        async with announced(unready, is_ready.set, pause=0):
            await is_ready.wait()
    told = [(line["log_level"], line["event"], line["message"]) for line in lines]
    assert told == [("warning", "not_ready", "no credentials"), ("warning", "not_ready", "no database")]


async def test_a_server_that_stops_before_it_is_ready_never_says_that_it_is() -> None:
    looked = asyncio.Event()

    async def unready() -> list[str]:
        looked.set()
        return ["no credentials"]

    async with announced(unready, lambda: pytest.fail("it is not"), pause=0):
        await looked.wait()
