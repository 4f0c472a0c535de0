"""What every operation needs, once: may the caller do it, on what, with which token, and until when.

An operation is a function of a call, and a row in the table of its family, such as
`"GetWhatsAppFlow": on_account(get_flow)`. Before the function runs, in this order:

1. the members are read and keep the model's constraints (`api.request`), and pass the row's `check`: rules across
   members, and what Meta would refuse;
2. the id or ARN that one of them holds is one of this account and region;
3. the caller's policy allows the action on it. It is asked before anything is looked up, so that it hides what is
   linked;
4. the phone number or account is linked, and brings its token;
5. Meta has not refused it again and again: its circuit is closed. The deadline counts.

`on_number` and `on_account` take all of these steps. `on_resource` ends after the policy, for what needs nothing of
Meta. `on_service` is for actions that have no resources at AWS: the policy is asked for `*`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Generic, TypeVar

from whaul.api import response
from whaul.api.request import Invocation, Members, Reader, Request
from whaul.api.response import Document, Headers, Response
from whaul.api.service import OPERATIONS, SHAPES
from whaul.arns import Arns, read_meta_id
from whaul.auth.caller import Caller
from whaul.errors import AccessDeniedByMetaException, ApiError, InvalidParametersException, ResourceNotFoundException
from whaul.graph.client import GraphClient, Page
from whaul.graph.errors import READING, CallKind
from whaul.model import Account, GraphToken, PhoneNumber
from whaul.operations.components import Components
from whaul.registry.cache import Lookup
from whaul.telemetry.call import Call
from whaul.transfer.attempts import Attempts

MAX_REFUSALS = 20
"""A phone number or account that Meta refused so often in a row is left alone for `REFUSAL_PAUSE`."""
REFUSAL_PAUSE = 30.0
"""Seconds that Meta is not called for one that it refused too often."""

T = TypeVar("T")
Linked = TypeVar("Linked", bound=PhoneNumber | Account)


class Graph:
    """The Graph API with one token; each call is tried again as long as the deadline allows.

    The methods are those of `GraphClient`.
    """

    def __init__(self, client: GraphClient, token: GraphToken, attempts: Attempts) -> None:
        self._client = client
        self._token = token
        self._attempts = attempts

    async def get(self, path: str, kind: type[T], doing: str, *, call: CallKind = READING, **query: str) -> T:
        """Read an object or an edge."""
        return await self._attempts.run(lambda: self._client.get(self._token, path, kind, doing, call=call, **query))

    async def page(self, path: str, kind: type[T], doing: str, *, call: CallKind = READING, **query: str) -> Page[T]:
        """Read a page of an edge."""
        return await self._attempts.run(lambda: self._client.page(self._token, path, kind, doing, call=call, **query))

    async def pages(self, path: str, kind: type[T], doing: str, *, call: CallKind = READING, **query: str) -> list[T]:
        """Read an edge to its end."""
        return await self._attempts.run(lambda: self._client.pages(self._token, path, kind, doing, call=call, **query))

    async def post(
        self,
        path: str,
        body: object,
        kind: type[T],
        doing: str,
        *,
        call: CallKind = READING,
        version: str | None = None,
        **query: str,
    ) -> T:
        """Send JSON."""
        return await self._attempts.run(
            lambda: self._client.post(self._token, path, body, kind, doing, call=call, version=version, **query)
        )

    async def delete(self, path: str, kind: type[T], doing: str, *, call: CallKind = READING, **query: str) -> T:
        """Delete an object, or from an edge."""
        return await self._attempts.run(lambda: self._client.delete(self._token, path, kind, doing, call=call, **query))


@dataclass(slots=True)
class OperationCall(Generic[Linked]):
    """A call that its caller may do."""

    name: str
    """The operation's."""
    members: Members = field(repr=False)
    resource_id: str
    """Of the phone number or account that it is done on, linked or not; empty for none."""
    target: Linked
    """That number or account, if the operation asks Meta."""
    attempts: Attempts = field(repr=False)
    caller: Caller
    invocation: Invocation
    """What an SDK says of its attempts."""
    components: Components = field(repr=False)
    record: Call
    """What its log line and metrics tell."""
    headers: Headers = field(default_factory=list)
    """Of the response, in addition to those that every response has."""

    @property
    def graph(self) -> Graph:
        """The Graph API with the target's token."""
        return Graph(self.components.graph, self.target.token, self.attempts)

    @contextmanager
    def circuit(self) -> Iterator[None]:
        """Refuse the call if Meta refuses its target again and again; what Meta says of a media does not count."""
        # A circuit is a token's too: an account that was linked again with a new one starts with a closed one.
        name = f"{self.target.id} {hash(self.target.token.access_token.get_secret_value())}"
        circuits = self.components.circuits[type(self.target)]
        refusal = circuits.refusal(name)
        if refusal is not None:
            raise AccessDeniedByMetaException(
                f"{refusal.message} Meta is not asked again for a while, after {MAX_REFUSALS} such answers in a row."
            )
        try:
            yield
        except AccessDeniedByMetaException as error:
            circuits.failed(name, error)
            raise
        circuits.succeeded(name)


