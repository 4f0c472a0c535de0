"""PostWhatsAppMessageMedia and DeleteWhatsAppMessageMedia: a file from the caller's bucket to Meta, and away again."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from pyreqwest.bytes import Bytes

from whaul import wire
from whaul.api.request import Request
from whaul.api.response import Response
from whaul.auth.authenticator import Caller
from whaul.errors import DependencyException, ResourceNotFoundException
from whaul.graph.client import GraphClient
from whaul.graph.media_types import media_kind
from whaul.model import PostMedia, S3File
from whaul.operations.numbers import Numbers
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import PresignedHosts
from whaul.server.limits import TransferSlots
from whaul.storage import Source
from whaul.storage.naming import EXTENSIONS, checked_key
from whaul.storage.presigned_source import PresignedSource
from whaul.storage.s3 import S3Store
from whaul.storage.s3_source import S3Source
from whaul.telemetry.call import Call
from whaul.transfer.attempts import Attempts
from whaul.transfer.upload import Upload

POST_MEDIA = "social-messaging:PostWhatsAppMessageMedia"
DELETE_MEDIA = "social-messaging:DeleteWhatsAppMessageMedia"
GET_OBJECT = "s3:GetObject"


@dataclass(frozen=True, slots=True)
class UploadRules:
    """The settings that decide over a call."""

    partition: str
    """Of the ARNs of buckets."""
    max_file_size: int
    deadline: float


class UploadOperations:
    """The operations on media that are sent, over their parts."""

    def __init__(
        self,
        *,
        numbers: Numbers,
        graph: GraphClient,
        http: HttpClient,
        store: S3Store,
        presigned_hosts: PresignedHosts,
        slots: TransferSlots,
        rules: UploadRules,
    ) -> None:
        self._numbers = numbers
        self._graph = graph
        self._http = http
        self._store = store
        self._presigned_hosts = presigned_hosts
        self._slots = slots
        self._rules = rules

    async def post(self, given: Request, caller: Caller, call: Call) -> Response:
        """Answer PostWhatsAppMessageMedia. Raises an `ApiError`."""
        request = wire.post_media(given.body)
        number = await self._numbers.authorized(POST_MEDIA, request.phone_number_id, caller, call)
        source, host = self._source(request, caller)
        token = number.token

        async def take(mime_type: str, size: int, parts: AsyncGenerator[Bytes]) -> str:
            name = _file_name(mime_type)
            return await self._graph.upload(
                token, number.meta_id, parts, size=size, mime_type=mime_type, file_name=name
            )

        attempts = Attempts(asyncio.get_running_loop().time() + self._rules.deadline)
        upload = Upload(source, take, self._rules.max_file_size, attempts, call.seconds)
        async with self._numbers.circuit(number), self._slots.slot(attempts.deadline, call, host), attempts.bounded():
            call.media_id = await upload.run()
        call.bytes = upload.size
        return wire.post_media_answer(call.media_id), []

    async def delete(self, given: Request, caller: Caller, call: Call) -> Response:
        """Answer DeleteWhatsAppMessageMedia. Raises an `ApiError`."""
        request = wire.delete_media(given.query)
        call.media_id = request.media_id
        number = await self._numbers.authorized(DELETE_MEDIA, request.phone_number_id, caller, call)
        token = number.token
        attempts = Attempts(asyncio.get_running_loop().time() + self._rules.deadline)
        has_tried = False

        async def attempt() -> None:
            nonlocal has_tried
            try:
                await self._graph.delete_media(token, request.media_id)
            except ResourceNotFoundException:
                if not has_tried:  # else the first attempt did it, and only its answer was lost
                    raise
            except DependencyException:
                has_tried = True
                raise

        async with self._numbers.circuit(number), attempts.bounded():
            with call.timed("delete"):
                await attempts.run(attempt)
        return wire.delete_media_answer(), []

    def _source(self, request: PostMedia, caller: Caller) -> tuple[Source, str | None]:
        """Check the source as far as that goes without asking for it; name its host when the caller chose it."""
        if request.presigned_url is not None:
            presigned = PresignedSource(self._http, self._presigned_hosts, request.presigned_url)
            media_kind(presigned.mime_type)
            return presigned, presigned.host
        file = request.s3_file or S3File("", "")  # the wire has seen that there is one of the two
        key = checked_key(file.key)
        caller.authorize(
            GET_OBJECT,
            f"arn:{self._rules.partition}:s3:::{file.bucket_name}/{key}",
            shown_as="the bucket and key of this request",
        )
        return S3Source(self._store, file), None


def _file_name(mime_type: str) -> str:
    """A name for the file at Meta: the source's own is nobody's business, and messages bring their own."""
    return "media" + EXTENSIONS.get(mime_type.partition(";")[0].strip().lower(), "")
