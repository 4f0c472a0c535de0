"""A newcomer who has read nothing else does what README, Getting started, Receive and In your tests say, word for word.

Every block of the pages is done in their order; what is not done is listed. In place of Meta and of S3 are the
simulator and the S3 server of `whaul dev`, with which Getting started begins. So the ids of an account are the
simulator's, and ports are free ones.
"""

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest

from e2e.conformance.clients import node_with_sdk
from harness.installs import aws_cli
from harness.receiver import receiving
from harness.waiting import PATIENCE, eventually
from whaul.simulator import DEFAULT_APP_SECRET
from whaul.stack.local import clean_environment
from whaul.stack.processes import answers, free_ports, program

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FREE = "--port 0 --simulator-port 0 --s3-port 0"
PHOTO = b"\xff\xd8 a photo"

NOT_DONE = {
    "./run demo": "test_stack.py does, by its other name",
    "./run dev": "Getting started does, by its other name",
    "python3 -m venv venv": "installs, as does each run of the suite",
    ". venv/bin/activate": "installs",
    "pip install .": "installs",
    "pip install '.[demo]'": "installs",
    "npm install @aws-sdk/client-socialmessaging": "installs, as harness.installs has done",
    "whaul dev -- pytest": "an example of a suite that is not on the page",
    "whaul dev -- npm test": "an example of a suite that is not on the page",
    "whaul listen --account 400000000000001 --forward-to http://127.0.0.1:3000/events": "test_listen_command.py does",
}


def blocks(page: str) -> list[tuple[str, str]]:
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def commands(block: str) -> list[str]:
    """What follows a prompt, with its further lines; without comments, and without what is printed."""
    found = re.findall(r"^\$ ((?:.*\\\n)*.*)$", block, re.MULTILINE)
    return [re.sub(r"\s+#.*", "", command) for command in found]


def to_do(block: str) -> list[str]:
    """What is done here. tests/packaging does what needs containers."""
    return [command for command in commands(block) if command not in NOT_DONE and not command.startswith("docker ")]


class Newcomer:
    """A user with a home folder of their own, and some shells."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tmp").mkdir()
        self.environ = clean_environment() | {"HOME": str(folder), "TMPDIR": str(folder / "tmp")}
        self.environ["PATH"] = os.pathsep.join(
            [str(Path(sys.executable).parent), str(aws_cli().parent), os.environ["PATH"]]
        )
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            del self.environ[name]
        self.key: dict[str, str] = {}
        """The access key that was made last."""
        self.names: dict[str, Any] = {}
        """What the Python of a page has defined."""
        self.meanwhile: dict[str, Callable[[], None]] = {}
        """What else happens before a command."""
        self.written: dict[str, str] = {}
        """What stands on the pages, and what it is here."""

    def here(self, text: str) -> str:
        for theirs, ours in self.written.items():
            text = text.replace(theirs, ours)
        return text

    def before(self, command: str) -> None:
        """Let happen what happens before a command."""
        self.meanwhile.get(command, lambda: None)()

    def run(self, command: str, environ: dict[str, str]) -> str:
        done = subprocess.run(
            ["/bin/sh", "-ec", self.here(command)],
            cwd=self.folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def running(self, command: str, environ: dict[str, str], ready: str) -> Iterator[Path]:
        """Run a command of another shell until what it prints, or an address that answers, says that it is ready."""
        log = self.folder / "log"
        log.unlink(missing_ok=True)
        with program(["/bin/sh", "-c", f"exec env {self.here(command)}"], environ, log, folder=self.folder) as process:

            def is_ready() -> bool:
                assert process.poll() is None, log.read_text(encoding="utf-8")
                return answers(ready) if ready.startswith("http") else ready in log.read_text(encoding="utf-8")

            eventually(is_ready)
            yield log


def python(code: str, environ: dict[str, str], names: dict[str, object]) -> str:
    """Run a block in this process, with the names of earlier ones; return what it prints."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in environ.items():
            patch.setenv(name, value)
        patch.setattr(boto3, "DEFAULT_SESSION", None)
        exec(code, names)  # noqa: S102 - our own page
    return printed.getvalue()


@pytest.fixture
def newcomer(tmp_path: Path) -> Newcomer:
    return Newcomer(tmp_path)


