"""Pages, tags, sign-ups and refreshed facts of linked accounts."""

import asyncio
import base64
import json
import random
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import text

from whaul.arns import Arns
from whaul.auth.policy import Policy
from whaul.console import keys
from whaul.console.visit import Visit
from whaul.model import GraphToken, MetaAccount, MetaPhoneNumber
from whaul.registry.choosing import Chosen
from whaul.registry.database import open_engine
from whaul.registry.errors import PageTokenError, TooManyTagsError
from whaul.registry.registry import Registry, open_registry
from whaul.registry.signups import Signup
from whaul.registry.tags import MAX_TAGS
from whaul.secrets import Cipher

pytestmark = pytest.mark.anyio

OWNER, REGION = "111122223333", "eu-west-1"
ARNS = Arns(OWNER, REGION)
KEY, OTHER_KEY = (Fernet.generate_key().decode() for _ in range(2))
TOKEN = "EAAG-of-a-customer"
FIRST, SECOND = (
    MetaPhoneNumber("501", "+1 555-010-0001", "One", "GREEN"),
    MetaPhoneNumber("502", "+1 555-010-0002", "Two"),
)
ACCOUNT = MetaAccount("401", "Harbour", (FIRST, SECOND))
ACCOUNT_TOKEN = GraphToken(SecretStr("EAAG"))
ID, NUMBER_ID, OTHER_NUMBER_ID = ARNS.waba_id("401"), ARNS.phone_number_id("501"), ARNS.phone_number_id("502")


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


def opened(url: str, clock: Clock, keys: str = KEY, owner: str = OWNER) -> AbstractAsyncContextManager[Registry]:
    rng = random.Random(7)  # noqa: S311 - the same tokens in every run
    cipher = Cipher(SecretStr(keys))
    return open_registry(url, cipher, account_id=owner, region=REGION, create=True, clock=clock, rng=rng)


@pytest.fixture
async def registry(url: str, clock: Clock) -> AsyncIterator[Registry]:
    async with opened(url, clock) as registry:
        yield registry


async def link_many(registry: Registry, count: int) -> list[str]:
    """Link accounts, all at the same moment; return their ids in the order of the list."""
    ids = [
        (await registry.accounts.link(replace(ACCOUNT, meta_waba_id=str(n), phone_numbers=()), ACCOUNT_TOKEN)).id
        for n in range(count)
    ]
    return sorted(ids)


async def all_pages(registry: Registry, max_accounts: int) -> list[list[str]]:
    pages, token = [], None
    while True:
        page = await registry.accounts.page(max_accounts, token)
        pages.append([account.id for account in page.accounts])
        if (token := page.next_token) is None:
            return pages


# --- pages


@pytest.mark.parametrize(
    ("max_accounts", "sizes"), [(1, [1] * 7), (2, [2, 2, 2, 1]), (6, [6, 1]), (7, [7]), (100, [7])]
)
async def test_pages_hold_every_account_once_in_order(registry: Registry, max_accounts: int, sizes: list[int]) -> None:
    ids = await link_many(registry, 7)
    pages = await all_pages(registry, max_accounts)
    assert [len(page) for page in pages] == sizes
    assert [id_ for page in pages for id_ in page] == ids


