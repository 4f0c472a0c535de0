"""The parts of the local stack: the folder of its state, the variables that it hands out, the command that it runs."""

import fcntl
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.waiting import PATIENCE, eventually, is_running
from whaul import extras, local
from whaul.cli import dev
from whaul.server.listener import ListenerError, check_free
from whaul.simulator import simulator_in_thread
from whaul.stack import console, state_folder, variables
from whaul.stack.command import check_command, run
from whaul.stack.local import Stack, _shared_key
from whaul.stack.processes import StackError
from whaul.stack.seaweedfs import S3Endpoint

IDLE = "import signal; signal.pause()"


def test_a_setting_applies_unless_the_stack_sets_it() -> None:
    given = {
        "WHAUL_KEY_MODE": "exact",
        "WHAUL_PORT": "8080",
        "WHAUL_GRAPH_URL": "https://graph.example",
        "WHAUL_SECRET_KEY_FILE": "/run/key",
        "WHAUL_MEDIA_HOSTS": "127.0.0.1",
        "WHAUL_CONSOLE_HOSTS": "console.example",
        "WHAUL_DEADLINE": "",
        "WHAUL_DEV_BUCKET": "inbox",
        "WHAUL_SERVICE_HOST": "10.0.0.1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "HOME": "/root",
    }
    assert variables.settings(given) == {"WHAUL_KEY_MODE": "exact", "AWS_REGION": "eu-west-1"}
    assert variables.port(given) == "8080"
    of_stack = {"WHAUL_GRAPH_URL": "http://127.0.0.1:4811", "WHAUL_MEDIA_HOSTS": "127.0.0.1"}
    assert variables.ignored(given, of_stack) == ["WHAUL_CONSOLE_HOSTS", "WHAUL_GRAPH_URL", "WHAUL_SECRET_KEY_FILE"]


def test_the_console_says_which_packages_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert console.settings(4813) == {"WHAUL_CONSOLE_LISTEN": "127.0.0.1:4813"}
    monkeypatch.setattr(extras, "PACKAGES", {"console": ("jinja2", "not_here", "neither")})
    with pytest.raises(StackError, match=r"not_here, neither; .*pip install 'whaul\[console\]'.* --no-console"):
        console.settings(4813)


@pytest.fixture
def whole() -> Iterator[Stack]:
    """A stack, of which only the simulator runs."""
    with simulator_in_thread() as simulator:
        endpoint = S3Endpoint("http://127.0.0.1:1", "id", "secret")
        yield Stack(simulator, "http://127.0.0.1:1", endpoint, "inbox", "phone-number-id-1", "sqlite:///x")


@pytest.mark.parametrize(("part", "name"), [("_gateway", "The gateway"), ("_console", "The console")])
def test_a_stack_tells_when_a_server_has_ended(whole: Stack, part: str, name: str) -> None:
    ended = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    ended.wait()
    whole.check()
    with pytest.raises(StackError, match=f"{name} ended with exit code 3"):
        replace(whole, **{part: ended}).check()


