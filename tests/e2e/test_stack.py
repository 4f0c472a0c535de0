"""`whaul demo` and `whaul dev`: they show the main job for real, and leave nothing behind however they end."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest

from harness.store import Store
from harness.waiting import PATIENCE, eventually
from harness.world import Gateway
from whaul.simulator import Simulator
from whaul.stack.local import clean_environment

WHAUL = (sys.executable, "-P", "-m", "whaul")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the programs under test put their temporary files."""
    path = tmp_path / "tmp"
    path.mkdir()
    return path


def environment(folder: Path, **more: str) -> dict[str, str]:
    return clean_environment() | {"TMPDIR": str(folder), "COLUMNS": "200", "HOME": str(folder.parent)} | more


def run(folder: Path, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*WHAUL, *arguments],
        env=environment(folder, **environ),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def found_processes(folder: Path) -> dict[int, str]:
    """The programs whose temporary files go to or below `folder` (Linux; elsewhere none are seen)."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={folder}".encode() in (process / "environ").read_bytes():
                command = (process / "cmdline").read_text(encoding="utf-8").replace("\0", " ")
                found[int(process.name)] = command
        except OSError:
            continue
    return found


def processes_of(folder: Path) -> list[str]:
    return list(found_processes(folder).values())


def assert_nothing_is_left(folder: Path) -> None:
    assert processes_of(folder) == []
    assert list(folder.iterdir()) == []


def test_the_demo_fetches_three_files_and_shows_that_they_are_the_same(
    folder: Path, simulator: Simulator, nobody: str
) -> None:
    """Its parts call loopback addresses only, and are started in the user's folder but import nothing of it."""
    for name in ("secrets.py", "http.py", "json.py", "whaul.py", "typing.py"):
        (folder.parent / name).write_text("raise SystemExit('imported from the folder')\n", encoding="utf-8")
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
    done = subprocess.run(
        [Path(sys.executable).with_name("whaul"), "demo"],
        cwd=folder.parent,
        env=environment(folder, **dict.fromkeys(proxies, f"http://{nobody}")),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for media, extension in zip(simulator.media.values(), ("jpeg", "ogg", "pdf"), strict=True):
        line = next(line for line in done.stdout.splitlines() if f"inbound_{media.id}.{extension}" in line)
        assert "same" in line
        assert re.search(rf"\b{media.size}\b", line)
        assert media.sha256().hex() in done.stdout
    assert "client.get_whatsapp_message_media(" in done.stdout
    assert "socialmessaging get-whatsapp-message-media" in done.stdout
    assert_nothing_is_left(folder)


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    command = [*WHAUL, *arguments]
    with (folder.parent / "errors").open("w+", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command, env=environment(folder), stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            for left in found_processes(folder):  # they would keep its output open
                os.kill(left, signal.SIGKILL)
            process.communicate()


def read_until(process: "subprocess.Popen[str]", text: str) -> str:
    """What the program said up to the line that holds `text`."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if text in line:
            return said
    raise AssertionError(f"it ended without saying {text!r}: {said}")


def test_a_demo_that_is_stopped_leaves_nothing_behind(tmp_path: Path) -> None:
    def stop(case: tuple[signal.Signals, str]) -> None:
        number, moment = case
        folder = tmp_path / f"{number}{moment[0]}" / "tmp"
        folder.mkdir(parents=True)
        with running(folder, "demo") as process:
            read_until(process, "SeaweedFS")
            if moment == "later":  # the store runs, the gateway does not yet
                eventually(lambda: any(" link " in line or " keys " in line for line in processes_of(folder)))
            process.send_signal(number)
            assert process.wait(PATIENCE) != 0, case
        assert "Traceback" not in (folder.parent / "errors").read_text(encoding="utf-8"), case
        assert_nothing_is_left(folder)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(stop, [(signal.SIGINT, "started"), (signal.SIGTERM, "later")]))


def test_dev_serves_with_the_lines_that_it_prints_until_it_is_stopped(tmp_path: Path) -> None:
    folder = tmp_path / "dev" / "tmp"
    folder.mkdir(parents=True)
    with running(folder, "dev", "--bucket", "own-bucket") as process:
        said = read_until(process, "Ctrl-C stops everything")
        fetch_with_what_was_said(said)
        assert "GET /v25.0/100000000000003  200" in read_until(process, "simulator  GET /v25.0/")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) in {0, 130}
    assert "Traceback" not in (folder.parent / "errors").read_text(encoding="utf-8")
    assert_nothing_is_left(folder)


def fetch_with_what_was_said(said: str) -> None:
    """Fetch a file with nothing but what `whaul dev` printed."""
    exported = dict(re.findall(r"export (\w+)=(\S+)", said))
    phone_number_id = re.search(r"phone number id\s+(\S+)", said)
    assert phone_number_id is not None
    client = boto3.session.Session().client(
        "socialmessaging",
        endpoint_url=exported["AWS_ENDPOINT_URL_SOCIALMESSAGING"],
        region_name=exported["AWS_DEFAULT_REGION"],
        aws_access_key_id=exported["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=exported["AWS_SECRET_ACCESS_KEY"],
    )
    answer = client.get_whatsapp_message_media(
        mediaId="100000000000003",
        originationPhoneNumberId=phone_number_id[1],
        destinationS3File={"bucketName": "own-bucket", "key": ""},
    )
    client.close()
    assert answer["fileSize"] == 1308


def test_dev_at_a_port_that_is_taken_says_so_and_leaves_nothing_behind(folder: Path, gateway: Gateway) -> None:
    done = run(folder, "dev", "--port", str(gateway.port))
    assert done.returncode == 1
    assert "cannot listen" in done.stderr
    assert "Traceback" not in done.stderr
    assert_nothing_is_left(folder)


def test_the_demo_can_use_a_store_of_ones_own_and_cleans_it_up(folder: Path, store: Store) -> None:
    done = run(folder, "demo", "--own-s3", **store.endpoint.environment())
    assert (done.returncode, done.stderr) == (0, "")
    names = [bucket["Name"] for bucket in store.client.list_buckets()["Buckets"]]
    assert not [name for name in names if name.startswith("whaul-demo-")]
    assert_nothing_is_left(folder)


def test_a_demo_without_a_usable_store_says_what_is_missing_and_leaves_nothing_behind(
    folder: Path, nobody: str
) -> None:
    missing = run(folder, "demo", "--own-s3")
    assert missing.returncode == 1
    assert "AWS_ENDPOINT_URL_S3" in missing.stderr
    dead = {"AWS_ENDPOINT_URL_S3": f"http://{nobody}", "AWS_MAX_ATTEMPTS": "1"}
    unreachable = run(folder, "demo", "--own-s3", **dead, AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b")
    assert unreachable.returncode == 1
    assert unreachable.stderr.startswith("whaul: ")
    assert "Traceback" not in missing.stderr + unreachable.stderr
    assert_nothing_is_left(folder)
