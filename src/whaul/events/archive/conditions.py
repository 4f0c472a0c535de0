"""Whether a store honours `If-None-Match: *`, tried out."""

import asyncio
import hashlib
from contextlib import suppress
from typing import Final

from pyreqwest.bytes import Bytes

from whaul.errors import ApiError, InvalidParametersException
from whaul.model import MediaInfo, S3File
from whaul.storage.s3 import ObjectExistsError, S3Store
from whaul.transfer.attempts import Attempts

CONTENT: Final = b"whaul tries here what this store can do\n"
NAME: Final = ".whaul-conditional-writes"
"""What the key of the object ends with; it is removed."""
_IF_NONE: Final = {"if-none-match": "*"}
_SECONDS: Final = 20.0


async def honours_conditions(store: S3Store, bucket: str, prefix: str) -> bool:
    """Put an object twice under the condition that there is none; say whether the second PUT was refused.

    Raises an `ApiError` if nothing can be put there at all.
    """
    file = S3File(bucket, prefix + NAME)
    info = MediaInfo("text/plain", len(CONTENT), hashlib.sha256(CONTENT).digest(), url="")
    attempts = Attempts(asyncio.get_running_loop().time() + _SECONDS, patience=_SECONDS / 4)

    async def put(headers: dict[str, str]) -> str:
        return await attempts.run(lambda: store.put(file, Bytes(CONTENT), info, headers))

    try:
        await put(_IF_NONE)
        await put(_IF_NONE)
    except ObjectExistsError:
        return True
    except InvalidParametersException:  # it does not know the header
        await put({})
    finally:
        with suppress(ApiError):  # nobody may have the right; one small object stays
            await store.delete(file)
    return False
