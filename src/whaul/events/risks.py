"""What may be lost, and when: read for those who can still prevent it, by bounded queries."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from whaul.events.database.columns import moment
from whaul.events.database.store import Store

LAST_CHANCE: Final = 86_400
"""Seconds before Meta forgets a media id in which somebody should act."""
MAX_LOOKED_AT: Final = 50_000
"""Rows of a table."""
_FILES: Final = f"""
    SELECT account_id, count(*), sum(parked), min(expires_at) FROM (
      SELECT account_id, CASE WHEN state = 'parked' THEN 1 ELSE 0 END AS parked, expires_at FROM files
      WHERE owner = $1 AND state IN ('pending', 'parked') LIMIT {MAX_LOOKED_AT}) AS waiting
    GROUP BY account_id ORDER BY 4 LIMIT $2"""
_KEYS: Final = f"""
    SELECT key_id, count(*) FROM (
      SELECT key_id FROM (
        SELECT key_id FROM deliveries WHERE owner = $1 LIMIT {MAX_LOOKED_AT}) AS jobs
      UNION ALL
      SELECT key_id FROM (
        SELECT key_id FROM files WHERE owner = $1 AND state IN ('pending', 'parked') LIMIT {MAX_LOOKED_AT}) AS files
      UNION ALL
      SELECT key_id FROM (
        SELECT key_id FROM events WHERE owner = $1 AND state <> 'routed' LIMIT {MAX_LOOKED_AT}) AS loose
    ) AS kept GROUP BY key_id"""
_PROMISES: Final = """
    SELECT current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'),
      current_setting('synchronous_standby_names'), (SELECT count(*) FROM pg_stat_replication)"""


@dataclass(frozen=True, slots=True)
class WaitingFiles:
    """The files of an account that are not archived yet."""

    waiting: int
    parked: int
    """Those among them that wait for a token."""
    first_lost_at: datetime
    """When Meta forgets the first of their ids."""


@dataclass(frozen=True, slots=True)
class Promises:
    """What a PostgreSQL server does with a commit."""

    fsync: bool
    full_page_writes: bool
    synchronous_commit: str
    """Of the role; webhooks have at least `on`."""
    synchronous_standbys: bool
    replicas: int


async def waiting_files(store: Store, owner: str, size: int) -> dict[str, WaitingFiles]:
    """Count the files that wait, for at most `size` accounts: those that lose one first."""
    rows = await store.read(_FILES, owner, size)
    return {id_: WaitingFiles(waiting, int(parked), moment(lost_at)) for id_, waiting, parked, lost_at in rows}


async def key_ids(store: Store, owner: str) -> dict[str, int]:
    """Count the rows that are still needed by the secret key that they are encrypted with."""
    return dict(await store.read(_KEYS, owner))


async def promises(store: Store) -> Promises:
    """Ask a PostgreSQL server what its commits are worth."""
    [(fsync, pages, commit, standbys, replicas)] = await store.read(_PROMISES)
    return Promises(fsync == "on", pages == "on", commit, bool(standbys.strip()), replicas)
