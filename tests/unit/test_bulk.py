"""A run over many ids: how far it reads ahead, what it holds, when it stops, and how each id is accounted for."""

import asyncio
import hashlib
import json
import os
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pyreqwest.bytes import Bytes

from harness.waiting import PATIENCE
from whaul.bulk.bandwidth import Bandwidth, SlowSource, bytes_per_second
from whaul.bulk.media_ids import PIECE, MediaIds
from whaul.bulk.names import NameTemplate
from whaul.bulk.outcomes import Outcome
from whaul.bulk.run import Found, Run
from whaul.bulk.throttle import Pause
from whaul.bulk.wanted import MAX_TEXT, Wanted
from whaul.errors import (
    AccessDeniedByMetaException,
    ApiError,
    DependencyException,
    ResourceNotFoundException,
    Retry,
    ThrottledRequestException,
)
from whaul.model import GraphToken, MediaInfo, PhoneNumber
from whaul.outbound import http, response
from whaul.testing import InMemoryDestination

pytestmark = pytest.mark.anyio
DATA = b"file"
NUMBER = PhoneNumber("phone-number-id-1", "arn", "5", GraphToken(SecretStr("token")))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The reading and the writing end; the test closes the latter."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)


async def everything(ids: MediaIds) -> list[str]:
    return [media_id async for media_id in each(ids)]


async def each(ids: MediaIds) -> AsyncIterator[str]:
    while (wanted := await ids.next()) is not None:
        yield wanted.media_id


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"", []),
        (b"1", ["1"]),
        (b"1\n2\n", ["1", "2"]),
        (b"1\r\n\r\n 2 \r\n", ["1", "2"]),
        (b"# a\n1\n  # b\n#", ["1"]),
        (b"\xef\xbb\xbf1\n2", ["1", "2"]),
        (b"1 # not a comment\n", ["1 # not a comment"]),
        (b"\xff\n1", ["\ufffd", "1"]),
        (b"1\0\n", ["1\0"]),
        (b"x" * (3 * PIECE) + b"\n1\n", ["x" * MAX_TEXT, "1"]),
        (b"1\n" * PIECE, ["1"] * PIECE),
    ],
    ids=lambda value: repr(value)[:20],
)
async def test_lines_are_read_and_counted_alike(tmp_path: Path, text: bytes, found: list[str]) -> None:
    path = tmp_path / "ids"
    path.write_bytes(text)
    with path.open("rb") as file:
        ids = MediaIds(["given"], file.fileno())
        assert await ids.total() == 1 + len(found)
        assert await everything(ids) == ["given", *found]


async def test_a_given_id_is_unicode_whatever_the_shell_made_of_it() -> None:
    assert await everything(MediaIds([os.fsdecode(b"\xff1"), "é"], None)) == ["\ufffd1", "é"]


async def test_a_file_that_was_read_in_part_is_counted_from_there(tmp_path: Path) -> None:
    (tmp_path / "ids").write_bytes(b"head\n1\n2\n")
    with (tmp_path / "ids").open("rb", buffering=0) as file:
        file.read(5)
        ids = MediaIds([], file.fileno())
        assert await ids.total() == 2
        assert await everything(ids) == ["1", "2"]


async def test_a_pipe_has_no_total_and_gives_what_is_there_without_waiting_for_more(pipe: tuple[int, int]) -> None:
    ids = MediaIds([], pipe[0])
    assert await ids.total() is None
    os.write(pipe[1], b"1\n2\n3")
    assert [await ids.next(), await ids.next()] == [Wanted("1"), Wanted("2")]
    os.write(pipe[1], b"4\n")
    assert await ids.next() == Wanted("34")
    os.close(pipe[1])
    assert await ids.next() is None


async def test_closing_wakes_those_who_wait_for_an_idle_pipe(pipe: tuple[int, int]) -> None:
    ids = MediaIds([], pipe[0])
    waiting = [asyncio.create_task(ids.next()) for _ in range(3)]
    await asyncio.sleep(0)
    ids.close()
    assert await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE) == [None, None, None]
    os.close(pipe[1])


async def test_a_device_that_cannot_be_waited_for_is_read_nevertheless() -> None:
    with open(os.devnull, "rb") as file:  # noqa: ASYNC230, PTH123
        assert stat.S_ISCHR(os.fstat(file.fileno()).st_mode)
        assert await everything(MediaIds([], file.fileno())) == []