def test_a_quiet_stack_puts_the_link_where_no_shell_reads_it(whole: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    dev._tell_how_to_use(whole, "http://127.0.0.1:1/sign-in#token", quiet=True)
    said = capsys.readouterr()
    assert all(line.startswith(("export ", "unset ")) for line in said.out.splitlines())
    assert said.err.endswith("http://127.0.0.1:1/sign-in#token\n")


def test_a_port_that_kubernetes_set_is_no_setting() -> None:
    assert variables.port({"WHAUL_PORT": "tcp://10.0.0.1:8080"}) is None


@pytest.mark.parametrize("value", ["a b", "a'b", 'a"b', "$HOME", "a;b", "a#b", "~/a", "a\\b", "a\nb", "é", "a&b"])
def test_an_env_file_leaves_out_what_its_readers_would_read_differently(tmp_path: Path, value: str) -> None:
    file = tmp_path / "env"
    assert variables.write_env_file(file, {"ODD": value, "PLAIN": "x"}) == ["ODD"]
    assert file.read_text(encoding="utf-8") == "PLAIN=x\n"


def test_an_env_file_is_for_its_owner_and_means_the_same_to_a_shell(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("OLD=1\n", encoding="utf-8")
    file.chmod(0o644)
    wanted = {"A": "sqlite:////tmp/whaul-dev-0/whaul.db", "B": "a/b=.c,d/e=", "C": "*.example.com", "D": ""}
    assert variables.write_env_file(file, wanted) == []
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    shell = ["/bin/sh", "-c", f'set -a; . {file}; exec "{sys.executable}" -c "{SHOW}"']
    done = subprocess.run(shell, capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert {name: json.loads(done.stdout).get(name) for name in [*wanted, "OLD"]} == wanted | {"OLD": None}
    assert list(tmp_path.iterdir()) == [file]


SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


def test_an_env_file_in_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        variables.write_env_file(tmp_path / "missing" / "env", {})


def test_a_command_gets_no_key_and_no_database_but_the_stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "WHAUL_SECRET_KEY", "WHAUL_TLS_CERT_FILE"):
        monkeypatch.setenv(name, "mine")
    monkeypatch.setenv("WHAUL_KEY_MODE", "exact")
    environ = variables.environment_of_command({"AWS_ACCESS_KEY_ID": "whaul_dev"})
    assert {name for name, value in environ.items() if value == "mine"} == set()
    assert (environ["WHAUL_KEY_MODE"], environ["AWS_ACCESS_KEY_ID"]) == ("exact", "whaul_dev")
    assert environ["PATH"] == os.environ["PATH"]


def test_state_stays_until_it_is_emptied(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "state"
    with state_folder.persistent(folder) as used:
        (used / "s3").mkdir()
        (used / "s3" / "object").touch()
        (used / "outside").symlink_to(tmp_path)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with state_folder.persistent(folder) as used:
        assert (used / "s3" / "object").exists()
    with state_folder.persistent(folder, empty=True) as used:
        assert [path.name for path in used.iterdir()] == [state_folder.MARK]
    assert folder.exists()


def test_a_folder_with_other_files_is_never_emptied(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    for use in (state_folder.persistent(tmp_path, empty=True), state_folder.temporary(tmp_path)):
        with pytest.raises(StackError, match="holds what is not of `whaul dev`"), use:
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_two_stacks_never_share_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    again = state_folder.persistent(folder)
    with state_folder.persistent(folder), pytest.raises(StackError, match="another `whaul dev`"), again:
        pass
    with state_folder.persistent(folder):
        pass


def test_a_temporary_folder_that_a_killed_stack_left_is_emptied_and_removed(tmp_path: Path) -> None:
    folder = tmp_path / "left"
    with state_folder.persistent(folder) as used:
        (used / "whaul.db").touch()
    with state_folder.temporary(folder) as used:
        assert not (used / "whaul.db").exists()
    assert not folder.exists()


def test_a_database_that_a_command_made_after_the_stack_ended_is_no_hindrance(tmp_path: Path) -> None:
    for name in ("whaul.db", "whaul.db.key"):
        (tmp_path / name).touch()
    with pytest.raises(StackError, match="not of `whaul dev`"), state_folder.persistent(tmp_path, empty=True):
        pass
    with state_folder.temporary(tmp_path) as used:
        assert [path.name for path in used.iterdir()] == [state_folder.MARK]


def test_a_folder_that_cannot_be_made_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "state"):
        with pytest.raises(StackError, match="choose another"), state_folder.persistent(path):
            pass


def test_errors_of_the_block_are_not_those_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="mine"), state_folder.persistent(tmp_path / "state"):
        raise FileNotFoundError("mine")


def test_a_temporary_folder_is_the_same_for_one_port_and_another_for_others() -> None:
    assert state_folder.shared_temporary(1) == state_folder.shared_temporary(1) != state_folder.shared_temporary(2)
    assert state_folder.shared_temporary(1).is_absolute()


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)])
def test_a_command_ends_with_its_exit_code(script: str, code: int) -> None:
    assert run(["/bin/sh", "-c", script], os.environ) == code


