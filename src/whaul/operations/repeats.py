"""Calls that change something at Meta, and what a repetition of them would do.

Set-like ones (the same end, however often) need nothing of this: they are repeated as calls that read are.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from whaul.errors import DependencyException, InvalidParametersException, ResourceNotFoundException, Retry
from whaul.graph.errors import UNKNOWN_END
from whaul.operations.call import OperationCall

T = TypeVar("T")


async def once(
    call: OperationCall[Any],
    attempt: Callable[[], Awaitable[T]],
    doing: str,
    *,
    hop: str = "send",
    deadline: float | None = None,
    tries_again: bool = True,
) -> T:
    """Do what Meta must not get twice: once for all attempts of an SDK's call, which all get its outcome.

    `attempt` makes one call of a `CallKind` that is not repeatable; it is tried again only when Meta surely did
    nothing. It goes on when its caller has left, so the row is not guarded, and the circuit and the deadline are
    here. `hop` is how its time is told; `deadline` is in the event loop's time, the call's own by default. With
    `tries_again` false nothing is tried again here, though the SDK may do so.
    """

    async def work() -> T:
        with call.circuit():
            try:
                # Not `attempts.bounded`: what an earlier attempt met says nothing about the one that is broken off.
                with call.record.hops.timed(hop):
                    async with asyncio.timeout_at(deadline or call.attempts.deadline):
                        return await (call.attempts.run(attempt) if tries_again else attempt())
            except TimeoutError:
                limit = "in the time that it may take" if deadline else "within the call's deadline (WHAUL_DEADLINE)"
                raise DependencyException(
                    f"Meta did not answer {doing} {limit}. {UNKNOWN_END}", retry=Retry.NO
                ) from None

    invocation = call.invocation.id
    if invocation is None:
        return await work()
    done: T = await call.components.done.run(_identity(call, invocation), work)
    return done


async def moved(
    call: OperationCall[Any],
    attempt: Callable[[], Awaitable[None]],
    is_done: Callable[[], Awaitable[bool]],
    hop: str = "send",
) -> None:
    """Do what can be done only once, such as a deletion, and is to be repeated until it is done.

    An attempt whose answer was lost may have done it, of this request or of an earlier one of the same SDK's call.
    Then Meta refuses the next one, and `is_done` looks.
    """
    may_be_done = call.invocation.is_repetition

    async def careful() -> None:
        nonlocal may_be_done
        try:
            await attempt()
        except (InvalidParametersException, ResourceNotFoundException):
            if not may_be_done or not await is_done():
                raise
        except DependencyException:
            may_be_done = True
            raise

    with call.record.hops.timed(hop):
        await call.attempts.run(careful)


async def gone() -> bool:
    """Answer `is_done` for a deletion: what is not found is gone."""
    return True


def _identity(call: OperationCall[Any], invocation: bytes) -> bytes:
    """What makes two requests attempts of one call: the id alone is the client's word."""
    digest = hashlib.sha256()
    for part in (invocation, call.name.encode(), call.caller.access_key_id.encode(), call.resource_id.encode()):
        digest.update(part + b"\n")
    for name, value in sorted(call.members.items()):
        content = value if isinstance(value, bytes) else msgspec.json.encode(value, order="sorted")
        digest.update(b"%b %d\n" % (name.encode(), len(content)))
        digest.update(content)
    return digest.digest()
