"""`whaul doctor` over the real stack, as an operator runs it."""

import json
import os
import pty
import re
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from harness.store import BUCKET, Store
from harness.world import READER, World, gateway
from tools.certificates import make_certificates
from whaul.simulator import Simulator
from whaul.stack.local import ITSELF

CHECKS = ["settings", "database", "secret key", "access keys", "Graph API", "webhooks"]
CHECKS += ["S3 credentials", "S3 endpoint", "clock"]
ANY_PORT = {"WHAUL_PORT": "0"}
"""Whoever listens on the usual one is none of these tests' business."""


def secrets_of(world: World, store: Store) -> list[str]:
    key = (world.folder / "whaul.db.key").read_text(encoding="utf-8").strip()
    return [world.simulator.token, store.endpoint.secret_access_key, world.key.secret, key]


def test_a_set_up_that_is_well_is_told_in_one_document_and_nothing_is_left(
    world: World, simulator: Simulator, store: Store
) -> None:
    done = world.run("doctor", "--bucket", BUCKET, "--json", **ANY_PORT)
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["ok"] is True
    found = {check["check"]: check for check in document["checks"]}
    assert {*CHECKS, f"account {simulator.waba_id}", f"bucket {BUCKET}"} == found.keys()
    not_ok = {name: check["outcome"] for name, check in found.items() if check["outcome"] != "ok"}
    assert not_ok == {"settings": "warning", "webhooks": "skipped"}, "it calls a simulator; no app secret is known"
    assert store.keys(".whaul-doctor-") == []
    assert not [secret for secret in secrets_of(world, store) if secret in done.stdout]


def test_each_check_is_one_line_that_says_what_to_do(world: World, store: Store) -> None:
    environ = ANY_PORT | {"AWS_ACCESS_KEY_ID": READER[0], "AWS_SECRET_ACCESS_KEY": READER[1]}
    done = world.run("doctor", "--bucket", BUCKET, **environ)
    assert done.returncode == 1
    assert done.stderr == "whaul: 1 of 12 checks failed\n"
    failed = [line for line in done.stdout.splitlines() if line.startswith("failed")]
    assert len(failed) == 1
    assert failed[0].startswith(f"failed   {f'bucket {BUCKET}':24} S3 answered AccessDenied")
    assert " -> " in failed[0]
    assert not [secret for secret in [*secrets_of(world, store), READER[1]] if secret in done.stdout]


def test_everything_that_is_wrong_is_told_at_once(world: World, tmp_path: Path) -> None:
    done = world.run(
        *("doctor", "--bucket", "missing-bucket", "--json"),
        WHAUL_SECRET_KEY=Fernet.generate_key().decode(),
        AWS_ENDPOINT_URL_S3="http://127.0.0.1:1",
        **ANY_PORT,
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
    assert done.stderr == "whaul: the settings cannot be used; nothing else was checked\n"


def test_a_running_gateway_is_found_on_its_port(world: World) -> None:
    with world.gateway() as running:
        done = world.run("doctor", "--json", WHAUL_PORT=str(running.port))
    (port,) = [check for check in json.loads(done.stdout)["checks"] if check["check"] == "port"]
    assert (port["outcome"], port["detail"]) == ("ok", f"whaul runs on 127.0.0.1 port {running.port} and is ready")


def test_a_gateway_that_serves_another_certificate_than_the_file_is_told(world: World, tmp_path: Path) -> None:
    old, new = make_certificates(tmp_path / "old"), make_certificates(tmp_path / "new")
    files = {"WHAUL_TLS_CERT_FILE": str(old.chain), "WHAUL_TLS_KEY_FILE": str(old.key)}
    with gateway(world, files, ca_file=old.authority) as running:
        before = world.run("doctor", "--json", WHAUL_PORT=str(running.port), **files)
        old.chain.write_bytes(new.chain.read_bytes())
        old.key.write_bytes(new.key.read_bytes())
        after = world.run("doctor", "--json", WHAUL_PORT=str(running.port), **files)
    outcomes = [
        next(check["outcome"] for check in json.loads(done.stdout)["checks"] if check["check"] == "port")
        for done in (before, after)
    ]
    assert outcomes == ["ok", "warning"]


@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_on_a_terminal_lines_end_between_words(world: World, environ: dict[str, str], coloured: bool) -> None:
    command = [*ITSELF, "doctor"]
    clean = {name: value for name, value in world.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    shown = on_terminal(command, clean | ANY_PORT | {"TERM": "xterm", "COLUMNS": "70"} | environ)
    assert ("\x1b[" in shown) == coloured
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert [line for line in plain if len(line) > 70] == []
    assert f"http://127.0.0.1:{world.simulator.url.rpartition(':')[2]}" in " ".join(" ".join(plain).split())


def on_terminal(command: list[str], environ: dict[str, str]) -> str:
    """What a program shows on a terminal."""
    ours, its = pty.openpty()
    process = subprocess.Popen(command, env=environ, stdin=its, stdout=its, stderr=its)
    os.close(its)
    shown = b""
    with suppress(OSError):  # the end, as Linux has it
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    process.wait()
    return shown.decode().replace("\r\n", "\n")