class Body:
    """What a transfer reads of a download."""

    def __init__(self) -> None:
        self.left = DATA

    async def read(self, amount: int) -> Bytes | None:
        piece, self.left = self.left[:amount], self.left[amount:]
        return Bytes(piece) if piece else None

    async def part(self, amount: int) -> Bytes | None:
        return await self.read(amount)


class Meta:
    """A source for every id; `answer` may raise in its place."""

    def __init__(self, answer: Callable[[str], None] = lambda _media_id: None) -> None:
        self.answer = answer
        self.described: list[str] = []
        self.under_way = 0
        self.most_under_way = 0

    async def source(self, wanted: Wanted) -> Found:
        return Found(MetaSource(self, wanted.media_id), NUMBER, wanted.number)


class MetaSource:
    def __init__(self, meta: Meta, media_id: str) -> None:
        self.meta = meta
        self.media_id = media_id

    async def describe(self) -> MediaInfo:
        self.meta.described.append(self.media_id)
        self.meta.under_way += 1
        self.meta.most_under_way = max(self.meta.most_under_way, self.meta.under_way)
        try:
            await asyncio.sleep(0)
            self.meta.answer(self.media_id)
        finally:
            self.meta.under_way -= 1
        return MediaInfo("image/jpeg", len(DATA), hashlib.sha256(DATA).digest(), "https://x")

    @asynccontextmanager
    async def download(self, _info: MediaInfo, _ahead: int) -> AsyncIterator[response.Download]:
        body: Any = Body()
        yield body


class Shelf:
    """A place in memory that keeps names only, and counts how often it was asked."""

    def __init__(self, *names: str, lists: bool = True) -> None:
        self.stored = {name.partition(".")[0]: name for name in names}
        self.lists = lists
        self.asked = 0
        self.closed = 0
        self.prepared_to_write = False

    async def prepare(self, *, listed: bool, written: bool = True) -> None:
        del listed
        self.prepared_to_write = written

    async def names(self, limit: int, wanted: int | None = None) -> dict[str, str] | None:
        del wanted
        return dict(self.stored) if self.lists and len(self.stored) <= limit else None

    async def find(self, stem: str) -> str | None:
        self.asked += 1
        return self.stored.get(stem)

    async def put(self, name: str, body: http.Body, info: MediaInfo) -> str:
        self.stored[name.partition(".")[0]] = name
        return await InMemoryDestination().put(body, info)

    def location(self, name: str) -> dict[str, str]:
        return {"path": name}

    async def close(self) -> None:
        self.closed += 1


def run_of(ids: MediaIds, meta: Meta, shelf: Shelf, outcomes: list[Outcome], **options: Any) -> Run:
    options = {"extensions": {}, "patience": 5.0, "on_outcome": outcomes.append} | options
    return Run(ids, meta.source, shelf, **options)


async def test_many_thousand_ids_from_a_pipe_are_never_held_at_once(pipe: tuple[int, int]) -> None:
    many = 20_000
    meta, shelf, taken = Meta(), Shelf(), 0
    line = b"%015d\n"
    ahead = 0

    def count(_outcome: Outcome) -> None:
        nonlocal taken, ahead
        taken += 1
        ahead = max(ahead, len(ids._waiting))

    ids = MediaIds([], pipe[0])
    run = Run(ids, meta.source, shelf, extensions={}, patience=60, force=True, on_outcome=count, max_known=100)

    def produce() -> None:
        with os.fdopen(pipe[1], "wb") as writer:
            writer.writelines(line % number for number in range(many))

    # A daemon, since it waits for a reader: a run that fails must fail the test and not hold it up.
    producing = threading.Thread(target=produce, daemon=True)
    producing.start()
    await run.run(16, None)
    producing.join()
    assert (run.tally.stored, taken, len(shelf.stored)) == (many, many, many)
    assert ahead <= PIECE // len(line % 0) + 1
    assert meta.most_under_way <= 16
    assert len(run._known) == 100
    assert run._under_way == {}


