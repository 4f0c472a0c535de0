"""Encryption of content."""

import pytest
from pydantic import SecretStr

from whaul import content_cipher
from whaul.content_cipher import AlteredError, ContentCipher
from whaul.secrets import Cipher, SecretKeyError

KEY, OTHER = bytes(32), bytes(31) + b"1"
OLD, NEW = "A" * 43 + "=", "B" * 42 + "A="


@pytest.mark.parametrize("content", [b"", b"Good morning!", bytes(range(256)) * 300])
def test_content_comes_back(content: bytes) -> None:
    sealed = ContentCipher(KEY).seal(content)
    assert sealed.isascii()
    assert ContentCipher(KEY).unseal(sealed) == content  # as in another process


def test_no_two_texts_are_alike() -> None:
    cipher = ContentCipher(KEY)
    assert len({cipher.seal(b"the same") for _ in range(100)}) == 100


def test_a_salt_is_used_for_so_many_messages_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_cipher, "MAX_MESSAGES", 2)
    cipher = ContentCipher(KEY)
    sealed = [cipher.seal(b"content") for _ in range(5)]
    assert len({text[:20] for text in sealed}) == 3
    assert {cipher.unseal(text) for text in sealed} == {b"content"}


def test_a_text_that_was_altered_anywhere_is_refused() -> None:
    cipher = ContentCipher(KEY)
    sealed = cipher.seal(b"content")
    for place, character in enumerate(sealed):
        altered = sealed[:place] + ("A" if character != "A" else "B") + sealed[place + 1 :]
        with pytest.raises(AlteredError):
            cipher.unseal(altered)


@pytest.mark.parametrize("text", ["", "2", "2AAAA", "2" + "A" * 36, "gAAAAABn", "2\N{SNOWMAN}", "2A A="])
def test_what_is_no_such_text_is_refused(text: str) -> None:
    with pytest.raises(AlteredError):
        ContentCipher(KEY).unseal(text)


def test_another_key_does_not_fit() -> None:
    with pytest.raises(AlteredError):
        ContentCipher(OTHER).unseal(ContentCipher(KEY).seal(b"content"))


def test_old_keys_still_decrypt() -> None:
    sealed = Cipher(SecretStr(OLD)).seal(b"content")
    assert Cipher(SecretStr(f"{NEW},{OLD}")).unseal(sealed) == b"content"
    with pytest.raises(SecretKeyError):
        Cipher(SecretStr(NEW)).unseal(sealed)
