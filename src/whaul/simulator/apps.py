"""Meta apps: which token and secret belong to which, and where each wants its webhooks.

An app has a callback URL with a list of fields, and is subscribed to the account or not. Its webhooks of messages can
go elsewhere: the URL of a phone number comes before that of the account, and that before the app's own.
https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/override
"""

import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypedDict

from whaul.simulator.values import BadValueError, MissingError

APP_ID = "600000000000001"
DEFAULT_APP_SECRET = "simulated-app-secret"  # noqa: S105 - signs nothing but the simulator's webhooks
MESSAGES = "messages"
ALL_FIELDS = (
    "account_alerts",
    "account_review_update",
    "account_settings_update",
    "account_update",
    "automatic_events",
    "business_capability_update",
    "business_username_update",
    "business_username_updates",
    "calls",
    "flows",
    "group_lifecycle_update",
    "group_participants_update",
    "group_settings_update",
    "group_status_update",
    "history",
    "message_echoes",
    "message_template_components_update",
    "message_template_quality_update",
    "message_template_status_update",
    MESSAGES,
    "messaging_handovers",
    "partner_solutions",
    "payment_configuration_update",
    "phone_number_name_update",
    "phone_number_quality_update",
    "security",
    "smb_app_state_sync",
    "smb_message_echoes",
    "standby",
    "template_category_update",
    "tracking_events",
    "user_id_update",
    "user_preferences",
)
"""What an app can subscribe to."""
URL = re.compile(r"https?://[!-~]+")

Level = Literal["app", "account", "number"]


class ShownApp(TypedDict):
    """An app, without its token and secret."""

    id: str
    name: str
    callback_url: str | None
    fields: tuple[str, ...]
    subscribed: bool
    account_url: str | None
    number_urls: dict[str, str]


@dataclass(eq=False)
class App:
    """An app, and its webhooks."""

    id: str
    name: str
    secret: str = field(repr=False)
    """Signs its webhooks."""
    token: str = field(repr=False)
    """The access token of its system user."""
    callback_url: str | None = None
    fields: tuple[str, ...] = ()
    """What goes to the callback URL."""
    subscribed: bool = False
    """To the account."""
    account_url: str | None = None
    """Where the account's messages go instead."""
    number_urls: dict[str, str] = field(default_factory=dict)
    """Where messages of a phone number go instead, by its id."""

    def target(self, name: str, number_id: str | None) -> tuple[str, Level] | None:
        """Where a field of a number, or of the account, goes; None if nowhere."""
        if not self.subscribed:
            return None
        if name == MESSAGES and number_id in self.number_urls:
            return self.number_urls[number_id], "number"
        if name == MESSAGES and self.account_url:
            return self.account_url, "account"
        return (self.callback_url, "app") if self.callback_url and name in self.fields else None

    def of_sample(self) -> tuple[str, Level] | None:
        """Where the dashboard's samples go."""
        return (self.callback_url, "app") if self.callback_url else None

    def describe(self) -> ShownApp:
        """The app as JSON members, without its token and secret."""
        return {
            "id": self.id,
            "name": self.name,
            "callback_url": self.callback_url,
            "fields": self.fields,
            "subscribed": self.subscribed,
            "account_url": self.account_url,
            "number_urls": self.number_urls,
        }


class Apps:
    """The apps by their ids; the first is the one that the simulator begins with."""

    def __init__(self, token: str, secret: str | None) -> None:
        first = App(APP_ID, "Whaul (simulated)", secret or DEFAULT_APP_SECRET, token)
        self._apps = {first.id: first}

    def __iter__(self) -> Iterator[App]:
        return iter(list(self._apps.values()))

    def find(self, app_id: str) -> App | None:
        """An app by its id."""
        return self._apps.get(app_id)

    def get(self, app_id: str | None) -> App:
        """An app by its id, or the first; raises `MissingError`."""
        app = self._apps.get(app_id or APP_ID)
        if app is None:
            raise MissingError(f"There is no app {app_id}.")
        return app

    def add(self, name: str, secret: str, token: str | None) -> App:
        """Add an app; raises `BadValueError` if its token is taken."""
        app_id = str(int(next(reversed(self._apps))) + 1)
        token = token or f"simulated-token-{app_id}"
        if not secret or self.by_token(token):
            raise BadValueError("An app needs a secret, and a token that no other app has.")
        app = self._apps[app_id] = App(app_id, name, secret, token)
        return app

    def by_token(self, token: str) -> App | None:
        """The app whose system user has this token."""
        return next((app for app in self if _same(token, app.token)), None)

    def by_app_token(self, token: str) -> App | None:
        """The app that this is the app token of: `id|secret`."""
        return next((app for app in self if _same(token, f"{app.id}|{app.secret}")), None)

    def have_receiver(self, number_id: str) -> bool:
        """Whether anybody gets the messages of a number."""
        return any(app.target(MESSAGES, number_id) for app in self)


def checked_fields(names: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """The names of fields, if all exist; raises `BadValueError`."""
    if unknown := [name for name in names if name not in ALL_FIELDS]:
        raise BadValueError(f"There is no field {unknown[0]}.", ALL_FIELDS)
    return tuple(dict.fromkeys(names))


def checked_url(url: str) -> str:
    """A URL that webhooks can go to; raises `BadValueError`."""
    if not URL.fullmatch(url):
        raise BadValueError("A webhook URL begins with https:// or http:// and has no spaces.")
    return url


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="replace"), other.encode(errors="replace"))
