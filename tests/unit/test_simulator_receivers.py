"""Receivers of webhooks as users write them: those of the page on the simulator, as printed there, and one with TLS."""

import json
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.client import send
from harness.installs import node
from harness.receiver import Receiver, receiving
from harness.waiting import eventually
from tools.certificates import Authority, make_certificates
from whaul.simulator import Simulator, simulator_in_thread
from whaul.stack.processes import free_ports

PAGE = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")
FAULTS = {
    "wrong_signature": 401,
    "no_signature": 401,
    "malformed_signature": 401,
    "sha1_only": 401,
    "not_json": 200,
    "unknown_object": 200,
    "too_large": 200,
    "break_off": None,
}


def printed(language: str) -> str:
    """The receiver of the page in a language."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (block,) = (block for block in blocks if "let-me-in" in block)
    return str(block)


@contextmanager
def running(language: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """The page's receiver, at a free port; and what it prints."""
    with free_ports(1) as [port], (folder / "printed").open("wb") as output:
        program = folder / f"receiver.{'py' if language == 'python' else 'mjs'}"
        program.write_text(printed(language).replace("9000", str(port)), encoding="utf-8")
        command = [sys.executable if language == "python" else node()[0], str(program)]
        with subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL) as process:
            try:
                yield f"http://127.0.0.1:{port}/", folder / "printed"
            finally:
                process.kill()


def graph(simulator: Simulator, path: str, **members: str) -> Any:
    query = "&".join(f"{name}={value}" for name, value in members.items())
    return send(simulator.port, "POST", f"/v25.0/{path}?{query}", None, {"Authorization": f"Bearer {simulator.token}"})


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_the_receivers_of_the_page_take_what_is_metas_and_nothing_else(language: str, tmp_path: Path) -> None:
    with running(language, tmp_path) as (url, output), simulator_in_thread() as simulator:
        edge = f"{simulator.waba_id}/subscribed_apps"
        assert graph(simulator, edge).status == 200

        def overrides(token: str) -> int:
            return int(graph(simulator, edge, override_callback_uri=url, verify_token=token).status)

        eventually(lambda: overrides("let-me-in") == 200)
        assert overrides("somebody-else") == 400
        content = simulator.receive(text="Grüße 🐋")
        for kind, status in FAULTS.items():
            (delivery,) = simulator.send_webhook("text", fault=kind)
            delivery.answered.result()
            assert (kind, delivery.attempts[0].status) == (kind, status)
        (last,) = simulator.send_webhook(webhook=content)
        last.answered.result()
        assert last.attempts[0].status == 200
        assert output.read_bytes().splitlines()[-1] == last.body


def test_a_receiver_can_demand_metas_client_certificate(tmp_path: Path) -> None:
    files, meta = make_certificates(tmp_path), Authority("Meta's own authority")
    (tmp_path / "client.pem").write_bytes(meta.server(is_for_servers=False))
    server = files.server_context()
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(cadata=meta.pem.decode())
    client = ssl.create_default_context(cafile=files.authority)
    with receiving(server) as receiver:
        with simulator_in_thread(webhook_url=receiver.url, webhook_tls=client) as simulator:
            (refused,) = simulator.send_webhook("text", fault={"kind": "slow", "bytes_per_second": 10**6})
            refused.answered.result()
            assert (refused.attempts[0].status, receiver.posts) == (None, [])
        client.load_cert_chain(tmp_path / "client.pem")
        with simulator_in_thread(webhook_url=receiver.url, webhook_tls=client) as simulator:
            (delivery,) = simulator.send_webhook("text")
            delivery.answered.result()
            assert (delivery.attempts[0].status, len(receiver.posts)) == (200, 1)


def test_a_receiver_with_a_certificate_of_nobody_knows_whom_gets_nothing(tmp_path: Path) -> None:
    with receiving(make_certificates(tmp_path).server_context()) as receiver:
        with simulator_in_thread(webhook_url=receiver.url) as simulator:
            simulator.configure(webhook_retry_delays=[])
            (delivery,) = simulator.send_webhook("text")
            delivery.answered.result()
        assert receiver.posts == []
        assert "certificate" in str(delivery.attempts[0].error).lower()


SENT = re.findall(r"`(\{\"(?:example|field|webhook|body)\"[^`]*\})`", PAGE)
CURL = re.findall(r"^\$ curl -d '([^']+)' http://127\.0\.0\.1:8081(/\S+)$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.mark.parametrize("written", [text for text in SENT if "…" not in text])
def test_what_the_page_says_to_send_is_sent(receiver: Receiver, written: str) -> None:
    before = len(receiver.posts)
    with simulator_in_thread(webhook_url=receiver.url) as simulator:
        sent = send(simulator.port, "POST", "/_simulator/webhooks", written.encode(), {})
        assert sent.status == 201, sent.body
    assert len(receiver.posts) == before + json.loads(written).get("copies", 1)


def test_the_commands_of_the_page_do_what_it_says(receiver: Receiver) -> None:
    paths = [path for _, path in CURL]
    assert paths[:2] == ["/_simulator/messages/inbound", "/_simulator/webhooks"]
    before = len(receiver.posts)
    with simulator_in_thread(webhook_url=receiver.url) as simulator:
        for body, path in CURL[:2]:
            assert send(simulator.port, "POST", path, body.encode(), {}).status == 201
        types = {post.value["messages"][0]["type"] for post in receiver.wait(before + 2)[before:]}
        assert types == {"text", "audio"}
