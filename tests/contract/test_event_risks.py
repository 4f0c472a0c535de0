"""What the doctor reads of events, on both databases, and what it says of it."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from harness.inbox import (
    ACCOUNT_ID,
    KEY,
    OWNER,
    REGION,
    WABA,
    AnySpeaker,
    Installation,
    image,
    installation,
    post,
    text,
)
from whaul.components import http_client
from whaul.doctor.accounts import Choice
from whaul.doctor.findings import Finding, Outcome
from whaul.doctor.inbound import InboundChecks, durability_of_postgresql
from whaul.events.backlog import ALL
from whaul.events.database.columns import microseconds
from whaul.events.receiving.app_secrets import MAX_TRIED
from whaul.events.risks import Promises, key_ids, promises, waiting_files
from whaul.model import GraphToken, MetaAccount, MetaPhoneNumber
from whaul.registry.registry import open_registry
from whaul.secrets import Cipher
from whaul.settings import Settings

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC)
FILES_CHECK = f"files of {WABA}"
ORDERS = "destination orders"


@pytest.fixture
async def here(url: str) -> AsyncIterator[Installation]:
    """An installation with a linked account and a destination."""
    async with installation(url) as found:
        await found.link()
        await found.add_destination()
        yield found


async def bounded(_check: str, finding: Awaitable[Finding]) -> Finding:
    return await finding


async def look(here: Installation, key: SecretStr = KEY, **settings: Any) -> dict[str, Finding]:
    """The findings by name, without a Graph API."""
    given = {"database_url": here.url, "secret_key": key, "account_id": OWNER, "region": REGION} | settings
    loaded, cipher = Settings.load(**given), Cipher(key)
    async with AsyncExitStack() as stack:
        registry = await stack.enter_async_context(open_registry(here.url, cipher, account_id=OWNER, region=REGION))
        http = await stack.enter_async_context(http_client(loaded))
        checks = InboundChecks(loaded, registry, here.store, cipher, bounded)
        found = [finding async for finding in checks.findings(None, http, NOW, Choice())]
    ill = [one for one in found if one.outcome in {Outcome.FAILED, Outcome.WARNING}]
    assert all(one.advice for one in ill), "what to do"
    return {one.check: one for one in found}


async def link(here: Installation, waba: str, secret: str, app_id: str | None) -> None:
    """Link an account with an app's secret."""
    account = MetaAccount(waba, "Shrub", [MetaPhoneNumber(f"{waba}7", f"+1 555 {waba}", "S")], app_id=app_id)
    async with open_registry(here.url, here.cipher, account_id=OWNER, region=REGION) as registry:
        await registry.accounts.link(account, GraphToken(SecretStr("token"), SecretStr(secret)))


async def set_state(here: Installation, state: str) -> None:
    await here.rows("UPDATE destinations SET state = $1 RETURNING number", state)


async def test_what_is_well_is_one_line_each(here: Installation) -> None:
    found = await look(here, app_secrets="900=made-up")
    assert found.pop("durability").detail, "the PostgreSQL of the tests writes nothing to its disk"
    assert {name: finding.outcome for name, finding in found.items()} == {
        "webhooks": Outcome.OK,
        "backlog": Outcome.OK,
        ORDERS: Outcome.OK,
        "subscriptions": Outcome.WARNING,
    }
    assert "made-up" not in repr(found)


async def test_a_verify_token_is_not_made_by_looking(here: Installation) -> None:
    await look(here)
    assert await here.value("SELECT count(*) FROM installation WHERE verify_token IS NOT NULL") == 0


async def test_without_secret_webhooks_are_off(here: Installation) -> None:
    found = (await look(here))["webhooks"]
    assert (found.outcome, found.detail.split(",")[0]) == (Outcome.WARNING, "off"), "a destination waits for them"
    await here.rows("UPDATE destinations SET removed_at = 1 RETURNING number")
    found = await look(here)
    assert list(found) == ["webhooks"]
    assert found["webhooks"].outcome is Outcome.SKIPPED


async def test_apps_beyond_those_that_are_tried_are_named(here: Installation) -> None:
    secrets = ",".join(f"{1000 + place}=made-up-{place}" for place in range(MAX_TRIED + 2))
    found = (await look(here, app_secrets=secrets))["webhooks"]
    assert found.outcome is Outcome.WARNING
    assert f"{1000 + MAX_TRIED}, {1000 + MAX_TRIED + 1}" in found.detail
    assert "made-up" not in repr(found)


async def test_an_account_whose_app_is_not_known_is_to_be_linked_again(here: Installation) -> None:
    await link(here, "777", "made-up", None)
    await link(here, "778", "made-up-too", "900")
    found = (await look(here))["apps"]
    assert found.outcome is Outcome.WARNING
    assert "777" in found.detail
    assert "778" not in found.detail
    assert "--app-secret-file" in found.advice


@pytest.mark.parametrize(
    ("state", "outcome"), [("paused", Outcome.WARNING), ("open", Outcome.FAILED), ("disabled", Outcome.FAILED)]
)
async def test_a_destination_that_gets_nothing_is_told(here: Installation, state: str, outcome: Outcome) -> None:
    await set_state(here, state)
    assert (await look(here))[ORDERS].outcome is outcome


