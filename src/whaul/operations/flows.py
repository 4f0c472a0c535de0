"""The operations on flows: forms that a person fills in inside a chat. Meta keeps them; whaul stores nothing of them.

https://developers.facebook.com/docs/whatsapp/flows/reference/flowsapi
"""

from collections.abc import Mapping
from typing import Any, Final

from whaul.api.response import Document
from whaul.graph.client import not_documented
from whaul.operations.call import AccountCall, Row, on_account
from whaul.operations.owned import not_owned
from whaul.operations.translation import document, fields, meta_type

FLOW: Final = meta_type(
    "GetWhatsAppFlowOutput",
    names={
        "flowId": "id",
        "flowName": "name",
        "flowStatus": "status",
        "whatsAppBusinessAccount": "whatsapp_business_account",
    },
    types={"MetaFlowValidationError": Any},  # an object at Meta, a string at AWS
    defaults={"WhatsAppBusinessAccountName": ""},
)


async def get_flow(call: AccountCall) -> Document:
    """GetWhatsAppFlow: a flow of the account, as Meta has it now."""
    doing = "reading the flow"
    flow = await call.graph.get(call.members["flowId"], FLOW, doing, fields=fields(FLOW))
    if flow.whatsAppBusinessAccount is None:
        raise not_documented(doing)
    if flow.whatsAppBusinessAccount.id != call.target.meta_id:  # the token may reach more than the policy names
        raise not_owned("flow")
    return {"validationErrors": []} | document(flow)


OPERATIONS: Final[Mapping[str, Row]] = {"GetWhatsAppFlow": on_account(get_flow)}