def test_a_command_gets_neither_our_files_nor_our_signals() -> None:
    shown = "import os, signal; print(sorted(os.listdir('/dev/fd')), signal.getsignal(signal.SIGPIPE))"
    code = f"import sys; sys.path[:0] = {sys.path!r}; from whaul.stack.command import run; import os"
    command = [sys.executable, "-c", shown]
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; run({command!r}, os.environ)"], stdout=subprocess.PIPE, text=True, check=True
    )
    bare = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == bare.stdout


def test_a_command_that_cannot_be_run_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF of another machine")
    program.chmod(0o755)
    assert run([str(program)], os.environ) == 1
    assert f"whaul: {program} cannot be run: " in capfd.readouterr().err


def test_a_command_that_is_not_there_is_known_before_anything_starts() -> None:
    with pytest.raises(StackError, match="no-such-program"):
        check_command(["no-such-program"])
    check_command([sys.executable])


RUNNER = """
import os, sys
from whaul.stack.command import run
sys.exit(run(sys.argv[1:], os.environ))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_reaches_the_command(number: signal.Signals) -> None:
    command = f"trap 'exit 40' {number.name.removeprefix('SIG')}; echo ready; while :; do sleep 0.01; done"
    runner = f"import signal; signal.signal({number}, signal.SIG_DFL)\n{RUNNER}"  # nohup ignores one of them
    with subprocess.Popen(
        [sys.executable, "-c", runner, "/bin/sh", "-c", command], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(PATIENCE) == 40


def test_a_signal_that_we_ignore_is_ignored_by_the_command() -> None:
    runner = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{RUNNER}"
    command = "kill -HUP $PPID; kill -HUP $$; exit 40"
    done = subprocess.run([sys.executable, "-c", runner, "/bin/sh", "-c", command], check=False, timeout=PATIENCE)
    assert done.returncode == 40


def test_a_command_does_not_outlive_a_runner_that_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUNNER, "/bin/sh", "-c", f'echo $$; exec "{sys.executable}" -c "{IDLE}"'],
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        command = int(process.stdout.readline())
        assert is_running(command)
        process.kill()
        eventually(lambda: not is_running(command))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody is found")
def test_a_port_that_is_taken_says_by_whom_and_what_chooses_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(ListenerError) as refused:
        check_free("127.0.0.1", server.getsockname()[1], "--s3-port")
    assert f"(process {os.getpid()})" in str(refused.value)
    assert "--s3-port" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_stack_refuses_settings_that_are_its_own() -> None:
    with pytest.raises(local.StackError, match="WHAUL_GRAPH_URL"), local.stack(settings={"WHAUL_GRAPH_URL": "x"}):
        pass


def test_a_lock_is_free_as_soon_as_its_stack_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    hold = f"""
import signal
from pathlib import Path
from whaul.stack import state_folder
with state_folder.persistent(Path({str(folder)!r})):
    print("held", flush=True)
    signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with (folder / state_folder.MARK).open("ab") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        process.kill()
        process.wait(PATIENCE)
        with state_folder.persistent(folder):
            pass


def test_a_stores_key_that_cannot_be_whauls_is_not_handed_out_for_both() -> None:
    class Running:
        url, token = "http://127.0.0.1:4811", "token"

    for secret, shared in (("minioadmin", False), ("minioadmin-secret", True)):
        s3 = local.S3Endpoint("http://127.0.0.1:9000", "minioadmin", secret)
        key = _shared_key(s3)
        running = local.Stack(
            simulator=Running(),
            gateway_url="http://127.0.0.1:4810",
            s3=s3,
            bucket="inbox",
            phone_number_id="phone-number-id-1",
            database_url="sqlite:////tmp/whaul.db",
            access_key_id=key[0],
            secret_access_key=key[1],
        )
        environ = running.environment()
        assert ("AWS_ENDPOINT_URL_S3" in environ) == shared
        assert environ["AWS_ACCESS_KEY_ID"] == ("minioadmin" if shared else "whaul_dev")