NumberCall = OperationCall[PhoneNumber]
AccountCall = OperationCall[Account]
ResourceCall = OperationCall[Any]
"""Its target was not looked up, and is None."""


def not_linked(what: str) -> ApiError:
    """Build the error for an id that names nothing."""
    return ResourceNotFoundException(
        f"No {what} with this id is linked in this account and region. `whaul accounts` lists what is linked."
    )


def no_resource() -> ApiError:
    """Build the error for an ARN that names nothing; the model has no ResourceNotFoundException there."""
    return InvalidParametersException(
        "This resourceArn names no account or phone number that is linked in this account and region. "
        "`whaul link --json` and GetLinkedWhatsAppBusinessAccount tell the ARNs."
    )


@dataclass(frozen=True, slots=True)
class Target:
    """How a member names something that can be linked."""

    read: Callable[[Arns, str], str | None]
    """From what a caller names it by to the id; None for what is of elsewhere, or nothing."""
    not_linked: Callable[[], ApiError]
    of_meta: Callable[[Arns, str], str]
    """What to say to one who gives Meta's id. Ours is derived, never looked up: it does not tell what is linked."""

    def advice(self, arns: Arns, value: str | None) -> str:
        """Say what to give instead of Meta's id; empty for any other value."""
        meta_id = read_meta_id(value or "")
        return self.of_meta(arns, meta_id) if meta_id else ""

    def unread(self, arns: Arns, value: str) -> ApiError:
        """Build the error for a value that `read` does not know."""
        error = self.not_linked()
        return type(error)(f"{error.message} {self.advice(arns, value)}".rstrip())


def _is_metas(of: str, ours: str) -> str:
    return f"This looks like Meta's id of {of}. If it is linked, its id here is {ours}."


NUMBER: Final = Target(
    Arns.read_phone_number,
    lambda: not_linked("phone number"),
    lambda arns, meta_id: _is_metas("a phone number", arns.phone_number_id(meta_id)),
)
ACCOUNT: Final = Target(
    Arns.read_waba,
    lambda: not_linked("account"),
    lambda arns, meta_id: _is_metas("an account", arns.waba_id(meta_id)),
)
RESOURCE: Final = Target(
    Arns.read_resource,
    no_resource,
    lambda arns, meta_id: (
        f"This looks like Meta's id. The ARN here would be {arns.arn(arns.phone_number_id(meta_id))} for a phone "
        f"number, and {arns.arn(arns.waba_id(meta_id))} for an account."
    ),
)
TARGETS: Final[Mapping[str, Target]] = {
    "WhatsAppPhoneNumberId": NUMBER,
    "LinkedWhatsAppBusinessAccountId": ACCOUNT,
    "Arn": RESOURCE,
}
"""By the shape of the member that names it."""

