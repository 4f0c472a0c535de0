"""Commands where the machine is not as usual: its output, its user, its folders, its character set."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from harness.waiting import PATIENCE, eventually
from whaul.stack.local import ITSELF
from whaul.stack.processes import answers, free_ports, wait_until

pytestmark = pytest.mark.long

TOKEN = "EAAGs3cr3tT0ken"
NAME = "Müller 🛒\x1b[2J"
KEYS = ["keys", "create", "--name", "crm", "--allow-all"]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return os.environ | {"WHAUL_DATABASE_URL": f"sqlite:///{tmp_path / 'whaul.db'}", "WHATSAPP_ACCESS_TOKEN": TOKEN}


def run(environ: dict[str, str], *arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run([*ITSELF, *arguments], env=environ, text=True, timeout=PATIENCE, check=False, **streams)  # type: ignore[call-overload, no-any-return]


def link(environ: dict[str, str]) -> None:
    done = run(environ, "link", "--no-verify", "--waba-id", "77", "--name", NAME, "--phone-number", "1=+15550100")
    assert done.returncode == 0, done.stderr


@contextmanager
def unread() -> Iterator[int]:
    """The writing end of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@contextmanager
def full() -> Iterator[int]:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("arguments", [["accounts", "--json"], ["--version"], ["doctor"], ["settings"]])
def test_an_output_that_is_full_is_one_message(environ: dict[str, str], arguments: list[str]) -> None:
    with full() as descriptor:
        done = run(environ, *arguments, stdout=descriptor)
    message = "whaul: standard output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, message)


@pytest.mark.parametrize(
    "arguments",
    [
        ["accounts"],
        ["accounts", "--json"],
        ["keys", "list"],
        ["migrate"],
        ["settings"],
        ["help", "keys", "create"],
        ["doctor", "--json"],
        ["get", "--help"],
        ["--help"],
        ["--version"],
    ],
    ids=" ".join,
)
def test_an_output_that_nobody_reads_changes_nothing(environ: dict[str, str], arguments: list[str]) -> None:
    with unread() as descriptor:
        done = run(environ, *arguments, stdout=descriptor)
    read = run(environ, *arguments)
    assert (done.returncode, done.stderr) == (read.returncode, read.stderr)


@pytest.mark.parametrize(("output", "json_option"), [(full, []), (unread, ["--json"])])
def test_a_key_whose_secret_nobody_saw_is_disabled(environ: dict[str, str], output, json_option: list[str]) -> None:
    with output() as descriptor:
        done = run(environ, *KEYS, *json_option, stdout=descriptor)
    assert done.returncode == 1
    (key,) = json.loads(run(environ, "keys", "list", "--json").stdout)["accessKeys"]
    assert key["status"] == "Inactive"
    assert key["accessKeyId"] in done.stderr


@pytest.mark.parametrize("changes", [{}, {"_WHAUL_COMPLETE": "source_bash"}], ids=["help", "completion"])
def test_even_help_says_that_the_output_is_full(environ: dict[str, str], changes: dict[str, str]) -> None:
    with full() as descriptor:
        done = run(environ | changes, "accounts", "--help", stdout=descriptor)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_error_output_that_is_full_changes_nothing(environ: dict[str, str]) -> None:
    with full() as descriptor:
        done = run(environ, *KEYS, stderr=descriptor)
        assert done.returncode == 0
        assert "AWS_SECRET_ACCESS_KEY=" in done.stdout
        assert run(environ, "unlink", "--yes", "waba-none", stderr=descriptor).returncode == 1


