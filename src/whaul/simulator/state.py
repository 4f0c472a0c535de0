"""Everything that the simulated Graph API knows: the account, its numbers, media and messages, the clock, the settings.

Plain values and rules about them; no HTTP. `reset` goes back to the start.
"""

import hashlib
import re
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

from whaul.simulator.apps import ALL_FIELDS, Apps
from whaul.simulator.content import Content, InMemory, OnDisk
from whaul.simulator.faults.queue import FaultQueue
from whaul.simulator.flows import Flow, preview_end
from whaul.simulator.journal import Journal
from whaul.simulator.media import (
    DEFAULT_MEDIA,
    INBOUND_LIFETIME,
    UPLOAD_LIFETIME,
    Media,
    MediaOptions,
    Origin,
    mime_type_of,
)
from whaul.simulator.media_store import MediaStore
from whaul.simulator.model import Dataset, Message, Permission, PhoneNumber, PublicKey, UploadSession, VoiceCall
from whaul.simulator.settings import Settings
from whaul.simulator.templates import Template
from whaul.simulator.values import BadValueError, MissingError

WABA_ID = "400000000000001"
OTHER_WABA_ID = "400000000000002"
"""Another account that the token reaches."""
LAST_FIXED_ID = 200_000_000_000_000
PREVIEW_LIFETIME = 30 * 24 * 3600
MAX_MESSAGES = 10_000
"""Messages that are kept; older ones are forgotten."""

MEDIA_ID = re.compile(r"[A-Za-z0-9]{1,100}")


DEFAULT_PHONE_NUMBERS = (
    PhoneNumber("500000000000001", "+1 555-010-0001", "Whaul Harbour Office"),
    PhoneNumber("500000000000002", "+1 555-010-0002", "Whaul Night Desk"),
)


