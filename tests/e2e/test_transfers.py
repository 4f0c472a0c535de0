"""What a transfer promises: whole and proven, or nothing; bounded in time and memory; begun once, and finished."""

import hashlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from harness.client import Reply, connection_to, reply, request_bytes
from harness.store import BUCKET, Answer, StandIn, Store
from harness.waiting import eventually
from harness.world import MEDIA_PATH, Gateway, signed
from whaul.simulator import Simulator

KIB, MIB = 1024, 1024 * 1024
LARGE = 48 * MIB
EDGES = [0, 1, 128 * KIB, 512 * KIB + 1, 2 * MIB]
"""The parts of a transfer are proven at all their edges elsewhere."""
DESTINATIONS = ["s3", "url"]


def to(destination: str, store: Store, prefix: str, media_id: str) -> dict[str, Any]:
    """The destination's member for the object `prefix` + media id + `.png`."""
    if destination == "s3":
        return {"destinationS3File": {"bucketName": BUCKET, "key": prefix}}
    url = store.presigned(f"{prefix}{media_id}.png")
    return {"destinationS3PresignedUrl": {"url": url, "headers": {}}}


@pytest.mark.parametrize("destination", DESTINATIONS)
@pytest.mark.parametrize("size", EDGES)
def test_a_file_of_any_size_arrives_whole(
    *, gateway: Gateway, simulator: Simulator, store: Store, prefix: str, size: int, destination: str
) -> None:
    media_id = simulator.add_generated(size, "image/png", seed=size)
    key = f"{prefix}{media_id}.png"
    store.put(key, b"old")
    answer = gateway.get(media_id, **to(destination, store, prefix, media_id))
    stored = store.read(key)
    assert (answer["fileSize"], len(stored)) == (size, size)
    assert hashlib.sha256(stored).digest() == simulator.media[media_id].sha256()
    assert store.content_type(key) == "image/png"
    assert simulator.count(media_id)["download"] == 1


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_a_large_file_arrives_whole_in_bounded_memory(
    gateway: Gateway, simulator: Simulator, store: Store, prefix: str, destination: str
) -> None:
    media_id = simulator.add_generated(LARGE, "image/png", seed=7)
    before = peak_memory(gateway)
    answer = gateway.get(media_id, **to(destination, store, prefix, media_id))
    grown = peak_memory(gateway) - before
    digest = hashlib.sha256()
    key = f"{prefix}{media_id}.png"
    for block in store.client.get_object(Bucket=BUCKET, Key=key)["Body"].iter_chunks(MIB):
        digest.update(block)
    assert digest.digest() == simulator.media[media_id].sha256()
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-whaul-sha256"] == digest.hexdigest()
    assert ("x-whaul-key" in headers) == (destination == "s3")
    assert grown < 32 * MIB
    store.client.delete_object(Bucket=BUCKET, Key=key)


def peak_memory(gateway: Gateway) -> int:
    """The most bytes that the gateway's processes held so far (Linux; elsewhere 0)."""
    peak = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
            if os.getsid(int(status.parent.name)) == gateway.process.pid and "VmHWM" in fields:
                peak += int(fields["VmHWM"].split()[0]) * KIB
        except OSError:
            continue
    return peak


@pytest.mark.parametrize("destination", DESTINATIONS)
@pytest.mark.parametrize("size", [0, 3 * MIB])
def test_the_put_has_an_exact_length_and_no_transfer_coding(
    *, recorded_gateway: Gateway, simulator: Simulator, s3_stand_in: StandIn, size: int, destination: str
) -> None:
    """The stand-in refuses a chunked body."""
    media_id = simulator.add_generated(size, "image/png", seed=3)
    url = f"{s3_stand_in.url}/{BUCKET}/k{media_id}.png?X-Amz-Signature=1&X-Amz-SignedHeaders=host"
    members: dict[str, Any] = {"destinationS3PresignedUrl": {"url": url, "headers": {}}}
    if destination == "s3":
        members = {"destinationS3File": {"bucketName": BUCKET, "key": "k"}}
    recorded_gateway.get(media_id, **members)
    request = s3_stand_in.only
    assert request.header("content-length") == str(size)
    assert request.header("transfer-encoding") is None
    assert (request.complete, request.length) == (True, size)
    assert bytes.fromhex(request.sha256) == simulator.media[media_id].sha256()


BREAKS: list[dict[str, Any]] = [
    {"kind": "wrong_hash"},
    {"kind": "corrupt", "at": 0},
    {"kind": "corrupt", "at": 10**9},  # the last byte
    {"kind": "longer", "extra": 1},
    {"kind": "longer", "extra": 1, "framing": "close"},
    {"kind": "truncate", "at": 0},
    {"kind": "truncate", "at": 10**9},  # all but the last byte
    {"kind": "reset", "at": 0},
    {"kind": "reset", "at": 90_000},
    {"kind": "wrong_size", "by": 1},
    {"kind": "wrong_size", "by": -1},
]


