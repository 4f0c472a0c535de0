"""`whaul demo` and `whaul dev`: they show the main job for real, and leave nothing behind however they end."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from typer.testing import CliRunner

from harness.commands import done, whaul
from harness.store import Store
from harness.waiting import PATIENCE, eventually
from harness.world import Gateway
from whaul.arns import Arns
from whaul.cli import app
from whaul.simulator import Simulator
from whaul.stack.local import clean_environment
from whaul.stack.processes import StackError, answers

WHAUL = (sys.executable, "-P", "-m", "whaul")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the programs under test put their temporary files."""
    path = tmp_path / "tmp"
    path.mkdir()
    return path


def environment(folder: Path, **more: str) -> dict[str, str]:
    return clean_environment() | {"TMPDIR": str(folder), "COLUMNS": "200", "HOME": str(folder.parent)} | more


def run(folder: Path, *arguments: "str | Path", **environ: str) -> "subprocess.CompletedProcess[str]":
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


def test_the_demo_shows_files_that_are_the_same_and_an_event(folder: Path, simulator: Simulator, nobody: str) -> None:
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
    assert re.search(r"archive/100000000000002\.ogg  voice note  same +31692\b", done.stdout)
    assert re.search(r"messages/message/audio  event  delivered +\d+ +\d+", done.stdout)
    assert "client.get_whatsapp_message_media(" in done.stdout
    assert "socialmessaging get-whatsapp-message-media" in done.stdout
    assert_nothing_is_left(folder)


