"""The console's transfers: what servers say of themselves, and what is under way or waits in the database."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from harness.console import RunningConsole, Visitor, allow, console, inside, put, words
from harness.inbox import ACCOUNT_ID, Installation, image
from harness.world import Gateway
from whaul import __version__
from whaul.simulator import Simulator
from whaul.stack.processes import free_ports

PDF = "100000000000003"
HOSTILE = "<img src=x onerror=alert(1)>"
SHOWN = "&lt;img src=x onerror=alert(1)&gt;"
LEASED = "UPDATE files SET lease_owner = 'p1', due_at = $2, attempts = 2, mime_type = $1 WHERE media_id = '8801'"
PARKED = """
    INSERT INTO parked_accounts (account_id, owner, token, reason, parked_at, probe_at)
    SELECT id, owner, substr(access_token, 1, 32), $2, 0, 4000000000000000 FROM accounts WHERE id = $1"""


@pytest.fixture(scope="module")
def site(
    running_console: RunningConsole, gateway: Gateway, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningConsole]:
    """A console over the database of `running_console` that knows a server, and one that is not there."""
    with free_ports(1) as [nobody]:
        servers = f"{gateway.url},http://127.0.0.1:{nobody}"
        environ = {**running_console.environ, "WHAUL_CONSOLE_SERVERS": servers}
        with console(environ, tmp_path_factory.mktemp("transfers")) as running:
            yield running


@pytest.fixture(scope="module")
def visitor(site: RunningConsole) -> Visitor:
    return site.sign_in(site.key("--allow-all"))


@pytest.fixture(scope="module")
def event(console_database: Path) -> Iterator[str]:
    """The event of a file that a server archives; and beside it what waits, with hostile texts."""

    async def begin(here: Installation) -> None:
        await here.rows("DELETE FROM archives")
        await here.rows(LEASED, HOSTILE, int(here.store.lease_end))
        sealed = here.cipher.encrypt(SecretStr(HOSTILE))
        await here.add_destination("stubborn", state="open", stopped_at=0, probe_at=4 * 10**15, last_error=sealed)
        await here.add_destination("resting", state="paused", stopped_at=0)
        await here.rows(PARKED, ACCOUNT_ID, sealed)

    async def end(here: Installation) -> None:
        await here.rows("DELETE FROM parked_accounts")
        await here.rows("DELETE FROM files WHERE media_id = '8801'")
        await here.rows("DELETE FROM destinations WHERE name IN ('stubborn', 'resting')")

    inside(console_database, lambda here: here.add_archive())
    [id_] = put(console_database, image("wamid.under-way", "8801"))
    inside(console_database, begin)
    yield id_
    inside(console_database, end)


def test_servers_say_what_they_do_and_one_that_is_away_is_told(
    visitor: Visitor, gateway: Gateway, simulator: Simulator
) -> None:
    simulator.configure(call_count=85)
    gateway.get(PDF, metadataOnly=True)
    gateway.settle()
    page = visitor.get("/transfers")
    assert f"{gateway.url} ready 0 of 64 0 of 256" in words(page)
    assert "it does not answer (Connection refused): check that whaul runs there" in words(page)
    assert "the app 85 %" in words(page)
    assert f"{simulator.waba_id} 85 %" in words(page)
    assert f"curl {gateway.url}/metrics" in words(page)
    part = visitor.get("/transfers/now")
    assert part.body.lstrip().startswith(b"<table")
    assert f"{gateway.url} ready 0 of 64" in words(part)
    doctor = words(visitor.get("/doctor"))
    assert f"{gateway.url} {__version__}" in doctor
    assert "the same" in doctor


def test_what_is_under_way_and_what_waits_is_shown(visitor: Visitor, event: str) -> None:
    page = visitor.get("/transfers")
    told = words(page)
    assert f"8801 {SHOWN} Shop 3" in told
    assert f'href="/messages/{event}"' in page.text
    assert "stubborn refuses everything" in told
    assert "resting paused" in told
    assert "when it is resumed Somebody paused it" in told
    assert "Shop : files parked" in told
    assert told.count(SHOWN) == 3
    assert HOSTILE not in page.text


def test_rights_are_those_of_the_policy(site: RunningConsole, event: str) -> None:
    _, stranger = site.with_policy(allow("whaul:ViewMessages"))
    for path in ("/transfers", "/transfers/now"):
        assert stranger.get(path).status == 403
    _, visitor = site.with_policy(allow("whaul:ViewServer"))
    told = words(visitor.get("/transfers"))
    assert "1 file of accounts that you may not see" in told
    for hidden in ("8801", event, "stubborn", ": files"):
        assert hidden not in told
    assert site.visitor().get("/transfers/now", Accept="*/*").status == 401