@pytest.mark.parametrize("destination", DESTINATIONS)
@pytest.mark.parametrize("size", [100_000, MIB + 1])
def test_a_bad_file_leaves_the_object_of_that_name_as_it_was_and_makes_no_new_one(
    *, brief_gateway: Gateway, simulator: Simulator, store: Store, prefix: str, size: int, destination: str
) -> None:
    calls = []
    for number, fault in enumerate(BREAKS * 2):
        media_id = simulator.add_generated(size, "image/png", seed=number)
        simulator.fault(media_id, **fault)
        key = f"{prefix}{media_id}.png"
        if number < len(BREAKS):
            store.put(key, b"as it was")
        calls.append((media_id, key, to(destination, store, prefix, media_id)))
    assert failed_calls(brief_gateway, calls) == {"DependencyException"}
    for number, (_, key, _) in enumerate(calls):
        if number < len(BREAKS):
            assert store.read(key) == b"as it was", BREAKS[number]
    assert len(store.keys(prefix)) == len(BREAKS)


PLACES = [0, 1, 16 * KIB, 64 * KIB, 128 * KIB - 1, 128 * KIB, 128 * KIB + 1, 256 * KIB, 511 * KIB, 512 * KIB]
PLACES += [512 * KIB + 1, 520 * KIB, 550 * KIB, 600 * KIB, 640 * KIB]


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_a_put_broken_off_at_any_early_byte_never_empties_an_object(
    *, brief_gateway: Gateway, simulator: Simulator, store: Store, prefix: str, destination: str
) -> None:
    """SeaweedFS takes a PUT that breaks off before its body began as an empty object."""
    calls = []
    for kind in ("reset", "truncate"):
        for place in PLACES:
            media_id = simulator.add_generated(2 * MIB, "image/png", seed=place)
            simulator.fault(media_id, kind=kind, at=place)
            key = f"{prefix}{media_id}.png"
            store.put(key, b"as it was")
            calls.append((media_id, key, to(destination, store, prefix, media_id)))
    assert failed_calls(brief_gateway, calls) == {"DependencyException"}
    changed = [(media_id, key) for media_id, key, _ in calls if store.read(key) != b"as it was"]
    assert changed == []
    assert sum(simulator.count(media_id)["download"] for media_id, _, _ in calls) >= len(calls)


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_a_put_that_is_broken_off_has_begun_its_body_and_lacks_its_end(
    brief_recorded_gateway: Gateway, simulator: Simulator, s3_stand_in: StandIn, destination: str
) -> None:
    calls = []
    for kind, places in (("reset", PLACES[3:]), ("truncate", PLACES[4:8]), ("corrupt", PLACES[:1])):
        for place in places:
            media_id = simulator.add_generated(2 * MIB, "image/png", seed=place)
            simulator.fault(media_id, kind=kind, at=place)
            url = f"{s3_stand_in.url}/{BUCKET}/{media_id}?X-Amz-Signature=1&X-Amz-SignedHeaders=host"
            members: dict[str, Any] = {"destinationS3PresignedUrl": {"url": url, "headers": {}}}
            if destination == "s3":
                members = {"destinationS3File": {"bucketName": BUCKET, "key": ""}}
            calls.append((media_id, "", members))
    failed_calls(brief_recorded_gateway, calls)
    eventually(lambda: all(request.over for request in s3_stand_in.requests))  # the store may be behind the answer
    lengths = [request.length for request in s3_stand_in.requests]
    assert len(lengths) > len(calls) / 2
    assert min(lengths) > 0
    assert max(lengths) < 2 * MIB
    assert not any(request.complete for request in s3_stand_in.requests)


def failed_calls(gateway: Gateway, calls: list[tuple[str, str, dict[str, Any]]]) -> set[str]:
    """Make calls that must fail, many at once; return their error codes."""
    client = gateway.client(None, retries={"total_max_attempts": 1}, max_pool_connections=16)

    def call(media_id: str, members: dict[str, Any]) -> str:
        with pytest.raises(ClientError) as refusal:
            client.get_whatsapp_message_media(
                mediaId=media_id, originationPhoneNumberId=gateway.world.phone_number_id, **members
            )
        return str(refusal.value.response["Error"]["Code"])

    with ThreadPoolExecutor(16) as pool:
        return set(pool.map(lambda each: call(each[0], each[2]), calls))


def test_a_slow_file_is_waited_for(gateway: Gateway, simulator: Simulator) -> None:
    media_id = simulator.add_generated(40_000)
    simulator.fault(media_id, kind="drip", bytes_per_second=80_000)
    assert gateway.get(media_id)["fileSize"] == 40_000
    assert simulator.count(media_id)["download"] == 1