async def test_as_many_are_under_way_as_were_asked_for_and_no_more() -> None:
    meta = Meta()
    everyone = asyncio.Barrier(4)

    class Meeting(MetaSource):
        async def describe(self) -> MediaInfo:
            async with everyone:
                return await super().describe()

    outcomes: list[Outcome] = []
    run = run_of(MediaIds([str(n) for n in range(40)], None), meta, Shelf(), outcomes)

    async def source(wanted: Wanted) -> Found:
        return Found(Meeting(meta, wanted.media_id), NUMBER, "account")

    run._source = source
    await run.run(4, 40)
    assert (run.tally.stored, meta.most_under_way) == (40, 4)


async def test_ids_beyond_those_held_are_asked_for_one_by_one() -> None:
    meta, shelf, outcomes = Meta(), Shelf("1.jpeg", "2.jpeg", "3.jpeg"), []
    run = run_of(MediaIds(["1", "2", "3", "4", "4"], None), meta, shelf, outcomes, max_known=2)
    await run.run(1, 5)
    assert [outcome.status for outcome in outcomes] == ["skipped", "skipped", "skipped", "stored", "skipped"]
    assert (shelf.asked, meta.described) == (4, ["4"])  # the last id is known from this run


async def test_what_is_listed_is_not_asked_for_again() -> None:
    meta, shelf, outcomes = Meta(), Shelf("1.jpeg", "2"), []
    await run_of(MediaIds(["1", "2", "3"], None), meta, shelf, outcomes).run(2, 3)
    assert (shelf.asked, meta.described, shelf.closed) == (0, ["3"], 1)


async def test_an_id_that_is_under_way_is_waited_for_and_then_skipped() -> None:
    meta, outcomes = Meta(), []
    run = run_of(MediaIds(["1"] * 10, None), meta, Shelf(), outcomes)
    await run.run(10, 10)
    assert (run.tally.stored, run.tally.skipped, meta.described) == (1, 9, ["1"])


def failing(error: Callable[[], ApiError]) -> Callable[[str], None]:
    def answer(_media_id: str) -> None:
        raise error()

    return answer


