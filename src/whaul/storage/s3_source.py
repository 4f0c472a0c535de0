"""A source in the operator's own S3: one GET that this server signs. Needs `s3:GetObject` on the bucket."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from whaul.model import S3File
from whaul.storage import OpenFile, opened
from whaul.storage.s3 import S3Store


class S3Source:
    """One object of the store, with the Content-Type that it was stored with."""

    def __init__(self, store: S3Store, file: S3File) -> None:
        self._store = store
        self._file = file

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[OpenFile]:
        """See `Source`."""
        async with self._store.get(self._file) as download:
            yield opened(download.header("content-type"), download)
