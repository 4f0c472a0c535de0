"""The audit log of a running gateway: every call once, whatever becomes of it, and no call waits for the log."""

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness.client import send
from harness.store import BUCKET
from harness.waiting import eventually
from harness.world import MEDIA_PATH, Gateway, Key, World

JPEG = "100000000000001"
FILE = {"bucketName": BUCKET, "key": "audited/"}
PIPE_BUFFER = 64 * 1024


def records(*paths: Path) -> list[dict[str, Any]]:
    """The whole lines so far."""
    return [
        json.loads(line)
        for path in paths
        for line in path.read_bytes().splitlines(keepends=True)
        if line[:1] == b"{" and line[-1:] == b"\n"
    ]


def file_and_rotated(folder: Path) -> list[Path]:
    return sorted(folder.glob("audit.log*"))


def counted(gateway: Gateway, metric: str) -> float:
    text = gateway.send("GET", "/metrics").body.decode()
    return sum(float(value) for value in re.findall(rf"^{metric}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


@pytest.mark.usefixtures("simulator")
def test_each_call_is_one_record_with_who_what_and_what_became_of_it(world: World, tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    with world.gateway(WHAUL_AUDIT_LOG=str(log)) as gateway:
        answer = gateway.get(JPEG, destinationS3File=FILE)
        with pytest.raises(gateway.client().exceptions.ResourceNotFoundException):
            gateway.get("999999999999999", destinationS3File=FILE)
        forged = Key(world.key.id, "x" * 40)
        assert gateway.post(gateway.request(JPEG), key=forged).code == "InvalidSignatureException"
        assert gateway.send("POST", MEDIA_PATH, b"{}").code == "MissingAuthenticationTokenException"
        gateway.send("POST", "/nowhere")
        gateway.send("GET", "/healthz")
        eventually(lambda: len(records(log)) >= 4)
    good, missing, wrong, unsigned = records(log)
    assert good["userIdentity"]["accessKeyId"] == world.key.id
    assert good["userIdentity"]["userName"] == "tester"
    assert good["eventName"] == "GetWhatsAppMessageMedia"
    assert good["resources"][0]["ARN"] == world.phone_number_arn
    assert good["requestParameters"] == {
        "mediaId": JPEG,
        "originationPhoneNumberId": world.phone_number_id,
        "destinationS3File": "HIDDEN_DUE_TO_SECURITY_REASONS",
    }
    assert good["requestID"] == answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"]
    assert good["userAgent"].startswith("Boto3/")
    assert good["sourceIPAddress"] == "127.0.0.1"
    assert "errorCode" not in good
    assert missing["errorCode"] == "ResourceNotFoundException"
    assert missing["requestParameters"]["mediaId"] == "999999999999999"
    assert wrong["errorCode"] == "InvalidSignatureException"
    assert wrong["userIdentity"] == {"type": "Unknown", "accessKeyId": world.key.id}
    assert unsigned["userIdentity"] == {"type": "Unknown"}
    assert len({record["eventID"] for record in records(log)}) == 4


@pytest.mark.usefixtures("simulator")
def test_operations_on_accounts_are_recorded_with_the_account_and_what_was_changed(
    world: World, tmp_path: Path
) -> None:
    log = tmp_path / "audit.log"
    tags = [{"key": "team", "value": "inbox"}]
    with world.gateway(WHAUL_AUDIT_LOG=str(log)) as gateway:
        client = gateway.client()
        account = client.list_linked_whatsapp_business_accounts()["linkedAccounts"][0]
        client.get_linked_whatsapp_business_account(id=account["id"])
        client.tag_resource(resourceArn=account["arn"], tags=tags)
        client.untag_resource(resourceArn=account["arn"], tagKeys=["team"])
        eventually(lambda: len(records(log)) == 4)
    listed, shown, tagged, untagged = records(log)
    assert "resources" not in listed
    assert shown["requestParameters"] == {"id": account["id"]}
    assert [record["resources"][0]["ARN"] for record in (shown, tagged, untagged)] == [account["arn"]] * 3
    assert tagged["requestParameters"] == {"resourceArn": account["arn"], "tags": tags}
    assert [record["readOnly"] for record in records(log)] == [True, True, False, False]
    assert {record["eventCategory"] for record in records(log)} == {"Management"}


@pytest.mark.long
def test_two_workers_write_one_log_and_rotation_and_the_stop_lose_no_record(world: World, tmp_path: Path) -> None:
    settings = {
        "WHAUL_WORKERS": "2",
        "WHAUL_AUDIT_LOG": str(tmp_path / "audit.log"),
        "WHAUL_AUDIT_LOG_MAX_SIZE": "20000",
        "WHAUL_AUDIT_LOG_FILES": "100",
    }
    with world.gateway(**settings) as gateway, ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda _: gateway.send("POST", MEDIA_PATH, b"{}").headers["x-amzn-requestid"], range(400)))
    found = [record["requestID"] for record in records(*file_and_rotated(tmp_path))]
    assert len(ids) == 400
    assert sorted(found) == sorted(ids)
    assert len(file_and_rotated(tmp_path)) > 5
    assert all(path.stat().st_size <= 20_000 for path in file_and_rotated(tmp_path))


@pytest.mark.long
def test_a_log_that_cannot_be_written_holds_up_no_call_and_says_what_it_drops(world: World, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with world.gateway(WHAUL_AUDIT_LOG=str(pipe)) as gateway:
        calls = PIPE_BUFFER // 500 + 10
        for _ in range(calls):
            assert gateway.send("POST", MEDIA_PATH, b"{}").status == 403
        eventually(lambda: counted(gateway, "whaul_calls_total") == calls)
    os.close(reader)
    told = gateway.log.read_text(encoding="utf-8")
    assert '"event":"audit_dropped"' in told
    assert gateway.process.returncode == 0


def test_standard_output_takes_records_among_the_lines_of_the_log(world: World) -> None:
    with world.gateway(WHAUL_AUDIT_LOG="-") as gateway:
        gateway.send("POST", MEDIA_PATH, b"{}")
        eventually(lambda: b"eventVersion" in gateway.log.read_bytes())
    lines = records(gateway.log)
    calls = [line["request_id"] for line in lines if line.get("event") == "call"]
    assert [line["requestID"] for line in lines if "eventVersion" in line] == calls


@pytest.mark.parametrize("where", ["missing/audit.log", ""])
def test_a_log_that_cannot_be_opened_stops_the_start_with_a_message(world: World, tmp_path: Path, where: str) -> None:
    done = world.run("serve", "--port", "0", WHAUL_AUDIT_LOG=str(tmp_path / where))
    assert done.returncode == 1
    assert "WHAUL_AUDIT_LOG" in done.stderr
    assert "cannot be opened" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_setting_nothing_is_recorded(gateway: Gateway) -> None:
    assert send(gateway.port, "POST", MEDIA_PATH, b"{}", {}).status == 403
    assert b"eventVersion" not in gateway.log.read_bytes()
