"""GetWhatsAppMessageMedia: one call takes a media id to a file in the caller's bucket."""

import asyncio
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace

from whaul import wire
from whaul.api.request import Request
from whaul.api.response import Response
from whaul.auth.authenticator import Caller
from whaul.graph.client import GraphClient
from whaul.graph.source import MediaSource
from whaul.model import GetMedia, MediaInfo, PhoneNumber, S3File, StoredObject
from whaul.operations.numbers import Numbers
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import PresignedHosts
from whaul.server.limits import TransferSlots
from whaul.storage import Destination
from whaul.storage.naming import extension, object_key
from whaul.storage.presigned import PresignedDestination
from whaul.storage.s3 import S3Destination, S3Store
from whaul.telemetry.call import Call
from whaul.transfer.attempts import Attempts
from whaul.transfer.download import Flights, Transfer

GET_MEDIA = "social-messaging:GetWhatsAppMessageMedia"
PUT_OBJECT = "s3:PutObject"


@dataclass(frozen=True, slots=True)
class MediaRules:
    """The settings that decide over a call."""

    partition: str
    """Of the ARNs of buckets."""
    exact_keys: bool
    extensions: Mapping[str, str]
    max_file_size: int
    deadline: float


class MediaOperations:
    """The media operations over their parts."""

    def __init__(
        self,
        *,
        numbers: Numbers,
        graph: GraphClient,
        http: HttpClient,
        store: S3Store,
        presigned_hosts: PresignedHosts,
        slots: TransferSlots,
        rules: MediaRules,
    ) -> None:
        self._numbers = numbers
        self._graph = graph
        self._http = http
        self._store = store
        self._presigned_hosts = presigned_hosts
        self._slots = slots
        self._rules = rules
        self._flights: Flights[StoredObject] = Flights()

    async def get(self, given: Request, caller: Caller, call: Call) -> Response:
        """Answer GetWhatsAppMessageMedia. Raises an `ApiError`."""
        request = wire.get_media(given.body)
        call.media_id = request.media_id
        number = await self._numbers.authorized(GET_MEDIA, request.phone_number_id, caller, call)
        file: S3File | None = None
        presigned = self._presigned(request)
        destination: Destination | None = presigned
        attempts = Attempts(asyncio.get_running_loop().time() + self._rules.deadline)
        token = number.token
        largest = None if request.metadata_only else self._rules.max_file_size
        source = MediaSource(self._graph, token, request.media_id, largest)
        host = presigned.host if presigned else None
        async with self._numbers.circuit(number), self._slots.slot(attempts.deadline, call, host), attempts.bounded():
            with call.timed("describe"):
                info = await attempts.run(source.describe)
            if request.s3_file is not None and not request.metadata_only:
                file = self._authorized_file(request.s3_file, request.media_id, info, caller)
                destination = S3Destination(self._store, file)
            if destination is None or request.metadata_only:
                return wire.get_media_answer(info), []
            transfer = Transfer(source, destination, info, attempts, call.seconds)
            stored = await self._flights.join(_identity(request, number), transfer.run)
        call.bytes = stored.file_size
        if stored.file_size != info.file_size:  # Meta corrected its description on the way
            info = replace(info, file_size=stored.file_size)
        return wire.get_media_answer(info), wire.stored_headers(stored, file)

    async def land(self) -> None:
        """Wait for the transfers that no call waits for any more."""
        await self._flights.land()

    def _presigned(self, request: GetMedia) -> PresignedDestination | None:
        """Check a presigned destination, before anything is fetched."""
        if request.presigned_url is None:
            return None
        return PresignedDestination(self._http, self._presigned_hosts, request.presigned_url)

    def _authorized_file(self, file: S3File, media_id: str, info: MediaInfo, caller: Caller) -> S3File:
        """Name the object with its final key, and ask the policy for it."""
        suffix = extension(info.mime_type, self._rules.extensions)
        final = S3File(file.bucket_name, object_key(file.key, media_id, suffix, exact=self._rules.exact_keys))
        caller.authorize(
            PUT_OBJECT,
            f"arn:{self._rules.partition}:s3:::{final.bucket_name}/{final.key}",
            shown_as="the bucket and final key of this request",
        )
        return final


def _identity(request: GetMedia, number: PhoneNumber) -> Hashable:
    """What makes two calls the same transfer."""
    presigned = request.presigned_url
    headers = frozenset(presigned.headers.items()) if presigned else None
    return number.id, request.media_id, request.s3_file, presigned and presigned.url, headers