@contextmanager
def running(folder: Path, *arguments: "str | Path", **environ: str) -> Iterator["subprocess.Popen[str]"]:
    command = [*WHAUL, *arguments]
    with (folder.parent / "errors").open("w+", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command,
            env=environment(folder, **environ),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
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


@pytest.mark.long
def test_a_demo_that_is_killed_leaves_no_process_behind(folder: Path) -> None:
    with running(folder, "demo") as process:
        read_until(process, "The gateway runs at")
        commands = " ".join(processes_of(folder))
        assert "weed mini" in commands
        assert "whaul.server" in commands
        process.kill()
        process.wait(PATIENCE)
        eventually(lambda: processes_of(folder) == [])


FREE = ("--port", "0", "--simulator-port", "0", "--s3-port", "0", "--console-port", "0")
PDF = "100000000000003"


def test_dev_hands_out_all_that_programs_and_whauls_own_commands_need(tmp_path: Path) -> None:
    """And it obeys settings, and ends when one of its servers does."""
    folder, env_file = tmp_path / "dev" / "tmp", tmp_path / "dev.env"
    folder.mkdir(parents=True)
    settings = {
        "WHAUL_KEY_MODE": "exact",
        "WHAUL_ACCOUNT_ID": "111122223333",
        "WHAUL_GRAPH_USER_AGENT": "two words",
        "WHAUL_GRAPH_URL": "https://graph.example",
        "AWS_PROFILE": "not-there",
    }
    with running(
        folder, "dev", *FREE, "--bucket", "own-bucket", "--json", "--env-file", env_file, **settings
    ) as process:
        document = read_document(process)
        environ = document["environment"]
        lines = dict(line.split("=", 1) for line in env_file.read_text(encoding="utf-8").splitlines())
        assert lines | {"WHAUL_GRAPH_USER_AGENT": "two words"} == environ
        notes = (folder.parent / "errors").read_text(encoding="utf-8")
        assert f"WHAUL_GRAPH_USER_AGENT is not in {env_file}" in notes
        assert "WHAUL_GRAPH_URL is ignored" in notes
        assert document["webhookUrl"] == f"{document['gatewayUrl']}/webhooks/meta/600000000000001"
        assert document["archive"] == "s3://own-bucket/archive/"
        console = document["consoleUrl"].partition("#")[0]
        assert answers(console)
        assert whaul(["console", "link"], environ)["url"].partition("#")[0] == console
        use_with_commands(environ, tmp_path)
        store_as_told(environ, "own-bucket", "exact-key")
        [store] = [number for number, command in found_processes(folder).items() if "weed mini" in command]
        os.kill(store, signal.SIGKILL)
        assert process.wait(PATIENCE) == 1
    assert "whaul: SeaweedFS ended with exit code -9." in (folder.parent / "errors").read_text(encoding="utf-8")
    assert_nothing_is_left(folder)


def read_document(process: "subprocess.Popen[str]") -> Any:
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith("}"):
            return json.loads(said)
    raise AssertionError(f"it ended without a document: {said}")


def use_with_commands(environ: dict[str, str], folder: Path) -> None:
    assert environ["WHAUL_ACCOUNT_ID"] == "111122223333"
    assert Arns("111122223333", "us-east-1").phone_number_id("500000000000001") in done(["accounts"], environ)
    made = whaul(["keys", "create", "--name", "second", "--allow-all"], environ)
    assert made["accessKeyId"] in done(["keys", "list"], environ)
    number = ("--phone-number-id", environ["WHAUL_DEV_PHONE_NUMBER_ID"])
    assert '"stored"' in done(["get", PDF, *number, "--to", str(folder / "got")], environ)
    found = done(["doctor", "--bucket", "own-bucket"], environ)
    assert re.search(r"bucket own-bucket:? +a write succeeded", found)
    assert "it is this server, and it takes them" in done(["webhooks", "status"], environ)
    assert whaul(["archive", "status"], environ)["archives"][0]["bucket"] == "own-bucket"
    assert re.search(rf"ok +(server|port).*{environ['WHAUL_PORT']}", found)
    profile = done(["keys", "create", "--name", "third", "--allow-all", "--profile", "third"], environ)
    assert environ["AWS_ENDPOINT_URL_SOCIALMESSAGING"] in profile
    assert "waba-" in done(["link", "--waba-id", "400000000000001"], environ)
    store_as_told(
        environ | {"AWS_ACCESS_KEY_ID": made["accessKeyId"], "AWS_SECRET_ACCESS_KEY": made["secretAccessKey"]},
        None,
        "-",
    )


def store_as_told(environ: dict[str, str], bucket: str | None, key: str) -> None:
    """Do in another process what an application does: fetch with boto3, and read the object with the same key."""
    program = Path(__file__).with_name("stack_user.py")
    command = [sys.executable, program, bucket or "", key]
    subprocess.run(command, env=clean_environment() | environ, check=True, timeout=PATIENCE)


@pytest.mark.long
def test_dev_prints_lines_for_a_shell_and_ends_when_nobody_reads_on(tmp_path: Path) -> None:
    folder = tmp_path / "dev" / "tmp"
    folder.mkdir(parents=True)
    with running(folder, "dev", *FREE, AWS_SESSION_TOKEN="of another key") as process:
        said = read_until(process, "Ctrl-C stops everything")
        exported = dict(re.findall(r"^  export (\w+)=(\S+)$", said, re.MULTILINE))
        assert "  unset AWS_SESSION_TOKEN\n" in said
        client = boto3.session.Session().client(
            "socialmessaging",
            endpoint_url=exported["AWS_ENDPOINT_URL_SOCIALMESSAGING"],
            region_name=exported["AWS_DEFAULT_REGION"],
            aws_access_key_id=exported["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=exported["AWS_SECRET_ACCESS_KEY"],
        )
        number = exported["WHAUL_DEV_PHONE_NUMBER_ID"]
        client.get_whatsapp_message_media(mediaId=PDF, originationPhoneNumberId=number, metadataOnly=True)
        client.close()
        errors = folder.parent / "errors"
        for line in re.findall(r"^  (curl -d .*)$", said, re.MULTILINE):
            subprocess.run(["sh", "-c", line], check=True, capture_output=True, timeout=PATIENCE)
        for event in ("messages/message/audio", "messages/message/text", "whaul_media/media/stored"):
            eventually(lambda event=event: event in errors.read_text(encoding="utf-8"))
        eventually(lambda: f"simulator  GET /v25.0/{PDF}  200" in errors.read_text(encoding="utf-8"))
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(PATIENCE) == 0
        process.stdout = None
    assert "Traceback" not in errors.read_text(encoding="utf-8")
    assert_nothing_is_left(folder)


@pytest.mark.long
def test_dev_runs_a_command_and_goes_on_from_what_it_kept(folder: Path, tmp_path: Path) -> None:
    state, log = tmp_path / "state", tmp_path / "log"
    kept = (*FREE, "--persist", state)
    user = ("--", sys.executable, Path(__file__).with_name("stack_user.py"), "inbox")
    first = run(folder, "dev", *kept, "--log-file", log, *user, "a-")
    assert (first.returncode, first.stdout, first.stderr) == (0, f"a-{PDF}.pdf\n", "")
    assert f"simulator  GET /v25.0/{PDF}  200" in log.read_text(encoding="utf-8")
    with running(folder, "dev", *kept, *user, "b-", "wait") as process:
        assert read_until(process, "b-") == f"a-{PDF}.pdf b-{PDF}.pdf\n"
        second = run(folder, "dev", *kept, *user, "c-")
        assert second.returncode == 1
        assert "another `whaul dev`" in second.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 40  # the command's own answer to the signal
    assert (folder.parent / "errors").read_text(encoding="utf-8") == ""
    assert_nothing_is_left(folder)


@pytest.fixture
def own_signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What `whaul dev` changes of the process that it runs in is as before."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_signals")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--json", "--", "true"), "--env-file"),
        (("--reset",), "--persist"),
        (("--env-file", "/no/such/folder/env"), "there is no folder /no/such/folder"),
        (("--own-s3", "--s3-port", "4812"), "no S3 server is started"),
        (("--", "no-such-program"), "no-such-program cannot be run"),
        (("--persist", "/dev/null"), "choose another"),
    ],
)
def test_dev_refuses_what_cannot_be_meant_before_it_starts_anything(arguments: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(app, ["dev", *FREE[: 4 if "--s3-port" in arguments else 6], *arguments])
    assert result.exit_code != 0
    assert said in " ".join(f"{result.stderr} {result.exception}".split())


@pytest.mark.usefixtures("own_signals")
def test_dev_at_a_port_that_is_taken_says_so_and_leaves_nothing_behind(folder: Path, gateway: Gateway) -> None:
    for option in ("--port", "--simulator-port", "--s3-port"):
        taken = [*FREE, option, str(gateway.port)]
        result = CliRunner().invoke(app, ["dev", *taken])
        assert isinstance(result.exception, StackError)
        assert f"choose another {option}" in str(result.exception)
    refused = run(folder, "dev", *FREE[2:], WHAUL_PORT=str(gateway.port))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert re.fullmatch(r"whaul: cannot listen on .* choose another --port\n", refused.stderr)
    assert_nothing_is_left(folder)


@pytest.mark.long
def test_the_demo_can_use_a_store_of_ones_own_and_cleans_it_up(folder: Path, store: Store) -> None:
    done = run(folder, "demo", "--own-s3", **store.endpoint.environment())
    assert (done.returncode, done.stderr) == (0, "")
    names = [bucket["Name"] for bucket in store.client.list_buckets()["Buckets"]]
    assert not [name for name in names if name.startswith("whaul-demo-")]
    assert_nothing_is_left(folder)


@pytest.mark.long
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
