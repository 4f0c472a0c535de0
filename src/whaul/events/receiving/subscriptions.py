"""Where Meta sends an account's webhooks: set, looked up and tried out.

Three places name a URL: the phone number, the account and the app; the first that does counts for messages. All other
fields come to the app's own URL only. So a subscription that looks right at one place may still send nothing here.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/override
https://developers.facebook.com/docs/graph-api/reference/app/subscriptions
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlencode, urlsplit

import msgspec
from pydantic import SecretStr
from pyreqwest.http import Url

from whaul.errors import ApiError
from whaul.events.model import MEDIA_FIELD
from whaul.events.receiving.items import OBJECT
from whaul.events.receiving.signatures import META_HEADER, meta_key, meta_signature
from whaul.graph.client import GraphClient
from whaul.model import Account, GraphToken, LinkedAccount
from whaul.outbound.errors import HttpError
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import ForbiddenUrlError, parse_url
from whaul.telemetry.event_metrics import FIELDS

PATH: Final = "/webhooks/meta"
MAX_URL: Final = 200
"""Characters of a URL that overrides the app's."""
NOT_ASKED_FOR: Final = frozenset({MEDIA_FIELD, "business_username_update", "business_username_updates"})
"""Ours; and one of which both spellings are seen. Meta refuses a list with a name that it does not have."""
Level = Literal["app", "waba", "number"]
_EMPTY: Final = b'{"object":"whatsapp_business_account","entry":[]}'
_LEVELS: Final[tuple[tuple[str, Level], ...]] = (
    ("phone_number", "number"),
    ("whatsapp_business_account", "waba"),
    ("application", "app"),
)


class SubscriptionError(Exception):
    """It was not done; the message says why, and what to do."""


class _App(msgspec.Struct):
    id: str
    name: str = ""


class Subscribed(msgspec.Struct):
    """An app that is subscribed to an account, and the account's own URL for it."""

    whatsapp_business_api_data: _App
    override_callback_uri: str | None = None


class _Apps(msgspec.Struct):
    data: list[Subscribed] = []


class _Configured(msgspec.Struct):
    webhook_configuration: dict[str, str] = {}


class _Field(msgspec.Struct):
    name: str


class _Subscription(msgspec.Struct):
    object: str
    callback_url: str = ""
    fields: list[_Field] = []


class _Subscriptions(msgspec.Struct):
    data: list[_Subscription] = []


class Place(NamedTuple):
    """A URL, and what names it."""

    url: str | None
    level: Level


@dataclass(frozen=True, slots=True)
class Status:
    """Where the webhooks of an account go."""

    account_id: str
    app_id: str | None
    subscribed: bool
    """Whether our app is."""
    effective_url: str | None
    """Where messages go; those of the number that differs, if one does."""
    level: Level
    ours: bool
    """Whether it answers with our verify token."""
    reachable: bool
    """Whether it took a signed webhook without content."""
    problems: tuple[str, ...]


