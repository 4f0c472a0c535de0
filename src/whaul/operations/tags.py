"""The operations on tags of linked accounts and phone numbers."""

from whaul import arns
from whaul.api.request import Request
from whaul.api.response import Response
from whaul.auth.authenticator import Caller
from whaul.errors import InvalidParametersException
from whaul.registry.errors import TooManyTagsError
from whaul.registry.tags import MOST_TAGS, TaggedResources
from whaul.telemetry.call import Call
from whaul.wire import tags as shapes

TAG = "social-messaging:TagResource"
UNTAG = "social-messaging:UntagResource"
LIST_TAGS = "social-messaging:ListTagsForResource"


class TagOperations:
    """The operations over the registry. Each raises an `ApiError`; the model has no ResourceNotFoundException here."""

    def __init__(self, resources: TaggedResources, *, account_id: str, region: str) -> None:
        self._resources = resources
        self._account_id = account_id
        self._region = region

    async def tag(self, given: Request, caller: Caller, _call: Call) -> Response:
        """Answer TagResource."""
        arn, tags = shapes.tag_resource(given.body)
        id_ = self._authorized(TAG, arn, caller)
        try:
            known = await self._resources.tag(id_, tags)
        except TooManyTagsError:
            raise too_many() from None
        if not known:
            raise _unknown()
        return shapes.done(), []

    async def untag(self, given: Request, caller: Caller, _call: Call) -> Response:
        """Answer UntagResource."""
        arn, keys = shapes.untag_resource(given.body)
        if not await self._resources.untag(self._authorized(UNTAG, arn, caller), keys):
            raise _unknown()
        return shapes.done(), []

    async def list(self, given: Request, caller: Caller, _call: Call) -> Response:
        """Answer ListTagsForResource."""
        tags = await self._resources.tags(self._authorized(LIST_TAGS, shapes.list_tags(given.query), caller))
        if tags is None:
            raise _unknown()
        return shapes.listed(tags.items()), []

    def _authorized(self, action: str, arn: str, caller: Caller) -> str:
        """The id of the resource, if it is of this account and region and the caller may do this with it."""
        id_ = arns.resource_id_from(arn, self._account_id, self._region)
        if id_ is None:
            raise _unknown()
        caller.authorize(action, arn)
        return id_


def too_many() -> InvalidParametersException:
    """Build the error for tags beyond the most that a resource can have."""
    return InvalidParametersException(f"A resource can have {MOST_TAGS} tags; remove some first (UntagResource).")


def _unknown() -> InvalidParametersException:
    return InvalidParametersException(
        "This resourceArn names no account or phone number that is linked in this account and region. "
        "`whaul link --json` and GetLinkedWhatsAppBusinessAccount tell the ARNs."
    )
