"""What SeaweedFS does with a PUT that is cut before its body; AWS S3 does nothing then. See docs/reliability.md."""

import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from bench import SINGLE_CLIENT, Lane, Result, Seen, World, final_key, lane, world
from fault_proxy import Fault, Kind
from fault_table import PUT, SMALL, Destination
from servers import BUCKET

OLD = b"an object that was there before"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("quirk"), 1) as running:
        yield running


@pytest.fixture(scope="module")
def ready(bench: World) -> Iterator[Lane]:
    with lane(bench, "quirk") as made:
        yield made


def test_seaweedfs_puts_an_empty_object_in_place_of_one_when_a_put_ends_before_its_body(bench: World) -> None:
    bench.keep("raw", OLD)
    url = bench.store.client.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "raw"})
    parts = urlsplit(url)
    head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", bench.store.port)) as connection:
        connection.sendall(head.encode())
    assert _settled(bench, "raw").size == 0


@pytest.mark.parametrize("size", [SMALL, 3_000_000])
@pytest.mark.parametrize("destination", ["S3 file", "presigned URL"])
def test_a_put_that_is_cut_there_once_is_repaired_by_the_next_attempt(
    ready: Lane, destination: Destination, size: int
) -> None:
    result, seen = _call(ready, destination, size, times=1, deadline=55.0)
    assert result.stored
    assert seen.is_of(ready.media(size))


@pytest.mark.parametrize("destination", ["S3 file", "presigned URL"])
def test_a_put_that_is_cut_there_every_time_fails_and_leaves_seaweedfs_with_an_empty_object(
    ready: Lane, destination: Destination
) -> None:
    result, seen = _call(ready, destination, SMALL, times=None, deadline=2.0)
    assert result.error == "DependencyException"
    assert seen.size == 0


def test_a_put_that_is_reset_there_every_time_leaves_the_object_that_was_there(ready: Lane) -> None:
    result, seen = _call(ready, "S3 file", SMALL, times=None, deadline=2.0, kind="reset")
    assert result.error == "DependencyException"
    assert seen.size == len(OLD)


def _call(
    ready: Lane, destination: Destination, size: int, *, times: int | None, deadline: float, kind: Kind = "close"
) -> tuple[Result, Seen]:
    """One call onto a name that is taken, whose PUT is cut between head and body."""
    media = ready.media(size)
    prefix = f"{destination}-{size}-{times}-{kind}/"
    key = final_key(prefix, media)
    ready.world.keep(key, OLD)
    gateway = ready.gateway("plain", deadline)
    struck = ready.proxies["store", "plain"].script(Fault(kind=kind, way="up", match=PUT, at=0, times=times))
    client = ready.client(f"http://127.0.0.1:{gateway.port}", SINGLE_CLIENT)
    result = ready.call(client, media, ready.destination(destination, prefix, media))
    ready.calm()
    assert struck.hits >= 1
    return result, ready.world.look(key) if result.stored else _settled(ready.world, key)


def _settled(bench: World, key: str) -> Seen:
    """What the store has once it has dealt with a connection that broke."""
    end = time.monotonic() + 3
    while (seen := bench.look(key)).size and time.monotonic() < end:
        time.sleep(0.02)
    return seen
