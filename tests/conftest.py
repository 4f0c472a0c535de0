"""What all tests share: an environment in which nothing of this machine's steers whaul or AWS tools."""

import asyncio
import gc
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hypothesis
import pytest

from harness.commands import STEERING
from harness.databases import Databases
from harness.parts import started
from harness.pgbouncer import PgbouncerMissingError, pgbouncer
from tools.postgresql import PostgresqlMissingError, PostgresqlServer, postgresql_server
from whaul.registry import schema
from whaul.stack.processes import free_ports

# Ten thousand tests are found, and stay: to look again and again for garbage among them doubles the time for that.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.set_threshold(10_000)  # a look at every 700 objects is 6 % of what the tests cost
    gc.enable()


SLOW = (
    "e2e/test_get.py",
    "e2e/conformance/test_conformance.py",
    "e2e/test_accounts.py",
    "contract/test_outbox.py",
    "contract/test_registry_schema.py",
    "e2e/test_stack.py",
    "e2e/test_command_line.py",
    "e2e/test_transfers.py",
    "unit/test_doctor.py",
    "hostile/test_hygiene.py",
    "e2e/test_stopping.py",
    "contract/test_registry.py",
    "contract/test_journal.py",
    "unit/test_events_command.py",
    "e2e/test_webhooks_command.py",
    "e2e/test_uploads.py",
    "e2e/test_documented_receivers.py",
    "unit/test_http.py",
    "contract/test_registry_accounts.py",
    "e2e/test_inbound.py",
    "e2e/test_aws_cli.py",
    "e2e/test_console.py",
)
"""The files that take longest. They come first, so that at the end no process is still at one while the others idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {Path(__file__).parent / name: rank for rank, name in enumerate(SLOW)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


# The same examples in every run, however long each takes; `harness.examples` says how to try more.
hypothesis.settings.register_profile(
    "suite",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("suite")


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """Hide this user's settings, AWS profiles, keys and certificates from the tests, and from what they start."""
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith((*STEERING, "GRANIAN_"))]:
            environment.delenv(name)
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        environment.setenv("AWS_CONFIG_FILE", os.devnull)
        environment.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        yield


@pytest.fixture(scope="session")
def nobody() -> Iterator[str]:
    """An address at which nobody listens, and nobody will."""
    with free_ports(1) as [port]:
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A PostgreSQL, started when a test first wants it."""
    with started(postgresql_server(), PostgresqlMissingError, "POSTGRESQL") as server:
        yield server


@pytest.fixture(scope="session")
def pooler_port(postgresql: PostgresqlServer) -> Iterator[int]:
    """The port of a PgBouncer in transaction mode before it."""
    with started(pgbouncer(postgresql), PgbouncerMissingError, "PGBOUNCER") as port:
        yield port


@pytest.fixture(scope="session")
def postgresql_template(postgresql: PostgresqlServer) -> str:
    """The name of a migrated database, to be copied: that is faster than to migrate."""
    name = postgresql.create_database()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, schema.migrate(postgresql.url(name))).result()
    return name


@pytest.fixture(scope="session")
def postgresql_databases(postgresql: PostgresqlServer, postgresql_template: str) -> Databases:
    return Databases(postgresql, postgresql_template)


@pytest.fixture
def postgresql_url(postgresql: PostgresqlServer, postgresql_databases: Databases) -> Iterator[str]:
    """The URL of a migrated database without rows."""
    name = postgresql_databases.take()
    yield postgresql.url(name)
    postgresql_databases.give_back(name)


@pytest.fixture
def empty_postgresql_url(postgresql: PostgresqlServer) -> Iterator[str]:
    """The URL of a database without tables."""
    name = postgresql.create_database()
    yield postgresql.url(name)
    postgresql.drop_database(name)


# A shell that starts this in the background has it ignore Ctrl-C, and so all programs that it starts. The programs
# under test are stopped with it.
signal.signal(signal.SIGINT, signal.default_int_handler)
