"""Fixtures for the tests of programs that use whaul: `whaul_stack`, a whole whaul, and `whaul_simulator`, Meta alone.

pytest loads this module in every run where whaul is installed. So it imports nothing else of whaul at its top, and
starts nothing until a test asks for it. What the fixtures promise is in `docs/testing.md`.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from whaul.local import Stack
    from whaul.simulator import Simulator


@pytest.fixture(scope="session")
def whaul_settings() -> dict[str, str]:
    """Settings for the gateway of `whaul_stack`: define a fixture of this name to change them."""
    return {}


@pytest.fixture(scope="session")
def whaul_running_stack(whaul_settings: dict[str, str]) -> "Iterator[Stack]":
    """Run a whole whaul, one for all tests: as the test before left it, and not in the environment."""
    from whaul.local import StackError, stack

    with ExitStack() as parts:
        try:
            running = parts.enter_context(stack(settings=whaul_settings))
        except StackError as error:
            pytest.fail(f"whaul_stack: {error}", pytrace=False)
        yield running


@pytest.fixture(scope="session")
def _whaul_s3_client(whaul_running_stack: "Stack") -> Iterator[Any]:
    client = whaul_running_stack.s3_client()
    yield client
    client.close()


@pytest.fixture
def whaul_stack(whaul_running_stack: "Stack", _whaul_s3_client: Any, monkeypatch: pytest.MonkeyPatch) -> "Stack":
    """Give a test a whole whaul: the simulator as at its start, an empty bucket, and the variables of AWS tools set."""
    from whaul.stack.variables import environment_of_command

    whaul_running_stack.simulator.reset()
    bucket = whaul_running_stack.bucket
    for page in _whaul_s3_client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        if objects := [{"Key": found["Key"]} for found in page.get("Contents", ())]:
            _whaul_s3_client.delete_objects(Bucket=bucket, Delete={"Objects": objects})
    environ = environment_of_command(whaul_running_stack.environment())
    for name in os.environ.keys() - environ.keys():
        monkeypatch.delenv(name)
    for name, value in environ.items() - os.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)  # it would go on with the key of an earlier test
    return whaul_running_stack


@pytest.fixture(scope="session")
def whaul_running_simulator() -> "Iterator[Simulator]":
    """Run a simulator, one for all tests: as the test before left it."""
    try:
        from whaul.simulator import simulator_in_thread
    except ModuleNotFoundError as missing:
        pytest.fail(
            f"whaul_simulator needs more Python packages: pip install aiohttp ({missing.name} is missing)",
            pytrace=False,
        )
    with simulator_in_thread() as running:
        yield running


@pytest.fixture
def whaul_simulator(request: pytest.FixtureRequest) -> "Simulator":
    """Give a test Meta's Graph API as at its start; beside `whaul_stack` it is the stack's."""
    if "whaul_stack" in request.fixturenames:
        simulator: Simulator = request.getfixturevalue("whaul_stack").simulator
        return simulator
    simulator = request.getfixturevalue("whaul_running_simulator")
    simulator.reset()
    return simulator
