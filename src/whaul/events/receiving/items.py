"""A webhook's body, cut into items. Pure: knows no database, account or destination.

Meta may put many messages and statuses into one body; each becomes an item by itself, so that one bad item never
spoils another. The bytes of each part stay Meta's own: the parts are cut out, not written anew.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from whaul.events.model import Item, Kind
from whaul.events.receiving import facts

MAX_ITEMS: Final = 10_000
"""Of one body. Meta puts at most 1,000 into one."""
MAX_REPEATED: Final = 1024**2
"""Bytes that all items of a body may have beyond eight times its own. What is beside the lists is in each of them."""
MAX_REPEATED_IN_ITEM: Final = 1024
"""Bytes that each item adds to this."""
MAX_PARTIES: Final = 50_000
"""People of all items of one body, each of whom is a row."""
MAX_ID: Final = 512
"""Characters of an id. The longest of Meta's, a wamid, has about a hundred."""
OBJECT: Final = "whatsapp_business_account"
"""What WhatsApp's webhooks are about; those of Meta's other products have other words here."""
LISTS: Final[Mapping[str, Kind]] = {
    "messages": "message",
    "statuses": "status",
    "errors": "notification",
    "message_echoes": "echo",
    "calls": "call",
}
"""Lists of which every element is an item, and what it is."""
_STANDBY: Final = "standby"
"""While an agent of Meta's holds the conversation, the lists are in this member.
https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/standby"""
_CONTACTS: Final = "contacts"
# A string that does not end goes on to the end of the body: from no byte is anything read twice.
_BETWEEN: Final = re.compile(rb'("(?:[^"\\]|\\.)*+(?:"|\\?\Z))|[ \t\r\n]+', re.DOTALL)
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
_MARK: Final = rb"\uffff"  # stands for no character
_NOT_JSON: Final = (msgspec.MsgspecError, RecursionError)

Members = dict[str, Raw]
_members = msgspec.json.Decoder(Members).decode
_elements = msgspec.json.Decoder(list[Raw]).decode
_decoded = msgspec.json.Decoder().decode


class _UnusableError(Exception):
    """The body, or the item, is kept as `unparsed`."""


class _Part(NamedTuple):
    """An element of one of the lists, or a change's whole value."""

    kind: Kind
    element: Any
    """Decoded."""
    value: bytes
    """The change's value with this element alone."""


def split(body: bytes) -> list[Item]:
    """Cut a signed body into its items, in order. A body that cannot be used is one `unparsed` item."""
    digest = hashlib.sha256(body).digest()
    try:
        body.decode()
        top = _whole(_compact(body))
        if _decoded(top["object"]) != OBJECT:
            raise _UnusableError
        return _bounded(_of_entries(_elements(top["entry"]), digest), MAX_REPEATED + 8 * len(body))
    except (*_NOT_JSON, UnicodeDecodeError, KeyError, _UnusableError):
        return [_unparsed(body, digest)]


def of_entry(entry: bytes) -> list[Item]:
    """Read a kept item again: its entry is Meta's, with this one item."""
    return split(b'{"object":"%s","entry":[%s]}' % (OBJECT.encode(), entry))


def of_unparsed(content: bytes) -> list[Item]:
    """Read what could not be used once more: a whole body, or an entry of one."""
    try:
        members = _members(content)
    except _NOT_JSON:
        return split(content)
    return of_entry(content) if "changes" in members and "object" not in members else split(content)


def unparsed(body: bytes) -> Item:
    """Make the one item of a body that cannot be used, for a reason that only shows later."""
    return _unparsed(body, hashlib.sha256(body).digest())


def _compact(body: bytes) -> bytes:
    """Leave out white space between values; every value stays as it came."""
    try:
        return msgspec.json.format(body, indent=-1)
    except _NOT_JSON:  # to the parser: the rest of it may be read nevertheless
        return _BETWEEN.sub(_kept, body)


def _kept(found: re.Match[bytes]) -> bytes:
    return found[1] or b""


def _whole(body: bytes) -> Members:
    """Read a body. Halves of surrogate pairs, which the parser minds anywhere, are marked, so that the rest is read."""
    try:
        return _members(body)
    except msgspec.DecodeError:
        return _members(_ESCAPE.sub(lambda found: _MARK if found[1] else found[0], body))


def _bounded(items: Iterable[Item], max_size: int) -> list[Item]:
    found, size, parties = [], 0, 0
    for item in items:
        found.append(item)
        size += len(item.entry) - MAX_REPEATED_IN_ITEM
        parties += len(item.parties)
        if len(found) > MAX_ITEMS or size > max_size or parties > MAX_PARTIES:
            raise _UnusableError
    return found


def _of_entries(entries: Sequence[Raw], digest: bytes) -> Iterator[Item]:
    for number, raw in enumerate(entries):
        place = digest + b"/%d" % number
        try:
            entry = _members(raw)
            changes = _elements(entry["changes"])
        except (*_NOT_JSON, KeyError):
            yield _unparsed(bytes(raw), place)
            continue
        for position, change in enumerate(changes):
            yield from _of_change(change, entry, place + b"/%d" % position)


def _of_change(raw: Raw, entry: Members, place: bytes) -> Iterator[Item]:
    try:
        change = _members(raw)
        for number, part in enumerate(_parts(change.get("value", Raw(b"null")))):
            written = _written(entry | {"changes": _list(_written(change | {"value": part.value}))})
            try:
                yield _item(part, entry, change, written)
            except (*_NOT_JSON, _UnusableError):
                yield _unparsed(written, place + b"/%d" % number, entry, change)
    except _NOT_JSON:
        yield _unparsed(_written(entry | {"changes": _list(raw)}), place, entry)