class Subscriptions:
    """Those of one installation."""

    def __init__(
        self,
        graph: GraphClient,
        http: HttpClient,
        verify_token: SecretStr,
        operators: Mapping[str, Sequence[SecretStr]],
    ) -> None:
        """`operators` are the app secrets of the settings by app id."""
        self._graph = graph
        self._http = http
        self._verify_token = verify_token
        self._operators = operators

    def app_of(self, linked: LinkedAccount) -> str | None:
        """Say which app an account's webhooks come by: what Meta said when it was linked, or the operator's only one.

        None where nobody knows.
        """
        if linked.app_id is None and len(self._operators) == 1:
            return next(iter(self._operators))
        return linked.app_id

    async def subscribe(self, account: Account, app_id: str, url: str, *, force: bool = False) -> str:
        """Send the account's webhooks to whaul at `url`; return the URL that Meta has now.

        Messages are sent by the account's own setting, which leaves other accounts of the app as they are. The app's
        own URL gets all other fields; it is set where it names nothing. Raises SubscriptionError for a URL of somebody
        else's that would be replaced, unless `force`d; ApiError.
        """
        callback = callback_url(url, app_id)
        found = await subscription(self._graph, account.token, account.meta_id, app_id)
        before = None if found is None else found.override_callback_uri
        if before is not None and not is_same(before, callback) and not force:
            raise SubscriptionError(
                f"the account's webhooks go to {before} now; give --force to send them to {callback} instead"
            )
        override = Override(callback, self._verify_token)
        await subscribe(self._graph, account.token, account.meta_id, app_id, override)
        found = await subscription(self._graph, account.token, account.meta_id, app_id)
        if found is None or found.override_callback_uri != callback:
            now = None if found is None else found.override_callback_uri
            raise SubscriptionError(f"Meta says that the account's webhooks go to {now}, not to {callback}")
        await self._subscribe_app(account, app_id, callback, force=force)
        return callback

    async def unsubscribe(self, account: Account) -> None:
        """Let Meta send nothing of the account to the app any more. Raises ApiError."""
        doing = "unsubscribing the app from the account"
        await self._graph.delete(account.token, f"{account.meta_id}/subscribed_apps", Any, doing)

    async def status(self, account: Account, linked: LinkedAccount) -> Status:
        """Look at all three places, and try the URL. Raises ApiError."""
        problems: list[str] = []
        app_id = self.app_of(linked)
        if app_id is None:
            problems.append("the app is not known; link the account again, so that Meta is asked for it")
        apps = await _subscribed(self._graph, account.token, account.meta_id)
        ours = [app for app in apps if app.whatsapp_business_api_data.id == app_id]
        if not ours and app_id is not None:
            others = ", ".join(app.whatsapp_business_api_data.id for app in apps) or "none"
            problems.append(
                f"the app {app_id} is not subscribed to the account (subscribed: {others}); "
                "`whaul webhooks subscribe` subscribes it"
            )
        place = await self._messages_go(account, linked, ours, problems)
        await self._check_fields(account, app_id, place.url, problems)
        is_ours, reachable = await self._try(place.url, self._secret(account, app_id), problems)
        return Status(
            linked.id, app_id, bool(ours), place.url, place.level, is_ours, reachable, tuple(dict.fromkeys(problems))
        )

    async def _subscribe_app(self, account: Account, app_id: str, callback: str, *, force: bool) -> None:
        """Set the app's own URL where it names nothing, or is forced; it needs the app's secret."""
        token = self._app_token(account, app_id)
        if token is None:
            return
        found = await self._of_app(token, app_id)
        if found is not None and not is_same(found.callback_url, callback) and not force:
            return  # `status` tells
        body = {
            "object": OBJECT,
            "callback_url": callback,
            "verify_token": self._verify_token.get_secret_value(),
            "fields": ",".join(_fields(field.name for field in (found.fields if found else []))),
        }
        await self._graph.post(token, f"{app_id}/subscriptions", body, Any, "subscribing the app to fields")

    def _secret(self, account: Account, app_id: str | None) -> SecretStr | None:
        """Find the secret that signs an account's webhooks: one that was linked with it, or one of the operator's."""
        return account.token.app_secret or next(iter(self._operators.get(app_id or "", ())), None)

    def _app_token(self, account: Account, app_id: str | None) -> GraphToken | None:
        """Make the app's own token; None without its secret.

        https://developers.facebook.com/documentation/facebook-login/guides/access-tokens#apptokens
        """
        secret = self._secret(account, app_id)
        return None if secret is None else GraphToken(SecretStr(f"{app_id}|{secret.get_secret_value()}"))

    async def _of_app(self, token: GraphToken, app_id: str) -> _Subscription | None:
        doing = "reading the app's subscriptions"
        found = (await self._graph.get(token, f"{app_id}/subscriptions", _Subscriptions, doing)).data
        return next((one for one in found if one.object == OBJECT and one.callback_url), None)

    async def _messages_go(
        self, account: Account, linked: LinkedAccount, ours: Iterable[Subscribed], problems: list[str]
    ) -> Place:
        """Find where messages go: of the account, or of the first number that differs from it."""
        override = next((app.override_callback_uri for app in ours), None)
        place = Place(override, "waba" if override else "app")
        for number in linked.phone_numbers:
            doing = f"reading the webhook URL of phone number {number.meta_id}"
            fields = "webhook_configuration"
            read = await self._graph.get(account.token, number.meta_id, _Configured, doing, fields=fields)
            urls = read.webhook_configuration
            found = next((Place(urls[name], level) for name, level in _LEVELS if urls.get(name)), Place(None, "app"))
            if found.level == "number" and not is_same(found.url, place.url):
                problems.append(
                    f"the phone number {number.meta_id} has a URL of its own: {found.url}; remove it at Meta, "
                    "or have it lead here"
                )
                return found
            place = found if place.url is None else place
        if place.url is None:
            problems.append("no URL is set for messages; `whaul webhooks subscribe` sets one")
        return place

    async def _check_fields(self, account: Account, app_id: str | None, url: str | None, problems: list[str]) -> None:
        token = self._app_token(account, app_id)
        if token is None or app_id is None:
            problems.append(
                "no secret of the app is known, so nothing is known of its fields and its own URL; "
                "link the account again with --app-secret-file, or set WHAUL_APP_SECRETS"
            )
            return
        try:
            found = await self._of_app(token, app_id)
        except ApiError as error:
            problems.append(error.message)
            return
        if found is None:
            problems.append("the app has no URL of its own, so only messages come; `whaul webhooks subscribe` sets one")
            return
        if PATH not in found.callback_url and not is_same(found.callback_url, url):
            problems.append(
                f"all fields but messages go to the app's own URL: {found.callback_url}; "
                "`whaul webhooks subscribe --force` sets it, for all accounts of the app"
            )
        if "messages" not in {field.name for field in found.fields}:
            problems.append("the app is not subscribed to the field messages; `whaul webhooks subscribe` does that")

    async def _try(self, url: str | None, secret: SecretStr | None, problems: list[str]) -> tuple[bool, bool]:
        """Ask a URL Meta's question, and send it a signed webhook without content."""
        if url is None:
            return False, False
        challenge = secrets.token_hex(8)
        query = {
            "hub.mode": "subscribe",
            "hub.challenge": challenge,
            "hub.verify_token": self._verify_token.get_secret_value(),
        }
        try:
            target = parse_url(url)
            joint = "&" if urlsplit(url).query else "?"
            asked = await self._http.call("GET", Url(f"{url}{joint}{urlencode(query)}"), {}, b"")
            ours = asked.status == 200 and asked.body == challenge.encode()
            if not ours:
                problems.append(
                    f"{url} does not answer with this installation's verify token (HTTP {asked.status}); "
                    "have it lead to a server that uses this database"
                )
            if not ours or secret is None:
                return ours, ours
            headers = {META_HEADER: meta_signature(meta_key(secret), _EMPTY), "content-type": "application/json"}
            taken = await self._http.call("POST", target, headers, _EMPTY)
        except (HttpError, ForbiddenUrlError) as error:
            advice = "look whether the server runs, and whether the URL leads to it"
            problems.append(f"{url} cannot be reached from here: {error}; {advice}")
            return False, False
        if taken.status != 200:
            problems.append(
                f"{url} refused a webhook that the app's secret signed (HTTP {taken.status}); "
                "link the account again with the app's secret of today"
            )
        return ours, taken.status == 200


