"""Places that the caller signed: a PUT to a presigned URL, or a GET of one."""

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl

from pyreqwest.http import Url

from whaul.errors import DependencyException, InvalidParametersException
from whaul.model import MediaInfo, PresignedUrl
from whaul.outbound.errors import HttpError
from whaul.outbound.http import Body, HttpClient
from whaul.outbound.netguard import ForbiddenUrlError, PresignedHosts
from whaul.storage import OpenFile, opened
from whaul.storage.errors import is_page, is_stored, presigned_error

REFUSED_HEADERS = frozenset(
    {
        "authorization",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that belong to the connection, or would change the request."""

MAX_HEADERS_LENGTH = 8192
"""Characters of all names and values. S3 takes no more for a PUT, and the HTTP client has a limit, too.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html"""

PARTIAL = frozenset({206, 304})
"""Statuses of a store that does as the caller's URL or headers ask, and gives a part of the object, or nothing."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class Presigned:
    """A checked presigned URL with the headers to send along."""

    def __init__(self, http: HttpClient, hosts: PresignedHosts, presigned: PresignedUrl) -> None:
        """Raises `InvalidParametersException` for a URL or a header that may not be used."""
        self._http = http
        try:
            self._url = hosts.check(presigned.url)
        except ForbiddenUrlError as forbidden:
            raise InvalidParametersException(f"The presigned URL is refused: {forbidden}.") from None
        self._headers = checked_headers(presigned.headers)

    @property
    def host(self) -> str:
        """The host and port that the caller chose."""
        return f"{self._url.host_str}:{self._url.port_or_known_default}"

    @property
    def mime_type(self) -> str:
        """The type of the file, if the URL is a source; raises `InvalidParametersException` without one."""
        mime_type = self._headers.get("content-type", "")
        if not mime_type:
            raise InvalidParametersException(
                "The headers of the presigned URL need a Content-Type: the MIME type of the file."
            )
        return mime_type

    async def put(self, body: Body, info: MediaInfo) -> str:
        """See `storage.Put`."""
        headers = self._headers
        if "content-type" not in headers and not signs_content_type(self._url):
            headers = headers | {"content-type": info.mime_type}
        try:
            response = await self._http.send("PUT", self._url, headers, body, info.file_size)
        except HttpError as error:
            raise DependencyException(f"The PUT to the presigned URL failed: {error}.", retry=error.retry) from error
        if not is_stored(response):
            raise presigned_error(response)
        return response.headers.get("etag", "")

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[OpenFile]:
        """See `storage.Open`. The caller says what the file is; the store's own Content-Type counts for nothing."""
        headers = self._headers | {"accept-encoding": "identity"}
        if is_version_2(self._url) or not signs_content_type(self._url):
            # A GET has no content to be of a type, and a version 2 signature breaks with the header.
            headers.pop("content-type", None)
        try:
            async with self._http.download(self._url, headers) as download:
                if download.status in PARTIAL:
                    raise InvalidParametersException(
                        f"The presigned URL's host answered with HTTP status {download.status}, not with the whole "
                        "file. Leave out Range, If-None-Match, If-Modified-Since and partNumber."
                    )
                if download.status != 200 or is_page(download):
                    raise presigned_error(await download.response(), reads=True)
                yield opened(self.mime_type, download)
        except HttpError as error:
            raise DependencyException(f"The GET of the presigned URL failed: {error}.", retry=error.retry) from error


def checked_headers(given: Mapping[str, str]) -> dict[str, str]:
    """Return the headers with names in lower case. Raises `InvalidParametersException`, which never holds a value."""
    if sum(len(name) + len(value) for name, value in given.items()) > MAX_HEADERS_LENGTH:
        raise InvalidParametersException(
            f"The headers of the presigned URL have more than {MAX_HEADERS_LENGTH} characters; S3 takes no more."
        )
    headers: dict[str, str] = {}
    for name, value in given.items():
        if not _NAME.fullmatch(name):
            raise InvalidParametersException("A header of the presigned URL has a name that HTTP does not allow.")
        lower = name.lower()
        if lower in REFUSED_HEADERS:
            raise InvalidParametersException(f"The header {lower} cannot be sent with a presigned URL; leave it out.")
        if lower in headers:
            raise InvalidParametersException(f"The header {lower} is given twice; keep one.")
        if not _VALUE.fullmatch(value):
            raise InvalidParametersException(f"The value of the header {lower} is not allowed in HTTP.")
        headers[lower] = value
    return headers


def signs_content_type(url: Url) -> bool:
    """Whether the URL's signature covers Content-Type, so that none may be added.

    Version 4 lists what it signs. Version 2 always signs it; an absent one counts as empty.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/RESTAuthentication.html
    """
    signed = _query(url).get("x-amz-signedheaders", "")
    return is_version_2(url) or "content-type" in signed.lower().split(";")


def is_version_2(url: Url) -> bool:
    """Whether the URL is signed with Signature Version 2."""
    query = _query(url)
    return "signature" in query and "x-amz-signature" not in query


def _query(url: Url) -> dict[str, str]:
    return {name.lower(): value for name, value in parse_qsl(url.query_string or "")}