async def test_accounts_are_chosen_by_what_is_known_of_them(registry: Registry, clock: Clock) -> None:
    red = replace(FIRST, meta_id="701", display_phone_number="+49 (30) 55-51", quality_rating="RED")
    await registry.accounts.link(replace(ACCOUNT, token_expires_at=clock.now), ACCOUNT_TOKEN)
    await registry.accounts.link(MetaAccount("402", "100%_Bäcker", [red]), ACCOUNT_TOKEN)
    await registry.accounts.link(MetaAccount("403", "", [replace(SECOND, status="PENDING")]), ACCOUNT_TOKEN)
    harbour, baker, nameless = (ARNS.waba_id(id_) for id_ in ("401", "402", "403"))
    for chosen, ids in {
        Chosen(text="harB"): [harbour],
        Chosen(text="%"): [baker],
        Chosen(text="_"): [baker],
        Chosen(text="+49 30 5551"): [baker],
        Chosen(text="403"): [nameless],
        Chosen(text=ARNS.arn(harbour)): [harbour],
        Chosen(text=ARNS.phone_number_id("701")): [baker],
        Chosen(incomplete=True): [nameless],
        Chosen(low_quality=True): [baker],
        Chosen(expires_before=clock.now + timedelta(seconds=1)): [harbour],
        Chosen(expires_before=clock.now): [],
        Chosen(ids=(baker, "other")): [baker],
        Chosen(ids=()): [],
    }.items():
        page = await registry.accounts.page(10, chosen=chosen)
        assert ([account.id for account in page.accounts], await registry.accounts.count(chosen)) == (ids, len(ids))
    assert await registry.accounts.count() == 3
    for named, ids in {
        (harbour, "403", "other"): [harbour, nameless],
        ("701",): [baker],
        (ARNS.phone_number_id("701"), baker): [baker],
        (): [],
    }.items():
        assert [account.id for account in await registry.accounts.named(named)] == ids
    assert {*await registry.accounts.ids()} == {harbour, baker, nameless}
    assert await registry.accounts.displayed(["701", "none"]) == {"701": "+49 (30) 55-51"}


class NoDestinations:
    async def all(self) -> list[str]:
        return []


async def test_of_many_accounts_a_policy_is_asked_about_the_first_and_those_that_it_names(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "MAX_ACCOUNTS", 1)
    first, _, named = await link_many(registry, 3)
    console = SimpleNamespace(registry=registry, arns=ARNS, destinations=NoDestinations())
    statement = {"Effect": "Allow", "Action": "whaul:*", "Resource": ARNS.arn(named)}
    policy = Policy.parse(json.dumps({"Statement": statement}))
    found = await keys.resources(cast("Visit", SimpleNamespace(console=console)), policy, None)
    assert [*found.accounts] == [ARNS.arn(first), ARNS.arn(named)]
    assert "the first 1 and those that the policy names" in (keys.partly(found) or "")
    monkeypatch.setattr(keys, "MAX_ACCOUNTS", 3)
    assert keys.partly(found) is None


async def test_it_is_known_when_a_token_was_stored(registry: Registry) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    await registry.accounts.link(ACCOUNT, ACCOUNT_TOKEN)
    stored_at = await registry.accounts.token_stored_at(ID)
    assert stored_at is not None
    assert before <= stored_at <= datetime.now(UTC)
    assert await registry.accounts.token_stored_at("waba-0") is None


async def test_an_empty_registry_has_one_empty_page(registry: Registry) -> None:
    page = await registry.accounts.page(10)
    assert (page.accounts, page.next_token) == ((), None)


async def test_accounts_linked_and_unlinked_between_pages_shift_none_of_the_others(
    registry: Registry, clock: Clock
) -> None:
    ids = await link_many(registry, 6)
    page = await registry.accounts.page(3)
    await registry.accounts.unlink(ids[0])
    await registry.accounts.unlink(ids[2])  # the one that the token points at
    clock.now += timedelta(seconds=1)
    new = await registry.accounts.link(ACCOUNT, ACCOUNT_TOKEN)
    rest = await registry.accounts.page(10, page.next_token)
    assert [account.id for account in rest.accounts] == [*ids[3:], new.id]


async def test_a_page_token_is_good_in_other_processes_and_after_a_new_key(url: str, clock: Clock) -> None:
    async with opened(url, clock) as registry:
        ids = await link_many(registry, 3)
        token = (await registry.accounts.page(2)).next_token
    async with opened(url, clock, keys=f"{OTHER_KEY},{KEY}") as registry:
        rest = await registry.accounts.page(2, token)
    assert [account.id for account in rest.accounts] == ids[2:]


async def test_a_page_token_hides_what_it_holds_and_fits_the_model(registry: Registry) -> None:
    await link_many(registry, 2)
    page = await registry.accounts.page(1)
    assert page.next_token is not None
    assert len(page.next_token) <= 600
    assert page.accounts[0].id.encode() not in base64.urlsafe_b64decode(page.next_token)


