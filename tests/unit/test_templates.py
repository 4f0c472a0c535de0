"""Templates on their way to Meta: the bytes as they came."""

import pytest

from harness.loopback import Loopback, reply
from harness.operations import TOKEN, WABA_ID, called, components
from whaul.graph.client import GraphClient
from whaul.model import Account
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import MediaHosts

pytestmark = pytest.mark.anyio


class Linked:
    """Every account is linked."""

    async def linked_account(self, id_: str) -> Account:
        return Account(id_, "arn", "4712", TOKEN)


async def test_a_definition_goes_to_meta_byte_for_byte() -> None:
    new = b'{ "name":"a",\n "allow_category_change": true, "text":"Gr\\u00fc\xc3\x9fe \\/" }'
    async with HttpClient() as http, Loopback(reply(200, {"id": "1", "status": "LIMIT_EXCEEDED"})) as server:
        graph = GraphClient(http, url=server.url, version="v25.0", user_agent="x", media_hosts=MediaHosts(()))
        parts = components(linked=Linked(), graph=graph)
        made = await called("CreateWhatsAppMessageTemplate", parts, id=WABA_ID, templateDefinition=new)
        (request,) = server.requests
    assert made == {"metaTemplateId": "1", "templateStatus": "LIMIT_EXCEEDED"}
    assert (request.target, request.body) == ("/v25.0/4712/message_templates", new)
