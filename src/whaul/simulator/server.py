"""The running simulator: builds its parts, listens, and is the Python API."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from ssl import SSLContext
from types import MappingProxyType, TracebackType
from typing import Annotated, Any, Self

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from whaul.simulator.apps import ALL_FIELDS, App, checked_fields, checked_url
from whaul.simulator.calling import Calling
from whaul.simulator.content import Content, Generated, InMemory, OnDisk
from whaul.simulator.control import endpoint
from whaul.simulator.faults import EVERY_ID, parse
from whaul.simulator.flow_calls import asset_routes, owner_of, status_change
from whaul.simulator.flows import Alert, AlertState, Flow, FlowStatus, alert
from whaul.simulator.graph import Graph
from whaul.simulator.handler import Handler
from whaul.simulator.journal import Exchange, Journal
from whaul.simulator.lookaside import Lookaside
from whaul.simulator.media import Media, MediaOptions, NewMedia
from whaul.simulator.messages import CUSTOMER, give_status, new_message_id, receive
from whaul.simulator.model import Message, PhoneNumber
from whaul.simulator.settings import Settings
from whaul.simulator.state import WABA_ID, State
from whaul.simulator.template_calls import Reviewing
from whaul.simulator.values import BadValueError, checked
from whaul.simulator.webhooks.deliveries import Delivery
from whaul.simulator.webhooks.examples import content_of
from whaul.simulator.webhooks.faults import parse as parse_wire_fault
from whaul.simulator.webhooks.scene import Scene
from whaul.simulator.webhooks.sender import Webhooks

DEFAULT_TOKEN = "simulated-token"  # noqa: S105 - opens nothing but the simulator
SHUTDOWN_SECONDS = 0.5
MAX_HEADER = 64 * 1024
MAX_MESSAGE = 16 * 1024 * 1024
"""Bytes of a body that is read whole."""
MAX_ITEMS = 10_000
MAX_GENERATED = 16 * 1024**3


class Simulator:
    """Meta's Graph API for WhatsApp media, simulated on a local port; an async context manager.

    `port` 0 takes a free one. `clock` gives Unix time in seconds. `on_request` is called with each exchange once
    it is over. Every file of `media_dir` becomes a media. Media that are added are kept in `keep_dir`, and are there
    again the next time.

    `webhook_url` gets all webhooks, signed with `app_secret`, or with `webhook_secret` where calls need no proof.
    `webhook_tls` is used for receivers with https, and may hold a client certificate. `on_webhook` is called with the
    delivery after each attempt.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str = DEFAULT_TOKEN,
        app_secret: str | None = None,
        clock: Callable[[], float] = time.time,
        media_dir: str | os.PathLike[str] | None = None,
        keep_dir: str | os.PathLike[str] | None = None,
        on_request: Callable[[Exchange], None] | None = None,
        webhook_url: str | None = None,
        webhook_secret: str | None = None,
        webhook_tls: SSLContext | None = None,
        on_webhook: Callable[[Delivery], None] | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.token = token
        """The one valid access token."""
        self.app_secret = app_secret
        """If there is one, Graph calls need `appsecret_proof`."""
        self.waba_id = WABA_ID
        """The id of the WhatsApp Business Account."""
        self._journal = Journal(on_request)
        self.state = State(
            token=token,
            app_secret=app_secret,
            webhook_url=None if webhook_url is None else checked_url(webhook_url),
            webhook_secret=webhook_secret,
            clock=clock,
            media_dir=Path(media_dir) if media_dir is not None else None,
            keep_dir=Path(keep_dir) if keep_dir is not None else None,
            journal=self._journal,
        )
        self._handler = Handler(self.state)
        self.webhooks = Webhooks(self.state, self._handler.pauses, webhook_tls, on_webhook)
        """Every webhook goes out here."""
        self.calling = Calling(self.state, self.webhooks)
        """What people do about voice calls."""
        self.templates = Reviewing(self.state, self.webhooks)
        """What Meta does to templates."""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        """Listen; raises `OSError` if the port is taken."""
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop listening and end what is under way."""
        await self.stop()

    async def start(self) -> None:
        """Listen on the port; afterwards `port` is the real one."""
        application = web.Application(client_max_size=MAX_MESSAGE)
        graph, lookaside = Graph(self._handler, self.webhooks), Lookaside(self._handler)
        application.add_routes(
            [*endpoint.routes(self), *lookaside.routes(), *asset_routes(self._handler), *graph.routes()]
        )
        self._runner = web.AppRunner(
            application,
            access_log=None,  # it would show tokens and signed URLs
            handler_cancellation=True,  # a client that leaves ends a stall
            shutdown_timeout=SHUTDOWN_SECONDS,
            max_line_size=MAX_HEADER,
            max_field_size=MAX_HEADER,
        )
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self.host, self.port).start()
        except BaseException:
            await self.stop()
            raise
        self.port = self._runner.addresses[0][1]
        self.state.origin = self.url
        await self.webhooks.start()

    async def stop(self) -> None:
        """Stop listening, end what is under way, remove uploaded files."""
        await self.webhooks.stop()
        self._handler.pauses.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self.state.close()

    @property
    def url(self) -> str:
        """The base of Graph calls, such as `http://127.0.0.1:8081`."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - not bound here
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def phone_numbers(self) -> tuple[PhoneNumber, ...]:
        """The account's phone numbers."""
        return tuple(self.state.phone_numbers.values())

    @property
    def media(self) -> Mapping[str, Media]:
        """The media by id."""
        return MappingProxyType(self.state.media)

    @property
    def requests(self) -> list[Exchange]:
        """The exchanges so far, oldest first; those of the control endpoint are not among them."""
        return list(self._journal.exchanges)

    def count(self, object_id: str) -> dict[str, int]:
        """How often an object was asked for: `metadata`, `download`, `completed_downloads`, …."""
        return self._journal.count(object_id)

    async def settled(self) -> None:
        """Wait until no request is being answered and no webhook sent, so that what is listed is final."""
        await self._journal.settled()
        await self.webhooks.settled()

    def add_media(self, data: bytes, mime_type: str, media_id: str | None = None, **members: Any) -> str:
        """Add a media and return its id.

        `members` are `phone_number_id`, `origin` (`inbound`, `upload`), `file_size`, `sha256` and `content_type`.
        """
        return self._add(InMemory(data), mime_type, media_id, members)

    def add_file(
        self,
        path: str,
        mime_type: str = "application/octet-stream",
        media_id: str | None = None,
        **members: Any,
    ) -> str:
        """Add a file of the disk, which is read again for each download; the rest as in `add_media`."""
        return self._add(OnDisk(Path(path)), mime_type, media_id, members)

    def add_generated(
        self,
        size: Annotated[int, Meta(ge=0, le=MAX_GENERATED)],
        mime_type: str = "application/octet-stream",
        seed: int = 0,
        media_id: str | None = None,
        **members: Any,
    ) -> str:
        """Add `size` bytes that are made from `seed` and stored nowhere; the rest as in `add_media`."""
        return self._add(Generated(size, seed), mime_type, media_id, members)

    def _add(self, content: Content, mime_type: str, media_id: str | None, members: dict[str, Any]) -> str:
        new = checked(members, NewMedia)
        media = self.state.add(
            content,
            mime_type,
            media_id=media_id,
            phone_number_id=new.phone_number_id,
            origin=new.origin,
            options=new.options(),
        )
        return media.id

    def change_media(self, media_id: str, **options: Any) -> None:
        """Change `file_size`, `sha256` or `content_type` of one media; None goes back to the settings."""
        media = self.state.get(media_id)
        media.options = checked({**msgspec.structs.asdict(media.options), **options}, MediaOptions)
        self.state.store.change(media)

    def remove_media(self, media_id: str) -> None:
        """Delete a media, as if Meta had forgotten it; `KeyError` if there is none."""
        self.state.remove(media_id)

    def expire_urls(self, media_id: str) -> None:
        """Make the download URLs that a media has given out so far invalid; `KeyError` if there is none."""
        self.state.get(media_id).url_generation += 1

    @property
    def messages(self) -> list[Message]:
        """What was sent, or marked as read, so far, oldest first."""
        return list(self.state.messages)

    def receive(
        self,
        media_id: str | None = None,
        *,
        text: str = "",
        sender: str = CUSTOMER,
        phone_number_id: str | None = None,
        file_name: str | None = None,
    ) -> dict[str, Any]:
        """Let a customer write, with a media that was added as inbound, or text only; return Meta's webhook of it.

        `sender` is a phone number, or a business-scoped user id: then the webhook has no number.
        `KeyError` if there is no such media or phone number.
        """
        media = self.state.get(media_id) if media_id else None
        default = media.phone_number_id if media else next(iter(self.state.phone_numbers))
        number = self.state.phone_number(phone_number_id or default)
        value = receive(self.state, number, media, text=text, sender=sender, file_name=file_name)
        return self.webhooks.emit(WABA_ID, "messages", value).content

    def status(self, message_id: str, status: str = "delivered") -> dict[str, Any]:
        """Let a message that was sent be `sent`, `delivered`, `read` or `failed`; return Meta's webhook of it.

        `KeyError` if there is no such message, `ValueError` if it cannot have that status.
        """
        return self.webhooks.emit(WABA_ID, "messages", give_status(self.state, message_id, status)).content

    @property
    def apps(self) -> tuple[App, ...]:
        """Meta apps that can get webhooks; the first has the simulator's token."""
        return tuple(self.state.apps)

    def add_app(self, name: str, secret: str, token: str | None = None) -> App:
        """Add a Meta app, which gets its own copies of webhooks, signed with its secret."""
        return self.state.apps.add(name, secret, token)

    def set_webhook(
        self,
        url: str | None,
        *,
        app_id: str | None = None,
        fields: list[str] | None = None,
        subscribed: bool = True,
    ) -> App:
        """Send the webhooks of an app (the first) to a URL, without asking it first; None: nowhere.

        `fields` are all, unless some are named; without `subscribed` nothing is sent, as at Meta before the account
        is subscribed. `KeyError` if there is no such app.
        """
        app = self.state.apps.get(app_id)
        app.callback_url = None if url is None else checked_url(url)
        app.fields = ALL_FIELDS if fields is None else checked_fields(fields)
        app.subscribed = subscribed
        return app

    def send_webhook(
        self,
        example: str | None = None,
        *,
        field: str | None = None,
        value: dict[str, Any] | None = None,
        webhook: dict[str, Any] | None = None,
        body: str | None = None,
        count: Annotated[int, Meta(ge=1, le=MAX_ITEMS)] = 1,
        copies: Annotated[int, Meta(ge=1, le=MAX_ITEMS)] = 1,
        new_urls: bool = False,
        fault: str | dict[str, Any] | None = None,
        app_id: str | None = None,
        waba_id: str = WABA_ID,
        phone_number_id: str | None = None,
        sender: str = CUSTOMER,
        contacts: bool = True,
        text: str = "Hello",
        media_id: str | None = None,
        message_id: str | None = None,
    ) -> list[Delivery]:
        """Post a webhook: an example by its name, the value of a field, a whole webhook, or any text.

        `count` items go in one POST, and the same POST `copies` times. docs/simulator.md has the rest.
        Raises `KeyError` if there is no such app, number or media, `ValueError` if nobody would get it.
        """
        self.state.apps.get(app_id)
        number = self.state.phone_number(phone_number_id or next(iter(self.state.phone_numbers)))
        about = message_id or new_message_id()
        scene = Scene(self.state, number, sender, text, media_id, about, contacts)
        wrong = parse_wire_fault(fault)
        content = content_of(
            scene, waba_id, example=example, field=field, value=value, webhook=webhook, body=body, count=count
        )
        made = self.webhooks.deliver(content, app_id=app_id, fault=wrong, copies=copies, new_urls=new_urls)
        if not made:
            raise BadValueError("No app gets this: give it a webhook URL for the field, and subscribe it.")
        return made

    def add_flow(self, name: str, **members: Any) -> str:
        """Add a flow and return its id; `members` are those that the Graph API shows."""
        return self.state.add_flow(checked({"name": name, **members}, Flow)).id

    def change_flow(self, flow_id: str, *, status: FlowStatus) -> Flow:
        """Change a flow's status, as Meta does, and tell it by a webhook; `KeyError` if there is no such flow."""
        flow = self.state.flow(flow_id)
        old, flow.status = flow.status, status
        self.webhooks.emit(owner_of(flow), "flows", status_change(flow, old, f"The flow is now {status}."))
        return flow

    def warn_of_flow(self, flow_id: str, *, event: Alert, alert_state: AlertState = "ACTIVATED") -> dict[str, Any]:
        """Warn of a flow by a webhook, as Meta does, and return its value; `KeyError` if there is no such flow."""
        value = alert(event, flow_id, alert_state)
        self.webhooks.emit(owner_of(self.state.flow(flow_id)), "flows", value)
        return value

    @property
    def conversion_events(self) -> list[dict[str, Any]]:
        """The conversion events that were received, oldest first."""
        return list(self.state.conversion_events)

    def add_phone_number(self, display_phone_number: str, verified_name: str) -> PhoneNumber:
        """Add a number to the account."""
        return self.state.add_phone_number(display_phone_number, verified_name)

    def change_phone_number(
        self,
        number_id: str,
        *,
        display_phone_number: str | UnsetType = UNSET,
        verified_name: str | UnsetType = UNSET,
        quality_rating: str | UnsetType = UNSET,
        status: str | UnsetType = UNSET,
    ) -> PhoneNumber:
        """Change what Meta says of a number; `KeyError` if there is none."""
        changes = {
            "display_phone_number": display_phone_number,
            "verified_name": verified_name,
            "quality_rating": quality_rating,
            "status": status,
        }
        return self.state.change_phone_number(number_id, {k: v for k, v in changes.items() if v is not UNSET})

    def fault(self, media_id: str = EVERY_ID, *, kind: str, **parameters: Any) -> None:
        """Queue a fault; see the table in docs/simulator.md. Raises `BadFaultError` (a `ValueError`)."""
        self.state.faults.add(parse({"media_id": media_id, "kind": kind, **parameters}))

    def clear_faults(self, media_id: str | None = None) -> None:
        """Forget all faults, or those of one id."""
        self.state.faults.clear(media_id)

    def configure(self, **settings: Any) -> None:
        """Change settings; raises `ValueError` if one does not exist or fit."""
        merged = {**msgspec.to_builtins(self.state.settings), **settings}
        self.state.settings = checked(merged, Settings)

    def advance(self, seconds: Annotated[float, Meta(ge=0, lt=10**9)]) -> None:
        """Let time pass: URLs and ids grow old."""
        self.state.advance(seconds)

    def reset(self) -> None:
        """Back to the state of the start: default media and settings, no faults, no requests, no messages."""
        self.state.reset()
        self.webhooks.reset()
