"""Tokens of the next pages of lists: sealed, so that callers can neither read nor make one, nor use it elsewhere."""

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

from pydantic import SecretStr

from whaul.registry.errors import PageTokenError
from whaul.secrets import Cipher, SecretKeyError


class PageTokens:
    """Those of one account number; any process with one of the cipher's keys can read them."""

    def __init__(self, cipher: Cipher, account_id: str) -> None:
        self._cipher = cipher
        self._account_id = account_id

    def write(self, of: Sequence[str], place: Sequence[str]) -> str:
        """Write a token. `of` says what is listed, beginning with the list's name; `place` is where to go on."""
        name, *rest = of
        return self._cipher.encrypt(SecretStr(json.dumps([name, self._account_id, *rest, *place])))

    def read(self, of: Sequence[str], token: str) -> list[str]:
        """Read the place from a token that was written of the same. Raises PageTokenError for any other text."""
        name, *rest = of
        try:
            # The cipher drops characters that are not of its alphabet; a token is only what `write` wrote.
            if base64.urlsafe_b64encode(base64.urlsafe_b64decode(token)).decode() != token:
                raise PageTokenError
            content: Any = json.loads(self._cipher.decrypt(token).get_secret_value())
        except (binascii.Error, ValueError, SecretKeyError) as exc:
            raise PageTokenError from exc
        expected = [name, self._account_id, *rest]
        if not isinstance(content, list) or content[: len(expected)] != expected:
            raise PageTokenError
        return content[len(expected) :]
