"""What the unit tests share: an event loop, and an environment without settings, proxies and the user's folders."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.commands import done
from harness.inbox import KEY, NUMBER, OWNER, REGION, WABA

STEERING = ("WHAUL_", "AWS_", "XDG_", "SSL_CERT_", "REQUESTS_CA_", "CURL_CA_")
PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of `harness.inbox` with its account linked, to be copied: that is faster than to link it."""
    path = tmp_path_factory.mktemp("shop") / "whaul.db"
    link = ["link", "--waba-id", WABA, "--no-verify", "--name", "Shop", f"--phone-number={NUMBER}=+15550100100"]
    environ = {"WHAUL_DATABASE_URL": f"sqlite:///{path}", "WHAUL_SECRET_KEY": KEY.get_secret_value()}
    done(link, environ | {"WHAUL_ACCOUNT_ID": OWNER, "AWS_REGION": REGION, "WHATSAPP_ACCESS_TOKEN": "token"})
    return path


@pytest.fixture(scope="session")
def data_homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("homes")
    return (folder / str(number) for number in itertools.count())


@pytest.fixture
def data_home(data_homes: Iterator[Path]) -> Path:
    """The user's folder for data. It is not there yet: most tests do without, and to make 7,000 takes many seconds."""
    return next(data_homes)


@pytest.fixture(autouse=True)
def scrubbed_environment(monkeypatch: pytest.MonkeyPatch, data_home: Path) -> None:
    for name in [name for name in os.environ if name.startswith(STEERING) or name.lower() in PROXIES]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(data_home))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