async def test_what_waits_too_long_and_what_is_dead_is_told(here: Installation) -> None:
    assert (await here.inbox.put(post(text("wamid.A"), text("wamid.B")))).events == 2
    late = microseconds(NOW - timedelta(hours=5))
    await here.rows("UPDATE deliveries SET created_at = $1 RETURNING id", late)
    found = (await look(here))[ORDERS]
    assert (found.outcome, "2 wait, the oldest for 5:" in found.detail) == (Outcome.WARNING, True)
    await here.rows("UPDATE deliveries SET state = 'dead' RETURNING id")
    found = (await look(here))[ORDERS]
    assert (found.outcome, "2 dead letters" in found.detail) == (Outcome.WARNING, True)
    assert "events dead" in found.advice


async def test_a_backlog_that_is_full_and_a_share_that_is_used_up_fail(here: Installation) -> None:
    await here.inbox.put(post(*(text(f"wamid.{place}") for place in range(5))))
    counted = "INSERT INTO backlog (owner, what, waiting, bytes, dead, counted_at) VALUES ($1, $2, 8, 0, 0, 1)"
    await here.store.run((counted, (OWNER, ALL)))
    assert (await look(here, max_backlog=1000))["backlog"].outcome is Outcome.OK
    assert (await look(here, max_backlog=8))["backlog"].outcome is Outcome.FAILED
    found = await look(here, max_backlog=20)
    assert (found["backlog"].outcome, found[ORDERS].outcome) == (Outcome.WARNING, Outcome.FAILED)


async def test_the_day_of_the_first_loss_is_named(here: Installation) -> None:
    await here.add_archive()
    await here.inbox.put(post(image("wamid.A", "11"), image("wamid.B", "12")))
    in_days, tomorrow = microseconds(NOW + timedelta(days=5)), microseconds(NOW + timedelta(hours=20))
    await here.rows("UPDATE files SET expires_at = $1 RETURNING id", in_days)
    assert FILES_CHECK not in await look(here), "they have time"
    await here.rows("UPDATE files SET state = 'parked' RETURNING id")
    found = (await look(here))[FILES_CHECK]
    assert (found.outcome, "whaul link" in found.advice) == (Outcome.WARNING, True)
    assert f"{NOW + timedelta(days=5):%Y-%m-%d %H:%M} UTC" in found.detail
    await here.rows("UPDATE files SET expires_at = $1 WHERE media_id = '12' RETURNING id", tomorrow)
    found = (await look(here))[FILES_CHECK]
    assert (found.outcome, found.detail.startswith("2 are not archived, 2 of them")) == (Outcome.FAILED, True)
    assert f"{NOW + timedelta(hours=20):%Y-%m-%d %H:%M} UTC" in found.detail
    assert [*await waiting_files(here.store, OWNER, 1)] == [ACCOUNT_ID]
    await here.rows("UPDATE files SET state = 'stored' RETURNING id")
    assert await waiting_files(here.store, OWNER, 1) == {}


async def test_rows_whose_key_nobody_has_are_told(here: Installation) -> None:
    await here.inbox.put(post(text("wamid.A")))
    await here.inbox.put(post(text("wamid.B"), waba="5", number="6", speaker=AnySpeaker()))
    assert "keys of events" not in await look(here)
    assert await key_ids(here.store, OWNER) == {here.cipher.key_ids[0]: 2}
    await here.rows("UPDATE deliveries SET key_id = 'gone' RETURNING id")
    found = (await look(here))["keys of events"]
    assert (found.outcome, "1 rows" in found.detail, "gone" in found.detail) == (Outcome.FAILED, True, True)


@pytest.mark.parametrize(
    ("found", "outcome", "told"),
    [
        (Promises(True, True, "on", False, 0), Outcome.OK, "synchronous_commit = on"),
        (Promises(True, True, "on", True, 2), Outcome.OK, "flushes"),
        (Promises(False, True, "on", False, 0), Outcome.FAILED, "fsync = off"),
        (Promises(True, False, "on", False, 0), Outcome.FAILED, "full_page_writes = off"),
        (Promises(True, True, "off", False, 0), Outcome.WARNING, "synchronous_commit = off"),
        (Promises(True, True, "on", False, 1), Outcome.WARNING, "failover"),
    ],
)
def test_what_a_commit_is_worth(found: Promises, outcome: Outcome, told: str) -> None:
    finding = durability_of_postgresql(found)
    assert (finding.outcome, told in finding.detail) == (outcome, True)


async def test_a_role_with_weaker_commits_is_told(here: Installation) -> None:
    if "postgresql" not in here.url:
        pytest.skip("PostgreSQL alone has roles")
    name = here.url.rpartition("/")[2].partition("?")[0]
    for commit in ("local", "on"):
        await here.rows(f'ALTER DATABASE "{name}" SET synchronous_commit = {commit}')
        async with installation(here.url) as again:
            assert (await promises(again.store)).synchronous_commit == commit
