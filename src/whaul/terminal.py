"""What a terminal takes: colours or none, and text that others wrote, made safe: names, errors, messages.

Written as they are, control characters clear the screen, rename the window or write the clipboard, line ends forge
lines, and bidirectional overrides show something else than what is there (CVE-2021-42574).
"""

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TextIO

_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories of characters that cannot be seen: https://www.unicode.org/reports/tr44/#General_Category_Values"""
_SEEN_FORMATS: Final = re.compile("[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2]")
"""Signs of Arabic and Syriac that can be seen, although Unicode calls them format characters."""
_EMOJI: Final = re.compile("[\U0001f000-\U0001faff]")
"""Where new emoji are added: this Python's Unicode may be older than the text."""
_BLANK: Final = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0]")
"""Letters and signs that look like nothing."""
_JOINERS: Final = "\u200c\u200d"


def takes_colour(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether to write colours: to a terminal that has them, unless the user says otherwise.

    https://no-color.org and https://force-color.org: set to anything but nothing.
    """
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return environ.get("TERM") != "dumb" and stream.isatty()


def visible(text: str) -> str:
    r"""Show what cannot be seen, or steers a terminal, as Python's escapes: `\x1b`, `\n`, `\u202e`.

    Words of all scripts, and emoji, stay as they are.
    """
    return _with_escapes(text, lambda character: character.encode("unicode_escape").decode("ascii"))


def visible_json(line: str) -> str:
    r"""Do the same with a line of JSON, by JSON's own escapes: it says what it said before."""
    return _with_escapes(line, _json_escape)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))


def _with_escapes(text: str, escape: Callable[[str], str]) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if _is_seen(text, place) else escape(character) for place, character in enumerate(text))


def _is_seen(text: str, place: int) -> bool:
    character = text[place]
    if character in _JOINERS:  # harmless where they shape what is on both sides of them: emoji, Persian, Hindi
        return 0 < place < len(text) - 1 and _can_be_joined(text[place - 1]) and _can_be_joined(text[place + 1])
    if unicodedata.category(character) in _UNSEEN:
        return bool(_SEEN_FORMATS.match(character) or _EMOJI.match(character))
    return not _BLANK.match(character)


def _can_be_joined(character: str) -> bool:
    return not character.isascii() and unicodedata.category(character)[0] in "LMS"


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` for a word that is nearly a known one; else nothing."""
    from difflib import get_close_matches  # noqa: PLC0415 - wanted when something is wrong already

    near = get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f"; did you mean {near[0]}?" if near else ""
