"""`whaul simulate` as a program."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from harness.receiver import VERIFY_TOKEN, receiving
from harness.simulator_client import JPEG, bearer
from harness.waiting import PATIENCE

RUN = "import sys; sys.argv = ['whaul', 'simulate', *sys.argv[1:]]; from whaul.cli import main; main()"


@contextmanager
def simulate(*arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Start the command; yields it and what it printed until it was ready."""
    command = [sys.executable, "-c", RUN, "--port", "0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        printed = ""
        for line in process.stdout:
            printed += line
            if line.startswith("Ctrl-C"):
                break
        yield process, printed
    finally:
        process.kill()
        process.communicate()


def test_it_says_what_it_serves_and_how_to_point_whaul_at_it(tmp_path: Path) -> None:
    (tmp_path / "mine.png").write_bytes(b"png")
    with simulate("--token", "made-up", "--app-secret", "hush-hush", "--media-dir", str(tmp_path)) as (_, printed):
        url = re.search(r"http://127\.0\.0\.1:\d+$", printed, re.MULTILINE)
        assert url is not None
        assert f"export WHAUL_GRAPH_URL={url[0]} WHAUL_MEDIA_HOSTS=127.0.0.1\n" in printed
        for needed in ("made-up", "400000000000001", "500000000000002", f"{JPEG}  image/jpeg", "image/png, 3 bytes"):
            assert needed in printed
        assert f"{url[0]}/_simulator/state" in printed
        assert "hush-hush" not in printed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_cleanly_and_shows_requests_without_tokens(number: signal.Signals) -> None:
    with simulate("--token", "made-up") as (process, printed):
        base = printed.partition("WHAUL_GRAPH_URL=")[2].partition(" ")[0]
        with urlopen(f"{base}/v25.0/{JPEG}?access_token=made-up", timeout=PATIENCE) as answer:
            assert answer.status == 200
        with urlopen(Request(f"{base}/v25.0/{JPEG}", headers=bearer("made-up")), timeout=PATIENCE):
            pass
        process.send_signal(number)
        rest, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert rest.count(f"GET  /v25.0/{JPEG}  200") == 2
    assert "made-up" not in rest
    assert "Traceback" not in rest


def test_a_taken_port_is_said_in_one_line_and_exit_code_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-c", RUN, "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(f"whaul: cannot listen on 127.0.0.1 port {port}:")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_it_posts_webhooks_signed_with_the_secret_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("\ufeffhush-hush\n", encoding="utf-8")
    options = ["--app-secret-file", str(tmp_path / "secret"), "--verify-token", VERIFY_TOKEN]
    with receiving() as receiver, simulate("--webhook-url", f"{receiver.url}?key=k", *options) as (process, printed):
        assert [query["hub.verify_token"] for query in receiver.verifications] == [VERIFY_TOKEN]
        assert f"webhooks         {receiver.url}\n" in printed
        (command,) = re.findall(r"^curl -d '(.*)' (http.*)$", printed, re.MULTILINE)
        receiver.answers = [500]
        with urlopen(Request(command[1], command[0].encode()), timeout=PATIENCE) as answer:
            assert answer.status == 201
        post = receiver.wait(2)[1]
        assert (post.path, post.is_signed_with("hush-hush")) == ("/hook?key=k", True)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=PATIENCE)
    assert f"webhook  messages  {receiver.url}  500\n" in rest
    assert f"webhook  messages  {receiver.url}  200  attempt 2\n" in rest
    assert "hush-hush" not in printed + rest
    assert "key=k" not in printed + rest


def test_the_made_up_secret_is_shown() -> None:
    with receiving() as receiver, simulate("--webhook-url", receiver.url) as (_, printed):
        assert receiver.verifications == []
        assert "app secret       simulated-app-secret\n" in printed


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--webhook-url", "URL", "--verify-token", "wrong"], 1, "HTTP Status Code = 403. Start the receiver first"),
        (["--webhook-url", "nonsense"], 2, "begins with https:// or http://"),
        (["--verify-token", "x"], 2, "--verify-token goes with --webhook-url"),
        (["--app-secret", "x", "--app-secret-file", "FILE"], 2, "exclude each other"),
        (["--app-secret-file", "FILE"], 1, "--app-secret-file: the file"),
        (["--webhook-client-cert", "FILE"], 1, "is not a PEM file as needed"),
        (["--webhook-ca-file", "FILE"], 1, "is not a PEM file as needed"),
    ],
)
def test_webhooks_that_cannot_be_are_refused(tmp_path: Path, options: list[str], code: int, says: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with receiving() as receiver:
        named = {"URL": receiver.url, "FILE": str(tmp_path / "file")}
        command = [sys.executable, "-c", RUN, "--port", "0", *(named.get(option, option) for option in options)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_without_aiohttp_it_says_what_to_install() -> None:
    run = f"import sys; sys.modules['aiohttp'] = None; {RUN}"
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert "pip install aiohttp" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("wrong", [["--port", "70000"], ["--media-dir", "/does/not/exist"], ["--colour", "red"]])
def test_wrong_usage_is_exit_code_2(wrong: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN, *wrong], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 2