def test_readme_and_getting_started_word_for_word(newcomer: Newcomer) -> None:
    steps = blocks("docs/getting-started.md")
    begin = next(number for number, (_, block) in enumerate(steps) if "whaul dev" in block)
    with ExitStack() as shells:
        (dev,) = to_do(steps[begin][1])
        log = shells.enter_context(newcomer.running(f"{dev} {FREE}", newcomer.environ, "What arrives:"))
        exported = dict(re.findall(r"^  export (\w+)=(\S+)$", log.read_text(encoding="utf-8"), re.MULTILINE))
        stack = newcomer.environ | exported
        size = python(steps[begin + 1][1], stack, {}).split()[1]
        (look,) = to_do(steps[begin + 2][1])
        assert f"{size} 100000000000001.jpeg" in newcomer.run(look, stack)

        port = shells.enter_context(free_ports(1))[0]
        have_an_account(newcomer, exported, port)
        printed = follow(newcomer, blocks("README.md"), exported, port)
        assert printed[-1].endswith("\ninbound_1013859600285441.jpeg\n")
        receive(newcomer, exported, port)
        printed = follow(newcomer, [*steps[:begin], *steps[begin + 3 :]], exported, port)
        described = f"image/jpeg {len(PHOTO)} whatsapp/1013859600285441.jpeg"
        assert [described in text for text in printed].count(True) == 2  # by Python and by JavaScript


def receive(newcomer: Newcomer, stack: dict[str, str], port: int) -> None:
    """Do the page on messages that come in. In place of the reader's phone, the simulator sends a picture."""
    with receiving() as receiver:
        newcomer.written |= {
            "https://hooks.example.com": f"http://127.0.0.1:{port}",
            "https://orders.example.com/whatsapp": receiver.url,
        }
        newcomer.environ["WHAUL_EVENT_HOSTS"] = "127.0.0.1"
        (newcomer.folder / "app-secret.txt").write_text(DEFAULT_APP_SECRET, encoding="utf-8")

        def send_a_picture() -> None:
            """And see it arrive with its file, and be answered."""
            post(stack, "/_simulator/webhooks", b'{"example": "image"}')
            event = json.loads(receiver.wait(2)[-1].body)  # the first is that of `destinations test`
            (file,) = event["whaul"]["media"]
            assert (file["status"], file["bucket"]) == ("stored", "my-bucket")
            assert file["key"] == f"whatsapp/{file['id']}.jpeg"
            newcomer.names["handle"](event)
            sent = json.loads(post(stack, "/_simulator/messages"))
            assert "Thank you for 1 files!" in json.dumps(sent)

        newcomer.meanwhile["whaul events list --since 15m"] = send_a_picture
        follow(newcomer, blocks("docs/receive.md"), stack, port)


def have_an_account(newcomer: Newcomer, stack: dict[str, str], port: int) -> None:
    """Let Meta and S3 have what the pages take for granted: an account, a token, a file, buckets and profiles."""
    newcomer.written = {
        "http://127.0.0.1:8080": f"http://127.0.0.1:{port}",
        "https://s3.example.com": stack["AWS_ENDPOINT_URL_S3"],
        "AWS_ACCESS_KEY_ID=… ": "AWS_ACCESS_KEY_ID=whaul_dev ",
        "AWS_SECRET_ACCESS_KEY=…": "AWS_SECRET_ACCESS_KEY=whaul_dev_secret",
        "102290129340398": "400000000000001",
        "106540352242922": "500000000000001",
        "phone-number-id-7f62118300eb3975a049612b223b62c2": stack["WHAUL_DEV_PHONE_NUMBER_ID"],
        "phone-number-id-7f62…": stack["WHAUL_DEV_PHONE_NUMBER_ID"],
    }
    newcomer.environ |= {name: stack[name] for name in ("WHAUL_GRAPH_URL", "WHAUL_MEDIA_HOSTS")}
    newcomer.environ["WHAUL_PORT"] = str(port)
    (newcomer.folder / "token.txt").write_text(stack["WHATSAPP_ACCESS_TOKEN"], encoding="utf-8")
    (newcomer.folder / ".aws").mkdir()
    (newcomer.folder / ".aws" / "config").write_text(
        "".join(
            f"[profile {name}]\naws_access_key_id = whaul_dev\naws_secret_access_key = whaul_dev_secret\n"
            f"endpoint_url = {stack['AWS_ENDPOINT_URL_S3']}\n"
            for name in ("my-bucket-writer", "other-bucket-writer")
        ),
        encoding="utf-8",
    )
    post(stack, "/_simulator/media?id=1013859600285441", PHOTO, "image/jpeg")
    for bucket in ("my-bucket", "other-bucket"):
        newcomer.run(f"aws s3 mb s3://{bucket}", clean_environment() | newcomer.environ | stack)


