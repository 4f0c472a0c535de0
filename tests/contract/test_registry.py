# ruff: noqa: ASYNC240 - looking at a file in tmp_path holds up nobody

import asyncio
import random
import re
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import text

import whaul.events.database.tables  # noqa: F401 - they are tables of the registry's database
from tools.postgresql import PostgresqlServer
from whaul.arns import Arns
from whaul.database_url import database_file
from whaul.model import Account, GraphToken, KeyUse, MetaAccount, MetaPhoneNumber, PhoneNumber
from whaul.registry import accounts
from whaul.registry.database import for_writing, open_engine
from whaul.registry.errors import RegistryError, RegistryUnavailableError, SchemaMissingError, SchemaTooNewError
from whaul.registry.registry import ENCRYPTED, Registry, open_registry
from whaul.registry.tables import Encrypted, Table
from whaul.secrets import Cipher, SecretKeyError

pytestmark = pytest.mark.anyio

ACCOUNT_ID = "111122223333"
REGION = "eu-west-1"
ARNS = Arns(ACCOUNT_ID, REGION)
POLICY = '{"Version": "2012-10-17", "Statement": []}'
FIRST = MetaPhoneNumber("106540352242922", "+1 555-010-0100", "Lucky Shrub", "GREEN")
SECOND = MetaPhoneNumber("206540352242922", "+1 555-010-0101", "Lucky Shrub Two")
SHRUB = MetaAccount("102290129340398", "Lucky Shrub", (FIRST, SECOND))
SHRUB_TOKEN = GraphToken(SecretStr("EAAG-access-token"), SecretStr("app-secret-of-shrub"))
FERN = MetaAccount("202290129340398", "Fern", (replace(FIRST, meta_id="3"),))
FERN_TOKEN = GraphToken(SecretStr("EAAG-fern"))

Opener = Callable[..., AbstractAsyncContextManager[Registry]]


