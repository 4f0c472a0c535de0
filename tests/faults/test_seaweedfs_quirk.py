"""What SeaweedFS does with a PUT that is closed before its body; AWS S3 does nothing then. See docs/reliability.md."""

import socket
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest

from harness.waiting import eventually
from tools.faults.bench import SINGLE_CLIENT, Lane, Result, Seen, World, final_key, lane, world
from tools.faults.fault_proxy import Fault
from tools.faults.fault_table import DESTINATIONS, PUT, SMALL, Destination
from tools.faults.servers import BUCKET

pytestmark = pytest.mark.long

OLD = b"an object that was there before"
STREAMED = 3_000_000


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("quirk"), 1) as running:
        yield running


@pytest.fixture(scope="module")
def ready(bench: World) -> Iterator[Lane]:
    with lane(bench, "quirk") as made:
        yield made


def test_seaweedfs_puts_an_empty_object_in_place_of_one_when_a_put_without_a_type_is_closed_before_its_body(
    bench: World,
) -> None:
    bench.keep("raw", OLD)
    parts = urlsplit(version_2_url(bench, "raw"))
    head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", bench.store.port)) as connection:
        connection.sendall(head.encode())
    eventually(lambda: bench.look("raw").size == 0)


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_a_put_with_a_type_that_is_closed_there_every_time_leaves_what_was_there(
    ready: Lane, destination: Destination
) -> None:
    key = f"{destination}/"
    member = ready.destination(destination, key, ready.media(SMALL))
    result, seen = cut_before_the_body(ready, key, SMALL, member, times=None)
    assert result.error == "DependencyException"
    assert seen.size == len(OLD)


@pytest.mark.parametrize("size", [SMALL, STREAMED])
def test_a_put_without_a_type_that_is_closed_there_once_is_repaired_by_the_next_attempt(ready: Lane, size: int) -> None:
    result, seen = cut_before_the_body(ready, f"once-{size}/", size, None, times=1)
    assert result.stored
    assert (seen.size, seen.sha256) == (size, ready.media(size).sha256)


def test_a_put_without_a_type_that_is_closed_there_every_time_fails_and_leaves_seaweedfs_with_an_empty_object(
    ready: Lane,
) -> None:
    result, _ = cut_before_the_body(ready, "always/", SMALL, None, times=None)
    assert result.error == "DependencyException"
    key = final_key("always/", ready.media(SMALL))
    eventually(lambda: ready.world.look(key).size == 0)


def cut_before_the_body(
    ready: Lane, prefix: str, size: int, member: Mapping[str, Any] | None, *, times: int | None
) -> tuple[Result, Seen]:
    """One call onto a name that is taken; without `member` to a URL that forbids a Content-Type."""
    media = ready.media(size)
    key = final_key(prefix, media)
    ready.world.keep(key, OLD)
    if member is None:
        url = version_2_url(ready.world, key).replace(
            f"http://127.0.0.1:{ready.world.store.port}", ready.endpoint("store", "plain")
        )
        member = {"destinationS3PresignedUrl": {"url": url, "headers": {}}}
    gateway = ready.gateway("plain", 2.0 if times is None else 55.0)
    struck = ready.proxies["store", "plain"].script(Fault(kind="close", way="up", match=PUT, at=0, times=times))
    result = ready.call(ready.client(f"http://127.0.0.1:{gateway.port}", SINGLE_CLIENT), media, member)
    ready.calm()
    assert struck.hits >= 1
    return result, ready.world.look(key)


def version_2_url(bench: World, key: str) -> str:
    """A URL in the old form of signatures, which signs the absence of a Content-Type, but no host."""
    url = str(bench.store.client.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": key}))
    assert "AWSAccessKeyId=" in url
    return url