def post(stack: dict[str, str], path: str, data: bytes | None = None, type_: str = "application/json") -> bytes:
    """Ask the simulator; without data by GET."""
    request = Request(stack["WHAUL_GRAPH_URL"] + path, data=data, headers={"Content-Type": type_})
    with urlopen(request, timeout=PATIENCE) as answer:
        return answer.read()


def follow(newcomer: Newcomer, steps: list[tuple[str, str]], stack: dict[str, str], port: int) -> list[str]:
    """Do the blocks one after the other; return what those of programs print."""
    ready = f"http://127.0.0.1:{port}/readyz"
    server, printed = dict(newcomer.environ), []
    newcomer.names = {}
    caller = newcomer.environ | {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"} | newcomer.key
    with ExitStack() as shells:
        for language, block in steps:
            if language == "json":
                (newcomer.folder / "policy.json").write_text(block, encoding="utf-8")
            elif language == "python":
                printed.append(python(newcomer.here(block), caller, newcomer.names))
            elif language == "javascript":
                printed.append(javascript(newcomer.here(block), caller))
            for command in to_do(block) if language == "console" else ():
                newcomer.before(command)
                if command.endswith("whaul serve"):
                    shells.close()  # the earlier one
                    shells.enter_context(newcomer.running(command, server, ready))
                elif command.startswith("export "):
                    server |= dict(word.split("=", 1) for word in shlex.split(newcomer.here(command))[1:])
                elif command.startswith("aws s3api"):
                    newcomer.run(command, newcomer.environ | stack)
                else:
                    said = newcomer.run(command, caller if command.startswith("aws ") else server)
                    newcomer.key |= dict(re.findall(r"^(AWS_\w+)=(\S+)$", said, re.MULTILINE))
                    caller |= newcomer.key
    return printed


def javascript(code: str, environ: dict[str, str]) -> str:
    program, home = node_with_sdk()
    command = [program, "--input-type=module", "-"]
    done = subprocess.run(
        command, cwd=home, env=environ, input=code, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


BESIDE_THE_PAGE = """
import os

def test_both_fixtures_are_one_world(whaul_simulator, whaul_stack):
    assert whaul_simulator is whaul_stack.simulator
    assert os.environ["AWS_ENDPOINT_URL_S3"] == whaul_stack.s3.url
    assert "AWS_PROFILE" not in os.environ

def test_afterwards_the_environment_is_as_before():
    assert os.environ["AWS_PROFILE"] == "mine"
    assert "AWS_ENDPOINT_URL_S3" not in os.environ
"""


def test_the_pages_on_tests_word_for_word(newcomer: Newcomer) -> None:
    """The fixtures for pytest; and in one stack the suite in JavaScript and the commands of the shell."""
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    for name in ("conftest.py", "inbox.py", "test_inbox.py", "test_messages.py", "inbox.test.mjs"):
        code = re.search(rf"`{name}`:\n\n```\w+\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        assert code is not None, name
        (newcomer.folder / name).write_text(code[1], encoding="utf-8")
    (newcomer.folder / "test_beside.py").write_text(BESIDE_THE_PAGE, encoding="utf-8")
    found = blocks("docs/testing.md")
    steps = [command for language, block in found if language == "console" for command in to_do(block)]
    dev, voice_note, text, pytest_alone, suite, *shell = steps
    assert (dev, pytest_alone) == ("whaul dev", "pytest")  # the first is what all others run in
    environ = newcomer.environ | {"AWS_PROFILE": "mine"}
    assert "8 passed" in newcomer.run(f"{pytest_alone} -p no:cacheprovider", environ)

    node, home = node_with_sdk()
    (newcomer.folder / "node_modules").symlink_to(home / "node_modules")
    environ = newcomer.environ | {"PATH": f"{Path(node).parent}{os.pathsep}{newcomer.environ['PATH']}"}
    before, _, command = suite.partition(" -- ")
    script = "\n".join([command, voice_note, text, *shell])
    said = newcomer.run(f"{before} {FREE} -- /bin/sh -ec {shlex.quote(script)}", environ)
    assert re.search(r"^\W*pass 3$", said, re.MULTILINE), said
    assert "a photo" in said
    assert "AWS_SECRET_ACCESS_KEY=" in said
    assert "Whaul Harbour (simulated)" in said


def test_what_is_not_done_is_on_the_pages() -> None:
    pages = ("README.md", "docs/getting-started.md", "docs/receive.md", "docs/testing.md")
    assert NOT_DONE.keys() <= {command for page in pages for _, block in blocks(page) for command in commands(block)}
