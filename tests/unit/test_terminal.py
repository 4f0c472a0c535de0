"""What a terminal may be sent of other people's text."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whaul.terminal import visible, visible_json


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b31m", r"\x9b31m"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("a\x00\x07\x7f\x85", r"a\x00\x07\x7f\x85"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\u2066a\u2069", r"\u2066a\u2069"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("admin\u200b", r"admin\u200b"),
        ("admin\u200d", r"admin\u200d"),
        ("a\u200db", r"a\u200db"),
        ("\ufeffname\u00ad", r"\ufeffname\xad"),
        ("\u3164\u2800", r"\u3164\u2800"),
        ("\udcff", r"\udcff"),
        ("\U000e0041", r"\U000e0041"),
        ("\ue000\ufdd0", r"\ue000\ufdd0"),
    ],
)
def test_what_steers_or_cannot_be_seen_is_shown_by_its_escape(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Harbour <ops@example.com> \\ [bold] 100 %",
        "متجر Müller 日本 🛒",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian, with a non-joiner in the word
        "\u0915\u094d\u200d\u0937",  # Devanagari, with a joiner
        "👩‍👩‍👧‍👦 👨🏽‍🚀 ❤️‍🔥 🏳️‍🌈",
        "\U0001fae9",  # an emoji of 2024
        "\u0600\u0661\u06dd",
        "山田\u3000太郎",
        "e\u0301 Zürich\u00a0Straße",
    ],
)
def test_words_of_all_scripts_and_emoji_stay_as_they_are(text: str) -> None:
    assert visible(text) == text


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("\x1b\x9b\u202e\u200d\n\r")))
def test_nothing_that_is_shown_steers(text: str) -> None:
    shown = visible(text)
    assert len(shown.splitlines()) <= 1
    assert all(unicodedata.category(each) not in {"Cc", "Cs", "Zl", "Zp"} for each in shown)
    assert not {chr(n) for n in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x61C)} & set(shown)
    assert visible(shown) == shown


@given(st.text(st.characters() | st.sampled_from("\x1b\x9b\u202e\u200d\n\r\x7f\U000e0041")))
def test_json_says_the_same_and_steers_nothing(text: str) -> None:
    line = visible_json(json.dumps({"name": text}, ensure_ascii=False))
    assert json.loads(line) == {"name": text}
    assert visible(line) == line
