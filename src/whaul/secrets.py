"""Encryption at rest, and the file that keeps its key. Secrets travel as pydantic's redacting `SecretStr`.

Owns the form of `WHAUL_SECRET_KEY`. Does not decide where a secret is stored, nor read the environment.
"""

import fcntl
import hashlib
import os
import re
import shlex
import stat
from base64 import urlsafe_b64decode
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final
from uuid import uuid4

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from whaul.content_cipher import AlteredError, ContentCipher
from whaul.folders import create_private_folder, sync_folder

# Fernet itself decodes leniently: it drops what is not of its alphabet, a `+` say, instead of refusing it.
_FERNET_KEY: Final = re.compile(r"[A-Za-z0-9_-]{43}=")
HOW_TO_MAKE_A_KEY: Final = "head -c 32 /dev/urandom | base64 | tr '+/' '-_'"


MAX_SECRET: Final = 16 * 1024
"""Characters. Meta's tokens have a few hundred, AWS's session tokens up to some thousand."""
MAX_FILE: Final = 64 * 1024
"""Bytes that are read of a file with a secret: several keys, or a URL, are longer than one word."""


def read_secret(file: BinaryIO) -> str:
    """Read the text of an open file that holds a secret.

    Raises ValueError. Its text continues a sentence that begins with the file, and never repeats the content.
    """
    content = file.read(MAX_FILE + 1)
    if len(content) > MAX_FILE:
        raise ValueError(f"has more than {MAX_FILE} bytes, which no secret has")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None


def trimmed(text: str) -> str:
    """Remove what `echo`, editors and Windows leave around a secret: white space, line ends, a byte order mark."""
    return text.strip().removeprefix("\ufeff").strip()


def secret_word(text: str) -> str:
    """Trim a token or a secret key. The result can be sent in an HTTP header.

    Raises ValueError for what cannot be one. Its text continues a sentence that begins with the name of the secret,
    and never repeats the secret.
    """
    word = trimmed(text)
    if not word:
        problem = "it is empty"
    elif len(word) > MAX_SECRET:
        problem = f"it is longer than {MAX_SECRET} characters"
    elif not word.isascii():
        problem = "it has characters other than ASCII"
    elif not word.isprintable():
        problem = "it has a line end or another control character within"
    elif " " in word:
        problem = "it has a space within"
    elif len(word) > 1 and word[0] == word[-1] and word[0] in "\"'`":
        problem = "it has quotation marks around it"
    else:
        return word
    raise ValueError(f"does not hold one word of plain text: {problem}")


class SecretKeyError(Exception):
    """The secret key does not decrypt what is stored; check WHAUL_SECRET_KEY."""

    def __init__(self) -> None:
        super().__init__(
            "the secret key does not decrypt what is stored; check WHAUL_SECRET_KEY: it must hold the key that "
            "the secrets were stored with (several keys: comma-separated, the newest first)"
        )


class Cipher:
    """Encrypts with the first of its keys, decrypts with any of them.

    `keys` is the value of `WHAUL_SECRET_KEY`: one or more Fernet keys (32 random bytes in URL-safe base64),
    comma-separated. Raises ValueError, which never holds a key, when one of them is not usable.
    """

    def __init__(self, keys: SecretStr) -> None:
        parts = [trimmed(part) for part in keys.get_secret_value().split(",")]
        for number, part in enumerate(parts, start=1):
            if not _FERNET_KEY.fullmatch(part):
                raise ValueError(
                    f"key {number} of {len(parts)} in WHAUL_SECRET_KEY is not usable: expected 32 random bytes "
                    f"in URL-safe base64 (44 characters, the last one '='); make one with: {HOW_TO_MAKE_A_KEY}"
                )
        self._newest = Fernet(parts[0])
        self._fernet = MultiFernet([self._newest, *(Fernet(part) for part in parts[1:])])
        self._content = [ContentCipher(urlsafe_b64decode(part)) for part in parts]
        self.key_ids = tuple(hashlib.sha256(b"whaul key id:" + part.encode()).hexdigest()[:16] for part in parts)
        """Names of the keys, which tell nothing of them, in their order; content is sealed with the first."""

    def encrypt(self, secret: SecretStr) -> str:
        """Encrypt and authenticate; the answer is URL-safe ASCII and differs from call to call."""
        return self._fernet.encrypt(secret.get_secret_value().encode()).decode("ascii")

    def decrypt(self, token: str) -> SecretStr:
        """Undo `encrypt`. Raises SecretKeyError when no key fits or the text was altered."""
        try:
            return SecretStr(trimmed(self._fernet.decrypt(token).decode()))  # earlier versions stored line ends, too
        except InvalidToken as exc:
            raise SecretKeyError from exc

    def encrypted_at(self, token: str) -> datetime:
        """Say when `encrypt` wrote it, UTC, to the second. Raises SecretKeyError when no key fits."""
        try:
            return datetime.fromtimestamp(self._fernet.extract_timestamp(token), UTC)
        except InvalidToken as exc:
            raise SecretKeyError from exc

    def seal(self, content: bytes) -> str:
        """Encrypt and authenticate content, any bytes; the answer is ASCII and differs from call to call."""
        return self._content[0].seal(content)

    def unseal(self, token: str) -> bytes:
        """Undo `seal`. Raises SecretKeyError when no key fits or the text was altered."""
        for cipher in self._content:
            with suppress(AlteredError):
                return cipher.unseal(token)
        raise SecretKeyError

    def renew(self, token: str) -> str | None:
        """Encrypt with the first key what another one encrypted; None when there is nothing to do.

        Raises SecretKeyError when no key fits.
        """
        try:
            self._newest.decrypt(token)
        except InvalidToken:
            return self.encrypt(self.decrypt(token))
        return None


def load_or_create_key_file(path: Path) -> SecretStr:
    """Read the secret key from a file, making the file (mode 0600) when there is none.

    Processes that start at the same moment get the same key. Raises ValueError when users other than the owner
    and the group can get at the file, or it is empty, and OSError when it cannot be read or made.
    """
    if not path.exists():
        _create_key_file(path)
    with path.open(encoding="ascii", errors="replace") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        # The group is let be: Kubernetes' fsGroup gives it read and write on every file of a volume it mounts.
        # https://kubernetes.io/docs/tasks/configure-pod-container/security-context/
        if mode & stat.S_IRWXO:
            raise ValueError(
                f"every user can get at the secret key in {path} (mode {mode:04o}); "
                f"run: chmod 600 {shlex.quote(str(path))}, or keep the key in WHAUL_SECRET_KEY instead"
            )
        key = file.read().strip()
    if not key:
        raise ValueError(f"the secret key file {path} is empty; restore it, or remove it to start with a new key")
    return SecretStr(key)


def _create_key_file(path: Path) -> None:
    # Written in full under another name, then linked: whoever sees the file sees a whole key, and only one
    # process gets to create it. Opened under its own name, it would be seen empty by the process that lost.
    create_private_folder(path.parent)
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(Fernet.generate_key() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        _publish(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    # The name must be on disk before anything is encrypted with the key, or a power cut loses those secrets.
    sync_folder(path.parent)


def _publish(draft: Path, path: Path) -> None:
    """Give the draft its final name, unless another process was first."""
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return
    except OSError:
        # A file system without hard links, such as exFAT or some network mounts. Processes take turns.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            if not path.exists():
                draft.replace(path)
        finally:
            os.close(folder)
