"""PostWhatsAppMessageMedia and DeleteWhatsAppMessageMedia with boto3: from a real store to the simulated Meta."""

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import ClientError

from harness.store import BUCKET, Answer, StandIn, Store, s3_answer, s3_client
from harness.world import Gateway
from whaul.simulator import Simulator

PDF = "application/pdf"
LARGE = 100 * 1024 * 1024


def upload(gateway: Gateway, key: Any = None, **source: Any) -> str:
    """Post what is in the bucket under a key, or another source; return Meta's id."""
    source = source or {"sourceS3File": {"bucketName": BUCKET, "key": key}}
    answer = gateway.client().post_whatsapp_message_media(
        originationPhoneNumberId=gateway.world.phone_number_id, **source
    )
    return str(answer["mediaId"])


def delete(gateway: Gateway, media_id: str) -> Any:
    return gateway.client().delete_whatsapp_message_media(
        mediaId=media_id, originationPhoneNumberId=gateway.world.phone_number_id
    )


def stored(store: Store, key: str, body: bytes, mime_type: str = PDF) -> str:
    store.client.put_object(Bucket=BUCKET, Key=key, Body=body, ContentType=mime_type)
    return key


def presigned(store: Store, key: str, version: str = "s3v4") -> str:
    client = s3_client(store.endpoint, signature_version=version)
    try:
        return str(client.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": key}))
    finally:
        client.close()


def refusal(code: str, gateway: Gateway, key: Any = None, **source: Any) -> str:
    with pytest.raises(getattr(gateway.client().exceptions, code)) as caught:
        upload(gateway, key, **source)
    return str(caught.value.response["Error"]["Message"])


# --- what arrives


@pytest.mark.parametrize("size", [1, 1000, 128 * 1024, 128 * 1024 + 1, 3_000_000])
def test_an_object_is_uploaded_byte_for_byte_with_its_type(
    gateway: Gateway, simulator: Simulator, store: Store, prefix: str, size: int
) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    media_id = upload(gateway, stored(store, f"{prefix}a file, % and ü", body))
    found = simulator.media[media_id]
    assert (found.read(), found.mime_type, found.origin) == (body, PDF, "upload")
    gateway.settle()
    assert [line["bytes"] for line in gateway.calls() if line.get("media_id") == media_id] == [size]
    (request,) = (r for r in simulator.requests if r.hop == "upload")
    assert "transfer-encoding" not in request.headers
    assert prefix not in gateway.log.read_text(encoding="utf-8")


def test_a_types_parameters_go_along(gateway: Gateway, simulator: Simulator, store: Store, prefix: str) -> None:
    media_id = upload(gateway, stored(store, f"{prefix}voice", b"OggS", "audio/ogg; codecs=opus"))
    assert simulator.media[media_id].mime_type == "audio/ogg; codecs=opus"


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_a_presigned_source_has_the_type_that_the_caller_says(
    gateway: Gateway, simulator: Simulator, store: Store, prefix: str, version: str
) -> None:
    url = presigned(store, stored(store, f"{prefix}x", b"a picture", "binary/octet-stream"), version)
    media_id = upload(gateway, sourceS3PresignedUrl={"url": url, "headers": {"Content-Type": "image/png"}})
    assert (simulator.media[media_id].read(), simulator.media[media_id].mime_type) == (b"a picture", "image/png")
    signature = parse_qs(urlsplit(url).query)["X-Amz-Signature" if version == "s3v4" else "Signature"][0]
    assert signature not in gateway.log.read_text(encoding="utf-8")


def test_a_document_of_100_mb_goes_there_and_back_in_little_memory(
    gateway: Gateway, simulator: Simulator, store: Store, prefix: str, tmp_path: Path
) -> None:
    block = hashlib.sha256(b"seed").digest() * (LARGE // 100 // 32)
    digest = hashlib.sha256()
    path = tmp_path / "large"
    with path.open("wb") as file:
        for number in range(100):
            part = number.to_bytes(4, "big") + block[4:]
            digest.update(part)
            file.write(part)
        rest = b"." * (LARGE - file.tell())
        digest.update(rest)
        file.write(rest)
    with path.open("rb") as file:
        store.client.put_object(Bucket=BUCKET, Key=f"{prefix}large", Body=file, ContentType=PDF)
    upload(gateway, stored(store, f"{prefix}small", b"%PDF"))  # so that what is loaded once is loaded
    before = peak_memory(gateway)
    media_id = upload(gateway, f"{prefix}large")
    assert simulator.media[media_id].sha256() == digest.digest()
    answer = gateway.get_to(media_id, f"{prefix}back_")
    assert answer["fileSize"] == LARGE
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-whaul-sha256"] == digest.hexdigest()
    back = hashlib.sha256()
    for part in store.client.get_object(Bucket=BUCKET, Key=f"{prefix}back_{media_id}.pdf")["Body"].iter_chunks(2**20):
        back.update(part)
    assert back.digest() == digest.digest()
    assert peak_memory(gateway) - before < 60 * 1024 * 1024


def peak_memory(gateway: Gateway) -> int:
    """The most memory that any of the gateway's processes has had so far, in bytes."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("peak memory is read from /proc")
    processes = [gateway.process.pid, *children(gateway.process.pid)]
    peaks = [Path(f"/proc/{process}/status").read_text(encoding="utf-8") for process in processes]
    return max(int(text.partition("VmHWM:")[2].split()[0]) for text in peaks) * 1024


def children(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="utf-8")
    return [int(child) for child in text.split()]


# --- what is refused before anything moves


@pytest.mark.parametrize("mime_type", ["binary/octet-stream", "video/quicktime", "image/gif", "text/html"])
def test_a_type_that_whatsapp_does_not_take_is_refused_before_anything_moves(
    gateway: Gateway, simulator: Simulator, store: Store, prefix: str, mime_type: str
) -> None:
    key = stored(store, f"{prefix}x", b"x", mime_type)
    assert "image/jpeg" in refusal("InvalidParametersException", gateway, key)
    url = presigned(store, key)
    source = {"url": url, "headers": {"Content-Type": mime_type}}
    assert "image/jpeg" in refusal("InvalidParametersException", gateway, sourceS3PresignedUrl=source)
    assert simulator.requests == []


@pytest.mark.parametrize("limit", [("image/png", 5 * 1024**2), ("audio/aac", 16 * 1024**2), ("image/webp", 500 * 1024)])
def test_a_file_that_is_too_large_for_its_type_is_refused_before_anything_moves(
    gateway: Gateway, simulator: Simulator, store: Store, prefix: str, limit: tuple[str, int]
) -> None:
    mime_type, max_size = limit
    message = refusal(
        "InvalidParametersException", gateway, stored(store, f"{prefix}x", b"\0" * (max_size + 1), mime_type)
    )
    assert str(max_size) in message
    assert str(max_size + 1) in message
    assert simulator.requests == []


def test_an_empty_object_is_refused(gateway: Gateway, simulator: Simulator, store: Store, prefix: str) -> None:
    assert "empty" in refusal("InvalidParametersException", gateway, stored(store, f"{prefix}x", b""))
    assert simulator.requests == []


def test_a_presigned_source_needs_a_content_type(gateway: Gateway, simulator: Simulator, store: Store) -> None:
    source = {"url": presigned(store, "x"), "headers": {}}
    assert "Content-Type" in refusal("InvalidParametersException", gateway, sourceS3PresignedUrl=source)
    assert simulator.requests == []


def test_a_presigned_source_elsewhere_is_refused(gateway: Gateway) -> None:
    source = {"url": "https://evil.example/s3.amazonaws.com/x", "headers": {"Content-Type": PDF}}
    message = refusal("InvalidParametersException", gateway, sourceS3PresignedUrl=source)
    assert "evil" not in message


def test_both_sources_or_none_are_refused(gateway: Gateway) -> None:
    file = {"bucketName": BUCKET, "key": "x"}
    url = {"url": "https://b.s3.amazonaws.com/x", "headers": {"Content-Type": PDF}}
    assert "one source" in refusal("InvalidParametersException", gateway, sourceS3File=file, sourceS3PresignedUrl=url)
    body = json.dumps({"originationPhoneNumberId": gateway.world.phone_number_id}).encode()
    reply = gateway.send("POST", "/v1/whatsapp/media", body, sign_with=gateway.world.key)
    assert (reply.status, reply.code) == (400, "InvalidParametersException")


@pytest.mark.parametrize("key", ["a/../b", "./x", "x" * 1025])
def test_a_key_that_cannot_be_one_objects_is_refused(gateway: Gateway, key: str) -> None:
    with pytest.raises(ClientError) as caught:
        upload(gateway, key)
    assert caught.value.response["Error"]["Code"] in {"InvalidParametersException", "ValidationException"}
    assert key not in str(caught.value)


# --- what the source's store says


def test_a_source_that_does_not_exist_is_not_found(gateway: Gateway, simulator: Simulator, store: Store) -> None:
    refusal("ResourceNotFoundException", gateway, "no such key")
    refusal("ResourceNotFoundException", gateway, sourceS3File={"bucketName": "no-such-bucket", "key": "x"})
    source = {"url": presigned(store, "no such key"), "headers": {"Content-Type": PDF}}
    refusal("ResourceNotFoundException", gateway, sourceS3PresignedUrl=source)
    assert simulator.requests == []


def test_a_presigned_source_that_is_not_signed_well_is_denied(gateway: Gateway, store: Store, prefix: str) -> None:
    url = presigned(store, stored(store, f"{prefix}x", b"x"))[:-4] + "0000"
    refusal("AccessDeniedException", gateway, sourceS3PresignedUrl={"url": url, "headers": {"Content-Type": PDF}})


@pytest.mark.parametrize("header", [("Range", "bytes=0-1"), ("If-None-Match", "*")])
def test_a_presigned_source_that_gives_not_the_whole_file_is_refused_at_once(
    gateway: Gateway, simulator: Simulator, store: Store, prefix: str, header: tuple[str, str]
) -> None:
    url = presigned(store, stored(store, f"{prefix}x", b"a file"))
    source = {"url": url, "headers": dict([("Content-Type", PDF), header])}
    message = refusal("InvalidParametersException", gateway, sourceS3PresignedUrl=source)
    assert "whole file" in message
    assert header[0] in message
    assert simulator.requests == []


FILE = b"%PDF" * 100
GIVEN = Answer(200, {"Content-Type": PDF}, FILE)


def test_a_passing_fault_of_the_store_is_tried_again(
    recorded_gateway: Gateway, simulator: Simulator, s3_stand_in: StandIn
) -> None:
    s3_stand_in.script(Answer(500), Answer(breaks=True), GIVEN)
    media_id = upload(recorded_gateway, "a key")
    assert simulator.media[media_id].read() == FILE
    assert [request.method for request in s3_stand_in.requests] == ["GET"] * 3
    assert {request.target for request in s3_stand_in.requests} == {f"/{BUCKET}/a%20key"}


def test_a_region_is_found_out(recorded_gateway: Gateway, s3_stand_in: StandIn) -> None:
    redirect = Answer(301, {"x-amz-bucket-region": "eu-central-1"}, b"<Error><Code>PermanentRedirect</Code></Error>")
    s3_stand_in.script(redirect, GIVEN)
    upload(recorded_gateway, sourceS3File={"bucketName": "elsewhere-bucket", "key": "x"})
    assert "/eu-central-1/s3/" in (s3_stand_in.requests[-1].header("authorization") or "")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(403, {}, b"<Error><Code>AccessDenied</Code></Error>"), "AccessDeniedException"),
        (Answer(404, {}, b"<Error><Code>NoSuchKey</Code></Error>"), "ResourceNotFoundException"),
        (s3_answer(503, "SlowDown", {"Retry-After": "77"}), "ThrottledRequestException"),
        (Answer(400, {}, b"<Error><Code>InvalidObjectState</Code></Error>"), "InvalidParametersException"),
        (s3_answer(301, "PermanentRedirect"), "InvalidParametersException"),
        (Answer(302, {"Location": "http://127.0.0.1:1/"}), "DependencyException"),
        (Answer(404, {}, b"<html>no such page"), "DependencyException"),
    ],
)
def test_the_stores_refusals_become_typed_errors(
    recorded_gateway: Gateway, simulator: Simulator, s3_stand_in: StandIn, answer: Answer, code: str
) -> None:
    s3_stand_in.always(answer)
    message = refusal(code, recorded_gateway, "a secret key")
    assert "secret" not in message
    assert simulator.media.keys() == {"100000000000001", "100000000000002", "100000000000003"}


# --- what Meta says


def test_a_passing_fault_of_meta_is_tried_again_with_the_source_read_anew(
    gateway: Gateway, simulator: Simulator, store: Store, prefix: str
) -> None:
    simulator.fault(kind="error", hop="upload", code=131016, times=1)
    simulator.fault(kind="reset", hop="upload", times=1)
    media_id = upload(gateway, stored(store, f"{prefix}x", FILE))
    assert simulator.media[media_id].read() == FILE


@pytest.mark.parametrize(
    "row",
    [
        ({"code": 190}, "AccessDeniedByMetaException"),
        ({"code": 100}, "DependencyException"),
        ({"code": 131053}, "DependencyException"),
        ({"code": 100, "subcode": 33}, "ResourceNotFoundException"),
        ({"code": 130429, "regain_minutes": 5}, "ThrottledRequestException"),
    ],
)
def test_metas_refusals_become_typed_errors(
    gateway: Gateway, simulator: Simulator, store: Store, prefix: str, row: tuple[dict[str, Any], str]
) -> None:
    fault, code = row
    simulator.fault(kind="error", hop="upload", **fault)
    refusal(code, gateway, stored(store, f"{prefix}x", FILE))
    assert sum(request.hop == "upload" for request in simulator.requests) == 1


# --- policies


def test_a_policy_names_the_number_and_the_object(gateway: Gateway, store: Store, prefix: str) -> None:
    world = gateway.world
    allowed = {"Effect": "Allow", "Action": "social-messaging:PostWhatsAppMessageMedia", "Resource": "*"}
    reading = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/{prefix}*"}
    key = stored(store, f"{prefix}x", FILE)
    file = {"sourceS3File": {"bucketName": BUCKET, "key": key}, "originationPhoneNumberId": world.phone_number_id}
    gateway.client(world.key_with_policy(allowed, reading)).post_whatsapp_message_media(**file)
    for statements in ([reading], [allowed], [allowed | {"Resource": f"{world.phone_number_arn}0"}, reading]):
        client = gateway.client(world.key_with_policy(*statements))
        with pytest.raises(client.exceptions.AccessDeniedException) as caught:
            client.post_whatsapp_message_media(**file)
        assert prefix not in str(caught.value)


# --- deleting


def test_an_upload_is_deleted(gateway: Gateway, simulator: Simulator, store: Store, prefix: str) -> None:
    media_id = upload(gateway, stored(store, f"{prefix}x", FILE))
    assert delete(gateway, media_id)["success"] is True
    assert media_id not in simulator.media
    with pytest.raises(gateway.client().exceptions.ResourceNotFoundException):
        delete(gateway, media_id)


def test_what_a_customer_sent_can_be_deleted_too(gateway: Gateway, simulator: Simulator) -> None:
    media_id = simulator.add_media(b"x", "image/png")
    delete(gateway, media_id)
    assert media_id not in simulator.media


def test_a_deletion_whose_answer_was_lost_has_happened(gateway: Gateway, simulator: Simulator) -> None:
    media_id = simulator.add_media(b"x", "image/png")
    simulator.fault(media_id, kind="truncate", hop="delete", at=1, times=1)
    assert delete(gateway, media_id)["success"] is True
    assert simulator.count(media_id)["delete"] == 2


def test_deleting_needs_its_own_action(gateway: Gateway, simulator: Simulator) -> None:
    key = gateway.world.key_with_policy({"Effect": "Allow", "Action": "social-messaging:Get*", "Resource": "*"})
    client = gateway.client(key)
    with pytest.raises(client.exceptions.AccessDeniedException):
        client.delete_whatsapp_message_media(
            mediaId="100000000000001", originationPhoneNumberId=gateway.world.phone_number_id
        )
    assert "100000000000001" in simulator.media


def test_a_deletion_without_its_members_names_both(gateway: Gateway) -> None:
    reply = gateway.send("DELETE", "/v1/whatsapp/media", sign_with=gateway.world.key)
    assert reply.code == "ValidationException"
    assert reply.message.startswith("2 validation errors detected")
