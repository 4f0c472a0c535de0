"""What came of each account lately. There is no index of events by account, so only the newest are looked at."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from whaul.events.database.columns import listed, moment
from whaul.events.database.store import Store

MAX_LOOKED_AT: Final = 20_000
"""Events, of the newest."""


@dataclass(slots=True)
class Arrivals:
    """What came of an account, or of a phone number."""

    last_at: datetime
    kinds: dict[str, int] = field(default_factory=dict)
    """Events by their kind."""


async def arrivals(store: Store, owner: str, account_ids: Collection[str]) -> Mapping[str, Arrivals]:
    """Count what came of accounts, and of their numbers, by the account's id and by Meta's id of the number.

    Raises RegistryUnavailableError.
    """
    [(newest,)] = await store.read("SELECT coalesce(max(seq), 0) FROM events")
    statement = f"""
        SELECT account_id, meta_phone_number_id, kind, count(*), max(received_at) FROM events
        WHERE seq > $1 AND owner = $2 AND account_id IN (SELECT id FROM {store.rows("$3", id="text")})
        GROUP BY account_id, meta_phone_number_id, kind"""
    rows = await store.read(statement, int(newest) - MAX_LOOKED_AT, owner, listed(account_ids))
    found: dict[str, Arrivals] = {}
    for account_id, number, kind, count, last in rows:
        for id_ in filter(None, (account_id, number)):
            known = found.setdefault(id_, Arrivals(moment(last)))
            known.last_at = max(known.last_at, moment(last))
            known.kinds[kind] = known.kinds.get(kind, 0) + count
    return found
