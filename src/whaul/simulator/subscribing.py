"""Who gets which webhooks, as the Graph API sets it: for an app, for the account, for a phone number.

A URL is taken only after it has answered Meta's GET with the challenge.
https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/override
https://developers.facebook.com/docs/graph-api/reference/app/subscriptions
"""

import json
from typing import Any

from whaul.simulator.access import app_of, is_app_token_of
from whaul.simulator.apps import App, checked_fields, checked_url
from whaul.simulator.calls import Call
from whaul.simulator.responses import RefusedError, graph_error, invalid
from whaul.simulator.state import State
from whaul.simulator.values import BadValueError
from whaul.simulator.webhooks.post import VerificationError

OBJECT = "whatsapp_business_account"
MAX_OVERRIDE = 200
"""Characters of a URL that overrides the app's."""
NOT_SUBSCRIBED = (
    "Before override the current callback uri, your app must be subscribed to receive messages for WhatsApp "
    "Business Account"
)


async def subscribe_app(call: Call) -> Any:
    """`POST /{waba-id}/subscribed_apps`: subscribe the token's app; a URL overrides the app's, none removes that."""
    app, wanted = app_of(call), await call.parameters()
    url = await _overriding(call, app, wanted)
    app.subscribed, app.account_url = True, url
    return {"success": True}


async def unsubscribe_app(call: Call) -> Any:
    """`DELETE /{waba-id}/subscribed_apps`."""
    app = app_of(call)
    app.subscribed, app.account_url = False, None
    return {"success": True}


async def list_subscribed_apps(call: Call) -> Any:
    """`GET /{waba-id}/subscribed_apps`: all apps, not only the token's."""
    subscribed = [app for app in call.state.apps if app.subscribed]
    return {
        "data": [
            {
                "whatsapp_business_api_data": {"link": _link(app), "name": app.name, "id": app.id},
                **({"override_callback_uri": app.account_url} if app.account_url else {}),
            }
            for app in subscribed
        ]
    }


async def configure_number(call: Call) -> Any:
    """`POST /{phone-number-id}` with `webhook_configuration`; an empty URL removes the number's own."""
    app, members = app_of(call), await call.parameters()
    wanted = members.get("webhook_configuration")
    if isinstance(wanted, str):
        wanted = _parsed(wanted)
    if not isinstance(wanted, dict):
        raise invalid("The parameter webhook_configuration is required.")
    url = await _overriding(call, app, wanted)
    if url is None:
        app.number_urls.pop(call.object.id, None)
    else:
        app.number_urls[call.object.id] = url
    return {"success": True}


def webhook_configuration(app: App, number_id: str) -> dict[str, str]:
    """The URLs that are set for a number, the one that counts first."""
    urls = {
        "phone_number": app.number_urls.get(number_id),
        "whatsapp_business_account": app.account_url,
        "application": app.callback_url,
    }
    return {name: url for name, url in urls.items() if url}


async def subscribe_to_fields(call: Call) -> Any:
    """`POST /{app-id}/subscriptions`: the app's URL and its fields, in place of those before."""
    app = _by_its_token(call)
    wanted = await call.parameters()
    _check_object(wanted.get("object"))
    url, token, fields = wanted.get("callback_url"), wanted.get("verify_token"), wanted.get("fields", [])
    if not isinstance(url, str) or not isinstance(token, str) or not token:
        raise invalid("The parameters callback_url and verify_token are required.")
    names = fields.split(",") if isinstance(fields, str) else fields
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise invalid("Param fields must be a list of names.")
    try:
        chosen, checked = checked_fields([name.strip() for name in names if name.strip()]), checked_url(url)
    except BadValueError as exc:
        raise invalid(str(exc)) from exc
    await _verify(call, checked, token)
    app.callback_url, app.fields = checked, chosen
    return {"success": True}


async def list_subscriptions(call: Call) -> Any:
    """`GET /{app-id}/subscriptions`."""
    app = _by_its_token(call)
    if app.callback_url is None:
        return {"data": []}
    version = call.request.match_info["version"]
    fields = [{"name": name, "version": version} for name in app.fields]
    return {"data": [{"object": OBJECT, "callback_url": app.callback_url, "active": True, "fields": fields}]}


async def unsubscribe_from_fields(call: Call) -> Any:
    """`DELETE /{app-id}/subscriptions`: of all fields, or those that are named."""
    app = _by_its_token(call)
    wanted = await call.parameters()
    _check_object(wanted.get("object", OBJECT))
    named = wanted.get("fields", [])
    gone = {name.strip() for name in (named.split(",") if isinstance(named, str) else named)}
    app.fields = tuple(name for name in app.fields if gone and name not in gone)
    app.callback_url = app.callback_url if app.fields else None
    return {"success": True}


def app_by_id(state: State, object_id: str) -> App | None:
    """An app, as an object of the Graph API."""
    return state.apps.find(object_id)


def app_members(app: App) -> dict[str, Any]:
    """What the Graph API shows of an app."""
    return {"id": app.id, "name": app.name, "link": _link(app), "category": "Business"}


async def _overriding(call: Call, app: App, wanted: dict[str, Any]) -> str | None:
    """The URL that is to override the app's, verified; None if none is named."""
    url, token = wanted.get("override_callback_uri"), wanted.get("verify_token")
    if not url:
        return None
    if not app.subscribed:
        raise invalid(NOT_SUBSCRIBED)
    if not isinstance(url, str) or len(url) > MAX_OVERRIDE:
        raise invalid(f"Param override_callback_uri must be a URL of at most {MAX_OVERRIDE} characters.")
    if not isinstance(token, str) or not token:
        raise invalid("The parameter verify_token is required.")
    try:
        checked_url(url)
    except BadValueError as exc:
        raise invalid(str(exc)) from exc
    await _verify(call, url, token)
    return url


async def _verify(call: Call, url: str, token: str) -> None:
    try:
        await call.webhooks.verify(url, token)
    except VerificationError as exc:
        raise RefusedError(graph_error(exc.code, f"(#{exc.code}) {exc}")) from exc


def _by_its_token(call: Call) -> App:
    app: App = call.object
    if not is_app_token_of(call, app):
        raise RefusedError(graph_error(15, "(#15) This method must be called with an app access_token."))
    return app


def _check_object(name: object) -> None:
    if name != OBJECT:
        raise invalid(f"Param object must be {OBJECT} here.")


def _parsed(text: str) -> object:
    """A member that a form holds as JSON."""
    try:
        parsed: object = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise invalid("Param webhook_configuration must be a JSON object.") from exc
    return parsed


def _link(app: App) -> str:
    return f"https://www.facebook.com/games/?app_id={app.id}"