def altered(token: str) -> list[str]:
    """Every way to change one character, and some others."""
    flipped = [f"{token[:i]}{'B' if c == 'A' else 'A'}{token[i + 1 :]}" for i, c in enumerate(token)]
    return [*flipped, token[:-1], token[1:], token + "A", token + "=", f"{token[:9]}!{token[9:]}", token + "\n", ""]


async def test_an_altered_page_token_is_refused(registry: Registry) -> None:
    await link_many(registry, 2)
    token = (await registry.accounts.page(1)).next_token
    assert token is not None
    for wrong in altered(token):
        with pytest.raises(PageTokenError):
            await registry.accounts.page(1, wrong)


@pytest.mark.parametrize("wrong", ["x", "0", "ünicode", "eyJhIjoxfQ==", "null", "%00", "A" * 600])
async def test_what_is_no_page_token_is_refused(registry: Registry, wrong: str) -> None:
    with pytest.raises(PageTokenError):
        await registry.accounts.page(1, wrong)


async def test_a_page_token_of_another_account_number_key_or_purpose_is_refused(registry: Registry) -> None:
    now = datetime.now(UTC)
    secret = Cipher(SecretStr(KEY)).encrypt(SecretStr(f'["tags", "{OWNER}", "{now.isoformat()}", "{ID}"]'))
    stored = Cipher(SecretStr(KEY)).encrypt(SecretStr("EAAG"))
    place = f'["linked accounts", "{OWNER}", "{now.isoformat()}", "{ID}"]'
    assert (await registry.accounts.page(1, Cipher(SecretStr(KEY)).encrypt(SecretStr(place)))).accounts == ()
    of_another_key = Cipher(SecretStr(OTHER_KEY)).encrypt(SecretStr(place))
    of_another_owner = Cipher(SecretStr(KEY)).encrypt(SecretStr(place.replace(OWNER, "999999999999")))
    for wrong in (secret, stored, of_another_key, of_another_owner):
        with pytest.raises(PageTokenError):
            await registry.accounts.page(1, wrong)


async def test_an_account_is_found_by_its_number(registry: Registry, url: str, clock: Clock) -> None:
    account = await registry.accounts.link(ACCOUNT, ACCOUNT_TOKEN)
    assert await registry.accounts.with_phone_number(OTHER_NUMBER_ID) == account
    assert await registry.accounts.with_phone_number(ARNS.phone_number_id("503")) is None
    async with opened(url, clock, owner="999999999999") as other:
        assert await other.accounts.with_phone_number(OTHER_NUMBER_ID) is None


# --- status


@pytest.mark.parametrize(
    ("statuses", "complete"),
    [
        ((), False),
        (("CONNECTED",), True),
        (("CONNECTED", "FLAGGED"), True),
        (("BANNED",), True),
        (("CONNECTED", "PENDING"), False),
        (("DISCONNECTED",), False),
        (("UNKNOWN",), False),
        (("SOMETHING_NEW",), False),
    ],
)
async def test_an_account_is_complete_once_all_its_numbers_are_registered(
    registry: Registry, statuses: tuple[str, ...], complete: bool
) -> None:
    numbers = tuple(replace(FIRST, meta_id=str(i), status=status) for i, status in enumerate(statuses))
    account = await registry.accounts.link(replace(ACCOUNT, phone_numbers=numbers), ACCOUNT_TOKEN)
    assert account.is_complete is complete


async def test_the_region_of_a_number_stays_when_it_is_not_told_again(registry: Registry) -> None:
    await registry.accounts.link(
        replace(ACCOUNT, phone_numbers=(replace(FIRST, data_localization_region="CH"),)), ACCOUNT_TOKEN
    )
    account = await registry.accounts.link(ACCOUNT, ACCOUNT_TOKEN)
    assert [number.data_localization_region for number in account.phone_numbers] == ["CH", None]


# --- what Meta says now


