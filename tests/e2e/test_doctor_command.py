"""`whaul doctor` over the real stack, as an operator runs it."""

import json
from pathlib import Path

from cryptography.fernet import Fernet

from harness.store import BUCKET, Store
from harness.world import READER, World
from whaul.simulator import Simulator

CHECKS = ["settings", "database", "secret key", "Graph API", "S3 credentials", "S3 endpoint", "clock"]


def secrets_of(world: World, store: Store) -> list[str]:
    key = (world.folder / "whaul.db.key").read_text(encoding="utf-8").strip()
    return [world.simulator.token, store.endpoint.secret_access_key, world.key.secret, key]


def test_a_set_up_that_is_well_is_told_in_one_document_and_nothing_is_left(
    world: World, simulator: Simulator, store: Store
) -> None:
    done = world.run("doctor", "--bucket", BUCKET, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["ok"] is True
    found = {check["check"]: check for check in document["checks"]}
    assert {*CHECKS, f"account {simulator.waba_id}", f"bucket {BUCKET}"} == found.keys()
    assert [name for name in found if found[name]["outcome"] != "ok"] == ["settings"], "it calls a simulator"
    assert store.keys(".whaul-doctor-") == []
    assert not [secret for secret in secrets_of(world, store) if secret in done.stdout]


def test_on_a_terminal_each_check_is_one_line_that_says_what_to_do(world: World, store: Store) -> None:
    environ = {"AWS_ACCESS_KEY_ID": READER[0], "AWS_SECRET_ACCESS_KEY": READER[1]}
    done = world.run("doctor", "--bucket", BUCKET, **environ)
    assert done.returncode == 1
    assert done.stderr == "whaul: 1 of 10 checks failed\n"
    failed = [line for line in done.stdout.splitlines() if line.startswith("failed")]
    assert len(failed) == 1
    assert failed[0].startswith(f"failed   bucket {BUCKET}: S3 answered AccessDenied")
    assert " -> " in failed[0]
    assert not [secret for secret in [*secrets_of(world, store), READER[1]] if secret in done.stdout]


def test_everything_that_is_wrong_is_told_at_once(world: World, tmp_path: Path) -> None:
    done = world.run(
        *("doctor", "--bucket", "missing-bucket", "--json"),
        WHAUL_SECRET_KEY=Fernet.generate_key().decode(),
        AWS_ENDPOINT_URL_S3="http://127.0.0.1:1",
    )
    assert done.returncode == 1
    failed = {check["check"] for check in json.loads(done.stdout)["checks"] if check["outcome"] == "failed"}
    assert failed == {"secret key", "S3 endpoint", "bucket missing-bucket"}
    assert list(tmp_path.iterdir()) == []


def test_settings_that_cannot_be_used_are_told_as_findings(world: World) -> None:
    done = world.run("doctor", "--json", WHAUL_PORT="x", WHAUL_WORKERS="0")
    assert done.returncode == 1
    checks = json.loads(done.stdout)["checks"]
    assert [check["outcome"] for check in checks] == ["failed", "failed"]
    assert "WHAUL_PORT" in checks[0]["detail"] + checks[1]["detail"]
    assert "Traceback" not in done.stderr