def _parts(value: Raw) -> Iterator[_Part]:
    """Cut a change's value, piece by piece. One without any of the lists, or with nothing in them, is one part."""
    try:
        members = _members(value)
    except msgspec.ValidationError:  # JSON, but no object
        members = {}
    is_cut = False
    for part in chain(_of_lists(members), _of_standby(members)):
        is_cut = True
        yield part
    if not is_cut:
        yield _Part("notification", _lenient(value), bytes(value))


def _of_standby(members: Members) -> Iterator[_Part]:
    if not _is(members.get(_STANDBY), b"{"):
        return
    around = {name: raw for name, raw in members.items() if not _is_list_of_items(name, raw)}
    for part in _of_lists(_members(members[_STANDBY])):
        yield part._replace(value=_written(around | {_STANDBY: part.value}))


def _of_lists(members: Members) -> Iterator[_Part]:
    lists = {name: _elements(raw) for name, raw in members.items() if _is_list_of_items(name, raw)}
    if not any(lists.values()):
        return
    contacts = _Contacts(members.get(_CONTACTS))
    for name, elements in lists.items():
        # In the order in which they came; the element takes the place of its list.
        kept = {key: raw for key, raw in members.items() if key == name or (key not in lists and key != _STANDBY)}
        for raw in elements:
            element = _lenient(raw)
            own = contacts.of(element)
            with_one = kept | {name: _list(raw)}
            value = _written(with_one if own is None else with_one | {_CONTACTS: _list(*own)})
            yield _Part(LISTS[name] if isinstance(element, dict) else "unparsed", element, value)


class _Contacts:
    """The people of a change's value."""

    def __init__(self, raw: Raw | None) -> None:
        self._all = _elements(raw) if raw is not None and _is(raw, b"[") else None
        self._known: dict[str, list[int]] = {}
        """The places of each person in the list."""
        for place, contact in enumerate(self._all or ()):
            for person in facts.people(_lenient(contact)):
                self._known.setdefault(person, []).append(place)

    def of(self, element: Any) -> Sequence[Raw] | None:
        """Those that belong to an element: all where it cannot be told; None without such a list."""
        if self._all is None or len(self._all) == 1:
            return self._all
        places = {place for person in facts.people(element) for place in self._known.get(person, ())}
        return [self._all[place] for place in sorted(places)] or self._all


def _item(part: _Part, entry: Members, change: Members, written: bytes) -> Item:
    if part.kind == "unparsed" or _MARK in written:
        raise _UnusableError
    value = _decoded(part.value)
    waba_id, field = _string(entry.get("id")), _string(change.get("field"))
    time = None if "time" not in entry else facts.seconds(_decoded(entry["time"]))
    found = facts.of(part.kind, part.element, value if isinstance(value, dict) else {}, waba_id)
    ids = (
        waba_id,
        field,
        found.wamid,
        found.type,
        found.revokes,
        found.meta_phone_number_id,
        found.display_phone_number,
    )
    if any(id_ is not None and (len(id_) > MAX_ID or "\0" in id_) for id_ in ids):
        raise _UnusableError
    at = found.at if found.at is not None else time
    return Item(
        kind=part.kind,
        type=found.type,
        field=field,
        waba_id=waba_id,
        meta_phone_number_id=found.meta_phone_number_id,
        display_phone_number=found.display_phone_number,
        wamid=found.wamid,
        at=at,
        conversation=found.conversation,
        parties=found.parties,
        entry=written,
        media=found.media,
        revokes=found.revokes,
        sameness=found.sameness or json.dumps([str(time), part.value.decode()]).encode(),
        has_time=found.sameness is not None or at is not None,
    )


def _unparsed(content: bytes, place: bytes, entry: Members | None = None, change: Members | None = None) -> Item:
    """Keep what cannot be used; `place` is the body's hash, and where in it."""
    waba_id, field = (_fitting((members or {}).get(name)) for members, name in ((entry, "id"), (change, "field")))
    return Item(
        kind="unparsed",
        type=None,
        field=field,
        waba_id=waba_id,
        meta_phone_number_id=None,
        display_phone_number=None,
        wamid=None,
        at=None,
        conversation=waba_id,
        parties=(),
        entry=content,
        sameness=place,
    )


def _written(members: Mapping[str, Raw | bytes]) -> bytes:
    """Write an object, its values as they came."""
    return b"{" + b",".join([msgspec.json.encode(name) + b":" + raw for name, raw in members.items()]) + b"}"


def _list(*elements: Raw | bytes) -> bytes:
    return b"[" + b",".join(elements) + b"]"


def _is(raw: Raw | None, opening: bytes) -> bool:
    return raw is not None and bytes(memoryview(raw)[:1]) == opening


def _is_list_of_items(name: str, raw: Raw) -> bool:
    return name in LISTS and _is(raw, b"[")


def _lenient(raw: Raw) -> Any:
    """Decode a part; None for one that is JSON, but not to the parser: a number out of range, say."""
    try:
        return _decoded(raw)
    except _NOT_JSON:
        return None


def _string(raw: Raw | None) -> str:
    """Decode what should be text; anything else is empty."""
    value = None if raw is None else _decoded(raw)
    return value if isinstance(value, str) else ""


def _fitting(raw: Raw | None) -> str:
    try:
        text = _string(raw)
    except _NOT_JSON:
        return ""
    return text if len(text) <= MAX_ID and "\0" not in text else ""
