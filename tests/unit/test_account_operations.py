"""What the operations on accounts answer when what they stand on says something rare."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from whaul.api.request import Request
from whaul.auth.authenticator import Caller
from whaul.auth.policy import ALLOW_ALL, Policy
from whaul.errors import ResourceNotFoundException
from whaul.graph.accounts import AccountCalls, MetaAccount, MetaToken
from whaul.operations.accounts import AccountOperations
from whaul.operations.refresh import Refreshes
from whaul.operations.signup import SignupOperation
from whaul.registry.records import LinkedAccount, NewAccount, NewPhoneNumber
from whaul.registry.store import Registry, open_registry
from whaul.secrets import Cipher
from whaul.telemetry.call import Call

pytestmark = pytest.mark.anyio

OWNER, REGION, WABA = "111122223333", "eu-west-1", "401"
CALLER = Caller("AKIA", "ann", "arn:aws:iam::111122223333:user/ann", Policy.parse(ALLOW_ALL))
ACCOUNT = NewAccount(WABA, "Harbour", SecretStr("EAAG"), None, (NewPhoneNumber("501", "+1 555-010-0001", "One"),))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    cipher = Cipher(SecretStr(Fernet.generate_key().decode()))
    url = f"sqlite:///{tmp_path / 'whaul.db'}"
    async with open_registry(url, cipher, account_id=OWNER, region=REGION, create=True) as opened:
        yield opened


class EmptyAccountAtMeta:
    """A Graph API that knows one account, without phone numbers."""

    async def token(self, _token: object) -> MetaToken:
        return MetaToken(True, (WABA,), None)

    async def account(self, _access: object, waba_id: str) -> MetaAccount:
        return MetaAccount(waba_id, "Harbour", ())


async def test_a_number_that_goes_while_its_account_is_read_is_not_linked(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await registry.link(ACCOUNT)

    async def read_before_it_went(_id: str) -> LinkedAccount:
        return replace(account, phone_numbers=())

    monkeypatch.setattr(registry, "account_with", read_before_it_went)
    refreshes = Refreshes(registry, cast("AccountCalls", EmptyAccountAtMeta()))
    operations = AccountOperations(registry, refreshes, account_id=OWNER, region=REGION)
    query = f"id={account.phone_numbers[0].id}".encode()
    with pytest.raises(ResourceNotFoundException):
        await operations.get_number(Request(query, b""), CALLER, Call("id"))


async def test_a_sign_up_calls_an_account_without_numbers_incomplete_as_the_list_does(registry: Registry) -> None:
    await registry.link(replace(ACCOUNT, phone_numbers=()))
    graph = cast("AccountCalls", EmptyAccountAtMeta())
    signup = SignupOperation(registry, graph, account_id=OWNER, region=REGION, deadline=20)
    body = json.dumps({"signupCallback": {"accessToken": "EAAG"}}).encode()
    answer, _ = await signup.associate(Request(b"", body), CALLER, Call("id"))
    found: Any = json.loads(answer)["signupCallbackResult"]["linkedAccountsWithIncompleteSetup"][WABA]
    assert found["registrationStatus"] == "INCOMPLETE"
    assert found["unregisteredWhatsAppPhoneNumbers"] == []
