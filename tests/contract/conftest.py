"""What the contract tests share: an event loop, and a migrated database of each kind."""

import asyncio
import shutil
from pathlib import Path

import pytest

from whaul.registry import schema


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file, to be copied: that is faster than to migrate."""
    path = tmp_path_factory.mktemp("template") / "registry.db"
    asyncio.run(schema.migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path)}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """A migrated database without rows."""
    return str(request.getfixturevalue(f"{request.param}_url"))