CLOSING = """
import os, sys
for number in map(int, sys.argv[1].split(",")):
    os.close(number)
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize("closed", ["1", "0,2", "0,1,2"])
def test_streams_that_are_closed_are_no_place_for_the_database(environ: dict[str, str], closed: str) -> None:
    link(environ)
    done = subprocess.run(
        [sys.executable, "-c", CLOSING, closed, *ITSELF, *KEYS],
        env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    if "1" in closed:
        assert done.returncode == 1
        assert "2" in closed or done.stderr.startswith("whaul: standard output is closed; redirect it")
    else:
        assert done.returncode == 0
        assert "AWS_SECRET_ACCESS_KEY=" in done.stdout
    assert run(environ, "accounts").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["unlink", "77"], "nothing was changed: nobody is there to answer; give --yes"),
        (["link", "--waba-id", "77", "--token-file", "-"], "--token-file: cannot read standard input: it is closed"),
        (
            ["get", "--from-file", "-", "--phone-number-id", "x", "--to", "y"],
            "--from-file: cannot read standard input: it is closed",
        ),
    ],
)
def test_a_closed_standard_input_has_ended(environ: dict[str, str], arguments: list[str], told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLOSING, "0", *ITSELF, *arguments],
        env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == f"whaul: {told}\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_names_are_shown_in_whatever_the_terminal_takes(environ: dict[str, str], encoding: str) -> None:
    link(environ)
    shown = run(environ | {"PYTHONIOENCODING": encoding}, "accounts", encoding=encoding)
    assert shown.returncode == 0, shown.stderr
    assert "\x1b" not in shown.stdout
    name = NAME.replace("\x1b", "\\x1b").encode(encoding, "backslashreplace").decode(encoding)
    assert f"  {name}  (WABA 77" in shown.stdout
    document = run(environ | {"PYTHONIOENCODING": encoding}, "accounts", "--json", encoding=encoding).stdout
    assert json.loads(document)["linkedAccounts"][0]["wabaName"] == NAME


def test_in_the_c_locale_names_are_what_they_are(environ: dict[str, str]) -> None:
    environ |= {"LC_ALL": "C"}
    link(environ)
    assert (
        json.loads(run(environ, "accounts", "--json", encoding="utf-8").stdout)["linkedAccounts"][0]["wabaName"] == NAME
    )


def test_an_argument_that_is_no_text_is_refused(environ: dict[str, str]) -> None:
    name = os.fsdecode(b"\xff")
    done = run(environ, "link", "--no-verify", "--waba-id", "7", "--name", name, "--phone-number", "1=+15550100")
    assert (done.returncode, done.stderr.startswith("whaul: an argument is not text")) == (1, True)


NOBODY = 54321


def as_nobody(environ: dict[str, str], *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a command as a user without a name or a home."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: only root can become another user")
    kept = {name: value for name, value in environ.items() if name in {"PATH", "WHATSAPP_ACCESS_TOKEN"}}
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    command = [*become, *ITSELF, *arguments]
    return subprocess.run(command, env=kept | variables, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.mark.parametrize(
    ("command", "home"),
    [
        *((["accounts"], home) for home in (None, "/", "/nonexistent", "closed")),
        *((command, "closed") for command in (["migrate"], ["serve", "--port", "0"])),
    ],
)
def test_a_user_without_a_place_for_the_database_is_told_what_to_set(
    environ: dict[str, str], tmp_path: Path, command: list[str], home: str | None
) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    variables = {} if home is None else {"HOME": str(tmp_path / home)}
    done = as_nobody(environ, *command, **variables)
    assert done.returncode == 1
    assert "WHAUL_DATABASE_URL" in done.stderr
    assert "Traceback" not in done.stderr
    assert "unexpected error" not in done.stderr


def test_a_database_in_a_folder_that_cannot_be_written_is_one_message(environ: dict[str, str], tmp_path: Path) -> None:
    link(environ)
    for path in (tmp_path, *tmp_path.parents[:-2]):
        path.chmod(path.stat().st_mode | 0o055)
    for path in tmp_path.glob("whaul.db*"):
        os.chown(path, NOBODY, NOBODY)
    done = as_nobody(environ, "accounts", WHAUL_DATABASE_URL=environ["WHAUL_DATABASE_URL"])
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "Check WHAUL_DATABASE_URL" in done.stderr


@pytest.mark.parametrize("closed", ["folder", "file"])
@pytest.mark.parametrize("arguments", [["accounts"], ["serve", "--port", "0"], ["get", "1", "--to", "x"]], ids=" ".join)
def test_the_database_of_another_user_is_one_message(
    environ: dict[str, str], tmp_path: Path, arguments: list[str], closed: str
) -> None:
    link(environ)
    for path in (tmp_path, *tmp_path.parents[:-2]) if closed == "file" else ():
        path.chmod(path.stat().st_mode | 0o055)
    if closed == "folder":
        tmp_path.chmod(0o700)
    done = as_nobody(environ, *arguments, WHAUL_DATABASE_URL=environ["WHAUL_DATABASE_URL"])
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "This user may not use the database at" in done.stderr
    assert "as its owner" in done.stderr


def test_doctor_looks_at_the_rest_when_the_database_is_another_users(environ: dict[str, str], tmp_path: Path) -> None:
    link(environ)
    tmp_path.chmod(0o700)
    url = "http://127.0.0.1:1"
    variables = {"WHAUL_DATABASE_URL": environ["WHAUL_DATABASE_URL"], "WHAUL_GRAPH_URL": url}
    done = as_nobody(environ, "doctor", **variables, AWS_ENDPOINT_URL_S3=url)
    assert "failed   database" in done.stdout
    assert "owner" in done.stdout
    assert "S3 credentials" in done.stdout


def test_a_user_without_a_name_needs_one_for_postgresql(environ: dict[str, str]) -> None:
    key = "d2hhdWwncyB0ZXN0cywgMzIgYnl0ZXMgb2YgYSBrZXk="
    done = as_nobody(environ, "accounts", WHAUL_DATABASE_URL="postgresql://127.0.0.1:1/x", WHAUL_SECRET_KEY=key)
    assert done.returncode == 1
    assert done.stderr.startswith("whaul: The registry's database did not answer.")


def test_completion_without_a_home_says_so(environ: dict[str, str]) -> None:
    done = as_nobody(environ, "--install-completion", SHELL="/bin/bash")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("output", [full, unread])
def test_a_gateway_whose_log_finds_no_room_answers_calls(environ: dict[str, str], output, tmp_path: Path) -> None:
    complaints = tmp_path / "complaints"
    with output() as descriptor, complaints.open("wb") as stderr, free_ports(1) as (port,):
        command = [*ITSELF, "serve", "--port", str(port)]
        process = subprocess.Popen(command, env=environ, stdout=descriptor, stderr=stderr)
        try:
            wait_until(lambda: answers(f"http://127.0.0.1:{port}/healthz"), process, "the gateway", complaints, 60)
            for _ in range(3):
                assert answers(f"http://127.0.0.1:{port}/nowhere", [404])
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0
    assert set(complaints.read_text().splitlines()) == {
        f"whaul: log lines are lost: {'No space left on device' if output is full else 'Broken pipe'}"
    }


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="where Linux shows what a program has open")
def test_a_gateway_without_standard_streams_has_nothing_in_their_place(environ: dict[str, str]) -> None:
    with free_ports(1) as (port,):
        command = [sys.executable, "-c", CLOSING, "0,2", *ITSELF, "serve", "--port", str(port)]
        process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
        try:
            wait_until(lambda: answers(f"http://127.0.0.1:{port}/healthz"), process, "the gateway", None, 60)
            opened = {Path(f"/proc/{process.pid}/fd/{number}").readlink() for number in (0, 1, 2)}
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0
    assert opened == {Path("/dev/null")}


def test_a_supervisor_that_cannot_start_says_so_in_one_line(environ: dict[str, str]) -> None:
    command = [sys.executable, "-P", "-m", "whaul.server", '{"address": "s3cr3t"}']
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("whaul: unexpected error: builtins.TypeError at __main__.py:")
    assert len(done.stderr.splitlines()) == 1
    assert "s3cr3t" not in done.stderr


def test_an_interrupted_command_says_nothing_and_ends_with_130(environ: dict[str, str], tmp_path: Path) -> None:
    pipe = tmp_path / "token"
    os.mkfifo(pipe)
    command = [*ITSELF, "link", "--waba-id", "77", "--token-file", str(pipe)]
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with ExitStack() as writers:

        def is_read() -> bool:
            try:
                writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)  # which fails until the command has opened it
            except OSError:
                return False
            writers.callback(os.close, writer)
            return True

        try:
            eventually(is_read)
            process.send_signal(signal.SIGINT)
            writers.close()  # a signal that came just before the read is looked at once the read returns
            assert process.communicate(timeout=PATIENCE) == (b"", b"")
            assert process.returncode == 130
        finally:
            process.kill()
            process.wait()
