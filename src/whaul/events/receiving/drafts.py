"""A webhook on its way into the database: what is made of it once, and what depends on how its items are routed."""

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, Protocol

from whaul.events.backlog import Backlog, of_destination, of_files
from whaul.events.database.columns import microseconds
from whaul.events.database.store import NewBody, NewDelivery, NewEvent, NewFile
from whaul.events.model import Event, Item, MediaRef
from whaul.events.people import Hashes
from whaul.events.receiving.identity import identify
from whaul.events.receiving.intake import Intake
from whaul.events.routing import Account, Archive, Destination, Routes
from whaul.secrets import Cipher

KEY_DAYS: Final = 8
"""How long a dedupe key is kept at least. Meta sends a webhook again for 7 days."""
MEDIA_LIFE: Final = timedelta(days=7)
"""How long Meta knows a media id.
https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/media"""
BACKLOG: Final = "backlog"
"""Why a delivery or a file failed that was beyond its destination's, or its account's, share of the backlog."""
_SECONDS_A_DAY: Final = 86_400


class NewDeliveryJob(NamedTuple):
    """A delivery that was born leased to this process."""

    id: int
    destination: int
    event: Event
    until: float
    """When its lease ends, by the event loop's clock."""


class NewFileJob(NamedTuple):
    """A file that was born leased to this process."""

    row: NewFile
    event: Event
    until: float


class Speaker(Protocol):
    """Whose secret signed a webhook."""

    @property
    def app_id(self) -> str | None:
        """Meta's id of the app; None if it is not known."""
        ...

    def may_speak_for(self, account: Account | None) -> bool:
        """Whether it may tell of an account; None is one that nobody has linked."""
        ...


@dataclass(frozen=True, slots=True)
class Post:
    """A signed webhook."""

    body: bytes
    items: Sequence[Item]
    """Those of the body, in its order."""
    speaker: Speaker
    received_at: datetime
    """UTC."""
    trace: str | None = None
    """Its span; of items that are put again, that of the webhook in which they came."""


class _Part(NamedTuple):
    item: Item
    entry: str
    conversation: bytes
    parties: list[bytes]


class Draft(NamedTuple):
    """What is made of a webhook once, however often its items are routed."""

    post: Post
    body: NewBody
    parts: Sequence[_Part]
    is_kept: bool
    """Whether the body is in the database already."""


