"""What every place that stores files promises: S3, a presigned URL, a directory, and the fake for tests."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from pyreqwest.bytes import Bytes

from harness.waiting import PATIENCE
from whaul.errors import DependencyException, InvalidParametersException
from whaul.model import MediaInfo, PresignedUrl, S3File
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import PresignedHosts
from whaul.storage import Put
from whaul.storage.credentials import CredentialChain
from whaul.storage.directory import Directory
from whaul.storage.presigned import Presigned
from whaul.storage.s3 import S3Store
from whaul.storage.s3_config import S3Config
from whaul.testing import InMemoryDestination

pytestmark = pytest.mark.anyio

FILE = b"0123456789" * 100_000
KINDS = ["s3", "presigned", "directory", "in memory"]


@dataclass
class Store:
    """An HTTP store on a loopback port: what arrives whole is there, what does not is not."""

    objects: dict[str, bytes] = field(default_factory=dict)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split()[1].partition("?")[0]
            length = next(int(line[15:]) for line in head.lower().splitlines() if line.startswith("content-length:"))
            self.objects[path] = await reader.readexactly(length)
            etag = hashlib.md5(self.objects[path], usedforsecurity=False).hexdigest()
            answer = f'HTTP/1.1 200 OK\r\netag: "{etag}"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n'
            writer.write(answer.encode())
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.ended.set()
            writer.close()


@dataclass
class Place:
    """A way to store a file, and a look at what is stored."""

    put: Put
    store: Store | None = None
    file: Path | None = None
    memory: InMemoryDestination | None = None

    def stored(self) -> bytes | None:
        if self.memory is not None:
            return self.memory.stored
        if self.file is not None:
            assert {path.name for path in self.file.parent.iterdir()} <= {self.file.name}, "something is left"
            return self.file.read_bytes() if self.file.exists() else None
        assert self.store is not None
        return self.store.objects.get("/inbox/42.jpeg")

    async def settled(self) -> None:
        """Wait until the store is done with what was sent, or broken off."""
        if self.store is not None:
            await asyncio.wait_for(self.store.ended.wait(), PATIENCE)
            self.store.ended.clear()


@pytest.fixture(params=KINDS)
async def place(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Place]:
    if request.param == "in memory":
        memory = InMemoryDestination()
        yield Place(memory.put, memory=memory)
        return
    if request.param == "directory":
        yield Place(partial(Directory(tmp_path, {}).put, "42.jpeg"), file=tmp_path / "42.jpeg")
        return
    store = Store()
    server = await asyncio.start_server(store.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    async with server, HttpClient() as http:
        if request.param == "s3":
            s3 = S3Store(http, S3Config.load(), CredentialChain(), region="eu-west-1")
            yield Place(partial(s3.put, S3File("inbox", "42.jpeg")), store)
        else:
            presigned = PresignedUrl(f"{url}/inbox/42.jpeg?X-Amz-Signature=0", {})
            yield Place(Presigned(http, PresignedHosts(url, ()), presigned).put, store)


def described(data: bytes) -> MediaInfo:
    return MediaInfo("image/jpeg", len(data), hashlib.sha256(data).digest(), "https://x")


async def parts(data: bytes, *, size: int = 100_000, error: Exception | None = None) -> AsyncIterator[Bytes]:
    for start in range(0, len(data), size):
        yield Bytes(data[start : start + size])
    if error is not None:
        raise error


@pytest.mark.parametrize("data", [b"", b"x", FILE], ids=len)
async def test_a_whole_file_is_stored_and_its_etag_returned(place: Place, data: bytes) -> None:
    for body in (data, Bytes(data)):
        etag = await place.put(body, described(data))
        assert place.stored() == data
        assert etag == ("" if place.file else f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"')


async def test_a_file_in_parts_is_stored_as_one(place: Place) -> None:
    await place.put(parts(FILE), described(FILE))
    assert place.stored() == FILE


async def test_a_second_file_takes_the_place_of_the_first(place: Place) -> None:
    await place.put(b"first", described(b"first"))
    await place.put(b"second", described(b"second"))
    assert place.stored() == b"second"


@pytest.mark.parametrize("error", [DependencyException("of the source"), InvalidParametersException("mine")])
async def test_a_body_that_raises_stores_nothing_and_its_error_comes_out(place: Place, error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        await place.put(parts(FILE[:-1], error=error), described(FILE))
    assert caught.value is error
    await place.settled()
    assert place.stored() is None


async def test_what_was_there_stays_when_a_later_file_is_broken_off(place: Place) -> None:
    await place.put(b"first", described(b"first"))
    await place.settled()
    with pytest.raises(DependencyException):
        await place.put(parts(FILE[:-1], error=DependencyException()), described(FILE))
    await place.settled()
    assert place.stored() == b"first"


async def test_a_body_shorter_than_announced_stores_nothing(place: Place) -> None:
    with pytest.raises(DependencyException):
        await place.put(parts(FILE[:-1]), described(FILE))
    await place.settled()
    assert place.stored() is None
