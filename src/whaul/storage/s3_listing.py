"""A prefix of a bucket, where `whaul get` stores files and looks which ones it has.

Needs `s3:ListBucket` on the bucket, in addition to what storing an object needs.
"""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from whaul.errors import AccessDeniedException, DependencyException
from whaul.model import MediaInfo, S3File
from whaul.outbound.http import Body
from whaul.outbound.response import MAX_RESPONSE_SIZE, Response
from whaul.storage.errors import CREDENTIAL_CODES, error_code, is_of_a_store, s3_error
from whaul.storage.naming import is_extension, object_key, split_name
from whaul.storage.s3 import S3Store

FEW = 100
"""Up to this number of ids, each is looked for; for more, the prefix is listed, a thousand keys at a time."""
MAX_PAGES = 10_000
MAX_PAGE_SIZE = 1000
"""Keys. https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html"""
ENTRY = 800
"""Bytes of XML for one key, at most, without its prefix."""

_KEY = re.compile(rb"<Key>([^<]*)</Key>")
_NEXT = re.compile(rb"<NextContinuationToken>([^<]+)</NextContinuationToken>")
_IS_ENCODED = re.compile(rb"<EncodingType>url</EncodingType>")
_LISTING = re.compile(rb"<ListBucketResult[ >]")


class S3Prefix:
    """A prefix. An object's key is the prefix and the file's name, with nothing in between."""

    def __init__(self, store: S3Store, bucket: str, prefix: str, extensions: Mapping[str, str]) -> None:
        """`extensions` are the overrides of file extensions by MIME type."""
        self._store = store
        self._bucket = bucket
        self._prefix = prefix
        self._overrides = extensions
        self._found: dict[str, str] = {}
        self._after = ""

    async def prepare(self, *, listed: bool, written: bool = True) -> None:  # noqa: ARG002 - nothing is written for it
        """Check that the bucket exists and, if `listed`, that we may list it. Raises an `ApiError`."""
        await self._store.credentials.get()
        try:
            await self._page(self._prefix, max_keys=1)
        except AccessDeniedException:
            if listed:
                raise

    async def names(self, limit: int, wanted: int | None = None) -> dict[str, str] | None:
        """Return the names of the stored files by media id; None if there are more than `limit`.

        Also None if so few are `wanted` that looking for each is cheaper. After an error, the next call continues with
        the page that failed.
        """
        if wanted is not None and wanted <= FEW:
            return None
        for _ in range(MAX_PAGES):
            page = await self._page(self._prefix, self._after)
            for name in page.names:
                parts = split_name(name, self._overrides)
                if parts is not None:
                    self._found[parts[0]] = name
            self._after = page.next
            if not self._after or len(self._found) > limit:
                break
        found, is_whole = self._found, not self._after and len(self._found) <= limit
        self._found, self._after = {}, ""
        return found if is_whole else None

    async def find(self, stem: str) -> str | None:
        """Return the name of the file that is `stem` and an extension, by listing what begins with it."""
        after = ""
        for _ in range(MAX_PAGES):
            page = await self._page(self._prefix + stem, after)
            for rest in page.names:
                if is_extension(rest, self._overrides):
                    return stem + rest
            after = page.next
            # Keys are sorted by their bytes: what follows "<stem>.…" has another stem.
            if not after or (page.names and page.names[-1] > "/"):
                return None
        return None

    async def put(self, name: str, body: Body, info: MediaInfo) -> str:
        """Store the file of that name. Raises `InvalidParametersException` for an impossible key."""
        return await self._store.put(S3File(self._bucket, object_key(self._prefix, name, "", exact=False)), body, info)

    def location(self, name: str) -> dict[str, str]:
        """Where the file is, for people and programs."""
        return {"bucket": self._bucket, "key": self._prefix + name}

    async def close(self) -> None:
        """Do nothing: an object is stored once its PUT has a response."""

    async def _page(self, prefix: str, after: str = "", max_keys: int | None = None) -> "_Page":
        max_keys = max_keys or min(MAX_PAGE_SIZE, MAX_RESPONSE_SIZE // (ENTRY + 3 * len(prefix.encode())))
        query = {
            "list-type": "2",
            "prefix": prefix,
            "delimiter": "/",
            "encoding-type": "url",
            "max-keys": str(max_keys),
        }
        response = await self._store.list(self._bucket, query | ({"continuation-token": after} if after else {}))
        if response.status in {401, 403} and is_of_a_store(response) and error_code(response) not in CREDENTIAL_CODES:
            raise AccessDeniedException(
                "The S3 credentials may not list the bucket, which says what is stored already: allow s3:ListBucket, "
                "or give --force to store everything without looking."
            )
        if response.status != 200:
            raise s3_error(response)
        return _parsed(response, prefix)


@dataclass(frozen=True, slots=True)
class _Page:
    names: list[str]
    """The keys without the prefix."""
    next: str
    """Token of the next page; empty on the last."""


def _parsed(response: Response, prefix: str) -> _Page:
    """Read the response of ListObjectsV2.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
    """
    if not _LISTING.search(response.body):
        raise DependencyException("The store's answer to a listing is not the documented XML.")
    is_encoded = _IS_ENCODED.search(response.body) is not None
    names = []
    for raw in _KEY.findall(response.body):
        key = html.unescape(raw.decode("utf-8", "replace"))
        key = unquote(key.replace("+", " ")) if is_encoded else key
        if key.startswith(prefix):
            names.append(key[len(prefix) :])
    more = _NEXT.search(response.body)
    return _Page(names, html.unescape(more[1].decode("ascii", "replace")) if more else "")
