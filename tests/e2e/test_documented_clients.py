"""Calls that the pages show and that `test_newcomer` does not look at: a webhook's, the AWS CLI's listing, curl's."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from e2e.conformance.clients import environment
from harness.installs import aws_cli
from harness.store import BUCKET, Store
from harness.waiting import PATIENCE
from harness.world import READER, Gateway
from whaul.simulator import Simulator
from whaul.stack.local import REGION, clean_environment

DOCS = Path(__file__).parents[2] / "docs"
JPEG = "100000000000001"

Snippet = Callable[..., str]


@pytest.fixture
def snippet(gateway: Gateway, prefix: str) -> Snippet:
    """The one block with a text in it, with the gateway, ids and bucket of this run in place of the page's."""
    ours = {
        "http://127.0.0.1:8080": gateway.url,
        "1013859600285441": JPEG,
        "phone-number-id-7f62118300eb3975a049612b223b62c2": gateway.world.phone_number_id,
        "my-bucket": BUCKET,
    }

    def read(language: str, text: str, page: str = "getting-started.md") -> str:
        whole = (DOCS / page).read_text(encoding="utf-8")
        blocks = re.findall(rf"^```{language}\n(.*?)^```$", whole, re.MULTILINE | re.DOTALL)
        (block,) = (block for block in blocks if text in block)
        for theirs, own in ours.items():
            block = block.replace(theirs, own)
        return re.sub("(?<!v1/)whatsapp/", prefix, block)

    return read


def shell(block: str, environ: dict[str, str]) -> str:
    """Run the command of a console block; without its prompt, and what it prints there."""
    command = re.match(r"\$ ((?:.*\\\n)*.*)", block)
    assert command
    path = f"{aws_cli().parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", command[1]],
        env=environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_python_stores_the_files_of_a_webhook(
    *,
    snippet: Snippet,
    gateway: Gateway,
    simulator: Simulator,
    store: Store,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment(gateway.url, gateway.world.key, 1).items():
        monkeypatch.setenv(name, value)
    page: dict[str, Any] = {}
    for text in ("client.exceptions", "def phone_number_id"):
        exec(snippet("python", text), page)  # noqa: S102 - our own page
    exec(snippet("python", "def store_media", "from-a-webhook-script.md"), page)  # noqa: S102
    size, digest = simulator.media[JPEG].size, simulator.media[JPEG].sha256().hex()
    assert capsys.readouterr().out == f"image/jpeg {size} {prefix}{JPEG}.jpeg {digest}\n"
    media = simulator.add_media(b"%PDF-1.4 a letter", "application/pdf")
    page["store_media"](simulator.receive(media))
    page["store_media"](simulator.receive(text="no file"))
    assert store.read(f"{prefix}{media}.pdf") == b"%PDF-1.4 a letter"


def test_python_creates_publishes_sends_and_changes_a_flow(
    *,
    snippet: Snippet,
    gateway: Gateway,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment(gateway.url, gateway.world.key, 1).items():
        monkeypatch.setenv(name, value)
    page: dict[str, Any] = {}
    for text in ("create_whatsapp", "get_whatsapp", "send_whatsapp", "update_whatsapp"):
        exec(snippet("python", text, "flows.md"), page)  # noqa: S102 - our own page
    assert simulator.state.flows[page["flow"]].status == "PUBLISHED"
    exec(snippet("python", "deprecate_whatsapp", "flows.md"), page)  # noqa: S102
    (flow,) = simulator.state.flows.values()
    link, status = capsys.readouterr().out.splitlines()
    assert (flow.preview or {})["preview_url"] == link
    assert (status, flow.status) == ("PUBLISHED", "DEPRECATED")
    assert "Your next visit" in (flow.flow_json or "")
    (sent,) = simulator.messages
    assert sent.content["interactive"]["action"]["parameters"]["flow_id"] == flow.id


def test_python_creates_sends_and_deletes_templates(
    *,
    snippet: Snippet,
    gateway: Gateway,
    simulator: Simulator,
    store: Store,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment(gateway.url, gateway.world.key, 1).items():
        monkeypatch.setenv(name, value)
    store.client.put_object(Bucket=BUCKET, Key=f"{prefix}header.png", Body=b"a picture", ContentType="image/png")
    page: dict[str, Any] = {}
    for text in (
        "def create",
        "template_media",
        "get_whatsapp",
        "send_whatsapp",
        "template_library",
        "delete_whatsapp",
    ):
        exec(snippet("python", text, "templates.md"), page)  # noqa: S102 - our own page
    told = ["PENDING", "PENDING", "APPROVED UTILITY NONE", "['payment_received', 'payment_due']", "APPROVED"]
    assert capsys.readouterr().out.splitlines() == told
    assert [template.name for template in simulator.state.templates.values()] == ["order_left_with_picture"]
    assert [message.content["template"]["name"] for message in simulator.messages] == ["order_left"]


def test_the_aws_cli_finds_the_file_by_its_media_id(
    snippet: Snippet, gateway: Gateway, simulator: Simulator, store: Store, prefix: str
) -> None:
    shell(snippet("console", "socialmessaging get-whatsapp"), environment(gateway.url, gateway.world.key, 1))
    reader = {
        "AWS_ACCESS_KEY_ID": READER[0],
        "AWS_SECRET_ACCESS_KEY": READER[1],
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL_S3": store.endpoint.url,
    }
    found = shell(snippet("console", "list-objects-v2"), clean_environment() | reader)
    assert found == f"{prefix}{JPEG}.jpeg\n"
    assert store.read(found.strip()) == simulator.media[JPEG].read()


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_curl_signs_a_call(snippet: Snippet, gateway: Gateway, simulator: Simulator, store: Store, prefix: str) -> None:
    block = snippet("console", "--aws-sigv4", "other-sdks.md")
    head, _, body = shell(block, environment(gateway.url, gateway.world.key, 1)).partition("\n\n")
    assert f"x-whaul-key: {prefix}{JPEG}.jpeg\n" in head + "\n"
    assert json.loads(body) == {"mimeType": "image/jpeg", "fileSize": simulator.media[JPEG].size}
    assert store.read(f"{prefix}{JPEG}.jpeg") == simulator.media[JPEG].read()
