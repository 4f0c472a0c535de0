"""Lists of Meta's behind AWS's: one page for one call, and where the next one begins."""

import hashlib
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec

from whaul.api.response import Document
from whaul.api.service import SHAPES
from whaul.errors import DependencyException, InvalidParametersException, Retry, ValidationException
from whaul.graph.errors import READING, CallKind
from whaul.operations.call import OperationCall
from whaul.registry.errors import PageTokenError

PAGE_SIZE: Final = 100
"""Items in one response when the caller does not say how many."""
MAX_TOKEN: Final = SHAPES["NextToken"].max or 0
"""Characters."""
GOING_ON: Final = CallKind(names_object=False, is_callers=True)
"""A further page: what Meta does not take is the cursor."""

T = TypeVar("T")


async def listed(
    call: OperationCall[Any], path: str, kind: type[T], doing: str, *, first: CallKind = READING, **query: str
) -> tuple[list[T], Document]:
    """Read the page of an edge that `maxResults` and `nextToken` ask for; `first` is the call of the first page.

    Return Meta's objects, and the output's members about the next page. Raises `ValidationException` for a
    `nextToken` of another list, account or filter, and `InvalidParametersException` for one that Meta has forgotten.
    """
    query["limit"] = str(call.members.get("maxResults") or PAGE_SIZE)
    token, of = call.members.get("nextToken"), _of(call)
    if token is not None:
        try:
            [query["after"]] = call.components.registry.page_tokens.read(of, token)
        except PageTokenError:
            raise bad_token() from None
    try:
        page = await call.graph.page(path, kind, doing, call=first if token is None else GOING_ON, **query)
    except InvalidParametersException as error:
        if token is None:
            raise
        raise InvalidParametersException(
            f"Meta does not take this nextToken any more; begin the list anew, without it. ({error.message})"
        ) from None
    if page.after is None:
        return page.items, {}
    following = call.components.registry.page_tokens.write(of, [page.after])
    if len(following) > MAX_TOKEN:
        raise DependencyException("Meta's cursor of the next page is longer than a nextToken can be.", retry=Retry.NO)
    return page.items, {"nextToken": following}


def bad_token() -> ValidationException:
    """Build the error for a `nextToken` that this list did not give out."""
    return ValidationException(
        "1 validation error detected: Value at 'nextToken' failed to satisfy constraint: Member must be the "
        "nextToken of an earlier answer to this operation, unchanged"
    )


def _of(call: OperationCall[Any]) -> Sequence[str]:
    """What a token is of: the list, the account, and all that was asked for besides the page."""
    asked = {name: value for name, value in call.members.items() if name not in {"maxResults", "nextToken"} and value}
    digest = hashlib.sha256(msgspec.json.encode(asked, order="sorted")).hexdigest()
    return call.name, call.resource_id, digest[:32]
