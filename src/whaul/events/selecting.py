"""Which events a command is about, as SQL. Pure."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from whaul.events.database.columns import listed
from whaul.events.filters import Filter
from whaul.events.model import MEDIA_FIELD

LOOSE: Final = frozenset({"unrouted", "unparsed"})
"""States of an event itself; the others are those of its deliveries."""
Rows = Callable[..., str]
"""See `Store.rows`."""
_COLUMNS: Final[Mapping[str, str]] = {
    "account_id": "account_id",
    "field": "field",
    "kind": "kind",
    "type": "type",
    "meta_phone_number_id": "meta_phone_number_id",
    "wamid": "wamid",
}
"""Members of a selection that are columns."""


class Selection(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is chosen; an empty one is everything. A member that is None chooses nothing."""

    seqs: tuple[int, ...] | None = None
    """Events by their numbers."""
    account_id: str | None = None
    account_ids: tuple[str, ...] | None = None
    """One of these."""
    party: str | None = None
    """The hash of a person in it, hexadecimal; see `people`."""
    media_id: str | None = None
    """Meta's id of a file that it names."""
    field: str | None = None
    kind: str | None = None
    type: str | None = None
    meta_phone_number_id: str | None = None
    wamid: str | None = None
    """Meta's id of the message that it is, or is about."""
    destination: int | None = None
    state: str | None = None
    """One of `LOOSE`, or `pending`, `delivered` or `dead`."""
    since: int | None = None
    """Microseconds."""
    until: int | None = None

    def written(self) -> str:
        """Write it as a column has it."""
        return msgspec.json.encode(self).decode()


def read_selection(text: str) -> Selection:
    """Read what `Selection.written` wrote."""
    return msgspec.json.decode(text, type=Selection)


@dataclass
class Conditions:
    """Conditions on rows of `events`, and their parameters."""

    rows: Rows
    parameters: list[Any] = field(default_factory=list)
    clauses: list[str] = field(default_factory=list)

    def parameter(self, value: Any) -> str:
        """Add a parameter; return how SQL names it."""
        self.parameters.append(value)
        return f"${len(self.parameters)}"

    def add(self, clause: str, *values: Any) -> "Conditions":
        """Add a condition; each `?` in it is the next of the values."""
        for value in values:
            clause = clause.replace("?", self.parameter(value), 1)
        self.clauses.append(clause)
        return self

    def among(self, column: str, values: Collection[Any], type_: str) -> "Conditions":
        """Add that a column has one of these values."""
        given = self.rows(self.parameter(listed(values)), id=type_)
        self.clauses.append(f"{column} IN (SELECT id FROM {given})")
        return self

    def choose(self, selection: Selection, low: int, high: int) -> "Conditions":
        """Add those of a selection, among the events from a number on and below another one."""
        self.add("events.seq >= ?", low).add("events.seq < ?", high)
        for name, column in _COLUMNS.items():
            if (value := getattr(selection, name)) is not None:
                self.add(f"{column} = ?", value)
        if selection.since is not None:
            self.add("received_at >= ?", selection.since)
        if selection.until is not None:
            self.add("received_at < ?", selection.until)
        if selection.seqs is not None:
            self.among("events.seq", selection.seqs, "bigint")
        if selection.account_ids is not None:
            self.among("account_id", selection.account_ids, "text")
        if selection.party is not None:
            self.add("events.seq IN (SELECT seq FROM event_parties WHERE party = ?)", bytes.fromhex(selection.party))
        if selection.media_id is not None:
            # No index has it: the files of the events that are looked at are read.
            self.add(
                "events.seq IN (SELECT ef.seq FROM event_files ef JOIN files f ON f.id = ef.file "
                "WHERE ef.seq >= ? AND ef.seq < ? AND f.media_id = ?)",
                low,
                high,
                selection.media_id,
            )
        self._choose_state(selection, low, high)
        return self

    def want(self, account_ids: Collection[str], chosen: Filter) -> "Conditions":
        """Add what a destination wants; see `Filter.wants`."""
        self.add("events.state = 'routed'").among("account_id", account_ids, "text")
        self.add("kind <> 'unparsed'")
        if chosen.fields:
            self.among("field", chosen.fields, "text")
        else:
            self.add("field <> ?", MEDIA_FIELD)
        if chosen.kinds:
            self.among("kind", chosen.kinds, "text")
        if chosen.types:
            self.among("type", chosen.types, "text")
        if chosen.meta_phone_number_ids:
            self.among("meta_phone_number_id", chosen.meta_phone_number_ids, "text")
        return self

    def _choose_state(self, selection: Selection, low: int, high: int) -> None:
        state, number = selection.state, selection.destination
        if state in LOOSE:
            self.add(f"events.state = '{state}' AND events.state <> 'routed'")  # as the index of these has it
        elif state == "delivered":
            self._exists("attempts", "outcome = 'delivered'", number)
        elif state in {"pending", "dead"}:
            # Few of many events, as a rule; so these are looked up first, and no more of them than of the events.
            of = "" if number is None else f"AND destination = {self.parameter(number)}"
            rows = f"SELECT seq FROM deliveries WHERE seq >= ? AND seq < ? AND state = '{state}' {of}"
            self.add(f"events.seq IN ({rows})", low, high)
        if state in LOOSE | {None} and number is not None:
            self.add(
                "(EXISTS (SELECT 1 FROM deliveries d WHERE d.seq = events.seq AND d.destination = ?) OR EXISTS ("
                "SELECT 1 FROM attempts a WHERE a.seq = events.seq AND a.destination = ?))",
                number,
                number,
            )

    def _exists(self, table: str, which: str, number: int | None) -> None:
        of = "" if number is None else f"AND t.destination = {self.parameter(number)}"
        self.add(f"EXISTS (SELECT 1 FROM {table} t WHERE t.seq = events.seq AND t.{which} {of})")

    def __str__(self) -> str:
        return " AND ".join(self.clauses)
