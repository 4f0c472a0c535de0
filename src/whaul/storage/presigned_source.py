"""A source that the caller signed: one GET of a presigned URL."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from whaul.errors import DependencyException, InvalidParametersException
from whaul.model import PresignedUrl
from whaul.outbound.errors import HttpError
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import ForbiddenUrlError, PresignedHosts
from whaul.storage import OpenFile, opened
from whaul.storage.errors import is_page, presigned_error
from whaul.storage.presigned import checked_headers, is_version_2, signs_content_type

NOT_THE_WHOLE = frozenset({206, 304})
"""Statuses with which a store does as the caller's URL or headers ask, and gives a part of the object, or nothing."""


class PresignedSource:
    """A checked presigned URL with the headers to send along; the one Content-Type says what the file is."""

    def __init__(self, http: HttpClient, hosts: PresignedHosts, presigned: PresignedUrl) -> None:
        """Raises `InvalidParametersException` for a URL or a header that may not be used, or no Content-Type."""
        self._http = http
        try:
            self._url = hosts.check(presigned.url)
        except ForbiddenUrlError as forbidden:
            raise InvalidParametersException(f"The presigned URL is refused: {forbidden}.") from None
        headers = checked_headers(presigned.headers)
        self.mime_type = headers.get("content-type", "")
        if not self.mime_type:
            raise InvalidParametersException(
                "The headers of the presigned URL need a Content-Type: the MIME type of the file."
            )
        if is_version_2(self._url) or not signs_content_type(self._url):
            # A GET has no content to be of a type, and a version 2 signature breaks with the header.
            del headers["content-type"]
        self._headers = headers | {"accept-encoding": "identity"}

    @property
    def host(self) -> str:
        """The host and port that the caller chose."""
        return f"{self._url.host_str}:{self._url.port_or_known_default}"

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[OpenFile]:
        """See `Source`."""
        try:
            async with self._http.download(self._url, self._headers) as download:
                if download.status in NOT_THE_WHOLE:
                    raise InvalidParametersException(
                        f"The presigned URL's host answered with HTTP status {download.status}, not with the whole "
                        "file. Leave out Range, If-None-Match, If-Modified-Since and partNumber."
                    )
                if download.status != 200 or is_page(download):
                    raise presigned_error(await download.response(), reads=True)
                yield opened(self.mime_type, download)
        except HttpError as error:
            raise DependencyException(f"The GET of the presigned URL failed: {error}.", retry=error.retry) from error
