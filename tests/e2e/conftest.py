"""The parts that the end-to-end tests share; each is started once, when a test first wants it."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from harness.console import RunningConsole, Visitor, console_over
from harness.store import BUCKET, StandIn, Store, s3_client, stand_in
from harness.world import READER, Gateway, World
from whaul.simulator import Simulator, simulator_in_thread
from whaul.stack.local import REGION, clean_environment
from whaul.stack.seaweedfs import seaweedfs


@pytest.fixture(autouse=True)
def _no_default_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pages that say `boto3.client` have the keys of their own test: boto3's session keeps those of the first."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


@pytest.fixture(scope="session")
def running_simulator() -> Iterator[Simulator]:
    with simulator_in_thread() as simulator:
        yield simulator


@pytest.fixture
def simulator(running_simulator: Simulator) -> Iterator[Simulator]:
    running_simulator.reset()
    yield running_simulator
    running_simulator.reset()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A SeaweedFS with a bucket."""
    reader = {
        "name": "reader",
        "credentials": [{"accessKey": READER[0], "secretKey": READER[1]}],
        "actions": ["Read", "List"],
    }
    with seaweedfs(tmp_path_factory.mktemp("s3"), clean_environment(), [reader]) as endpoint:
        client = s3_client(endpoint)
        client.create_bucket(Bucket=BUCKET)
        yield Store(endpoint, client)
        client.close()


@pytest.fixture(scope="session")
def world(running_simulator: Simulator, store: Store, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The simulated account, linked; gateways of this world store into SeaweedFS."""
    folder = tmp_path_factory.mktemp("world")
    environ = clean_environment() | store.endpoint.environment()
    environ |= {
        "AWS_REGION": REGION,
        "WHAUL_DATABASE_URL": f"sqlite:///{folder / 'whaul.db'}",
        "WHAUL_GRAPH_URL": running_simulator.url,
        "WHAUL_MEDIA_HOSTS": "127.0.0.1",
        "WHATSAPP_ACCESS_TOKEN": running_simulator.token,
    }
    world = World(running_simulator, environ, folder)
    world.link()
    return world


@pytest.fixture(scope="session")
def gateway(world: World) -> Iterator[Gateway]:
    """A gateway with default settings."""
    with world.gateway() as running:
        yield running


@pytest.fixture(scope="session")
def brief_gateway(world: World) -> Iterator[Gateway]:
    """A gateway that gives up soon, for failures that are tried again until then, and takes small files only."""
    with world.gateway(WHAUL_DEADLINE="2", WHAUL_MAX_FILE_SIZE="5000000") as running:
        yield running


@pytest.fixture(scope="session")
def running_stand_in() -> Iterator[StandIn]:
    with stand_in() as running:
        yield running


@pytest.fixture
def s3_stand_in(running_stand_in: StandIn) -> Iterator[StandIn]:
    """The S3 endpoint of `recorded_gateway`."""
    running_stand_in.reset()
    yield running_stand_in
    running_stand_in.reset()


@pytest.fixture(scope="session")
def recorded_gateway(world: World, running_stand_in: StandIn) -> Iterator[Gateway]:
    """A gateway that stores into the stand-in."""
    with world.gateway(AWS_ENDPOINT_URL_S3=running_stand_in.url) as running:
        yield running


@pytest.fixture(scope="session")
def brief_recorded_gateway(world: World, running_stand_in: StandIn) -> Iterator[Gateway]:
    """A gateway that stores into the stand-in, and gives up soon."""
    with world.gateway(AWS_ENDPOINT_URL_S3=running_stand_in.url, WHAUL_DEADLINE="2") as running:
        yield running


@pytest.fixture(scope="session")
def console_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of `running_console`, its file."""
    return tmp_path_factory.mktemp("console") / "whaul.db"


@pytest.fixture(scope="session")
def running_console(console_database: Path) -> Iterator[RunningConsole]:
    """A console over a database with two linked accounts, which tests fill with `harness.console.put`."""
    with console_over(console_database) as running:
        yield running


@pytest.fixture(scope="session")
def operator(running_console: RunningConsole) -> Visitor:
    """Somebody who is signed in to it and may do everything."""
    return running_console.sign_in(running_console.key("--allow-all"))


_numbers = itertools.count(1)


@pytest.fixture
def prefix() -> str:
    """A key prefix that no other test uses."""
    return f"test{next(_numbers)}/"