class Clock:
    """A time of day that moves when told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def key() -> SecretStr:
    return SecretStr(Fernet.generate_key().decode())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


@pytest.fixture
def reopen(url: str, key: SecretStr, clock: Clock) -> Opener:
    def open_again(
        *, keys: SecretStr = key, account_id: str = ACCOUNT_ID, region: str = REGION
    ) -> AbstractAsyncContextManager[Registry]:
        return open_registry(
            url,
            Cipher(keys),
            account_id=account_id,
            region=region,
            create=True,
            clock=clock,
            rng=random.Random(7),  # noqa: S311 - the same keys in every run
        )

    return open_again


@pytest.fixture
async def registry(reopen: Opener) -> AsyncIterator[Registry]:
    async with reopen() as registry:
        yield registry


async def test_a_linked_account_is_returned_with_ids_arns_and_numbers(registry: Registry, clock: Clock) -> None:
    account = await registry.accounts.link(SHRUB, SHRUB_TOKEN)
    id_ = ARNS.waba_id(SHRUB.meta_waba_id)
    assert account.id == id_
    assert account.arn == ARNS.arn(id_)
    assert (account.meta_waba_id, account.name, account.has_app_secret) == (SHRUB.meta_waba_id, SHRUB.name, True)
    assert account.linked_at == clock.now
    assert [number.meta_id for number in account.phone_numbers] == [FIRST.meta_id, SECOND.meta_id]
    number = account.phone_numbers[0]
    assert number.id == ARNS.phone_number_id(FIRST.meta_id)
    assert number.arn == ARNS.arn(number.id)
    assert (number.display_phone_number, number.verified_name, number.quality_rating) == (
        "+1 555-010-0100",
        "Lucky Shrub",
        "GREEN",
    )
    assert account.phone_numbers[1].quality_rating == "UNKNOWN"


async def test_a_linked_account_is_found_by_id_arn_and_meta_id(registry: Registry) -> None:
    linked = await registry.accounts.link(SHRUB, SHRUB_TOKEN)
    for name in (linked.id, linked.arn, linked.meta_waba_id):
        assert await registry.accounts.find(name) == linked


@pytest.mark.parametrize("name", ["", "1", "waba-" + "0" * 32, "%", ARNS.phone_number_id(FIRST.meta_id)])
async def test_an_account_that_is_not_linked_is_not_found(registry: Registry, name: str) -> None:
    await registry.accounts.link(SHRUB, SHRUB_TOKEN)
    assert await registry.accounts.find(name) is None
    assert await registry.accounts.linked_account(name) is None
    assert not await registry.accounts.unlink(name)
    assert len(await registry.accounts.all()) == 1


async def test_accounts_are_listed_in_the_order_of_linking(registry: Registry, clock: Clock) -> None:
    fern = await registry.accounts.link(FERN, FERN_TOKEN)
    clock.advance(seconds=1)
    shrub = await registry.accounts.link(SHRUB, SHRUB_TOKEN)
    clock.advance(seconds=1)
    again = await registry.accounts.link(FERN, FERN_TOKEN)
    assert again.linked_at == fern.linked_at
    assert await registry.accounts.all() == (again, shrub)


async def test_accounts_linked_at_the_same_moment_are_listed_by_id(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = [
        await registry.accounts.link(replace(FERN, meta_waba_id=str(n), phone_numbers=()), FERN_TOKEN) for n in range(8)
    ]
    in_order = sorted(linked, key=lambda account: account.id)
    assert list(await registry.accounts.all()) == in_order
    monkeypatch.setattr(accounts, "PAGE", 3)
    assert [account async for account in registry.accounts.each()] == in_order


async def test_of_many_numbers_the_first_ones_are_read_and_the_others_counted(registry: Registry) -> None:
    assert await registry.accounts.first_numbers(2) == ([], 0)
    linked = [await registry.accounts.link(SHRUB, SHRUB_TOKEN), await registry.accounts.link(FERN, FERN_TOKEN)]
    numbers = [number for account in await registry.accounts.all() for number in account.phone_numbers]
    assert len(numbers) == sum(len(account.phone_numbers) for account in linked) > 1
    assert await registry.accounts.first_numbers(1) == (numbers[:1], len(numbers))


async def test_a_phone_number_comes_with_what_a_call_to_meta_needs(registry: Registry) -> None:
    await registry.accounts.link(SHRUB, SHRUB_TOKEN)
    id_ = ARNS.phone_number_id(SECOND.meta_id)
    assert await registry.accounts.phone_number(id_) == PhoneNumber(
        id=id_,
        arn=ARNS.arn(id_),
        meta_id=SECOND.meta_id,
        token=GraphToken(SecretStr("EAAG-access-token"), SecretStr("app-secret-of-shrub")),
    )


async def test_an_account_comes_with_what_a_call_to_meta_needs(registry: Registry) -> None:
    linked = await registry.accounts.link(SHRUB, SHRUB_TOKEN)
    token = GraphToken(SecretStr("EAAG-access-token"), SecretStr("app-secret-of-shrub"))
    assert await registry.accounts.linked_account(linked.id) == Account(
        linked.id, linked.arn, SHRUB.meta_waba_id, token
    )
    for name in (SHRUB.meta_waba_id, linked.arn, "", linked.phone_numbers[0].id):
        assert await registry.accounts.linked_account(name) is None


async def test_a_phone_number_of_an_account_without_an_app_secret_has_none(registry: Registry) -> None:
    account = await registry.accounts.link(FERN, FERN_TOKEN)
    assert not account.has_app_secret
    number = await registry.accounts.phone_number(account.phone_numbers[0].id)
    assert number is not None
    assert number.token.app_secret is None


async def test_a_phone_number_is_not_found_by_meta_s_id_nor_by_its_arn(registry: Registry) -> None:
    account = await registry.accounts.link(SHRUB, SHRUB_TOKEN)
    for name in (FIRST.meta_id, account.phone_numbers[0].arn, "", account.id):
        assert await registry.accounts.phone_number(name) is None


async def test_the_token_of_an_account_is_found_without_a_phone_number(registry: Registry) -> None:
    await registry.accounts.link(replace(SHRUB, phone_numbers=()), SHRUB_TOKEN)
    account = await registry.accounts.linked_account(ARNS.waba_id(SHRUB.meta_waba_id))
    assert account is not None
    assert account.token == SHRUB_TOKEN


async def test_linking_again_replaces_everything_but_the_id_and_the_date(registry: Registry, clock: Clock) -> None:
    before = await registry.accounts.link(SHRUB, SHRUB_TOKEN)
    clock.advance(days=1)
    renamed = replace(FIRST, verified_name="Shrub", quality_rating="RED")
    after = await registry.accounts.link(
        MetaAccount(SHRUB.meta_waba_id, "Shrub Ltd", (renamed,)), GraphToken(SecretStr("EAAG-second"))
    )
    assert (after.id, after.linked_at) == (before.id, before.linked_at)
    assert (after.name, after.has_app_secret) == ("Shrub Ltd", False)
    assert [(n.verified_name, n.quality_rating) for n in after.phone_numbers] == [("Shrub", "RED")]
    assert await registry.accounts.all() == (after,)
    number = await registry.accounts.phone_number(after.phone_numbers[0].id)
    assert number is not None
    assert (number.token.access_token, number.token.app_secret) == (SecretStr("EAAG-second"), None)


async def test_a_number_that_is_gone_from_meta_is_gone_after_linking_again(registry: Registry) -> None:
    await registry.accounts.link(SHRUB, SHRUB_TOKEN)
    await registry.accounts.link(replace(SHRUB, phone_numbers=(FIRST,)), SHRUB_TOKEN)
    assert await registry.accounts.phone_number(ARNS.phone_number_id(SECOND.meta_id)) is None
    assert await registry.accounts.phone_number(ARNS.phone_number_id(FIRST.meta_id)) is not None


async def test_a_number_that_moved_to_another_account_uses_that_account_s_token(registry: Registry) -> None:
    await registry.accounts.link(SHRUB, SHRUB_TOKEN)
    await registry.accounts.link(replace(FERN, phone_numbers=(FIRST,)), FERN_TOKEN)
    number = await registry.accounts.phone_number(ARNS.phone_number_id(FIRST.meta_id))
    assert number is not None
    assert number.token.access_token == FERN_TOKEN.access_token
    shrub = await registry.accounts.find(SHRUB.meta_waba_id)
    assert shrub is not None
    assert [n.meta_id for n in shrub.phone_numbers] == [SECOND.meta_id]


async def test_a_number_given_twice_is_stored_once(registry: Registry) -> None:
    account = await registry.accounts.link(
        replace(SHRUB, phone_numbers=(FIRST, replace(FIRST, verified_name="Later"))), SHRUB_TOKEN
    )
    assert [number.verified_name for number in account.phone_numbers] == ["Later"]


async def test_a_link_that_fails_half_way_changes_nothing(registry: Registry) -> None:
    before = await registry.accounts.link(SHRUB, SHRUB_TOKEN)
    impossible = replace(FIRST, verified_name=None)  # type: ignore[arg-type]
    with pytest.raises(RegistryUnavailableError):
        await registry.accounts.link(
            replace(SHRUB, name="Other", phone_numbers=(impossible,)), GraphToken(SecretStr("x"))
        )
    assert await registry.accounts.all() == (before,)
    number = await registry.accounts.phone_number(before.phone_numbers[0].id)
    assert number is not None
    assert number.token.access_token == SHRUB_TOKEN.access_token


async def test_links_of_one_account_at_once_all_succeed(registry: Registry) -> None:
    linked = await asyncio.gather(*(registry.accounts.link(SHRUB, SHRUB_TOKEN) for _ in range(12)))
    assert set(linked) == {await registry.accounts.find(SHRUB.meta_waba_id)}


async def test_reads_do_not_wait_for_a_writer(registry: Registry, url: str) -> None:
    account = await registry.accounts.link(SHRUB, SHRUB_TOKEN)
    engine = open_engine(url)
    async with for_writing(engine).connect() as other:
        await other.execute(text("DELETE FROM phone_numbers"))
        assert await registry.accounts.phone_number(account.phone_numbers[0].id) is not None
        await other.rollback()
    await engine.dispose()


@pytest.mark.parametrize("attribute", ["id", "arn", "meta_waba_id"])
async def test_unlinking_removes_the_account_and_its_numbers(registry: Registry, attribute: str) -> None:
    fern = await registry.accounts.link(FERN, FERN_TOKEN)
    shrub = await registry.accounts.link(SHRUB, SHRUB_TOKEN)
    assert await registry.accounts.unlink(getattr(shrub, attribute))
    assert await registry.accounts.all() == (fern,)
    assert await registry.accounts.find(shrub.id) is None
    assert await registry.accounts.phone_number(shrub.phone_numbers[0].id) is None
    assert await registry.accounts.phone_number(fern.phone_numbers[0].id) is not None
    assert not await registry.accounts.unlink(getattr(shrub, attribute))


async def test_an_access_key_has_the_form_of_aws_s(registry: Registry) -> None:
    key = await registry.access_keys.create("ci", POLICY)
    assert re.fullmatch("AKIA[A-Z2-7]{16}", key.access_key_id)
    assert re.fullmatch("[A-Za-z0-9+/]{40}", key.secret_access_key.get_secret_value())
    assert (key.name, key.policy, key.session_token) == ("ci", POLICY, None)


async def test_an_access_key_is_found_as_it_was_made(registry: Registry) -> None:
    key = await registry.access_keys.create("ci", POLICY)
    assert await registry.access_keys.find(key.access_key_id) == key


async def test_no_two_access_keys_are_alike(registry: Registry) -> None:
    keys = [await registry.access_keys.create("ci", POLICY) for _ in range(20)]
    assert len({key.access_key_id for key in keys}) == 20
    assert len({key.secret_access_key.get_secret_value() for key in keys}) == 20


async def test_access_keys_are_unpredictable_unless_told_otherwise(url: str, key: SecretStr) -> None:
    made = set()
    for _ in range(2):
        async with open_registry(url, Cipher(key), account_id=ACCOUNT_ID, region=REGION, create=True) as registry:
            assert isinstance(registry._database.rng, random.SystemRandom)
            made.add((await registry.access_keys.create("ci", POLICY)).access_key_id)
    assert len(made) == 2


@pytest.mark.parametrize(
    "change", [str.lower, lambda id_: id_ + "A", lambda id_: id_[:-1], lambda _: "", lambda _: "%"]
)
async def test_an_unknown_access_key_is_not_found(registry: Registry, change: Callable[[str], str]) -> None:
    key = await registry.access_keys.create("ci", POLICY)
    unknown = change(key.access_key_id)
    assert await registry.access_keys.find(unknown) is None
    assert not await registry.access_keys.disable(unknown)
    assert not await registry.access_keys.set_policy(unknown, "{}")
    assert not await registry.access_keys.set_rate_limit(unknown, 1)
    assert await registry.access_keys.find(key.access_key_id) == key


async def test_usable_access_keys_are_told_from_others(registry: Registry) -> None:
    usable, disabled = [(await registry.access_keys.create("ci", POLICY)).access_key_id for _ in range(2)]
    await registry.access_keys.disable(disabled)
    made_up = [f"AKIA{number:016}" for number in range(500)]
    assert await registry.access_keys.usable([usable, disabled, *made_up]) == {usable}
    assert await registry.access_keys.usable([]) == set()


async def test_a_disabled_access_key_is_not_found_but_listed(registry: Registry, clock: Clock) -> None:
    key = await registry.access_keys.create("ci", POLICY)
    created = clock.now
    clock.advance(hours=1)
    assert await registry.access_keys.disable(key.access_key_id)
    assert await registry.access_keys.find(key.access_key_id) is None
    (record,) = await registry.access_keys.all()
    assert (record.access_key_id, record.created_at, record.disabled_at) == (key.access_key_id, created, clock.now)


async def test_a_disabled_access_key_is_enabled_again(registry: Registry) -> None:
    key = await registry.access_keys.create("ci", POLICY)
    assert await registry.access_keys.disable(key.access_key_id)
    assert await registry.access_keys.enable(key.access_key_id)
    assert await registry.access_keys.find(key.access_key_id) == key
    record = await registry.access_keys.record(key.access_key_id)
    assert record is not None
    assert record.disabled_at is None
    assert not await registry.access_keys.enable("AKIANOBODY")


async def test_a_deleted_access_key_is_gone_and_no_other(registry: Registry) -> None:
    key, other = await registry.access_keys.create("ci", POLICY), await registry.access_keys.create("other", POLICY)
    assert await registry.access_keys.delete(key.access_key_id)
    assert not await registry.access_keys.delete(key.access_key_id)
    assert await registry.access_keys.record(key.access_key_id) is None
    assert [record.access_key_id for record in await registry.access_keys.all()] == [other.access_key_id]


async def test_the_latest_use_of_an_access_key_is_kept(registry: Registry, clock: Clock) -> None:
    used, unused = [(await registry.access_keys.create("ci", POLICY)).access_key_id for _ in range(2)]
    late, early = KeyUse(clock.now, "GetWhatsAppMessageMedia"), KeyUse(clock.now - timedelta(hours=1), None)
    await registry.access_keys.record_uses({used: early, "AKIAROOT": late})
    await registry.access_keys.record_uses({used: late})
    await registry.access_keys.record_uses({used: early})  # by another server, which writes later
    assert {each.access_key_id: each.last_use for each in await registry.access_keys.all()} == {
        used: late,
        unused: None,
    }


async def test_disabling_again_keeps_the_first_date(registry: Registry, clock: Clock) -> None:
    key = await registry.access_keys.create("ci", POLICY)
    first = clock.now
    assert await registry.access_keys.disable(key.access_key_id)
    clock.advance(hours=1)
    assert await registry.access_keys.disable(key.access_key_id)
    assert [record.disabled_at for record in await registry.access_keys.all()] == [first]


async def test_a_new_policy_takes_the_place_of_the_old(registry: Registry) -> None:
    key, other = await registry.access_keys.create("ci", POLICY), await registry.access_keys.create("other", POLICY)
    assert await registry.access_keys.set_policy(key.access_key_id, '{"Statement": ["ü"]}')
    assert await registry.access_keys.find(key.access_key_id) == replace(key, policy='{"Statement": ["ü"]}')
    assert await registry.access_keys.find(other.access_key_id) == other


async def test_an_access_key_may_have_a_rate_limit_of_its_own(registry: Registry) -> None:
    key = await registry.access_keys.create("ci", POLICY, rate_limit=2.5, rate_burst=10)
    assert (key.rate_limit, key.rate_burst) == (2.5, 10)
    assert await registry.access_keys.find(key.access_key_id) == key
    (record,) = await registry.access_keys.all()
    assert (record.rate_limit, record.rate_burst) == (2.5, 10)


async def test_a_rate_limit_is_replaced_and_taken_away(registry: Registry) -> None:
    key, other = await registry.access_keys.create("ci", POLICY), await registry.access_keys.create("other", POLICY)
    assert (key.rate_limit, key.rate_burst) == (None, None)
    assert await registry.access_keys.set_rate_limit(key.access_key_id, 0.5, 3)
    assert await registry.access_keys.find(key.access_key_id) == replace(key, rate_limit=0.5, rate_burst=3)
    assert await registry.access_keys.set_rate_limit(key.access_key_id, 0)
    assert await registry.access_keys.find(key.access_key_id) == replace(key, rate_limit=0)
    assert await registry.access_keys.set_rate_limit(key.access_key_id, None)
    assert await registry.access_keys.find(key.access_key_id) == key
    assert await registry.access_keys.find(other.access_key_id) == other


async def test_access_keys_are_listed_oldest_first_without_secrets(registry: Registry, clock: Clock) -> None:
    keys = []
    for name in "cab":
        keys.append(await registry.access_keys.create(name, POLICY))
        clock.advance(seconds=1)
    records = await registry.access_keys.all()
    assert [(r.name, r.access_key_id, r.policy) for r in records] == [(k.name, k.access_key_id, k.policy) for k in keys]
    assert all(key.secret_access_key.get_secret_value() not in repr(records) for key in keys)


async def test_a_temporary_access_key_has_a_session_token_and_an_end(registry: Registry, clock: Clock) -> None:
    end = clock.now + timedelta(minutes=15)
    key = await registry.access_keys.create("ci", POLICY, expires_at=end)
    assert re.fullmatch("ASIA[A-Z2-7]{16}", key.access_key_id)
    assert key.session_token
    assert key.expires_at == end
    assert await registry.access_keys.find(key.access_key_id) == key
    assert [record.expires_at for record in await registry.access_keys.all()] == [end]
    clock.now = end  # that it has expired is for the caller to be told
    assert await registry.access_keys.find(key.access_key_id) == key


async def test_an_expiry_in_another_time_zone_is_the_same_moment(registry: Registry, clock: Clock) -> None:
    end = (clock.now + timedelta(hours=1)).astimezone(timezone(timedelta(hours=-7)))
    key = await registry.access_keys.create("ci", POLICY, expires_at=end)
    (record,) = await registry.access_keys.all()
    assert record.expires_at == end
    assert record.expires_at.tzinfo is UTC
    found = await registry.access_keys.find(key.access_key_id)
    assert found is not None
    assert found.expires_at == end


async def test_an_expiry_without_a_time_zone_is_refused(registry: Registry) -> None:
    with pytest.raises(RegistryUnavailableError) as caught:
        await registry.access_keys.create("ci", POLICY, expires_at=datetime(2026, 1, 1))  # noqa: DTZ001
    assert "time zone" in caught.value.reason
    assert await registry.access_keys.all() == ()


async def test_what_was_stored_is_there_after_opening_again(reopen: Opener) -> None:
    async with reopen() as registry:
        account = await registry.accounts.link(SHRUB, SHRUB_TOKEN)
        key = await registry.access_keys.create("ci", POLICY)
    async with reopen() as registry:
        assert await registry.accounts.all() == (account,)
        assert await registry.access_keys.find(key.access_key_id) == key


async def test_another_account_number_sees_nothing_of_it(reopen: Opener) -> None:
    async with reopen() as registry:
        account = await registry.accounts.link(SHRUB, SHRUB_TOKEN)
        key = await registry.access_keys.create("ci", POLICY)
    async with reopen(account_id="999999999999") as other:
        assert await other.accounts.all() == ()
        assert await other.access_keys.all() == ()
        for name in (account.id, account.meta_waba_id):
            assert await other.accounts.find(name) is None
            assert await other.accounts.linked_account(name) is None
            assert not await other.accounts.unlink(name)
        assert await other.accounts.phone_number(account.phone_numbers[0].id) is None
        assert await other.access_keys.find(key.access_key_id) is None
        assert not await other.access_keys.disable(key.access_key_id)
        assert not await other.access_keys.enable(key.access_key_id)
        assert not await other.access_keys.delete(key.access_key_id)
        assert await other.access_keys.record(key.access_key_id) is None
        await other.access_keys.record_uses({key.access_key_id: KeyUse(datetime.now(UTC), None)})
        assert not await other.access_keys.set_policy(key.access_key_id, "{}")
        assert not await other.access_keys.set_rate_limit(key.access_key_id, 1)
        assert (await other.accounts.link(SHRUB, SHRUB_TOKEN)).id != account.id
    async with reopen() as registry:
        assert await registry.accounts.all() == (account,)
        assert await registry.access_keys.find(key.access_key_id) == key
        assert [record.last_use for record in await registry.access_keys.all()] == [None]


async def test_another_region_has_the_same_ids_and_its_own_arns(reopen: Opener) -> None:
    async with reopen() as registry:
        account = await registry.accounts.link(SHRUB, SHRUB_TOKEN)
    async with reopen(region="us-east-1") as elsewhere:
        (same,) = await elsewhere.accounts.all()
        assert same.id == account.id
        assert ":us-east-1:" in same.arn
        assert await elsewhere.accounts.find(account.arn) is None


async def test_another_secret_key_is_told_apart_from_an_unknown_id(reopen: Opener) -> None:
    async with reopen() as registry:
        account = await registry.accounts.link(SHRUB, SHRUB_TOKEN)
        key = await registry.access_keys.create("ci", POLICY)
    async with reopen(keys=SecretStr(Fernet.generate_key().decode())) as registry:
        with pytest.raises(SecretKeyError, match="WHAUL_SECRET_KEY"):
            await registry.accounts.phone_number(account.phone_numbers[0].id)
        with pytest.raises(SecretKeyError):
            await registry.access_keys.find(key.access_key_id)
        with pytest.raises(SecretKeyError):
            await registry.accounts.linked_account(account.id)
        assert await registry.accounts.all() == (account,)


async def test_a_new_secret_key_in_front_of_the_old_reads_what_is_stored(reopen: Opener, key: SecretStr) -> None:
    async with reopen() as registry:
        account = await registry.accounts.link(SHRUB, SHRUB_TOKEN)
    both = SecretStr(f"{Fernet.generate_key().decode()},{key.get_secret_value()}")
    async with reopen(keys=both) as registry:
        assert await registry.accounts.phone_number(account.phone_numbers[0].id) is not None


async def test_rotation_encrypts_every_secret_with_the_first_key(reopen: Opener, key: SecretStr, clock: Clock) -> None:
    fresh = SecretStr(Fernet.generate_key().decode())
    async with reopen() as registry:
        shrub, fern = await registry.accounts.link(SHRUB, SHRUB_TOKEN), await registry.accounts.link(FERN, FERN_TOKEN)
        permanent = await registry.access_keys.create("ci", POLICY)
        temporary = await registry.access_keys.create("tmp", POLICY, expires_at=clock.now + timedelta(hours=1))
        disabled = await registry.access_keys.create("old", POLICY)
        await registry.access_keys.disable(disabled.access_key_id)
    async with reopen(keys=SecretStr(f"{fresh.get_secret_value()},{key.get_secret_value()}")) as registry:
        await registry.check_secret_key()
        assert await registry.rotate_secrets() == 7  # two tokens, one app secret, three secrets, one session token
        assert await registry.rotate_secrets() == 0
    async with reopen(keys=fresh) as registry:
        await registry.check_secret_key()
        assert await registry.access_keys.find(permanent.access_key_id) == permanent
        assert await registry.access_keys.find(temporary.access_key_id) == temporary
        number = await registry.accounts.phone_number(shrub.phone_numbers[0].id)
        assert number is not None
        assert (number.token.access_token, number.token.app_secret) == (
            SHRUB_TOKEN.access_token,
            SHRUB_TOKEN.app_secret,
        )
        other = await registry.accounts.phone_number(fern.phone_numbers[0].id)
        assert other is not None
        assert other.token == FERN_TOKEN
    async with reopen() as registry:
        with pytest.raises(SecretKeyError):
            await registry.check_secret_key()


async def test_rotation_without_the_old_key_changes_nothing(reopen: Opener) -> None:
    async with reopen() as registry:
        await registry.accounts.link(SHRUB, SHRUB_TOKEN)
    fresh = SecretStr(Fernet.generate_key().decode())
    async with reopen(keys=fresh) as registry:
        await registry.access_keys.create("ci", POLICY)
        with pytest.raises(SecretKeyError):
            await registry.rotate_secrets()
    async with reopen() as registry:
        assert await registry.accounts.linked_account(ARNS.waba_id(SHRUB.meta_waba_id)) is not None


async def test_rotation_refuses_a_newer_database_since_it_may_hold_secrets_unknown_here(reopen: Opener) -> None:
    async with reopen() as registry:
        async with registry._database.writing() as session:
            await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(SchemaTooNewError, match="run that version"):
            await registry.rotate_secrets()


async def test_rotation_leaves_other_account_numbers_alone(reopen: Opener, key: SecretStr) -> None:
    fresh = SecretStr(f"{Fernet.generate_key().decode()},{key.get_secret_value()}")
    async with reopen(account_id="999999999999") as other:
        await other.accounts.link(SHRUB, SHRUB_TOKEN)
    async with reopen(keys=fresh) as registry:
        assert await registry.rotate_secrets() == 0
    async with reopen(account_id="999999999999") as other:
        await other.check_secret_key()


@pytest.mark.parametrize("last", [False, True])
async def test_a_wrong_key_for_any_one_secret_is_found(reopen: Opener, last: bool) -> None:
    fresh = SecretStr(Fernet.generate_key().decode())
    async with reopen() as registry:
        await registry.access_keys.create("ci", POLICY)
    async with reopen(keys=fresh) as registry:
        await registry.accounts.link(SHRUB, SHRUB_TOKEN)
    async with reopen(keys=fresh) if last else reopen() as registry:
        with pytest.raises(SecretKeyError, match="check WHAUL_SECRET_KEY"):
            await registry.check_secret_key()


def test_every_encrypted_column_can_be_rotated() -> None:
    found = {}
    for table in Table.metadata.sorted_tables:
        secrets = [column.name for column in table.columns if isinstance(column.type, Encrypted)]
        if secrets:
            (key,) = table.primary_key.columns
            assert "owner" in table.columns
            found[table.name] = (key.name, *secrets)
    assert found == ENCRYPTED


async def test_no_secret_is_readable_in_the_files_of_the_database(
    registry: Registry, url: str, clock: Clock, request: pytest.FixtureRequest
) -> None:
    await registry.accounts.link(SHRUB, SHRUB_TOKEN)
    permanent = await registry.access_keys.create("ci", POLICY)
    temporary = await registry.access_keys.create("tmp", POLICY, expires_at=clock.now + timedelta(hours=1))
    assert temporary.session_token
    secrets = [
        SHRUB_TOKEN.access_token,
        SHRUB_TOKEN.app_secret,
        permanent.secret_access_key,
        temporary.secret_access_key,
        temporary.session_token,
    ]
    if url.startswith("sqlite"):
        folder, expected = database_file(url).parent, {"registry.db", "registry.db-wal"}
    else:
        server: PostgresqlServer = request.getfixturevalue("postgresql")
        server.execute("CHECKPOINT")
        folder, expected = server.folder, {"PG_VERSION", "log"}  # the log has each statement with its parameters
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert expected <= {file.name for file in files}
    everything = b"".join(file.read_bytes() for file in files)
    assert permanent.access_key_id.encode() in everything
    for secret in secrets:
        assert secret is not None
        plain = secret.get_secret_value().encode()
        assert plain not in everything
        assert urlsafe_b64encode(plain).rstrip(b"=")[:-1] not in everything


async def test_a_registry_that_answers_pings(registry: Registry) -> None:
    await registry.ping()


async def test_every_method_tells_that_the_database_does_not_answer(registry: Registry, url: str) -> None:
    async with registry._database.engine.begin() as connection:
        for table in ("phone_numbers", "accounts", "access_keys"):
            await connection.execute(text(f"DROP TABLE {table}"))
    for call in (
        lambda: registry.accounts.link(SHRUB, SHRUB_TOKEN),
        lambda: registry.accounts.unlink("1"),
        registry.accounts.all,
        lambda: registry.accounts.find("1"),
        lambda: registry.accounts.linked_account("1"),
        lambda: registry.accounts.phone_number("1"),
        lambda: registry.access_keys.create("ci", POLICY),
        registry.access_keys.all,
        registry.rotate_secrets,
        registry.check_secret_key,
        lambda: registry.access_keys.find("1"),
        lambda: registry.access_keys.disable("1"),
        lambda: registry.access_keys.set_policy("1", POLICY),
        lambda: registry.access_keys.set_rate_limit("1", 1),
    ):
        with pytest.raises(RegistryUnavailableError) as caught:
            await call()
        assert "no such table" in caught.value.reason or "does not exist" in caught.value.reason
        assert caught.value.__cause__ is not None
        assert url.partition("//")[2] not in str(caught.value)
        assert str(caught.value) == "The registry's database did not answer."


async def test_a_ping_tells_that_the_database_is_gone(key: SecretStr, path: Path) -> None:
    async with open_registry(
        f"sqlite:///{path}", Cipher(key), account_id=ACCOUNT_ID, region=REGION, create=True
    ) as registry:
        await registry._database.engine.dispose()
        path.unlink()
        with pytest.raises(RegistryUnavailableError, match="did not answer"):
            await registry.ping()
        assert not path.exists()


async def test_an_error_of_the_database_holds_no_token(registry: Registry) -> None:
    impossible = replace(FIRST, verified_name=None)  # type: ignore[arg-type]
    with pytest.raises(RegistryUnavailableError) as caught:
        await registry.accounts.link(replace(SHRUB, phone_numbers=(impossible,)), SHRUB_TOKEN)
    assert "EAAG" not in f"{caught.value} {caught.value.reason} {caught.value.__cause__}"


async def test_a_database_is_not_made_unless_asked_for(path: Path, key: SecretStr) -> None:
    with pytest.raises(SchemaMissingError, match="whaul migrate"):
        async with open_registry(f"sqlite:///{path}", Cipher(key), account_id=ACCOUNT_ID, region=REGION):
            pass
    assert not path.exists()


async def test_opening_a_file_that_is_no_database_is_a_registry_error(path: Path, key: SecretStr) -> None:
    path.write_bytes(b"This is a letter, not a database. " * 100)
    with pytest.raises(RegistryError) as caught:
        async with open_registry(f"sqlite:///{path}", Cipher(key), account_id=ACCOUNT_ID, region=REGION):
            pass
    assert isinstance(caught.value, RegistryUnavailableError)
    assert "not a database" in caught.value.reason
