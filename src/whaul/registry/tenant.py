"""What the parts of the registry stand on: one account number's share of a database, and its cipher."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from whaul.registry.database import for_writing, translated
from whaul.secrets import Cipher


def utc_now() -> datetime:
    """Tell the time of day, UTC."""
    return datetime.now(UTC)


class Tenant:
    """Transactions over what belongs to one account number.

    Secrets are encrypted before they reach the database and decrypted after they leave it.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        cipher: Cipher,
        *,
        account_id: str,
        region: str,
        clock: Callable[[], datetime] = utc_now,
        rng: random.Random | None = None,
    ) -> None:
        """`rng` must be fit for secrets."""
        self._engine = engine
        self._cipher = cipher
        self._account_id = account_id
        self._region = region
        self._clock = clock
        self._rng = rng or random.SystemRandom()

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncSession]:
        with translated():
            async with AsyncSession(self._engine, expire_on_commit=False) as session:
                yield session

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncSession]:
        with translated():
            async with AsyncSession(for_writing(self._engine), expire_on_commit=False) as session, session.begin():
                yield session

    def _encrypt(self, secret: SecretStr | None) -> str | None:
        return None if secret is None else self._cipher.encrypt(secret)

    def _decrypt(self, token: str | None) -> SecretStr | None:
        return None if token is None else self._cipher.decrypt(token)
