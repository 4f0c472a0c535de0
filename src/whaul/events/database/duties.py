"""Work that one process does for all that share a database."""

from whaul.events.database.store import Store


class Duty:
    """Something that is to be done once in a while, by whoever comes first."""

    def __init__(self, store: Store, owner: str, name: str, seconds: float) -> None:
        """`seconds` are from one beginning to the next."""
        self._store = store
        self._parameters = (owner, name, int(seconds * 1_000_000))

    async def is_ours(self) -> bool:
        """Take it, if it is time; the next one who asks is told that it is done."""
        statement = f"""
            INSERT INTO duties (owner, name, begun_at) VALUES ($1, $2, {self._store.now})
            ON CONFLICT (owner, name) DO UPDATE SET begun_at = {self._store.now}
              WHERE duties.begun_at NOT BETWEEN {self._store.now} - $3 AND {self._store.now}
            RETURNING begun_at"""
        [rows] = await self._store.run((statement, self._parameters))
        return bool(rows)