class State:
    """What there is in the simulated world."""

    def __init__(
        self,
        *,
        token: str,
        app_secret: str | None,
        webhook_url: str | None = None,
        webhook_secret: str | None = None,
        clock: Callable[[], float],
        media_dir: Path | None,
        keep_dir: Path | None = None,
        journal: Journal,
    ) -> None:
        self.token = token
        self.app_secret = app_secret
        self.origin = ""
        """Where this simulator listens."""
        self._webhook_url, self._webhook_secret = webhook_url, webhook_secret
        self.media_dir = media_dir
        self.journal = journal
        self.faults = FaultQueue()
        self.url_key = secrets.token_bytes(32)
        self.on_advance: Callable[[float], object] = lambda _seconds: None
        self._clock = clock
        self.store = MediaStore(keep_dir)
        self._last_id = self.store.last_id(LAST_FIXED_ID)
        self._load()

    def _load(self) -> None:
        self._skew = 0.0
        self.settings = Settings()
        self.apps = Apps(self.token, self.app_secret or self._webhook_secret)
        if self._webhook_url is not None:
            first = self.apps.get(None)
            first.callback_url, first.fields, first.subscribed = self._webhook_url, ALL_FIELDS, True
        self.phone_numbers = {number.id: number for number in DEFAULT_PHONE_NUMBERS}
        self.media: dict[str, Media] = {}
        self.flows: dict[str, Flow] = {}
        self.public_keys: dict[str, PublicKey] = {}
        """By the number's id."""
        self.call_permissions: dict[tuple[str, str], Permission] = {}
        """By the ids of number and person."""
        self.voice_calls: dict[str, VoiceCall] = {}
        self.datasets: dict[str, Dataset] = {}
        """By the account's id."""
        self.templates: dict[str, Template] = {}
        self.blocked_names: dict[tuple[str, str], float] = {}
        """Until when the name of a deleted template cannot be used, by account and name."""
        self.upload_sessions: dict[str, UploadSession] = {}
        self.handles: dict[str, str] = {}
        """The apps that uploaded files are for, by the files' handles."""
        self.conversion_events: list[dict[str, Any]] = []
        self.messages: deque[Message] = deque(maxlen=MAX_MESSAGES)
        """What was sent or marked as read, oldest first."""
        self.received: deque[str] = deque(maxlen=MAX_MESSAGES)
        """The ids of customers' messages."""
        self._names: dict[str, str] = {}
        self._removed: set[str] = set()
        folder = resources.files("whaul.simulator") / "samples"
        receiver = DEFAULT_PHONE_NUMBERS[0].id
        self.samples: dict[str, Media] = {}
        """The default media by the type of message that they come in."""
        for media_id, kind, name, mime_type in DEFAULT_MEDIA:
            content = InMemory((folder / name).read_bytes())
            self.media[media_id] = self.samples[kind] = Media(media_id, content, mime_type, receiver)
        self.media |= {media.id: media for media in self.store.load()}
        self.scan()

    def reset(self) -> None:
        """Back to the start: default media, settings and clock, no faults, no messages, an empty journal.

        Ids are not used twice, as at Meta: a media added later gets a new one.
        """
        self.faults.clear()
        self.journal.clear()
        self.store.clear()
        self._load()

    def clear_messages(self) -> None:
        """Forget the messages, both ways."""
        self.messages.clear()
        self.received.clear()

    def now(self) -> float:
        """Unix time in this world."""
        return self._clock() + self._skew

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._skew += seconds
        self.on_advance(seconds)

    def scan(self) -> None:
        """Follow the media folder: new, changed and deleted files. A file's id comes from its name and stays."""
        if self.media_dir is None:
            return
        receiver = next(iter(self.phone_numbers))
        for media_id in [known for known, name in self._names.items() if not (self.media_dir / name).is_file()]:
            del self._names[media_id]
            self.media.pop(media_id, None)
        for path in sorted(self.media_dir.iterdir()):
            if path.name.startswith(".") or not path.is_file():
                continue
            digest = hashlib.sha256(path.name.encode()).digest()
            media_id = str(3 * 10**14 + int.from_bytes(digest[:8], "big") % 10**14)
            known = self.media.get(media_id)
            content = OnDisk(path)
            same = (
                known is not None
                and isinstance(known.content, OnDisk)
                and known.content.fingerprint == content.fingerprint
            )
            if same or media_id in self._removed:
                continue
            self.media[media_id] = Media(media_id, content, mime_type_of(path), receiver)
            self._names[media_id] = path.name

    def name_of(self, media_id: str) -> str | None:
        """The file name of a media that came from the media folder."""
        return self._names.get(media_id)

    def find(self, media_id: str) -> Media | None:
        """A media by its id; `None` if it never existed, was deleted, or is older than Meta keeps it."""
        if media_id not in self.media or media_id in self._names:
            self.scan()
        media = self.media.get(media_id)
        if media is None or (media.expires_at is not None and self.now() >= media.expires_at):
            return None
        return media

    def get(self, media_id: str) -> Media:
        """A media by its id; raises `MissingError`."""
        media = self.find(media_id)
        if media is None:
            raise MissingError(f"There is no media {media_id}.")
        return media

    def add(
        self,
        content: Content,
        mime_type: str,
        *,
        media_id: str | None = None,
        phone_number_id: str | None = None,
        origin: Origin = "inbound",
        options: MediaOptions | None = None,
        digest: bytes | None = None,
    ) -> Media:
        """Add a media; raises `BadValueError`."""
        if media_id is None:
            media_id = self.new_id()
        elif not MEDIA_ID.fullmatch(media_id):
            raise BadValueError(f"A media id is 1 to 100 letters and digits, not {media_id!r}.")
        self._check_free(media_id)
        if phone_number_id is not None and phone_number_id not in self.phone_numbers:
            raise BadValueError(f"There is no phone number {phone_number_id}; there are {[*self.phone_numbers]}.")
        if not re.fullmatch(r"[\w.+-]+/[\w.+-]+[ -~]*", mime_type, re.ASCII):
            raise BadValueError(f"{mime_type!r} is not a media type such as image/jpeg.")
        lifetime = UPLOAD_LIFETIME if origin == "upload" else INBOUND_LIFETIME
        media = Media(
            media_id,
            content,
            mime_type,
            phone_number_id or next(iter(self.phone_numbers)),
            origin,
            self.now() + lifetime,
            options or MediaOptions(),
            digest=digest,
        )
        self.store.put(media)
        self.media[media_id] = media
        self._removed.discard(media_id)
        return media

    def new_id(self) -> str:
        """An id that no object has."""
        self._last_id += 1
        self.store.keep_last_id(self._last_id)
        return str(self._last_id)

    def _check_free(self, object_id: str) -> None:
        others = {WABA_ID, OTHER_WABA_ID, *(app.id for app in self.apps)}
        if any(object_id in taken for taken in (self.media, self.phone_numbers, self.flows, others)):
            raise BadValueError(f"The id {object_id} is taken. Choose another id, or remove the media that has it.")

    def remove(self, media_id: str) -> None:
        """Delete a media; raises `MissingError` if there is none."""
        media = self.get(media_id)
        del self.media[media_id]
        self._removed.add(media_id)
        self.store.remove(media)

    def add_flow(self, flow: Flow) -> Flow:
        """Add a flow; raises `BadValueError` if its id is taken, or its preview ends at no time."""
        if flow.preview is not None:
            preview_end(flow.preview)
        flow.id = flow.id or self.new_id()
        self._check_free(flow.id)
        self.renew_preview(flow, anew=flow.preview is None)
        self.flows[flow.id] = flow
        return flow

    def renew_preview(self, flow: Flow, *, anew: bool) -> None:
        """Give a flow another preview link if its own is over, or in any case."""
        now = datetime.fromtimestamp(self.now(), UTC)
        if anew or flow.preview is None or preview_end(flow.preview) <= now:
            end = now + timedelta(seconds=PREVIEW_LIFETIME)
            link = f"https://business.facebook.com/wa/manage/flows/{flow.id}/preview/?token={secrets.token_hex(8)}"
            flow.preview = {"preview_url": link, "expires_at": f"{end:%Y-%m-%dT%H:%M:%S%z}"}

    def flow(self, flow_id: str) -> Flow:
        """A flow by its id; raises `MissingError`."""
        if flow_id not in self.flows:
            raise MissingError(f"There is no flow {flow_id}.")
        return self.flows[flow_id]

    def add_phone_number(self, display_phone_number: str, verified_name: str) -> PhoneNumber:
        """Add a phone number to the account."""
        number_id = str(int(next(reversed(self.phone_numbers))) + 1)
        number = PhoneNumber(number_id, display_phone_number, verified_name)
        self.phone_numbers[number_id] = number
        return number

    def phone_number(self, number_id: str) -> PhoneNumber:
        """A phone number by its id; raises `MissingError`."""
        if number_id not in self.phone_numbers:
            raise MissingError(f"There is no phone number {number_id}.")
        return self.phone_numbers[number_id]

    def change_phone_number(self, number_id: str, changes: Mapping[str, Any]) -> PhoneNumber:
        """Change what Meta says of a phone number; raises `MissingError` if there is none."""
        number = self.phone_numbers[number_id] = replace(self.phone_number(number_id), **changes)
        return number

    def close(self) -> None:
        """Remove what was uploaded, unless it is to be kept."""
        self.store.close()
