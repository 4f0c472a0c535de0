"""Files that came with a form: read from where they wait, a part at a time."""

from collections.abc import AsyncGenerator
from typing import Final

from pyreqwest.bytes import Bytes
from starlette.datastructures import UploadFile

PART: Final = 256 * 1024


async def parts_of(file: UploadFile) -> AsyncGenerator[Bytes]:
    """Read a file from its beginning."""
    await file.seek(0)
    while part := await file.read(PART):
        yield Bytes(part)
