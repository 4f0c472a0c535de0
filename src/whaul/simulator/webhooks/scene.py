"""Who writes to which number with what: what an example of a webhook is composed of."""

import base64
import secrets
from dataclasses import dataclass, field
from typing import Any

from whaul.simulator.content import Generated
from whaul.simulator.media import Media
from whaul.simulator.model import PhoneNumber
from whaul.simulator.state import State
from whaul.simulator.webhooks.envelope import new_message_id, of_number, show_media
from whaul.simulator.webhooks.people import CUSTOMER, SENDER, contact, digits, named, person

KIB = 1024
GENERATED = {"video": (64 * KIB, "video/mp4"), "sticker": (20 * KIB, "image/webp")}


@dataclass
class Scene:
    """A number of the business, and a person on the other side."""

    state: State
    number: PhoneNumber
    sender: str = CUSTOMER
    """Their phone number, or their business-scoped user id: then no number shows."""
    text: str = "Hello"
    media_id: str | None = None
    """The file that is sent; else one of the samples, under a new id."""
    message_id: str = field(default_factory=new_message_id)
    """The message that a status, a reply, a reaction, an edit or a revocation is about."""
    contacts: bool = True
    """Whether there are `contacts`."""

    @property
    def now(self) -> int:
        """Unix time."""
        return int(self.state.now())

    @property
    def ids(self) -> dict[str, str]:
        """All that is known of the person."""
        return person(self.sender)

    @property
    def business(self) -> str:
        """The business's number, in digits."""
        return digits(self.number.display_phone_number)

    def value(self, **members: Any) -> dict[str, Any]:
        """A value that concerns the number."""
        return of_number(self.number, members)

    def with_contact(self, **members: Any) -> dict[str, Any]:
        """A value that also says who the person is."""
        shown = {"contacts": [contact(self.ids)]} if self.contacts else {}
        return self.value(**shown, **members)

    def item(self, **members: Any) -> dict[str, Any]:
        """A message of the person."""
        message_id = new_message_id()
        self.state.received.append(message_id)
        return {**named(self.ids, SENDER), "id": message_id, "timestamp": str(self.now), **members}

    def echo(self, **members: Any) -> dict[str, Any]:
        """A message that the business wrote to the person, on its phone or by Meta's agent."""
        to = named(self.ids, {"wa_id": "to", "user_id": "to_user_id", "parent_user_id": "to_parent_user_id"})
        return {"from": self.business, **to, "id": new_message_id(), "timestamp": str(self.now), **members}

    def media(self, kind: str, *, in_hex: bool = False, **members: Any) -> dict[str, Any]:
        """A content of the kind: its type, and the file, which can be fetched."""
        found = self.state.get(self.media_id) if self.media_id else self._sample(kind)
        return {"type": kind, kind: {**members, **show_media(self.state, found, in_hex=in_hex)}}

    def _sample(self, kind: str) -> Media:
        if kind in GENERATED:
            size, mime_type = GENERATED[kind]
            return self.state.add(Generated(size, 1), mime_type, phone_number_id=self.number.id)
        sample = self.state.samples[kind]
        digest = sample.sha256()  # kept by the sample, so that it is computed once
        return self.state.add(sample.content, sample.mime_type, phone_number_id=self.number.id, digest=digest)


def new_id(prefix: str = "") -> str:
    """An id that nothing else has, such as that of a call or a group."""
    return prefix + base64.b64encode(secrets.token_bytes(24)).decode()