@pytest.mark.parametrize(
    ("error", "enough"),
    [
        (AccessDeniedByMetaException, 20),
        (lambda: DependencyException(retry=Retry.NO), 100),
    ],
    ids=["refused", "broken"],
)
async def test_too_many_failures_in_a_row_stop_the_run(
    error: Callable[[], ApiError], enough: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whaul.bulk.run.FIRST_CEILING", 0.0)
    outcomes: list[Outcome] = []
    run = run_of(MediaIds([str(n) for n in range(1000)], None), Meta(failing(error)), Shelf(), outcomes)
    await run.run(4, 1000)
    assert enough <= run.tally.failed == len(outcomes) < enough + 4
    assert run.stopped is not None
    assert run.stopped.startswith(f"{enough} ids failed in a row")


async def test_an_account_that_meta_refuses_is_left_out_and_others_go_on() -> None:
    lists = [{"id": str(n), "phone_number_id": "5" if n < 40 else "6"} for n in range(50)]
    read_end, write_end = os.pipe()
    os.write(write_end, b"".join(json.dumps(each).encode() + b"\n" for each in lists))
    os.close(write_end)

    def answer(media_id: str) -> None:
        if int(media_id) < 40:
            raise AccessDeniedByMetaException("No.")

    meta, outcomes = Meta(answer), []
    run = run_of(MediaIds([], read_end), meta, Shelf(), outcomes)
    await run.run(1, None)
    os.close(read_end)
    assert (run.tally.failed, run.tally.stored, run.stopped) == (40, 10, None)
    assert len(meta.described) == 20 + 10
    assert outcomes[39].error is not None
    assert "not asked again" in outcomes[39].error.message


async def test_what_meta_says_of_media_stops_nothing() -> None:
    outcomes: list[Outcome] = []
    meta = Meta(failing(ResourceNotFoundException))
    run = run_of(MediaIds([str(n) for n in range(500)], None), meta, Shelf(), outcomes)
    await run.run(4, 500)
    assert (run.tally.failed, run.stopped, run.tally.errors) == (500, None, {"ResourceNotFoundException": 500})


async def test_a_throttled_account_is_asked_by_one_alone_until_it_answers_again() -> None:
    refused: list[int] = []

    def answer(_media_id: str) -> None:
        if len(refused) < 8 + 3:
            refused.append(meta.under_way)
            raise ThrottledRequestException(retry_after=0.01)

    meta, outcomes, pauses = Meta(answer), [], []
    run = run_of(MediaIds([str(n) for n in range(50)], None), meta, Shelf(), outcomes, on_pause=pauses.append)
    await run.run(8, 50)
    assert (run.tally.stored, run.tally.failed, run.stopped) == (50, 0, None)
    assert refused[8:] == [1, 1, 1]
    assert pauses == [Pause(0.01, is_stated=True)] * 4
    assert meta.most_under_way == 8


async def test_a_pause_that_meta_does_not_state_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whaul.bulk.throttle.FIRST_PAUSE", 0.001)
    calls = 0

    def answer(_media_id: str) -> None:
        nonlocal calls
        calls += 1
        if calls < 7:
            raise ThrottledRequestException

    pauses: list[Pause] = []
    run = run_of(MediaIds(["1", "2"], None), Meta(answer), Shelf(), [], on_pause=pauses.append)
    await run.run(1, 2)
    assert run.tally.stored == 2
    for times, pause in enumerate(pauses):
        assert not pause.is_stated
        assert 0.0005 * 2**times <= pause.seconds <= 0.001 * 2**times
    assert len(pauses) == 6


async def test_one_account_waits_and_another_does_not() -> None:
    lists = [{"id": "1", "phone_number_id": "5"}, {"id": "2", "phone_number_id": "6"}]
    read_end, write_end = os.pipe()
    os.write(write_end, b"".join(json.dumps(each).encode() + b"\n" for each in lists))
    os.close(write_end)

    def answer(media_id: str) -> None:
        if media_id == "1":
            raise ThrottledRequestException(retry_after=3600)

    outcomes: list[Outcome] = []

    def ended(outcome: Outcome) -> None:
        outcomes.append(outcome)
        run.stop("enough.")

    run = run_of(MediaIds([], read_end), Meta(answer), Shelf(), outcomes, on_outcome=ended)
    await run.run(2, None)
    os.close(read_end)
    assert [(outcome.media_id, outcome.status) for outcome in outcomes] == [("2", "stored")]


async def test_a_stop_ends_the_wait_for_meta_and_what_waited_is_left() -> None:
    meta = Meta(failing(lambda: ThrottledRequestException(retry_after=3600)))
    outcomes: list[Outcome] = []
    run = run_of(
        MediaIds(["1", "2", "3"], None), meta, Shelf(), outcomes, on_pause=lambda _pause: run.stop("interrupted.")
    )
    await run.run(2, 3)
    assert (run.tally.done, outcomes, run.stopped) == (0, [], "interrupted.")


async def test_a_deadline_bounds_the_waits_for_meta_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whaul.bulk.run.FIRST_CEILING", 0.0)
    meta = Meta(failing(lambda: ThrottledRequestException(retry_after=3600)))
    outcomes: list[Outcome] = []
    run = run_of(MediaIds([str(n) for n in range(100)], None), meta, Shelf(), outcomes, deadline=5.0)
    await run.run(4, 100)
    assert run.stopped is not None
    assert len(meta.described) <= 4, "those that come later know that Meta must not be asked"
    assert 20 <= run.tally.failed < 24
    assert {outcome.error.code for outcome in outcomes if outcome.error} == {"ThrottledRequestException"}


async def test_a_place_that_throttles_is_no_reason_to_wait_for_meta() -> None:
    class Busy(Shelf):
        async def put(self, name: str, body: http.Body, info: MediaInfo) -> str:
            del name, body, info
            raise ThrottledRequestException(retry=Retry.NO, retry_after=3600)

    outcomes: list[Outcome] = []
    await run_of(MediaIds(["1"], None), Meta(), Busy(), outcomes).run(1, 1)
    assert [outcome.status for outcome in outcomes] == ["failed"]


async def test_a_dry_run_asks_meta_and_stores_nothing() -> None:
    meta, shelf, outcomes = Meta(), Shelf("1.jpeg"), []
    run = run_of(MediaIds(["1", "2", "2"], None), meta, shelf, outcomes, dry=True)
    await run.run(1, 3)
    assert [outcome.status for outcome in outcomes] == ["skipped", "planned", "skipped"]
    assert (outcomes[1].name, run.tally.planned, run.tally.bytes) == ("2.jpeg", 1, len(DATA))
    assert (shelf.stored, shelf.prepared_to_write, shelf.closed) == ({"1": "1.jpeg"}, False, 0)


async def test_a_template_names_files_and_finds_them_again() -> None:
    shelf, outcomes, names = Shelf(), [], NameTemplate("{number}/{media}{ext}")
    await run_of(MediaIds(["1"], None), Meta(), shelf, outcomes, names=names).run(1, 1)
    assert outcomes[0].name == "5/1.jpeg"
    await run_of(MediaIds(["1"], None), Meta(), shelf, outcomes, names=names).run(1, 1)
    assert (outcomes[1].status, outcomes[1].name) == ("skipped", "5/1.jpeg")


async def test_bandwidth_is_paid_before_bytes_are_read() -> None:
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    bandwidth = Bandwidth(20_000, clock=lambda: 100.0, sleep=wait)
    outcomes: list[Outcome] = []
    await run_of(MediaIds(["1", "2", "3"], None), Meta(), Shelf(), outcomes, bandwidth=bandwidth).run(3, 3)
    assert waits == pytest.approx([number * len(DATA) / 20_000 for number in (1, 2, 3)])


async def test_a_large_file_is_paid_for_as_it_is_read() -> None:
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    class Large(MetaSource):
        @asynccontextmanager
        async def download(self, _info: MediaInfo, _ahead: int) -> AsyncIterator[response.Download]:
            body: Any = Body()
            body.left = bytes(1000)
            yield body

    info = MediaInfo("video/mp4", 1000, b"", "https://x")
    source = SlowSource(Large(Meta(), "1"), Bandwidth(100, clock=lambda: 0.0, sleep=wait))
    async with source.download(info, 200) as download:
        assert waits == [2.0]
        for amount, due in ((100, []), (200, [3.0]), (700, [10.0]), (1, [])):
            waits.clear()
            await download.read(amount)
            assert waits == due


@pytest.mark.parametrize(
    ("text", "rate"),
    [("10M", 10 * 1024**2), ("512k", 512 * 1024), ("1.5G", 1.5 * 1024**3), ("100", 100 * 1024), ("20000B", 20_000)],
)
def test_a_rate_is_read_as_rclone_reads_it(text: str, rate: float) -> None:
    assert bytes_per_second(text) == rate


@pytest.mark.parametrize("text", ["", "0", "M", "-1M", "1T5", "10 M", "1e6", "nan", "1M:2M", "8k", "x"])
def test_a_rate_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="10M"):
        bytes_per_second(text)


