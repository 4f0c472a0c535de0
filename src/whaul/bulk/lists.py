"""The forms that a list of media may have: ids, CSV, JSON.

A form takes lines, and returns what is complete so far. If nobody names the form, the first line shows it.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from whaul.bulk.wanted import MAX_TEXT, Wanted, moment
from whaul.bulk.webhooks import media_in

MAX_RECORD = 8 * 1024 * 1024
"""Bytes of a record, a JSON document say, that are held: more than any webhook has."""
MAX_ROW = 64 * 1024
"""Bytes of a row of CSV that are held."""
COLUMNS: Final[Mapping[str, Sequence[str]]] = {
    "media_id": ("mediaid", "media", "id"),
    "number": ("phonenumberid", "metaphonenumberid", "originationphonenumberid", "number"),
    "file_name": ("filename", "name"),
    "sender": ("sender", "from", "waid"),
    "sent_at": ("timestamp", "date", "time", "sentat", "receivedat"),
    "kind": ("type", "kind"),
}
"""The headers of a CSV file in lower case, letters only; the first that is there counts."""
WITHOUT_HEADER: Final = ("media_id", "number", "file_name")
"""The columns of a CSV file without a header."""


class Form(Protocol):
    """How a list is written."""

    def take(self, line: bytes) -> list[Wanted]:
        """Take a line without its end; return what it completes."""
        ...

    def end(self) -> list[Wanted]:
        """Return what the end completes."""
        ...


class Ids:
    """One id a line."""

    def take(self, line: bytes) -> list[Wanted]:
        """Return the id."""
        return [Wanted(_text(line)[:MAX_TEXT])]

    def end(self) -> list[Wanted]:
        """Nothing is left."""
        return []


class Csv:
    """Columns between commas, semicolons or tabs, with a header or without."""

    def __init__(self) -> None:
        self._pending = b""
        self._is_open = False
        """Whether a value in quotation marks has not ended."""
        self._delimiter = ""
        self._columns: Mapping[str, int] = {}

    def take(self, line: bytes) -> list[Wanted]:
        """Return the row; a value in quotation marks may go on in the next line."""
        self._pending += line + b"\n"
        self._is_open = _is_open(line, self._is_open) and len(self._pending) < MAX_ROW
        return [] if self._is_open else self.end()

    def end(self) -> list[Wanted]:
        """Return the row that is left."""
        text, self._pending = _text(self._pending), b""
        if not text:
            return []
        if not self._delimiter:
            self._delimiter = max(",;\t", key=text.count)
            self._columns = _columns(self._cells(text))
            if self._columns:
                return []
            self._columns = {name: place for place, name in enumerate(WITHOUT_HEADER)}
        row = self._cells(text)
        facts = {
            name: row[place][:MAX_TEXT] for name, place in self._columns.items() if place < len(row) and row[place]
        }
        return [
            Wanted(
                facts.get("media_id", ""),
                number=facts.get("number"),
                file_name=facts.get("file_name"),
                sender=facts.get("sender"),
                kind=facts.get("kind"),
                sent_at=moment(facts.get("sent_at")),
            )
        ]

    def _cells(self, text: str) -> list[str]:
        try:
            return [
                cell.strip() for cell in next(csv.reader(text.splitlines(keepends=True), delimiter=self._delimiter))
            ]
        except (csv.Error, StopIteration):
            return [text]


def _is_open(line: bytes, was_open: bool) -> bool:
    """Whether a value in quotation marks goes on after the line."""
    if was_open:
        _, mark, line = line.replace(b'""', b"").partition(b'"')
        if not mark:
            return True
    return _OPEN.search(_QUOTED.sub(b"", line)) is not None


def _columns(row: Sequence[str]) -> dict[str, int]:
    """Read a header; empty for a row that is none."""
    header = [_letters(cell) for cell in row]
    found = {name: [header.index(each) for each in names if each in header] for name, names in COLUMNS.items()}
    return {name: places[0] for name, places in found.items() if places} if found["media_id"] else {}


class Json:
    """JSON documents, one a line or over several, or those of one array. See `webhooks` for what is found in them."""

    def __init__(self) -> None:
        self._pending: list[bytes] = []
        self._size = 0
        self._depth = 0

    def take(self, line: bytes) -> list[Wanted]:
        """Return the media of the document that the line completes."""
        text = line.strip()
        found: list[Wanted] = []
        if len(self._pending) == 1 and line.startswith(b"{") and self._size > 1:
            found = self.end()  # the document before broke off: it is one that began on a line with more
        if not self._pending and text.rstrip(b",") in {b"[", b"]"}:
            return found
        self._pending.append(text)
        self._size += len(text)
        self._depth += _depth(text)
        if self._depth > 0 and self._size < MAX_RECORD:
            return found
        return found + self.end()

    def end(self) -> list[Wanted]:
        """Return the media of the document that is left; what cannot be read is one thing that cannot be fetched."""
        text = b"".join(self._pending).rstrip(b",")
        self._pending, self._size, self._depth = [], 0, 0
        if not text:
            return []
        found: list[Wanted] = []
        try:
            for document in _documents(text):
                found += media_in(document)
        except (ValueError, RecursionError):
            found.append(Wanted(_text(text)[:40], problem="This is no whole JSON document."))
        return found


def _documents(text: bytes) -> Iterator[object]:
    """Decode the documents of a record, which may follow each other with nothing in between. Raises ValueError."""
    try:
        yield msgspec.json.decode(text)
    except msgspec.DecodeError:
        rest = text.decode().lstrip(" ,")
        while rest:
            _, end = _DECODER.raw_decode(rest)
            yield msgspec.json.decode(rest[:end])
            rest = rest[end:].lstrip(" ,")


_DECODER: Final = json.JSONDecoder()


FORMS: Final[Mapping[str, Callable[[], Form]]] = {"ids": Ids, "csv": Csv, "json": Json}
"""By their names in `--format`."""


class Lines:
    """A list as it is read, line by line. Blank lines, and those that begin with `#`, are ignored."""

    def __init__(self, form: str | None = None) -> None:
        """`form` is one of `FORMS`; None to go by the first line."""
        self._form = FORMS[form]() if form is not None else None

    def take(self, line: bytes) -> Iterator[Wanted]:
        """Take a line; return what it completes."""
        if line.strip()[:1] in {b"", b"#"}:
            return
        if self._form is None:
            self._form = _form_of(line)
        yield from self._form.take(line)

    def end(self) -> Iterator[Wanted]:
        """Return what the end of the list completes."""
        if self._form is not None:
            yield from self._form.end()


def _form_of(line: bytes) -> Form:
    text = line.strip()
    if text[:1] in {b"{", b"["}:
        return Json()
    is_header = _letters(_text(text)) in COLUMNS["media_id"]
    return Csv() if is_header or any(delimiter in text for delimiter in (b",", b";", b"\t")) else Ids()


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


_QUOTED: Final = re.compile(rb'(?:^|(?<=[,;\t]))"(?:[^"]|"")*"(?=[,;\t\r]|$)')
_OPEN: Final = re.compile(rb'(?:^|[,;\t])"')
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?')


def _depth(text: bytes) -> int:
    """Count the brackets that a line opens and does not close."""
    bare = _STRING.sub(b"", text)
    return sum(map(bare.count, (b"{", b"["))) - sum(map(bare.count, (b"}", b"]")))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").strip()
