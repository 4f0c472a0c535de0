"""CreateWhatsAppMessageTemplateMedia: a file from the caller's bucket to the example of a template's header.

Meta takes it for an app, not for an account or a number: the token's app. A handle is good for that app's templates.
https://developers.facebook.com/docs/graph-api/guides/upload
"""

from collections.abc import AsyncGenerator

from pyreqwest.bytes import Bytes

from whaul.api.request import Members
from whaul.api.response import Document
from whaul.errors import DependencyException, InvalidParametersException, Retry
from whaul.graph.media_types import HEADER_KINDS, essence
from whaul.graph.uploads import upload_example
from whaul.operations.call import AccountCall
from whaul.operations.media import s3_source
from whaul.operations.waba import read_token
from whaul.storage.naming import extension
from whaul.transfer.upload import Upload


async def create_media(call: AccountCall) -> Document:
    """Upload the file. Tried again from its beginning: a handle that nobody uses harms nobody."""
    components, attempts = call.components, call.attempts
    source = s3_source(call, call.members["sourceS3File"])

    async def take(mime_type: str, size: int, parts: AsyncGenerator[Bytes]) -> str:
        kind = essence(mime_type)
        return await upload_example(
            components.graph,
            call.target.token,
            await _app_id(call),
            parts,
            size=size,
            mime_type=kind,
            file_name="example" + extension(kind, {}),
        )

    work = Upload(source, take, components.rules.max_file_size, attempts, call.record.hops, kinds=HEADER_KINDS)
    with call.circuit():
        async with components.slots.slot(attempts.deadline, call.record, None), attempts.bounded():
            handle = await work.run()
    call.record.bytes = work.size
    return {"metaHeaderHandle": handle}


def some_source(members: Members) -> None:
    """Raise `InvalidParametersException` without a source; the model calls it optional."""
    if members.get("sourceS3File") is None:
        raise InvalidParametersException("Give sourceS3File: the bucket and key of the file.")


async def _app_id(call: AccountCall) -> str:
    """The token's app, as it was found when the account was linked, or as Meta says now."""
    account = await call.components.registry.accounts.find(call.resource_id)
    if account is not None and account.app_id is not None:
        return account.app_id
    found = await read_token(call.components.graph, call.target.token)
    if found.app_id is None:
        raise DependencyException("Meta does not say which app the access token is of.", retry=Retry.NO)
    return found.app_id