async def test_refreshing_replaces_names_ratings_and_statuses_and_notes_when(registry: Registry, clock: Clock) -> None:
    linked = await registry.accounts.link(ACCOUNT, ACCOUNT_TOKEN)
    assert linked.refreshed_at == clock.now
    clock.now += timedelta(minutes=5)
    said = MetaPhoneNumber("501", "+1 555-010-0009", "New name", "RED", "FLAGGED")
    await registry.accounts.refresh(linked, MetaAccount("401", "New harbour", (said,)))
    account = await registry.accounts.find(linked.id)
    assert account is not None
    assert (account.name, account.refreshed_at, account.linked_at) == ("New harbour", clock.now, linked.linked_at)
    number, other = account.phone_numbers
    assert (number.display_phone_number, number.verified_name) == ("+1 555-010-0009", "New name")
    assert (number.quality_rating, number.status) == ("RED", "FLAGGED")
    assert other == linked.phone_numbers[1], "of which nothing was said"


async def test_refreshing_adds_no_numbers_and_links_nothing(registry: Registry, url: str, clock: Clock) -> None:
    before = await registry.accounts.link(ACCOUNT, ACCOUNT_TOKEN)
    await registry.accounts.refresh(before, replace(ACCOUNT, phone_numbers=(replace(FIRST, meta_id="509"),)))
    async with opened(url, clock, owner="999999999999") as other:
        await other.accounts.refresh(before, replace(ACCOUNT, name="Foreign"))
    account = await registry.accounts.find(ID)
    assert account is not None
    assert (account.name, [number.meta_id for number in account.phone_numbers]) == ("Harbour", ["501", "502"])
    await registry.accounts.unlink(ID)
    await registry.accounts.refresh(before, ACCOUNT)
    assert await registry.accounts.find(ID) is None


async def test_what_meta_said_of_a_token_before_is_not_recorded_for_the_next(registry: Registry, clock: Clock) -> None:
    before = await registry.accounts.link(ACCOUNT, ACCOUNT_TOKEN)
    clock.now += timedelta(minutes=5)
    again = await registry.accounts.link(ACCOUNT, ACCOUNT_TOKEN)
    ends = datetime(2030, 1, 1, tzinfo=UTC)
    await registry.accounts.refresh(before, replace(ACCOUNT, name="Late", token_expires_at=ends))
    assert await registry.accounts.find(ID) == again
    await registry.accounts.refresh(again, replace(ACCOUNT, token_expires_at=ends))
    account = await registry.accounts.find(ID)
    assert account is not None
    assert account.token_expires_at == ends
    assert await registry.accounts.token_expiries() == {ID: ends}


async def test_an_account_that_was_linked_unverified_was_never_refreshed(registry: Registry) -> None:
    assert (await registry.accounts.link(ACCOUNT, ACCOUNT_TOKEN, verified=False)).refreshed_at is None


# --- tags


@pytest.mark.parametrize("id_", [ID, NUMBER_ID])
async def test_tags_are_set_replaced_removed_and_listed_by_key(registry: Registry, id_: str) -> None:
    await registry.accounts.link(ACCOUNT, ACCOUNT_TOKEN)
    assert await registry.tags.all(id_) == {}
    assert await registry.tags.set(id_, {"b": "1", "a": "ä🐋", "c": ""})
    assert await registry.tags.set(id_, {"b": "2"})
    assert list((await registry.tags.all(id_) or {}).items()) == [("a", "ä🐋"), ("b", "2"), ("c", "")]
    assert await registry.tags.remove(id_, ["a", "zzz"])
    assert await registry.tags.all(id_) == {"b": "2", "c": ""}


async def test_what_is_not_linked_here_has_no_tags(registry: Registry, url: str, clock: Clock) -> None:
    await registry.accounts.link(ACCOUNT, ACCOUNT_TOKEN)
    await registry.tags.set(ID, {"a": "1"})
    async with opened(url, clock, owner="999999999999") as other:
        for id_ in (ID, NUMBER_ID, Arns("999999999999", REGION).waba_id("401"), "nonsense"):
            assert await other.tags.all(id_) is None
            assert not await other.tags.set(id_, {"a": "2"})
            assert not await other.tags.remove(id_, ["a"])
    assert await registry.tags.all(ID) == {"a": "1"}


async def test_a_resource_takes_so_many_tags_and_one_too_many_changes_nothing(registry: Registry) -> None:
    await registry.accounts.link(ACCOUNT, ACCOUNT_TOKEN)
    full = {f"key{i:02}": "1" for i in range(MAX_TAGS)}
    assert await registry.tags.set(ID, full)
    assert await registry.tags.set(ID, {"key00": "2"}), "replacing one is no more"
    with pytest.raises(TooManyTagsError):
        await registry.tags.set(ID, {"key00": "3", "new": "1"})
    assert await registry.tags.all(ID) == full | {"key00": "2"}


