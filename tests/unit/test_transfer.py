"""The heart, over real connections: a file is stored whole and proven, or not at all."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from pyreqwest.bytes import Bytes
from pyreqwest.http import Url

from harness.loopback import BREAK, Answer, Loopback, Reply, reply
from whaul.errors import (
    AccessDeniedException,
    ApiError,
    DependencyException,
    InvalidParametersException,
    ResourceNotFoundException,
    Retry,
    ThrottledRequestException,
)
from whaul.model import MediaInfo, StoredObject
from whaul.outbound.errors import HttpError
from whaul.outbound.http import Body, HttpClient
from whaul.outbound.response import Download
from whaul.testing import InMemoryDestination
from whaul.transfer.attempts import Attempts
from whaul.transfer.download import INLINE_HASH, PART, SMALL_FILE, Transfer

pytestmark = pytest.mark.anyio

SMALL = b"small" * 1000
LARGE = bytes(range(256)) * ((2 * SMALL_FILE) // 256) + b"the end"


def described(data: bytes, **changes: object) -> MediaInfo:
    values = {"mime_type": "image/jpeg", "file_size": len(data), "sha256": hashlib.sha256(data).digest()} | changes
    return MediaInfo(url="", **values)  # type: ignore[arg-type]


class Meta:
    """A source over a loopback server: describes the file as told, and counts how often it was asked."""

    def __init__(self, http: HttpClient, server: Loopback, *descriptions: MediaInfo) -> None:
        self.http, self.server = http, server
        self.descriptions = list(descriptions)
        self.described = 0

    async def describe(self) -> MediaInfo:
        self.described += 1
        info = self.descriptions.pop(0) if len(self.descriptions) > 1 else self.descriptions[0]
        return replace(info, url=f"{self.server.url}/{self.described}")

    @asynccontextmanager
    async def download(self, info: MediaInfo, ahead: int) -> AsyncGenerator[Download]:
        try:
            async with self.http.download(Url(info.url), {}, ahead) as opened:
                yield opened
        except HttpError as error:
            raise DependencyException(f"Downloading from Meta failed: {error}.") from error


class Sink:
    """A destination over a loopback server."""

    def __init__(self, http: HttpClient, server: Loopback) -> None:
        self.http, self.server = http, server

    async def put(self, body: Body, info: MediaInfo) -> str:
        try:
            answer = await self.http.send("PUT", Url(f"{self.server.url}/object"), {}, body, info.file_size)
        except HttpError as error:
            raise DependencyException(str(error)) from error
        return answer.headers["etag"]


class World:
    """A source, and attempts that wait for nothing."""

    def __init__(self, http: HttpClient) -> None:
        self.http = http
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def run(
        self,
        source: Meta,
        destination: InMemoryDestination | Sink,
        *,
        left: float = 60,
        attempts: int | None = None,
    ) -> StoredObject:
        """Run a transfer; with `attempts`, the back-off after the last of them passes the deadline."""
        retries = Attempts(
            asyncio.get_running_loop().time() + left,
            sleep=self.sleep,
            uniform=lambda _low, _high: 1e9 if attempts is not None and len(self.waits) + 1 >= attempts else 0.0,
        )
        return await Transfer(source, destination.put, await source.describe(), retries).run()

    async def fails(
        self, source: Meta, destination: InMemoryDestination | Sink, *, attempts: int | None = 1
    ) -> ApiError:
        with pytest.raises(ApiError) as caught:
            await self.run(source, destination, attempts=attempts)
        return caught.value


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with HttpClient() as http:
        yield World(http)


# --- stored


@pytest.mark.parametrize(
    "size",
    [
        0,
        1,
        INLINE_HASH,
        INLINE_HASH + 1,
        SMALL_FILE,
        SMALL_FILE + 1,
        SMALL_FILE + PART,
        SMALL_FILE + PART + 1,
        len(LARGE),
    ],
)
async def test_a_file_of_any_size_is_stored_as_it_was_sent(world: World, size: int) -> None:
    data, destination = LARGE[-size:] if size else b"", InMemoryDestination()
    async with Loopback(reply(200, data)) as meta:
        source = Meta(world.http, meta, described(data))
        stored = await world.run(source, destination)
        assert (len(meta.requests), source.described) == (1, 1)
    assert destination.stored == data
    assert (stored.sha256, stored.file_size) == (hashlib.sha256(data).digest(), len(data))
    assert stored.etag == f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


async def test_a_large_file_streams_without_being_held() -> None:
    """The first part is at the store while Meta still waits to send the rest."""
    at_the_store = asyncio.Event()

    async def slow_meta(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 X\r\ncontent-length: {len(LARGE)}\r\n\r\n".encode() + LARGE[:SMALL_FILE])
        await at_the_store.wait()
        writer.write(LARGE[SMALL_FILE:])
        await writer.drain()
        writer.close()

    async def store(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        received = await reader.readexactly(PART)
        at_the_store.set()
        received += await reader.readexactly(len(LARGE) - PART)
        assert received == LARGE
        writer.write(b'HTTP/1.1 200 X\r\netag: "e"\r\ncontent-length: 0\r\n\r\n')
        await writer.drain()
        writer.close()

    meta = await asyncio.start_server(slow_meta, "127.0.0.1", 0)
    sink = await asyncio.start_server(store, "127.0.0.1", 0)
    async with meta, sink, HttpClient() as http:
        at = Loopback()
        at.port = sink.sockets[0].getsockname()[1]
        source = Loopback()
        source.port = meta.sockets[0].getsockname()[1]
        stored = await World(http).run(Meta(http, source, described(LARGE)), Sink(http, at))
    assert stored.etag == '"e"'


# --- not stored

FLIPPED = LARGE[:-1] + b"!"
WRONG: list[tuple[str, bytes, Answer, str]] = [
    ("small, another hash", SMALL, reply(200, SMALL[:-1] + b"!"), "SHA-256"),
    ("small, short", SMALL, reply(200, SMALL[:-1]), "shorter"),
    ("small, long", SMALL, reply(200, SMALL + b"!"), "longer"),
    ("small, broken off", SMALL, reply(200, SMALL[:9], content_length=len(SMALL)), "Downloading from Meta failed"),
    ("large, another hash at the end", LARGE, reply(200, FLIPPED), "SHA-256"),
    ("large, another hash at the start", LARGE, reply(200, b"!" + LARGE[1:]), "SHA-256"),
    ("large, short", LARGE, reply(200, LARGE[:-1]), "shorter"),
    ("large, short by the last part", LARGE, reply(200, LARGE[: 2 * SMALL_FILE]), "shorter"),
    ("large, shorter than the first part", LARGE, reply(200, LARGE[: PART - 1]), "shorter"),
    ("large, empty", LARGE, reply(200, b""), "shorter"),
    ("large, long", LARGE, reply(200, LARGE + b"!"), "longer"),
    ("large, long by more than a part", LARGE, reply(200, LARGE + LARGE), "longer"),
    ("large, broken off", LARGE, reply(200, LARGE[:-9], content_length=len(LARGE)), "Downloading from Meta failed"),
]


@pytest.mark.parametrize(("data", "answer", "told"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
async def test_a_file_that_is_not_the_described_one_never_arrives_whole(
    world: World, data: bytes, answer: Answer, told: str
) -> None:
    destination = InMemoryDestination()
    async with Loopback(answer) as meta:
        error = await world.fails(Meta(world.http, meta, described(data)), destination)
    assert isinstance(error, DependencyException)
    assert told in error.message
    assert destination.stored is None
    assert all(len(received) < len(data) for received in destination.received)


@pytest.mark.parametrize(("data", "answer"), [row[1:3] for row in WRONG[4:]], ids=[row[0] for row in WRONG[4:]])
async def test_a_store_never_sees_the_whole_length_of_a_wrong_large_file(
    world: World, data: bytes, answer: Answer
) -> None:
    async with Loopback(answer) as meta, Loopback(reply(200, b"", etag="e")) as store:
        await world.fails(Meta(world.http, meta, described(data)), Sink(world.http, store))
        await world.http.get(Url(store.url), {})  # by its answer the store has seen the end of what came before
        puts = [request for request in store.requests if request.method == "PUT"]
    assert not any(request.is_whole for request in puts)
    assert all(len(request.body) < len(data) for request in puts)


class Hasty(InMemoryDestination):
    """Says that it has stored the file when it has its first part."""

    async def put(self, body: Body, info: MediaInfo) -> str:  # noqa: ARG002
        assert not isinstance(body, bytes | Bytes)
        await anext(body)
        return '"e"'


async def test_a_store_that_answers_before_it_has_the_whole_file_is_not_believed(world: World) -> None:
    async with Loopback(reply(200, LARGE)) as meta:
        error = await world.fails(Meta(world.http, meta, described(LARGE)), Hasty())
    assert isinstance(error, DependencyException)
    assert error.message == "The destination answered before it had the whole file."


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=len)
async def test_a_small_file_or_a_short_first_part_is_judged_before_the_put_begins(world: World, data: bytes) -> None:
    destination = InMemoryDestination()
    async with Loopback(reply(200, data[: PART - 1][:-1])) as meta:
        await world.fails(Meta(world.http, meta, described(data)), destination)
    assert destination.received == []


# --- tried again


@pytest.mark.parametrize(
    "failure",
    [DependencyException("store"), ThrottledRequestException(retry_after=0), AccessDeniedException(retry=Retry.ONCE)],
)
async def test_a_small_file_that_is_held_is_put_again_without_a_second_download(
    world: World, failure: ApiError
) -> None:
    destination = InMemoryDestination(failure)
    async with Loopback(reply(200, SMALL)) as meta:
        source = Meta(world.http, meta, described(SMALL))
        await world.run(source, destination)
        assert (len(meta.requests), source.described) == (1, 1)
    assert destination.stored == SMALL
    assert destination.received == [SMALL, SMALL]


async def test_a_large_file_is_downloaded_again_from_a_fresh_url(world: World) -> None:
    destination = InMemoryDestination(DependencyException("store"))
    async with Loopback(reply(200, LARGE)) as meta:
        await world.run(Meta(world.http, meta, described(LARGE)), destination)
        assert [request.target for request in meta.requests] == ["/1", "/2"]
    assert destination.stored == LARGE


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=len)
@pytest.mark.parametrize("first", [BREAK, reply(200, b"another"), Reply(b"nonsense\r\n\r\n", closes=True)])
async def test_a_failed_download_is_resolved_again(world: World, data: bytes, first: Answer) -> None:
    destination = InMemoryDestination()
    async with Loopback(first, reply(200, data)) as meta:
        source = Meta(world.http, meta, described(data))
        await world.run(source, destination)
        assert [request.target for request in meta.requests] == ["/1", "/2"]
    assert destination.stored == data


async def test_a_description_that_meta_corrects_is_the_one_that_counts(world: World) -> None:
    destination = InMemoryDestination()
    async with Loopback(reply(200, SMALL)) as meta:
        stored = await world.run(Meta(world.http, meta, described(LARGE), described(SMALL)), destination)
    assert (stored.file_size, destination.stored) == (len(SMALL), SMALL)


async def test_another_mime_type_on_the_way_is_refused(world: World) -> None:
    destination = InMemoryDestination()
    async with Loopback(reply(200, b"wrong"), reply(200, SMALL)) as meta:
        source = Meta(world.http, meta, described(SMALL), described(SMALL, mime_type="image/png"))
        error = await world.fails(source, destination, attempts=None)
        assert len(meta.requests) == 1
    assert "MIME type" in error.message
    assert error.retry is Retry.NO
    assert destination.received == []


@pytest.mark.parametrize(
    "failure", [InvalidParametersException("no"), AccessDeniedException("no"), ResourceNotFoundException("no")]
)
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=len)
async def test_what_a_store_refuses_for_good_is_not_tried_again(world: World, data: bytes, failure: ApiError) -> None:
    destination = InMemoryDestination(failure)
    async with Loopback(reply(200, data)) as meta:
        assert await world.fails(Meta(world.http, meta, described(data)), destination, attempts=None) is failure
        assert len(meta.requests) == 1
    assert (world.waits, destination.stored) == ([], None)


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=len)
async def test_the_deadline_breaks_a_silent_download_off(world: World, data: bytes) -> None:
    head = f"HTTP/1.1 200 X\r\ncontent-length: {len(data)}\r\n\r\n".encode()
    answer = Reply(head + data[: len(data) - 9], hangs=True)
    async with Loopback(answer) as meta, Loopback() as store:
        sink = Sink(world.http, store)
        transfer = world.run(Meta(world.http, meta, described(data)), sink, left=0.2)
        with pytest.raises(DependencyException, match="WHAUL_DEADLINE"):
            await transfer
        await world.http.get(Url(store.url), {})
        assert not any(request.is_whole for request in store.requests if request.method == "PUT")
