"""What linking an account asks for: whose token it is, registering a number, subscribing an app to webhooks.

https://developers.facebook.com/documentation/business-messaging/whatsapp/embedded-signup/overview
"""

import json
import re
from typing import Any

from aiohttp import web

from whaul.simulator.access import is_known
from whaul.simulator.answers import Answer, RefusedError, graph_error, graph_json
from whaul.simulator.state import WABA_ID, State

SCOPES = ("whatsapp_business_management", "whatsapp_business_messaging")


def debug_token(state: State, request: web.Request) -> dict[str, Any]:
    """`GET /debug_token?input_token=…`: what a token may do, and until when.

    https://developers.facebook.com/docs/graph-api/reference/debug_token
    """
    token = request.query.get("input_token")
    if not token:
        raise RefusedError(graph_error(100, "(#100) The parameter input_token is required."))
    if not is_known(state, token):
        return {"data": {"is_valid": False, "scopes": [], "error": {"code": 190, "message": "Invalid token."}}}
    granular = [{"scope": scope, "target_ids": [WABA_ID]} for scope in SCOPES]
    return {
        "data": {
            "is_valid": True,
            "type": "SYSTEM_USER",
            "expires_at": state.settings.token_expires_at,
            "data_access_expires_at": state.settings.token_data_access_expires_at,
            "scopes": list(SCOPES),
            "granular_scopes": granular,
        }
    }


async def register(state: State, request: web.Request, number_id: str) -> Answer:
    """`POST /{phone-number-id}/register`: the number is CONNECTED afterwards."""
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or body.get("messaging_product") != "whatsapp":
        raise RefusedError(graph_error(100, "(#100) The parameter messaging_product is required."))
    pin, region = body.get("pin"), body.get("data_localization_region", "CH")
    if not isinstance(pin, str) or not re.fullmatch("[0-9]{6}", pin):
        raise RefusedError(graph_error(100, "(#100) Param pin must be a string of 6 digits."))
    if not isinstance(region, str) or not re.fullmatch("[A-Z]{2}", region):
        raise RefusedError(graph_error(100, "(#100) Param data_localization_region must be a country code."))
    if state.settings.two_factor_pin not in {None, pin}:
        raise RefusedError(graph_error(133005))
    state.change_phone_number(number_id, {"status": "CONNECTED"})
    return graph_json({"success": True})