async def test_more_keys_than_a_statement_takes_are_handled(registry: Registry) -> None:
    await registry.accounts.link(ACCOUNT, ACCOUNT_TOKEN)
    await registry.tags.set(ID, {"key0": "1", "kept": "1"})
    keys = [f"key{i}" for i in range(70_000)]
    with pytest.raises(TooManyTagsError):
        await registry.tags.set(ID, dict.fromkeys(keys, ""))
    assert await registry.tags.remove(ID, keys)
    assert await registry.tags.all(ID) == {"kept": "1"}


async def test_tags_stay_when_the_account_is_linked_again_and_go_with_what_they_are_on(registry: Registry) -> None:
    await registry.accounts.link(ACCOUNT, ACCOUNT_TOKEN)
    for id_ in (ID, NUMBER_ID, OTHER_NUMBER_ID):
        await registry.tags.set(id_, {"a": "1"})
    await registry.accounts.link(replace(ACCOUNT, phone_numbers=(FIRST,)), ACCOUNT_TOKEN)
    assert [await registry.tags.all(id_) for id_ in (ID, NUMBER_ID, OTHER_NUMBER_ID)] == [{"a": "1"}, {"a": "1"}, None]
    await registry.accounts.link(ACCOUNT, ACCOUNT_TOKEN)
    assert await registry.tags.all(OTHER_NUMBER_ID) == {}
    await registry.accounts.unlink(ID)
    await registry.accounts.link(ACCOUNT, ACCOUNT_TOKEN)
    assert [await registry.tags.all(id_) for id_ in (ID, NUMBER_ID)] == [{}, {}]


async def test_a_number_that_moves_to_another_account_keeps_its_tags(registry: Registry) -> None:
    await registry.accounts.link(ACCOUNT, ACCOUNT_TOKEN)
    await registry.tags.set(NUMBER_ID, {"a": "1"})
    await registry.accounts.link(replace(ACCOUNT, meta_waba_id="402", phone_numbers=(FIRST,)), ACCOUNT_TOKEN)
    assert await registry.tags.all(NUMBER_ID) == {"a": "1"}


# --- sign-ups


async def test_a_signup_is_found_by_its_token_for_an_hour(registry: Registry, clock: Clock) -> None:
    signup = Signup(SecretStr(TOKEN), "https://hooks.example/webhooks/meta")
    token = await registry.signups.begin(signup)
    assert re.fullmatch(r"[\w-]{43}", token.get_secret_value())
    clock.now += timedelta(minutes=59, seconds=59)
    assert await registry.signups.find(token) == signup
    clock.now += timedelta(seconds=1)
    assert await registry.signups.find(token) is None


async def test_signups_have_tokens_of_their_own(registry: Registry) -> None:
    tokens = {(await registry.signups.begin(Signup(SecretStr(TOKEN)))).get_secret_value() for _ in range(5)}
    assert len(tokens) == 5


@pytest.mark.parametrize("wrong", ["", "x", "A" * 43, "' OR 1=1 --"])
async def test_a_made_up_token_finds_no_signup(registry: Registry, wrong: str) -> None:
    await registry.signups.begin(Signup(SecretStr(TOKEN)))
    assert await registry.signups.find(SecretStr(wrong)) is None
    assert await registry.signups.finish(SecretStr(wrong), ACCOUNT, ACCOUNT_TOKEN, {}) is None
    assert await registry.accounts.all() == ()


async def test_a_signup_of_another_account_number_is_not_found(registry: Registry, url: str, clock: Clock) -> None:
    token = await registry.signups.begin(Signup(SecretStr(TOKEN)))
    async with opened(url, clock, owner="999999999999") as other:
        assert await other.signups.find(token) is None
        assert await other.signups.finish(token, ACCOUNT, ACCOUNT_TOKEN, {}) is None
    assert await registry.signups.find(token) == Signup(SecretStr(TOKEN))