Operation = Callable[[Request, Caller, Call], Awaitable[Response]]
"""An operation as the gateway calls it."""
Check = Callable[[Members], None]
"""Raises an `ApiError` for members that make no sense together, or that Meta would refuse."""
Find = Callable[[Lookup, str], Awaitable[PhoneNumber | Account | None]]


@dataclass(frozen=True, slots=True)
class Row:
    """An operation in the table of its family."""

    function: Callable[[Any], Awaitable[Document]]
    check: Check
    names_resource: bool = True
    find: Find | None = None
    """How the resource is looked up; None if it is not."""
    is_guarded: bool = False
    """Whether the function runs inside the circuit and the deadline; if not, it enters them itself, or needs none."""


def _nothing(_members: Members) -> None:
    pass


def on_number(
    function: Callable[[NumberCall], Awaitable[Document]], check: Check = _nothing, *, guarded: bool = True
) -> Row:
    """Run `function` with the phone number that a member names, inside the number's circuit and the deadline.

    A function that has something to do before enters them itself (`OperationCall.circuit`), and is not `guarded`.
    """
    return Row(function, check, find=lambda linked, id_: linked.phone_number(id_), is_guarded=guarded)


def on_account(
    function: Callable[[AccountCall], Awaitable[Document]], check: Check = _nothing, *, guarded: bool = True
) -> Row:
    """Run `function` with the account that a member names, inside the account's circuit and the deadline.

    A function that asks Meta nothing is not `guarded`.
    """
    return Row(function, check, find=lambda linked, id_: linked.linked_account(id_), is_guarded=guarded)


def on_resource(function: Callable[[ResourceCall], Awaitable[Document]], check: Check = _nothing) -> Row:
    """Run `function` with the id that a member names, linked or not."""
    return Row(function, check)


def on_service(function: Callable[[ResourceCall], Awaitable[Document]], check: Check = _nothing) -> Row:
    """Run `function` for an action that has no resources."""
    return Row(function, check, names_resource=False)


def operation(name: str, row: Row, components: Components) -> Operation:
    """Make an operation of its row: the steps at the top of this module, in their order."""
    action, arns = f"social-messaging:{name}", components.rules.arns
    member, target = target_of(name) if row.names_resource else ("", None)
    reader = Reader(name, {member: partial(target.advice, arns)} if target else {})

    def authorized(members: Members, caller: Caller, record: Call) -> str:
        if target is None:
            caller.authorize(action, "*")
            return ""
        id_ = target.read(arns, members[member])
        if id_ is None:
            raise _modelled(name, target.unread(arns, members[member]))
        if target is NUMBER:
            record.phone_number_id = id_
        caller.authorize(action, arns.arn(id_))
        return id_

    async def perform(request: Request, caller: Caller, record: Call) -> Response:
        members = reader.read(request)
        row.check(members)
        record.media_id = members.get("mediaId")
        id_ = authorized(members, caller, record)
        linked = await row.find(components.linked, id_) if row.find else None
        if row.find and target and linked is None:
            raise _modelled(name, target.not_linked())
        deadline = asyncio.get_running_loop().time() + components.rules.deadline
        attempts = Attempts(deadline, hops=record.hops, timeouts=components.timeouts)
        call: OperationCall[Any] = OperationCall(
            name, members, id_, linked, attempts, caller, request.invocation, components, record
        )
        if row.is_guarded:
            with call.circuit():
                async with attempts.bounded():
                    document = await row.function(call)
        else:
            document = await row.function(call)
        return response.body(document), call.headers

    return perform


def _modelled(name: str, error: ApiError) -> ApiError:
    """Turn the error for what is not there into the one that an operation's model has."""
    known = error.code in OPERATIONS[name].errors or not isinstance(error, ResourceNotFoundException)
    return error if known else InvalidParametersException(error.message)


def target_of(name: str) -> tuple[str, Target]:
    """The member of an operation's input that names what it is done on."""
    members = SHAPES[OPERATIONS[name].input].members
    return next((name, TARGETS[fact.shape]) for name, fact in members.items() if fact.shape in TARGETS)
