"""One media id at Meta, asked for on behalf of one phone number: what a transfer fetches from."""

from contextlib import AbstractAsyncContextManager

from whaul.errors import InvalidParametersException
from whaul.graph.client import GraphClient
from whaul.model import GraphToken, MediaInfo
from whaul.outbound.http import Download


class MediaSource:
    """See `whaul.transfer.download.Source`."""

    def __init__(self, graph: GraphClient, token: GraphToken, media_id: str, max_file_size: int | None) -> None:
        """`max_file_size` is in bytes; None when nothing will be fetched."""
        self._graph = graph
        self._token = token
        self._media_id = media_id
        self._max_file_size = max_file_size

    async def describe(self) -> MediaInfo:
        """Resolve the media id; refuses a file that is too large to be fetched."""
        info = await self._graph.media(self._token, self._media_id)
        if self._max_file_size is not None and info.file_size > self._max_file_size:
            raise InvalidParametersException(
                f"The file has {info.file_size} bytes; this server fetches {self._max_file_size} at the most "
                "(WHAUL_MAX_FILE_SIZE)."
            )
        return info

    def download(self, info: MediaInfo, ahead: int) -> AbstractAsyncContextManager[Download]:
        """Open the file at `info.url`."""
        return self._graph.download(self._token, info, ahead)
