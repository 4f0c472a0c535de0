"""What a server reads again and again, and what it tells of the database that way."""

import asyncio

import pytest

from whaul.registry.errors import RegistryUnavailableError
from whaul.server import database

pytestmark = pytest.mark.anyio


async def test_what_is_read_is_shown_and_an_outage_told_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOOK_PAUSE", 0.0)
    answers = iter([1, RegistryUnavailableError("away"), 2, ZeroDivisionError("unforeseen"), 3])
    shown: list[int] = []
    told: list[bool] = []
    done = asyncio.Event()

    async def read() -> int:
        answer = next(answers, None)
        if answer is None:
            done.set()
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        assert answer is not None
        return answer

    async with database.followed(read, shown.append, told.append):
        assert shown == [1], "before anything else is done"
        await done.wait()
    assert (shown, told) == ([1, 2, 3], [True, False, True, False, True])
