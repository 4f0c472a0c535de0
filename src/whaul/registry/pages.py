"""Page tokens: where a list goes on, sealed so that callers can neither read nor make one."""

import base64
import binascii
import json
from datetime import datetime
from typing import Any, Final

from pydantic import SecretStr

from whaul.registry.errors import PageTokenError
from whaul.secrets import Cipher, SecretKeyError

_LIST: Final = "linked accounts"
"""Part of every token, so that what was encrypted for another purpose is none."""


def seal(cipher: Cipher, owner: str, linked_at: datetime, account_id: str) -> str:
    """Write the token of the page after an account."""
    return cipher.encrypt(SecretStr(json.dumps([_LIST, owner, linked_at.isoformat(), account_id])))


def unseal(cipher: Cipher, owner: str, token: str) -> tuple[datetime, str]:
    """Read a token of the same account number; any process with one of the keys can. Raises PageTokenError."""
    try:
        # The cipher drops characters that are not of its alphabet; a token is only what `seal` wrote.
        if base64.urlsafe_b64encode(base64.urlsafe_b64decode(token)).decode() != token:
            raise PageTokenError
        content: Any = json.loads(cipher.decrypt(token).get_secret_value())
    except (binascii.Error, ValueError, SecretKeyError) as exc:
        raise PageTokenError from exc
    if not isinstance(content, list) or content[:2] != [_LIST, owner]:
        raise PageTokenError
    return datetime.fromisoformat(content[2]), content[3]
