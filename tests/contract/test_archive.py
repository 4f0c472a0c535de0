"""What becomes of files, with a simulated Meta and a store that keeps every version."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.archive import archiver, images, link, pictures, set_archive
from harness.bucket import Bucket, bucket
from whaul.registry import schema
from whaul.simulator import Simulator, simulator_in_thread

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def running_simulator() -> Iterator[Simulator]:
    with simulator_in_thread() as simulator:
        yield simulator


@pytest.fixture
def simulator(running_simulator: Simulator) -> Simulator:
    running_simulator.reset()
    return running_simulator


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with bucket() as found:
        yield found


@pytest.fixture
async def sqlite_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'registry.db'}"
    await schema.migrate(url)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.mark.parametrize("conditional", [True, False])
async def test_files_are_archived_once_and_told(url: str, simulator: Simulator, s3: Bucket, conditional: bool) -> None:
    s3.honours_conditions = conditional
    async with archiver(url, simulator, s3) as there:
        await link(there.here, simulator.token)
        await set_archive(there.here, conditional=conditional)
        ids = images(simulator, 30)
        await there.here.inbox.put(pictures(ids))
        await there.states(stored=30)
        assert s3.count() == {f"/bucket/{id_}": 1 for id_ in ids}
        assert await there.here.value("SELECT count(*) FROM events WHERE field = 'whaul_media'") == 30
        assert there.observer.outcomes["stored"] == 30
