"""People and conversations in the open columns of the tables: known again, but not known."""

import hmac
import secrets
from typing import Final

from pydantic import SecretStr

from whaul.events.database.store import Store
from whaul.secrets import Cipher

HASH_SIZE: Final = 16
"""Bytes."""


class Hashes:
    """The HMACs of one installation. The key is never changed: what is stored would not be found again."""

    def __init__(self, store: Store, cipher: Cipher, owner: str) -> None:
        self._store = store
        self._cipher = cipher
        self._owner = owner
        self._is_loaded = False
        self._keyed: hmac.HMAC

    async def load(self) -> None:
        """Read the installation's key, unless it is known, and make it on first use. To be awaited before any hash.

        Raises SecretKeyError, RegistryUnavailableError.
        """
        if self._is_loaded:
            return
        fresh = self._cipher.encrypt(SecretStr(secrets.token_hex(32)))
        _, [(key,)] = await self._store.run(
            ("INSERT INTO installation (owner, hash_key) VALUES ($1, $2) ON CONFLICT DO NOTHING", (self._owner, fresh)),
            ("SELECT hash_key FROM installation WHERE owner = $1", (self._owner,)),
        )
        self._keyed = hmac.new(bytes.fromhex(self._cipher.decrypt(key).get_secret_value()), digestmod="sha256")
        self._is_loaded = True

    def person(self, id_: str) -> bytes:
        """Hash a phone number or a business-scoped user id."""
        return self._hash(b"person:", id_)

    def named(self, person: str) -> str:
        """Hash a person as somebody writes one, such as `+49 1511 234567`, in hexadecimal."""
        return self.person("".join(person.split()).removeprefix("+")).hex()

    def conversation(self, conversation: str) -> bytes:
        """Hash a conversation, as `Item.conversation` names it."""
        return self._hash(b"conversation:", conversation)

    def _hash(self, kind: bytes, text: str) -> bytes:
        keyed = self._keyed.copy()  # to prepare the key again takes twice as long as all of this
        keyed.update(kind + text.encode(errors="surrogatepass"))
        return keyed.digest()[:HASH_SIZE]
