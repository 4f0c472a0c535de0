"""Which events a destination wants."""

from dataclasses import dataclass

from whaul.events.model import MEDIA_FIELD, Event, Item


@dataclass(frozen=True, slots=True)
class Filter:
    """Of one member any, of several members all; an empty one wants everything of Meta's."""

    fields: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    meta_phone_number_ids: frozenset[str] = frozenset()

    def wants(self, event: Event | Item) -> bool:
        """Whether an event passes. One of our own passes only where its field is named; an unparsed one nowhere."""
        if event.kind == "unparsed":
            return False
        if event.field not in self.fields and (self.fields or event.field == MEDIA_FIELD):
            return False
        return (
            (not self.kinds or event.kind in self.kinds)
            and (not self.types or event.type in self.types)
            and (not self.meta_phone_number_ids or event.meta_phone_number_id in self.meta_phone_number_ids)
        )
