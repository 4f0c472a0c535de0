"""A media file that Meta holds, and how it is shown."""

import hashlib
import mimetypes
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from whaul.simulator.content import Content

DEFAULT_MEDIA = (
    ("100000000000001", "image", "evening.jpg", "image/jpeg"),
    ("100000000000002", "audio", "melody.ogg", "audio/ogg; codecs=opus"),
    ("100000000000003", "document", "page.pdf", "application/pdf"),
)

# Seconds. https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/media
URL_LIFETIME = 5 * 60
INBOUND_LIFETIME = 7 * 24 * 3600
UPLOAD_LIFETIME = 30 * 24 * 3600

# Python's own table differs between systems; these are the types of WhatsApp.
TYPES_BY_EXTENSION = {
    ".3gp": "video/3gpp",
    ".aac": "audio/aac",
    ".amr": "audio/amr",
    ".jpg": "image/jpeg",
    ".m4a": "audio/mp4",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".ogg": "audio/ogg; codecs=opus",
    ".opus": "audio/ogg; codecs=opus",
    ".webp": "image/webp",
}

Origin = Literal["inbound", "upload"]
FileSize = Literal["number", "string"]
Sha256 = Literal["hex", "base64"]
ContentType = Literal["media", "application/octet-stream", "text/plain"]


class MediaOptions(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How one media is shown; what is absent follows the settings."""

    file_size: FileSize | None = None
    sha256: Sha256 | None = None
    content_type: ContentType | None = None


class NewMedia(MediaOptions):
    """What may be said of a media that is added."""

    phone_number_id: str | None = None
    origin: Origin = "inbound"

    def options(self) -> MediaOptions:
        """How it is shown."""
        return MediaOptions(file_size=self.file_size, sha256=self.sha256, content_type=self.content_type)


@dataclass(eq=False)
class Media:
    """A file that Meta holds."""

    id: str
    content: Content = field(repr=False)
    mime_type: str
    phone_number_id: str
    origin: Origin = "inbound"
    expires_at: float | None = None
    options: MediaOptions = field(default_factory=MediaOptions)
    url_generation: int = 0
    """Part of every download URL's signature; a new number makes the old URLs invalid."""
    digest: bytes | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.content.size

    def sha256(self) -> bytes:
        """The digest of the bytes, computed once; slow for large files, so call it off the event loop."""
        with self._lock:
            if self.digest is None:
                digest = hashlib.sha256()
                for block in self.content.blocks():
                    digest.update(block)
                self.digest = digest.digest()
            return self.digest

    def read(self) -> bytes:
        """All bytes at once, for comparisons in tests."""
        return b"".join(self.content.blocks())


def mime_type_of(path: Path) -> str:
    """The media type that belongs to a file's extension."""
    known = TYPES_BY_EXTENSION.get(path.suffix.lower())
    return known or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
