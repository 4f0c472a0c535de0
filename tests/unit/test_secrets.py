import errno
import io
import multiprocessing
import os
import re
import stat
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from harness.waiting import PATIENCE
from whaul.folders import create_private_folder
from whaul.secrets import MAX_SECRET, Cipher, SecretKeyError, load_or_create_key_file, read_secret, secret_word


def _key() -> str:
    return Fernet.generate_key().decode()


def test_what_is_encrypted_comes_back() -> None:
    cipher = Cipher(SecretStr(_key()))
    assert cipher.decrypt(cipher.encrypt(SecretStr("EAAG-töken"))).get_secret_value() == "EAAG-töken"


def test_the_encrypted_text_is_ascii_without_the_secret_and_differs_each_time() -> None:
    cipher = Cipher(SecretStr(_key()))
    first, second = cipher.encrypt(SecretStr("EAAGtoken")), cipher.encrypt(SecretStr("EAAGtoken"))
    assert first.isascii()
    assert "EAAGtoken" not in first
    assert first != second


def test_the_decrypted_secret_does_not_print_itself() -> None:
    cipher = Cipher(SecretStr(_key()))
    secret = cipher.decrypt(cipher.encrypt(SecretStr("EAAGtoken")))
    assert "EAAGtoken" not in f"{secret} {secret!r} {cipher!r}"


def test_the_first_of_several_keys_encrypts() -> None:
    old, new = _key(), _key()
    token = Cipher(SecretStr(f"{new},{old}")).encrypt(SecretStr("s"))
    assert Cipher(SecretStr(new)).decrypt(token).get_secret_value() == "s"
    with pytest.raises(SecretKeyError):
        Cipher(SecretStr(old)).decrypt(token)


def test_every_one_of_several_keys_decrypts() -> None:
    old, new = _key(), _key()
    token = Cipher(SecretStr(old)).encrypt(SecretStr("s"))
    assert Cipher(SecretStr(f"{new} , {old}\n")).decrypt(token).get_secret_value() == "s"


def test_another_key_is_told_as_a_wrong_secret_key_that_names_the_variable() -> None:
    token = Cipher(SecretStr(_key())).encrypt(SecretStr("s"))
    with pytest.raises(SecretKeyError, match="check WHAUL_SECRET_KEY"):
        Cipher(SecretStr(_key())).decrypt(token)


def _with_another_letter(token: str) -> str:
    return token[:40] + ("C" if token[40] == "B" else "B") + token[41:]


@pytest.mark.parametrize("spoil", [lambda t: t[:-4], lambda t: "A" + t, _with_another_letter, lambda _: ""])
def test_altered_text_does_not_decrypt(spoil) -> None:
    cipher = Cipher(SecretStr(_key()))
    token = cipher.encrypt(SecretStr("a secret"))
    assert spoil(token) != token
    with pytest.raises(SecretKeyError):
        cipher.decrypt(spoil(token))


@pytest.mark.parametrize(
    "value",
    [
        "",
        ",",
        "password",
        "A" * 44,
        "A" * 42 + "=",
        "é" * 43 + "=",
        "+/" * 21 + "A=",
        pytest.param(Fernet.generate_key().decode() + ",", id="a key and nothing"),
        pytest.param(Fernet.generate_key().decode() + ",not-a-key-but-secret", id="a key and something else"),
    ],
)
def test_a_key_that_is_not_one_is_refused_without_repeating_it(value: str) -> None:
    with pytest.raises(ValueError, match=r"32 random bytes in URL-safe base64 .* make one with: ") as caught:
        Cipher(SecretStr(value))
    for part in filter(None, value.split(",")):
        assert part not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_refusal_says_which_of_the_keys_is_bad() -> None:
    with pytest.raises(ValueError, match="key 2 of 2"):
        Cipher(SecretStr(f"{_key()},x"))


def test_the_command_that_the_refusal_suggests_makes_a_usable_key() -> None:
    with pytest.raises(ValueError, match="make one with: ") as caught:
        Cipher(SecretStr("x"))
    found = re.search("make one with: (.+)$", str(caught.value))
    assert found is not None
    with os.popen(found[1]) as pipe:  # noqa: S605
        Cipher(SecretStr(pipe.read()))