@dataclass(slots=True, eq=False)
class Candidate:
    """An item as it is routed now."""

    item: Item
    row: NewEvent
    seq: int | None = None
    """The number of the event, if it is a new one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafting:
    """Makes rows of webhooks."""

    owner: str
    cipher: Cipher
    hashes: Hashes
    backlog: Backlog
    deliveries: Intake[int, NewDeliveryJob]
    """Its lanes are destinations' numbers."""
    files: Intake[str, NewFileJob]
    """Its lanes are account ids."""
    name_file: Callable[[Archive, Item, MediaRef, datetime], str]
    """Makes the key of a file from the archive's template."""

    def draft(self, post: Post, body_id: str | None = None) -> Draft:
        """Encrypt and hash what is to be kept. With `body_id` the body is kept already."""
        seal, received_at = self.cipher.seal, microseconds(post.received_at)
        # In the order of arrival, so that the oldest are found first.
        id_ = f"{received_at:016x}{secrets.token_hex(8)}" if body_id is None else body_id
        sealed = seal(post.body) if body_id is None else ""
        body = NewBody(id_, post.speaker.app_id, received_at, self.cipher.key_ids[0], sealed)
        parts = [
            _Part(
                item,
                seal(item.entry),
                self.hashes.conversation(item.conversation),
                [self.hashes.person(party) for party in item.parties],
            )
            for item in post.items
        ]
        return Draft(post, body, parts, body_id is not None)

    def route(self, draft: Draft, routes: Routes) -> Iterator[Candidate]:
        """Make the rows of the items that the webhook's speaker may tell."""
        for part in draft.parts:
            account = routes.account(part.item)
            if draft.post.speaker.may_speak_for(account) and not routes.is_foreign(part.item, account):
                yield self._candidate(draft, part, routes, account)

    def forget(self, row: NewEvent) -> None:
        """Give back the places of jobs of an event that was not made."""
        for delivery in row.deliveries:
            if delivery.leased:
                self.deliveries.cancel(delivery.destination)
        for file in row.files:
            if file.leased:
                self.files.cancel(file.account_id)

    def _candidate(self, draft: Draft, part: _Part, routes: Routes, account: Account | None) -> Candidate:
        item, post, app = part.item, draft.post, draft.post.speaker.app_id
        state = "unparsed" if item.kind == "unparsed" else "unrouted" if account is None else "routed"
        identity = identify(item, self.owner, post.received_at, app if account is None else None)
        own_day, day = key_days(item, post.received_at)
        files = [] if account is None else list(self._files(item, post, routes, account))
        wanted = [] if account is None else routes.wanting(item, account.id)
        row = NewEvent(
            day=day,
            key=identity.key,
            own_day=own_day,
            message_id=identity.message_id,
            app=app,
            received_at=draft.body.received_at,
            item_at=item.at,
            field=item.field,
            kind=item.kind,
            type=item.type,
            waba_id=item.waba_id,
            account_id=None if account is None else account.id,
            meta_phone_number_id=routes.phone_number(item),
            wamid=item.wamid,
            conversation=part.conversation,
            state=state,
            body_id=draft.body.id,
            size=len(item.entry),
            key_id=draft.body.key_id,
            entry=part.entry,
            parties=part.parties,
            revokes=None if account is None else item.revokes,
            deliveries=[self._delivery(destination, part, bool(files)) for destination in wanted],
            files=files,
            trace=post.trace,
        )
        return Candidate(item, row)

    def _delivery(self, destination: Destination, part: _Part, has_files: bool) -> NewDelivery:
        number = destination.number
        if self.backlog.has_its_share(of_destination(number)):
            return NewDelivery(number, dead=self.cipher.seal(BACKLOG.encode()))
        if destination.ordered:
            return NewDelivery(number, part.conversation, wait=destination.media_wait if has_files else 0)
        if has_files and destination.media_wait:
            return NewDelivery(number, wait=destination.media_wait)
        return NewDelivery(number, leased=destination.state == "active" and self.deliveries.reserve(number))

    def _files(self, item: Item, post: Post, routes: Routes, account: Account) -> Iterator[NewFile]:
        archive = routes.archive(item, account.id)
        if archive is None:
            return
        full = self.backlog.has_its_share(of_files(account.id))
        for media in item.media:
            yield NewFile(
                id=file_id(self.owner, account.id, media.media_id),
                account_id=account.id,
                media_id=media.media_id,
                message_type=media.message_type,
                message_id=media.message_id,
                mime_type=media.mime_type,
                bucket=archive.bucket,
                key=self.name_file(archive, item, media, post.received_at),
                expires_at=microseconds(life_begins(media, post.received_at) + MEDIA_LIFE),
                failed=self.cipher.seal(BACKLOG.encode()) if full else None,
                leased=not full and self.files.reserve(account.id),
            )


def key_days(item: Item, received_at: datetime) -> tuple[int, int]:
    """Say under which days the key of an item may be known, and (the second one) is to be kept.

    That is the day of the item's own time, so that a copy is found on whatever day it arrives, and keys go with their
    day. Items that are older than what is kept, and such as come from the future, have no day: their keys are kept by
    their arrival. One that is old today may have been young when it came first.
    """
    arrived = int(received_at.timestamp()) // _SECONDS_A_DAY
    own = arrived if item.at is None else item.at // _SECONDS_A_DAY
    return own, own if arrived - KEY_DAYS <= own <= arrived + 1 else 0


def life_begins(media: MediaRef, received_at: datetime) -> datetime:
    """Say since when Meta has a file under its id: since the message, or, where that is older, since it was told."""
    sent_at = received_at if media.at is None else datetime.fromtimestamp(media.at, UTC)
    return received_at if received_at - sent_at > MEDIA_LIFE else min(sent_at, received_at)


def file_id(owner: str, account_id: str, media_id: str) -> str:
    """Make the id of a file: whoever makes its row, makes the same one."""
    return hashlib.sha256(json.dumps([owner, account_id, media_id]).encode()).hexdigest()[:32]
