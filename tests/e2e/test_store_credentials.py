"""The server's own S3 credentials: when they cannot be loaded, and when an agent renews them."""

import re
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from harness.store import BUCKET, Store
from harness.waiting import eventually
from harness.world import World

PDF = "100000000000003"


def without_keys(world: World, **environ: str) -> World:
    kept = {name: value for name, value in world.environ.items() if not name.startswith(("AWS_ACCESS", "AWS_SECRET"))}
    other = World(world.simulator, kept | environ, world.folder, world.phone_number_id, world.phone_number_arn)
    other.key = world.key
    return other


def test_credentials_that_cannot_be_loaded_are_told_by_everything(world: World, tmp_path: Path) -> None:
    role = {"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/w", "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "gone")}
    lacking = without_keys(world, **role)
    told = "whaul's S3 credentials could not be loaded (FileNotFoundError); its operator must check them."
    with lacking.gateway() as running:
        ready = running.send("GET", "/readyz")
        assert (ready.status, ready.json()["reasons"]) == (503, [told])
        with pytest.raises(running.client().exceptions.AccessDeniedException) as caught:
            running.get(PDF)
        assert caught.value.response["Error"]["Message"] == told
        assert "Traceback" not in running.log.read_text(encoding="utf-8")
    doctor = lacking.run("doctor", "--bucket", BUCKET)
    assert re.search(rf"^failed   S3 credentials +{re.escape(told)}", doctor.stdout, re.MULTILINE)
    get = lacking.run("get", PDF, "--phone-number-id", world.phone_number_id, "--to", f"s3://{BUCKET}/x")
    assert told in get.stderr
    for done in (doctor, get):
        assert done.returncode == 1
        assert "Traceback" not in done.stdout + done.stderr


def test_credentials_that_an_agent_renews_are_used_without_a_restart(
    world: World, store: Store, tmp_path: Path, prefix: str
) -> None:
    shared = tmp_path / "credentials"

    def renew(secret: str) -> None:
        keys = f"aws_access_key_id = {store.endpoint.access_key_id}\naws_secret_access_key = {secret}\n"
        beside = tmp_path / "beside"
        beside.write_text(f"[default]\n{keys}", encoding="utf-8")
        beside.replace(shared)

    renew("an-older-secret-of-this-key")
    with without_keys(world, AWS_SHARED_CREDENTIALS_FILE=str(shared)).gateway() as running:
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            running.get_to(PDF, prefix)
        renew(store.endpoint.secret_access_key)

        def is_stored() -> bool:
            try:
                running.get_to(PDF, prefix)
            except running.client().exceptions.AccessDeniedException:
                return False  # the files are looked at every second
            return True

        eventually(is_stored)
    assert store.keys(prefix) == [f"{prefix}{PDF}.pdf"]
