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


def test_without_aiohttp_it_says_what_to_install() -> None:
    run = f"import sys; sys.modules['aiohttp'] = None; {RUN}"
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert 'pip install "whaul[simulator]"' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("wrong", [["--port", "70000"], ["--media-dir", "/does/not/exist"], ["--colour", "red"]])
def test_wrong_usage_is_exit_code_2(wrong: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN, *wrong], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 2