def test_a_key_file_is_made_on_first_use_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "registry.db.key"
    Cipher(load_or_create_key_file(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_a_key_file_is_made_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", _no_links)
    path = tmp_path / "key"
    assert load_or_create_key_file(path) == load_or_create_key_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("text", "word"),
    [("abc", "abc"), (" a+/=\r\n", "a+/="), ("\ufeff\tabc\n", "abc"), ("'a\"", "'a\""), ('"', '"')],
)
def test_a_word_is_what_is_left_without_what_stands_around_it(text: str, word: str) -> None:
    assert secret_word(text) == word


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("\r\n \ufeff ", "empty"),
        ("x" * (MAX_SECRET + 1), "longer than"),
        ("hush-\u00e9", "ASCII"),
        ("hush-\udcff", "ASCII"),
        ("hush\nhush", "line end"),
        ("hush\x00", "control character"),
        ("hush\x7f", "control character"),
        ("hush hush", "space"),
        ('"hush"', "quotation marks"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_the_reason_and_not_repeated(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^does not hold one word of plain text: it .*{problem}") as caught:
        secret_word(text)
    assert "hush" not in str(caught.value)


@given(st.text())
def test_every_word_can_be_sent_in_a_header(text: str) -> None:
    with suppress(ValueError):
        assert re.fullmatch(r"[\x21-\x7e]+", secret_word(text))


@pytest.mark.parametrize(("content", "problem"), [(b"\xff\xfea\x00", "is not UTF-8"), (b"x" * 70_000, "has more than")])
def test_a_file_that_holds_no_secret_is_refused(content: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_secret(io.BytesIO(content))


def test_a_byte_order_mark_of_a_file_is_no_part_of_its_text() -> None:
    assert read_secret(io.BytesIO(b"\xef\xbb\xbfabc\r\n")) == "abc\r\n"


def test_a_line_end_that_was_stored_is_no_part_of_the_secret() -> None:
    cipher = Cipher(SecretStr(_key()))
    assert cipher.decrypt(cipher.encrypt(SecretStr("EAAG\r\n"))).get_secret_value() == "EAAG"


def test_a_key_file_is_read_on_second_use(tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert load_or_create_key_file(path) == load_or_create_key_file(path)


def test_a_key_file_may_hold_several_keys(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{_key()},{_key()}\n")
    path.chmod(0o600)
    Cipher(load_or_create_key_file(path))


def _no_links(*_: object, **__: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")  # as Linux says on a file system without them


def _load(path: Path, ready, answers, links: bool) -> None:
    if not links:
        os.link = _no_links
    ready.wait()
    answers.put(load_or_create_key_file(path).get_secret_value())


@pytest.mark.parametrize("links", [True, False])
def test_processes_that_start_at_once_agree_on_the_key(tmp_path: Path, *, links: bool) -> None:
    context = multiprocessing.get_context("spawn")
    ready, answers = context.Barrier(4), context.Queue()
    processes = [context.Process(target=_load, args=(tmp_path / "key", ready, answers, links)) for _ in range(4)]
    for process in processes:
        process.start()
    keys = {answers.get(timeout=PATIENCE) for _ in processes}
    for process in processes:
        process.join()
    assert len(keys) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o601, 0o666])
def test_a_key_file_open_to_every_user_is_refused_with_what_to_run(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    key = load_or_create_key_file(path).get_secret_value()
    path.chmod(mode)
    with pytest.raises(ValueError, match=f"run: chmod 600 {path}") as caught:
        load_or_create_key_file(path)
    assert key not in str(caught.value)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o660])
def test_a_key_file_of_owner_and_group_is_accepted(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    load_or_create_key_file(path)
    path.chmod(mode)
    load_or_create_key_file(path)


def test_an_empty_key_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.touch(mode=0o600)
    with pytest.raises(ValueError, match="is empty"):
        load_or_create_key_file(path)
    assert path.read_bytes() == b""


def test_a_key_file_that_cannot_be_made_leaves_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        load_or_create_key_file(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_a_private_folder_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o755)
    create_private_folder(folder / "mine")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert stat.S_IMODE((folder / "mine").stat().st_mode) == 0o700
