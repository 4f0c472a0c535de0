"""The AWS CLI, version 1, unmodified and in an environment of its own, pointed at the gateway."""

import json
import subprocess
from pathlib import Path

import botocore
import pytest

from harness.installs import aws_cli
from harness.store import BUCKET, Store
from harness.waiting import PATIENCE
from harness.world import Gateway
from whaul.simulator import Simulator
from whaul.stack.local import REGION, clean_environment

PDF = "100000000000003"


@pytest.fixture(scope="module")
def aws() -> Path:
    return aws_cli()


def call(aws: Path, gateway: Gateway, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """`aws socialmessaging get-whatsapp-message-media` with the gateway in the environment."""
    number = ("--origination-phone-number-id", gateway.world.phone_number_id)
    return run(aws, gateway, "get-whatsapp-message-media", *number, *arguments)


def run(aws: Path, gateway: Gateway, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """`aws socialmessaging` with the gateway, and `more`, in the environment."""
    environ = clean_environment() | {
        "AWS_ENDPOINT_URL_SOCIALMESSAGING": gateway.url,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": gateway.world.key.id,
        "AWS_SECRET_ACCESS_KEY": gateway.world.key.secret,
        "AWS_MAX_ATTEMPTS": "1",
        **more,
    }
    command = [str(aws), "socialmessaging", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_the_aws_cli_stores_a_file(
    aws: Path, gateway: Gateway, simulator: Simulator, store: Store, prefix: str
) -> None:
    destination = f"bucketName={BUCKET},key={prefix}"
    done = call(aws, gateway, "--media-id", PDF, "--destination-s3-file", destination)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"mimeType": "application/pdf", "fileSize": 1308}
    assert store.read(f"{prefix}{PDF}.pdf") == simulator.media[PDF].read()


def test_the_aws_cli_fills_a_presigned_url(
    aws: Path, gateway: Gateway, simulator: Simulator, store: Store, prefix: str
) -> None:
    destination = json.dumps({"url": store.presigned(f"{prefix}mine"), "headers": {}})
    done = call(aws, gateway, "--media-id", PDF, "--destination-s3-presigned-url", destination)
    assert (done.returncode, done.stderr) == (0, "")
    assert store.read(f"{prefix}mine") == simulator.media[PDF].read()


def test_the_aws_cli_reads_metadata_only(aws: Path, gateway: Gateway, simulator: Simulator) -> None:
    done = call(aws, gateway, "--media-id", PDF, "--metadata-only")
    assert json.loads(done.stdout) == {"mimeType": "application/pdf", "fileSize": 1308}
    assert simulator.count(PDF)["download"] == 0


def test_the_aws_cli_tells_a_typed_error(aws: Path, gateway: Gateway) -> None:
    done = call(aws, gateway, "--media-id", "999999999999999", "--metadata-only")
    assert done.returncode == 255
    assert "An error occurred (ResourceNotFoundException) when calling the GetWhatsAppMessageMedia" in done.stderr


def test_the_aws_cli_lists_the_linked_accounts(aws: Path, gateway: Gateway) -> None:
    done = run(aws, gateway, "list-linked-whatsapp-business-accounts", "--page-size", "1")
    assert (done.returncode, done.stderr) == (0, "")
    (account,) = json.loads(done.stdout)["linkedAccounts"]
    assert (account["wabaName"], account["registrationStatus"]) == ("Whaul Harbour (simulated)", "COMPLETE")
    done = run(aws, gateway, "get-linked-whatsapp-business-account", "--id", account["id"], "--query", "account.wabaId")
    assert (done.returncode, json.loads(done.stdout)) == (0, account["wabaId"])


def test_the_aws_cli_changes_the_call_settings_of_a_number(
    aws: Path, gateway: Gateway, simulator: Simulator, tmp_path: Path
) -> None:
    # The operation is younger than some CLIs: they take its model from a folder, and spell its name by themselves.
    (tmp_path / "socialmessaging").symlink_to(Path(botocore.__file__).parent / "data" / "socialmessaging")
    number = ("--id", gateway.world.phone_number_arn)
    settings = ("--call-settings", "callEnabled=true,callIconVisibility=DISABLE_ALL")
    for spelling in ("whatsapp", "whats-app"):
        update = f"update-linked-{spelling}-business-account-phone-number"
        done = run(aws, gateway, update, *number, *settings, AWS_DATA_PATH=str(tmp_path))
        if "Invalid choice" not in done.stderr:
            break
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"phoneNumberId": gateway.world.phone_number_id}
    assert simulator.phone_numbers[0].calling == {"status": "ENABLED", "call_icon_visibility": "DISABLE_ALL"}


def test_the_aws_cli_tells_that_a_token_is_none(aws: Path, gateway: Gateway) -> None:
    token = ("--next-token", "nonsense", "--no-paginate")
    done = run(aws, gateway, "list-linked-whatsapp-business-accounts", *token)
    assert done.returncode == 255
    assert "An error occurred (ValidationException) when calling the ListLinkedWhatsAppBusinessAccounts" in done.stderr
