"""The simulated world in the hands of a test: the Python API, which the control endpoint gives to other languages."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from whaul.simulator.apps import ALL_FIELDS, App, checked_fields, checked_url
from whaul.simulator.calling import Calling
from whaul.simulator.content import Content, Generated, InMemory, OnDisk
from whaul.simulator.faults import EVERY_ID, parse
from whaul.simulator.flow_calls import owner_of, status_change
from whaul.simulator.flows import Alert, AlertState, Flow, FlowStatus, alert
from whaul.simulator.journal import Exchange
from whaul.simulator.media import Media, MediaOptions, NewMedia
from whaul.simulator.messages import give_status, receive
from whaul.simulator.model import Message, PhoneNumber
from whaul.simulator.settings import Settings
from whaul.simulator.state import WABA_ID, State
from whaul.simulator.template_calls import Reviewing
from whaul.simulator.values import BadValueError, checked
from whaul.simulator.webhooks.deliveries import Delivery
from whaul.simulator.webhooks.envelope import new_message_id
from whaul.simulator.webhooks.examples import content_of
from whaul.simulator.webhooks.faults import parse as parse_wire_fault
from whaul.simulator.webhooks.people import CUSTOMER
from whaul.simulator.webhooks.scene import Scene
from whaul.simulator.webhooks.sender import Webhooks

MAX_ITEMS = 10_000
MAX_GENERATED = 16 * 1024**3


class World:
    """What a test may do to the simulated Meta, its people and its businesses, and see of them."""

    def __init__(self, state: State, webhooks: Webhooks) -> None:
        self.state = state
        self.webhooks = webhooks
        """Every webhook goes out here."""
        self.calling = Calling(state, webhooks)
        """What people do about voice calls."""
        self.templates = Reviewing(state, webhooks)
        """What Meta does to templates."""
        self.waba_id = WABA_ID
        """The id of the WhatsApp Business Account."""

    @property
    def token(self) -> str:
        """The one valid access token."""
        return self.state.token

    @property
    def app_secret(self) -> str | None:
        """If there is one, Graph calls need `appsecret_proof`."""
        return self.state.app_secret

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
        return list(self.state.journal.exchanges)

    def count(self, object_id: str) -> dict[str, int]:
        """How often an object was asked for: `metadata`, `download`, `completed_downloads`, …."""
        return self.state.journal.count(object_id)

    async def settled(self) -> None:
        """Wait until no request is being answered and no webhook sent, so that what is listed is final."""
        await self.state.journal.settled()
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
