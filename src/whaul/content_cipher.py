"""Encryption of content: what people wrote, on its way into the database and back.

Fernet, which encrypts tokens and secrets, takes five times as long for a message, and each webhook is encrypted twice.
So content is encrypted with AES-256-GCM. With one key and nonces at random, that is safe for some 2^32 messages; an
installation would get there. So each process makes keys of its own from the secret key and a salt, and takes a new one
long before.
"""

import binascii
import os
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MARK: Final = "2"
"""What the text begins with. Fernet's begins with a `g`."""
SALT: Final = 16
NONCE: Final = 12
"""Bytes."""
MAX_MESSAGES: Final = 2**28
"""Those of one salt. https://csrc.nist.gov/pubs/sp/800/38/d/final, section 8.3, allows 2^32."""
_MAX_SALTS: Final = 256
"""Keys that are remembered, of processes that encrypted what is read."""


class AlteredError(Exception):
    """The text was altered, or encrypted with another key."""


class ContentCipher:
    """Encrypts and decrypts with keys that are made from one key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._of = lru_cache(_MAX_SALTS)(self._derived)
        self._left = 0
        self._salt = b""
        self._cipher: AESGCM

    def seal(self, content: bytes) -> str:
        """Encrypt and authenticate; the answer is ASCII and differs from call to call."""
        if self._left == 0:
            self._salt, self._left = os.urandom(SALT), MAX_MESSAGES
            self._cipher = self._derived(self._salt)
        self._left -= 1
        nonce = os.urandom(NONCE)
        sealed = self._salt + nonce + self._cipher.encrypt(nonce, content, None)
        return MARK + binascii.b2a_base64(sealed, newline=False).decode("ascii")

    def unseal(self, text: str) -> bytes:
        """Undo `seal`. Raises AlteredError."""
        if not text.startswith(MARK):
            raise AlteredError
        try:
            sealed = binascii.a2b_base64(text[len(MARK) :], strict_mode=True)
            return self._of(sealed[:SALT]).decrypt(sealed[SALT : SALT + NONCE], sealed[SALT + NONCE :], None)
        except (ValueError, InvalidTag) as error:  # a nonce that is too short is a ValueError, as is bad base64
            raise AlteredError from error

    def _derived(self, salt: bytes) -> AESGCM:
        return AESGCM(HKDF(SHA256(), length=32, salt=salt, info=b"whaul content").derive(self._key))
