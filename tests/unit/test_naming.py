"""What stored objects are called."""

import mimetypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whaul.errors import InvalidParametersException
from whaul.storage.naming import EXTENSIONS, MAX_KEY_LENGTH, extension, object_key, split_name

OFFICE = "application/vnd.openxmlformats-officedocument"


@pytest.mark.parametrize(
    ("mime_type", "expected"),
    [
        ("image/jpeg", ".jpeg"),
        ("image/png", ".png"),
        ("image/webp", ".webp"),
        ("audio/aac", ".aac"),
        ("audio/amr", ".amr"),
        ("audio/mpeg", ".mp3"),
        ("audio/mp4", ".m4a"),
        ("audio/ogg", ".ogg"),
        ("video/mp4", ".mp4"),
        ("video/3gp", ".3gp"),
        ("video/3gpp", ".3gp"),
        ("text/plain", ".txt"),
        ("application/pdf", ".pdf"),
        ("application/msword", ".doc"),
        (f"{OFFICE}.wordprocessingml.document", ".docx"),
        ("application/vnd.ms-excel", ".xls"),
        (f"{OFFICE}.spreadsheetml.sheet", ".xlsx"),
        ("application/vnd.ms-powerpoint", ".ppt"),
        (f"{OFFICE}.presentationml.presentation", ".pptx"),
        # parameters, case and blanks do not matter
        ("audio/ogg; codecs=opus", ".ogg"),
        ("audio/ogg;codecs=opus", ".ogg"),
        ("IMAGE/JPEG", ".jpeg"),
        (" image/jpeg ;q=1", ".jpeg"),
        # of Python's own table
        ("image/gif", ".gif"),
        ("application/zip", ".zip"),
        ("text/csv", ".csv"),
        # the subtype, if it is plain
        ("application/x7z", ".x7z"),
        ("model/foo", ".foo"),
        # nothing to be had
        ("application/vnd.whatever+thing", ""),
        ("application/x-whatever", ""),
        ("application/", ""),
        ("image/" + "j" * 65, ""),
        ("application", ""),
        ("", ""),
        ("image/../../etc", ""),
    ],
)
def test_the_extension_follows_the_mime_type(mime_type: str, expected: str) -> None:
    assert extension(mime_type, {}) == expected


def test_what_the_machine_knows_of_types_does_not_count() -> None:
    mimetypes.add_type("application/x-of-this-machine", ".c++")
    assert mimetypes.guess_extension("application/x-of-this-machine") == ".c++"
    assert extension("application/x-of-this-machine", {}) == ""


def test_every_name_that_is_given_is_read_back() -> None:
    known = [*EXTENSIONS, *mimetypes.MimeTypes().types_map_inv[True]]
    for suffix in [extension(mime_type, {}) for mime_type in known]:
        assert split_name(f"42{suffix}", {}) == ("42", suffix)


def test_every_row_of_the_table_is_tested_by_its_essence() -> None:
    assert all(extension(mime_type, {}) == expected for mime_type, expected in EXTENSIONS.items())
    assert all(mime_type == mime_type.lower() for mime_type in EXTENSIONS)


@pytest.mark.parametrize(
    ("mime_type", "expected"),
    [("image/jpeg", ".jpg"), ("audio/ogg; codecs=opus", ""), ("image/png", ".png"), ("application/x-new", ".new")],
)
def test_the_operators_table_comes_first(mime_type: str, expected: str) -> None:
    assert extension(mime_type, {"image/jpeg": ".jpg", "audio/ogg": "", "application/x-new": ".new"}) == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("inbound_", "inbound_42.ogg"),
        ("audio/", "audio/42.ogg"),
        ("a/example.ogg", "a/example.ogg42.ogg"),
        ("", "42.ogg"),
        ("//", "//42.ogg"),
        ("/", "/42.ogg"),
        ("a b+%?#\t", "a b+%?#\t42.ogg"),
        ("🐋/", "🐋/42.ogg"),
        ("...", "...42.ogg"),
        (".", ".42.ogg"),
        ("..", "..42.ogg"),
        ("a/.", "a/.42.ogg"),
    ],
)
def test_key_media_id_and_extension_are_joined_with_nothing_in_between(key: str, expected: str) -> None:
    assert object_key(key, "42", ".ogg", exact=False) == expected


@pytest.mark.parametrize("key", ["a/example.ogg", "a", "//", "a b+%?#\t", ".a", "a."])
def test_an_exact_key_is_taken_as_it_stands(key: str) -> None:
    assert object_key(key, "42", ".ogg", exact=True) == key


@pytest.mark.parametrize("key", ["../", "a/../", "./", "/./", "a/./b", "../../inbox/", "a/../b"])
def test_a_key_that_could_land_outside_its_prefix_is_refused(key: str) -> None:
    with pytest.raises(InvalidParametersException, match="segment") as caught:
        object_key(key, "42", ".ogg", exact=False)
    assert "inbox" not in caught.value.message


@pytest.mark.parametrize(("key", "reason"), [("", "empty"), (".", "segment"), ("..", "segment"), ("a/..", "segment")])
def test_an_exact_key_that_no_store_could_hold_is_refused(key: str, reason: str) -> None:
    with pytest.raises(InvalidParametersException, match=reason):
        object_key(key, "42", ".ogg", exact=True)


@pytest.mark.parametrize("letter", ["a", "ä", "🐋"])
def test_a_key_may_have_1024_bytes_of_utf_8_and_no_more(letter: str) -> None:
    room = MAX_KEY_LENGTH - len("42.ogg")
    longest = letter * (room // len(letter.encode()))
    longest += "x" * (room - len(longest.encode()))
    assert len(object_key(longest, "42", ".ogg", exact=False).encode()) == 1024
    with pytest.raises(InvalidParametersException, match="1024 bytes"):
        object_key(longest + "x", "42", ".ogg", exact=False)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=400), st.text(), st.booleans())
def test_what_is_accepted_begins_with_the_key_and_fits_s3(key: str, mime_type: str, exact: bool) -> None:
    try:
        final = object_key(key, "42", extension(mime_type, {}), exact=exact)
    except InvalidParametersException:
        return
    assert final.startswith(key)
    assert 0 < len(final.encode()) <= 1024
    assert not {".", ".."} & set(final.split("/"))