class Override(NamedTuple):
    """A URL of an account's own, in place of the app's. Meta asks it with the token before it takes it."""

    url: str
    verify_token: SecretStr


async def subscription(
    graph: GraphClient, token: GraphToken, meta_waba_id: str, app_id: str | None
) -> Subscribed | None:
    """Find an app's subscription to an account. Raises ApiError."""
    apps = await _subscribed(graph, token, meta_waba_id)
    return next((app for app in apps if app.whatsapp_business_api_data.id == app_id), None)


async def subscribe(
    graph: GraphClient, token: GraphToken, meta_waba_id: str, app_id: str | None, override: Override | None = None
) -> None:
    """Subscribe the token's app to an account. A URL that the account has stays, unless another is given.

    Raises ApiError.
    """
    found, edge = await subscription(graph, token, meta_waba_id, app_id), f"{meta_waba_id}/subscribed_apps"
    if found is None or found.override_callback_uri is None:  # else Meta would forget that URL
        await graph.post(token, edge, {}, Any, "subscribing the app to the account")
    if override is not None:
        verified = {"override_callback_uri": override.url, "verify_token": override.verify_token.get_secret_value()}
        await graph.post(token, edge, verified, Any, "setting the account's webhook URL")


async def _subscribed(graph: GraphClient, token: GraphToken, meta_waba_id: str) -> list[Subscribed]:
    doing = "reading the apps that are subscribed to the account"
    return (await graph.get(token, f"{meta_waba_id}/subscribed_apps", _Apps, doing)).data


def callback_url(url: str, app_id: str) -> str:
    """Make the URL that Meta is given: with the app's id, so that only its secrets are tried.

    Raises SubscriptionError.
    """
    try:
        parse_url(url)
    except ForbiddenUrlError as forbidden:
        raise SubscriptionError(f"the URL cannot be used: {forbidden}") from None
    parts = urlsplit(url)
    if parts.query:
        raise SubscriptionError("the URL has a query; Meta adds its own")
    base = url.rstrip("/")
    if not parts.path.strip("/"):
        base += PATH
    if not base.endswith(f"/{app_id}"):
        base += f"/{app_id}"
    if len(base) > MAX_URL:
        raise SubscriptionError(f"the URL has {len(base)} characters; Meta takes {MAX_URL}")
    return base


def is_same(one: str | None, other: str | None) -> bool:
    """Whether two URLs are one, a slash at the end apart."""
    return (one or "").rstrip("/") == (other or "").rstrip("/")


def _fields(subscribed: Iterable[str]) -> list[str]:
    """All fields of Meta's, and those that the app had besides."""
    return sorted((FIELDS - NOT_ASKED_FOR) | set(subscribed))
