"""What the operations on accounts answer when what they stand on says something rare."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from harness.loopback import Loopback, reply
from harness.operations import ACCOUNT_ID, REGION, called, components
from whaul.errors import ResourceNotFoundException
from whaul.graph.client import GraphClient
from whaul.model import GraphToken, LinkedAccount, MetaAccount, MetaPhoneNumber
from whaul.operations.waba import MANAGEMENT
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import MediaHosts
from whaul.registry.registry import Registry, open_registry
from whaul.secrets import Cipher

pytestmark = pytest.mark.anyio

WABA = "401"
ACCOUNT = MetaAccount(WABA, "Harbour", (MetaPhoneNumber("501", "+1 555-010-0001", "One"),))
ACCOUNT_TOKEN = GraphToken(SecretStr("EAAG"))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    cipher = Cipher(SecretStr(Fernet.generate_key().decode()))
    url = f"sqlite:///{tmp_path / 'whaul.db'}"
    async with open_registry(url, cipher, account_id=ACCOUNT_ID, region=REGION, create=True) as opened:
        yield opened


async def test_a_number_that_goes_while_its_account_is_read_is_not_linked(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await registry.accounts.link(ACCOUNT, ACCOUNT_TOKEN)

    async def read_before_it_went(_id: str) -> LinkedAccount:
        return replace(account, phone_numbers=())

    monkeypatch.setattr(registry.accounts, "with_phone_number", read_before_it_went)
    with pytest.raises(ResourceNotFoundException):
        await called(
            "GetLinkedWhatsAppBusinessAccountPhoneNumber",
            components(registry=registry),
            id=account.phone_numbers[0].id,
        )


async def test_a_sign_up_calls_an_account_without_numbers_incomplete_as_the_list_does(registry: Registry) -> None:
    await registry.accounts.link(replace(ACCOUNT, phone_numbers=()), ACCOUNT_TOKEN)
    scope = {"scope": MANAGEMENT, "target_ids": [WABA]}
    answers = [
        reply(200, {"data": {"is_valid": True, "granular_scopes": [scope]}}),
        reply(200, {"id": WABA, "name": "Harbour"}),
        reply(200, {"data": []}),
    ]
    async with HttpClient() as http, Loopback(*answers) as server:
        graph = GraphClient(http, url=server.url, version="v25.0", user_agent="x", media_hosts=MediaHosts(()))
        parts = components(registry=registry, graph=graph)
        document = await called("AssociateWhatsAppBusinessAccount", parts, signupCallback={"accessToken": "EAAG"})
    found = document["signupCallbackResult"]["linkedAccountsWithIncompleteSetup"][WABA]
    assert found["registrationStatus"] == "INCOMPLETE"
    assert found["unregisteredWhatsAppPhoneNumbers"] == []
