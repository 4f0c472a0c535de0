"""What tests of the image, the Compose files, the chart, the unit and the releases share. They run in one process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.parts import started
from tools.containers import Containers, containers
from tools.debian import MachineError

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, before they are chosen by their marks."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.packaging)


@pytest.fixture(scope="session")
def machine() -> Iterator[Containers]:
    """podman and buildah with a store of their own, installed if need be."""
    with started(containers(), MachineError, "PACKAGING") as engine:
        yield engine


@pytest.fixture(scope="session")
def image(machine: Containers) -> str:
    """The name of the image of this checkout's whaul; built once for each state of the sources."""
    return machine.whaul()
