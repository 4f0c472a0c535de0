"""Download URLs, signed and short-lived.

    {base}/whatsapp_business/attachments/?mid=…&ext=<Unix time of expiry>&hash=…

A URL lives five minutes and works any number of times until then; the Bearer token is needed as well.
"""

import base64
import hashlib
import hmac
from urllib.parse import urlencode

from whaul.simulator.media import URL_LIFETIME, Media
from whaul.simulator.state import State

PATH = "/whatsapp_business/attachments/"


def signed_url(state: State, media: Media, origin: str) -> str:
    """A new download URL for a media; `origin` is scheme and host, as the client knows this server."""
    base = (state.settings.media_base_url or origin).rstrip("/")
    expiry = str(int(state.now()) + URL_LIFETIME)
    query = {"mid": media.id, "ext": expiry, "hash": _signature(state, media, expiry)}
    return f"{base}{PATH}?{urlencode(query)}"


def _signature(state: State, media: Media, expiry: str) -> str:
    message = f"{media.id}\n{media.url_generation}\n{expiry}".encode()
    digest = hmac.new(state.url_key, message, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest[:24]).decode()


def media_of(state: State, mid: str, expiry: str, signature: str) -> Media | None:
    """The media of a URL that is whole, young and still known."""
    media = state.find(mid)
    if media is None or not (expiry.isascii() and expiry.isdecimal()) or state.now() >= int(expiry):
        return None
    expected = _signature(state, media, expiry)
    return media if hmac.compare_digest(signature.encode(errors="replace"), expected.encode()) else None
