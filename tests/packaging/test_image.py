"""The image: built from the checkout, and run as an orchestrator runs it."""

import http.client
from collections.abc import Iterator

import pytest

import whaul
from harness.waiting import eventually
from tools.containers import Container, Containers

HARDENED = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--user=12345:12345")
"""Any user id will do, and nothing but the two folders is written to."""
FOLDERS = ("--tmpfs=/var/lib/whaul:mode=1777", "--tmpfs=/tmp")
MAX_MEGABYTES = 310


@pytest.fixture(scope="module")
def server(machine: Containers, image: str) -> Iterator[Container]:
    options = (*HARDENED, *FOLDERS, "--publish=127.0.0.1::8080")
    with machine.running(image, options=options) as container:
        port = container.published(8080)
        eventually(lambda: answers(port))
        yield container


def answers(port: int, path: str = "/healthz") -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def test_every_command_is_in_the_image(machine: Containers, image: str) -> None:
    shown = machine.podman("run", "--rm", *HARDENED, image, "--version")
    assert shown.startswith(f"whaul {whaul.__version__}")


def test_the_server_answers_as_any_user_without_rights(server: Container) -> None:
    assert answers(server.published(8080))
    assert server.execute("id", "-u").strip() == "12345"


def test_the_health_check_finds_the_server_healthy(machine: Containers, server: Container) -> None:
    machine.podman("healthcheck", "run", server.name)


def test_the_image_is_small(machine: Containers, image: str) -> None:
    size = int(machine.podman("image", "inspect", "--format", "{{.Size}}", image))
    assert size < MAX_MEGABYTES * 1_000_000