async def test_finishing_links_tags_and_uses_the_signup_up(registry: Registry) -> None:
    token = await registry.signups.begin(Signup(SecretStr(TOKEN)))
    account = await registry.signups.finish(token, ACCOUNT, ACCOUNT_TOKEN, {ID: {"a": "1"}, NUMBER_ID: {"b": "2"}})
    assert account is not None
    assert await registry.accounts.find(ID) == account
    assert [await registry.tags.all(id_) for id_ in (ID, NUMBER_ID, OTHER_NUMBER_ID)] == [{"a": "1"}, {"b": "2"}, {}]
    assert await registry.signups.find(token) is None
    assert await registry.signups.finish(token, ACCOUNT, ACCOUNT_TOKEN, {}) is None


async def test_of_two_that_finish_a_signup_at_once_one_does(registry: Registry) -> None:
    token = await registry.signups.begin(Signup(SecretStr(TOKEN)))
    done = await asyncio.gather(*(registry.signups.finish(token, ACCOUNT, ACCOUNT_TOKEN, {}) for _ in range(4)))
    assert sum(account is not None for account in done) == 1


async def test_a_signup_that_fails_to_finish_can_be_finished_later(registry: Registry) -> None:
    token = await registry.signups.begin(Signup(SecretStr(TOKEN)))
    with pytest.raises(TooManyTagsError):
        await registry.signups.finish(token, ACCOUNT, ACCOUNT_TOKEN, {ID: {str(i): "" for i in range(MAX_TAGS + 1)}})
    assert await registry.accounts.all() == ()
    assert await registry.signups.finish(token, ACCOUNT, ACCOUNT_TOKEN, {}) is not None


async def test_neither_token_of_a_signup_is_readable_in_the_database_and_old_ones_go(
    registry: Registry, url: str, clock: Clock
) -> None:
    token = await registry.signups.begin(Signup(SecretStr(TOKEN)))
    clock.now += timedelta(hours=2)
    newer = await registry.signups.begin(Signup(SecretStr(TOKEN)))
    engine = open_engine(url)
    async with engine.connect() as connection:
        rows = (await connection.execute(text("SELECT * FROM signups"))).all()
    await engine.dispose()
    assert len(rows) == 1
    for secret in (TOKEN, token.get_secret_value(), newer.get_secret_value()):
        assert secret not in repr(rows)


# The console


async def test_a_link_to_the_console_is_good_once_and_for_a_minute(registry: Registry, clock: Clock) -> None:
    sign_ins = registry.console_sign_ins
    first, second = [(await sign_ins.make_link("AKIA1")).get_secret_value() for _ in range(2)]
    long = (await sign_ins.make_link("AKIA1", timedelta(hours=1))).get_secret_value()
    assert len(first) == 43
    assert await sign_ins.use_link(first[:-1]) is None
    assert await sign_ins.use_link(first) == "AKIA1"
    assert await sign_ins.use_link(first) is None
    clock.now += timedelta(seconds=60)
    assert await sign_ins.use_link(second) is None
    assert await sign_ins.use_link(long) == "AKIA1"


async def test_a_session_lasts_eight_hours_and_half_an_hour_without_use(registry: Registry, clock: Clock) -> None:
    sign_ins = registry.console_sign_ins
    used, idle, looked_at, brief, ended = [
        (await sign_ins.begin("AKIA1", until, "ada")).get_secret_value()
        for until in (None, None, None, clock() + timedelta(minutes=10), None)
    ]
    await sign_ins.end(ended)
    assert await sign_ins.find(ended, uses=True) is None
    clock.now += timedelta(minutes=10)
    assert await sign_ins.find(brief, uses=True) is None
    for _ in range(23):
        assert await sign_ins.find(used, uses=True) == ("AKIA1", "ada")
        await sign_ins.find(looked_at, uses=False)
        clock.now += timedelta(minutes=20)
    assert await sign_ins.find(idle, uses=True) is None
    assert await sign_ins.find(looked_at, uses=True) is None
    assert await sign_ins.find(used, uses=True) == ("AKIA1", "ada")
    clock.now += timedelta(minutes=10)
    assert await sign_ins.find(used, uses=True) is None
    assert await sign_ins.find("\ud800", uses=True) is None