@pytest.mark.parametrize("size", [100_000, 2 * MIB])
def test_a_file_too_slow_for_the_deadline_fails_at_the_deadline(
    brief_gateway: Gateway, simulator: Simulator, store: Store, prefix: str, size: int
) -> None:
    media_id = simulator.add_generated(size, "image/png")
    simulator.fault(media_id, kind="drip", bytes_per_second=size // 6)
    with pytest.raises(brief_gateway.client().exceptions.DependencyException, match="deadline"):
        brief_gateway.get_to(media_id, prefix)
    assert store.keys(prefix) == []


def test_a_store_too_slow_for_the_deadline_fails_at_the_deadline(
    brief_recorded_gateway: Gateway, simulator: Simulator, s3_stand_in: StandIn
) -> None:
    media_id = simulator.add_generated(3_000_000, "image/png")
    over = threading.Event()
    s3_stand_in.always(Answer(silent=over))
    with pytest.raises(brief_recorded_gateway.client().exceptions.DependencyException, match="deadline"):
        brief_recorded_gateway.get(media_id)
    over.set()


def test_an_expired_download_url_is_resolved_again(gateway: Gateway, simulator: Simulator) -> None:
    media_id = simulator.add_generated(2 * MIB, "image/png")
    simulator.fault(media_id, kind="expired_url", times=1)
    assert gateway.get(media_id)["fileSize"] == 2 * MIB
    counts = simulator.count(media_id)
    assert (counts["metadata"], counts["download"]) == (2, 2)
    eventually(lambda: simulator.count(media_id)["completed_downloads"] == 1)  # the simulator may be behind the answer


@pytest.mark.parametrize("size", [100_000, 3_000_000])
def test_identical_calls_in_flight_share_one_transfer(
    recorded_gateway: Gateway, simulator: Simulator, s3_stand_in: StandIn, size: int
) -> None:
    media_id = simulator.add_generated(size, "image/png")
    simulator.fault(media_id, kind="latency", hop="download", seconds=60, times=1)
    recorded_gateway.client()
    with ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        first = pool.submit(recorded_gateway.get_to, media_id, "same/")
        eventually(lambda: simulator.count(media_id)["download"] == 1)
        others = [stack.enter_context(asked(recorded_gateway, media_id, "same/")) for _ in range(3)]
        eventually(lambda: simulator.count(media_id)["metadata"] == 4)
        for _ in range(20):  # answered after those have read the description
            recorded_gateway.send("POST", "/nowhere")
        simulator.advance(60)
        assert first.result()["fileSize"] == size
        answers = [answered(each) for each in others]
    assert {json.loads(answer.body)["fileSize"] for answer in answers} == {size}
    assert {answer.headers["x-whaul-key"] for answer in answers} == {f"same/{media_id}.png"}
    assert len({answer.headers["x-amzn-requestid"] for answer in answers}) == 3
    assert simulator.count(media_id)["download"] == 1
    assert s3_stand_in.only.length == size


def test_calls_with_other_destinations_do_not_share(
    recorded_gateway: Gateway, simulator: Simulator, s3_stand_in: StandIn
) -> None:
    media_id = simulator.add_generated(1000, "image/png")
    simulator.fault(media_id, kind="latency", hop="download", seconds=60)
    recorded_gateway.client()
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(recorded_gateway.get_to, media_id, prefix) for prefix in ("one/", "two/")]
        eventually(lambda: simulator.count(media_id)["download"] == 2)
        simulator.advance(60)
        assert [call.result()["fileSize"] for call in calls] == [1000, 1000]
    assert {request.target.split("/")[2] for request in s3_stand_in.requests} == {"one", "two"}


@pytest.mark.parametrize("size", [100_000, 3_000_000])
def test_a_client_that_leaves_does_not_abort_a_transfer_that_has_begun(
    gateway: Gateway, simulator: Simulator, store: Store, prefix: str, size: int
) -> None:
    media_id = simulator.add_generated(size, "image/png")
    simulator.fault(media_id, kind="latency", hop="download", seconds=60)
    with asked(gateway, media_id, prefix):
        eventually(lambda: simulator.count(media_id)["download"] == 1)
    simulator.advance(60)
    eventually(lambda: store.has(f"{prefix}{media_id}.png"))
    assert len(store.read(f"{prefix}{media_id}.png")) == size


@contextmanager
def asked(gateway: Gateway, media_id: str, prefix: str) -> Iterator[socket.socket]:
    """A connection on which a call has been sent."""
    file = {"bucketName": BUCKET, "key": prefix}
    body = json.dumps(gateway.request(media_id, destinationS3File=file)).encode()
    plain = {"Content-Type": "application/json"}
    headers = signed(f"{gateway.url}{MEDIA_PATH}", "POST", body, plain, gateway.world.key)
    headers |= {"Host": f"127.0.0.1:{gateway.port}", "Content-Length": str(len(body))}
    with connection_to(gateway.port) as connection:
        connection.sendall(request_bytes("POST", MEDIA_PATH, headers, body))
        yield connection


def answered(connection: socket.socket) -> Reply:
    response = HTTPResponse(connection)
    response.begin()
    return reply(response)