async def test_one_success_in_between_lets_the_run_go_on() -> None:
    def answer(media_id: str) -> None:
        if int(media_id) % 10:
            raise AccessDeniedByMetaException

    outcomes: list[Outcome] = []
    run = run_of(MediaIds([str(n) for n in range(200)], None), Meta(answer), Shelf(), outcomes)
    await run.run(1, 200)
    assert (run.tally.failed, run.tally.stored, run.stopped) == (180, 20, None)


async def test_a_stop_lets_what_is_under_way_end_and_takes_nothing_more() -> None:
    outcomes: list[Outcome] = []

    def answer(_media_id: str) -> None:
        run.stop("enough.")

    run = run_of(MediaIds([str(n) for n in range(100)], None), Meta(answer), Shelf(), outcomes)
    await run.run(4, 100)
    assert run.tally.stored == len(outcomes) == 4
    assert run.stopped == "enough."


async def test_a_place_that_cannot_be_closed_leaves_the_sums_standing() -> None:
    class Lost(Shelf):
        async def close(self) -> None:
            raise DependencyException("The directory is gone.", retry=Retry.NO)

    outcomes: list[Outcome] = []
    run = run_of(MediaIds(["1", "2"], None), Meta(), Lost(), outcomes)
    await run.run(2, 2)
    assert (run.tally.stored, run.stopped) == (2, "The directory is gone.")


@pytest.mark.parametrize("media_id", ["", " ", "a-b", "../x", "x" * 101, "é", "1\n"])
async def test_what_is_no_media_id_fails_and_reaches_nobody(media_id: str) -> None:
    meta, shelf, outcomes = Meta(), Shelf(lists=False), []
    await run_of(MediaIds([media_id, "1"], None), meta, shelf, outcomes).run(1, 2)
    assert [outcome.error.code if outcome.error else None for outcome in outcomes] == ["ValidationException", None]
    assert (shelf.asked, meta.described) == (1, ["1"])
