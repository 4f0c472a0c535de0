"""Which failure of S3, or of a presigned URL's host, becomes which error, and which is tried again."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from harness.error_rows import fails, shows
from harness.store import BUCKET, Answer, StandIn, Store, s3_answer
from harness.world import READER, Gateway, World
from whaul.simulator import Simulator

PDF = "100000000000003"
SMALL, LARGE = 100_000, 3_000_000


@pytest.fixture
def media_id(simulator: Simulator) -> str:
    return simulator.add_generated(SMALL, "image/png", seed=4)


@shows("S3: no such bucket")
def test_a_bucket_that_does_not_exist_is_not_found(gateway: Gateway, simulator: Simulator, media_id: str) -> None:
    file = {"bucketName": "no-such-bucket", "key": "k"}
    message = fails(gateway, "S3: no such bucket", lambda: gateway.get(media_id, destinationS3File=file))
    assert "NoSuchBucket" in message
    assert "no-such-bucket" not in message
    assert simulator.count(media_id)["download"] == 1


@pytest.fixture(scope="module")
def reader_gateway(world: World) -> Iterator[Gateway]:
    """A gateway whose S3 identity may only read."""
    with world.gateway(AWS_ACCESS_KEY_ID=READER[0], AWS_SECRET_ACCESS_KEY=READER[1]) as running:
        yield running


@shows("S3: access denied")
def test_an_identity_that_may_not_write_is_denied(
    reader_gateway: Gateway, simulator: Simulator, store: Store, media_id: str, prefix: str
) -> None:
    row = "S3: access denied"
    message = fails(reader_gateway, row, lambda: reader_gateway.get_to(media_id, prefix))
    assert "AccessDenied" in message
    assert READER[0] not in message
    assert simulator.count(media_id)["download"] == 1
    assert store.keys(prefix) == []


@shows("S3: bad or expired server credentials")
def test_credentials_with_a_wrong_secret_are_not_good(world: World) -> None:
    with world.gateway(AWS_SECRET_ACCESS_KEY="another-secret-of-this-key") as running:
        message = fails(running, "S3: bad or expired server credentials", lambda: running.get(PDF))
    assert "SignatureDoesNotMatch" in message
    assert "operator" in message


@shows("S3: access denied", "S3: bad or expired server credentials")
@pytest.mark.parametrize(("status", "code"), [(403, "AllAccessDisabled"), (400, "ExpiredToken")])
def test_a_denial_is_told_with_its_code_and_not_tried_again(
    recorded_gateway: Gateway, s3_stand_in: StandIn, media_id: str, status: int, code: str
) -> None:
    s3_stand_in.always(s3_answer(status, code))
    message = fails(recorded_gateway, "S3: access denied", lambda: recorded_gateway.get(media_id))
    assert code in message
    assert "Told by S3" not in message
    assert len(s3_stand_in.requests) == 1


@shows("S3: other 4xx")
@pytest.mark.parametrize(("status", "code"), [(400, "InvalidRequest"), (501, "NotImplemented")])
def test_another_refusal_of_s3_is_told_with_its_code_and_not_tried_again(
    *, recorded_gateway: Gateway, s3_stand_in: StandIn, media_id: str, status: int, code: str
) -> None:
    s3_stand_in.always(s3_answer(status, code))
    message = fails(recorded_gateway, "S3: other 4xx", lambda: recorded_gateway.get(media_id))
    assert code in message
    assert len(s3_stand_in.requests) == 1


FAULTS = {
    "throttle": s3_answer(503, "SlowDown"),
    "fault": s3_answer(500, "InternalError"),
    "damaged": s3_answer(400, "BadDigest"),
    "a proxy's page": Answer(404, {}, b"<html>no such route"),
    "broken": Answer(breaks=True),
    "broken early": Answer(breaks=True, reads=0),
}
STAYING = {
    "throttle": "S3: SlowDown, 429, 503",
    "fault": "S3: 5xx, connection errors, timeouts, BadDigest",
    "damaged": "S3: 5xx, connection errors, timeouts, BadDigest",
    "broken": "S3: 5xx, connection errors, timeouts, BadDigest",
}


@shows("S3: SlowDown, 429, 503", "S3: 5xx, connection errors, timeouts, BadDigest")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_what_may_pass_is_tried_again_and_a_small_file_is_not_fetched_again(
    recorded_gateway: Gateway, simulator: Simulator, s3_stand_in: StandIn, size: int, fault: str
) -> None:
    media_id = simulator.add_generated(size, "image/png", seed=4)
    s3_stand_in.script(FAULTS[fault])
    recorded_gateway.get(media_id)
    last = s3_stand_in.requests[-1]
    assert len(s3_stand_in.requests) == 2
    assert (last.complete, last.sha256) == (True, simulator.media[media_id].sha256().hex())
    downloads = 1 if size == SMALL else 2
    assert simulator.count(media_id)["download"] == downloads
    assert simulator.count(media_id)["metadata"] == downloads


@shows(*STAYING.values())
@pytest.mark.parametrize("fault", STAYING)
def test_what_does_not_pass_before_the_deadline_is_told(
    brief_recorded_gateway: Gateway, s3_stand_in: StandIn, media_id: str, fault: str
) -> None:
    s3_stand_in.always(FAULTS[fault])
    fails(brief_recorded_gateway, STAYING[fault], lambda: brief_recorded_gateway.get(media_id))
    assert s3_stand_in.requests


@shows("S3: SlowDown, 429, 503")
def test_the_wait_that_s3_asks_for_reaches_the_caller(
    recorded_gateway: Gateway, s3_stand_in: StandIn, media_id: str
) -> None:
    s3_stand_in.always(s3_answer(503, "SlowDown", {"Retry-After": "77"}))
    with pytest.raises(recorded_gateway.client().exceptions.ThrottledRequestException) as refusal:
        recorded_gateway.get(media_id)
    assert refusal.value.response["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "77"
    assert len(s3_stand_in.requests) == 1


@shows("S3: 5xx, connection errors, timeouts, BadDigest")
def test_a_store_that_says_nothing_is_a_failed_dependency(
    brief_recorded_gateway: Gateway, s3_stand_in: StandIn, media_id: str
) -> None:
    over = threading.Event()
    s3_stand_in.always(Answer(silent=over))
    row = "S3: 5xx, connection errors, timeouts, BadDigest"
    assert "deadline" in fails(brief_recorded_gateway, row, lambda: brief_recorded_gateway.get(media_id))
    over.set()


@shows("S3: access denied")
@pytest.mark.parametrize("reads", [0, 200_000])
def test_a_refusal_before_the_body_was_read_is_understood(
    recorded_gateway: Gateway, simulator: Simulator, s3_stand_in: StandIn, reads: int
) -> None:
    media_id = simulator.add_generated(20_000_000, "image/png")
    s3_stand_in.always(s3_answer(403, "AccessDenied", reads=reads))
    fails(recorded_gateway, "S3: access denied", lambda: recorded_gateway.get(media_id))


REGION = {"x-amz-bucket-region": "eu-central-1"}
MALFORMED = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-central-1</Region></Error>"


@shows("S3: wrong region")
@pytest.mark.parametrize(
    ("answer", "bucket"),
    [
        (s3_answer(301, "PermanentRedirect", REGION), "elsewhere-301"),
        (Answer(400, {}, MALFORMED), "elsewhere-malformed"),
    ],
    ids=["301", "malformed"],
)
def test_a_bucket_of_another_region_is_found_once_and_remembered(
    *, recorded_gateway: Gateway, simulator: Simulator, s3_stand_in: StandIn, media_id: str, answer: Answer, bucket: str
) -> None:
    bucket = f"{bucket}-{simulator.media[media_id].size}"
    file = {"bucketName": bucket, "key": "k"}
    s3_stand_in.script(answer)
    recorded_gateway.get(media_id, destinationS3File=file)
    assert regions(s3_stand_in) == ["us-east-1", "eu-central-1"]
    recorded_gateway.get(PDF, destinationS3File=file)
    assert regions(s3_stand_in) == ["us-east-1", "eu-central-1", "eu-central-1"]


@shows("S3: wrong region")
@pytest.mark.parametrize(
    "answers",
    [
        [s3_answer(301, "PermanentRedirect")],
        [s3_answer(301, "P", {"x-amz-bucket-region": f"eu-west-{n}"}) for n in (1, 2)],
    ],
    ids=["untold", "another again"],
)
def test_a_region_that_cannot_be_found_out_is_told(
    recorded_gateway: Gateway, s3_stand_in: StandIn, media_id: str, answers: list[Answer]
) -> None:
    file = {"bucketName": f"wandering-bucket-{media_id}", "key": "k"}
    s3_stand_in.script(*answers)
    fails(recorded_gateway, "S3: wrong region", lambda: recorded_gateway.get(media_id, destinationS3File=file))
    assert len(s3_stand_in.requests) == len(answers)


def regions(stand_in: StandIn) -> list[str]:
    """The regions that the requests were signed for."""
    return [(request.header("authorization") or "").split("/")[2] for request in stand_in.requests]


def presigned(stand_in: StandIn) -> dict[str, Any]:
    url = f"{stand_in.url}/{BUCKET}/key?X-Amz-Signature=5e5e5e&X-Amz-SignedHeaders=host"
    return {"destinationS3PresignedUrl": {"url": url, "headers": {}}}


@shows("presigned: 403")
def test_a_presigned_url_that_is_denied(
    recorded_gateway: Gateway, simulator: Simulator, s3_stand_in: StandIn, media_id: str
) -> None:
    s3_stand_in.always(s3_answer(403, "ExpiredToken"))
    message = fails(
        recorded_gateway, "presigned: 403", lambda: recorded_gateway.get(media_id, **presigned(s3_stand_in))
    )
    assert "ExpiredToken" in message
    assert "new URL" in message
    assert len(s3_stand_in.requests) == 1
    assert simulator.count(media_id)["download"] == 1


@shows("presigned: 403")
def test_a_presigned_url_that_has_expired_at_a_real_store(
    gateway: Gateway, store: Store, media_id: str, prefix: str
) -> None:
    key = f"{prefix}late.png"
    url = store.presigned(key)
    tampered = url.replace("X-Amz-Expires=300", "X-Amz-Expires=301")
    for bad in (tampered, url.replace("late.png", "other.png")):
        destination = {"url": bad, "headers": {}}
        message = fails(
            gateway, "presigned: 403", lambda d=destination: gateway.get(media_id, destinationS3PresignedUrl=d)
        )
        assert "SignatureDoesNotMatch" in message
    assert store.keys(prefix) == []


@shows("presigned: other 4xx")
def test_another_refusal_of_a_presigned_url(recorded_gateway: Gateway, s3_stand_in: StandIn, media_id: str) -> None:
    s3_stand_in.always(s3_answer(404, "NoSuchBucket"))
    row = "presigned: other 4xx"
    message = fails(recorded_gateway, row, lambda: recorded_gateway.get(media_id, **presigned(s3_stand_in)))
    assert "NoSuchBucket" in message
    assert len(s3_stand_in.requests) == 1


@shows("S3: SlowDown, 429, 503", "S3: 5xx, connection errors, timeouts, BadDigest")
def test_what_may_pass_is_tried_again_at_a_presigned_url_too(
    recorded_gateway: Gateway, simulator: Simulator, s3_stand_in: StandIn, media_id: str
) -> None:
    s3_stand_in.script(FAULTS["fault"])
    recorded_gateway.get(media_id, **presigned(s3_stand_in))
    assert len(s3_stand_in.requests) == 2
    assert s3_stand_in.requests[-1].sha256 == simulator.media[media_id].sha256().hex()
