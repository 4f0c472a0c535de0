"""The paths that Meta's webhooks come to. A body is anybody's until its signature is proven.

A webhook is answered when all of it is durable, so a 200 is a promise; every other answer makes Meta send it again,
for days. https://developers.facebook.com/docs/graph-api/webhooks/getting-started
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import parse_qs

import structlog

from whaul.errors import ApiError, RequestEntityTooLargeException, SerializationException, ThrottledRequestException
from whaul.events.receiving import items
from whaul.events.receiving.app_secrets import AppSecrets
from whaul.events.receiving.drafts import Post
from whaul.events.receiving.inbox import RETRY_AFTER, Inbox, InboxUnavailableError
from whaul.events.receiving.signatures import META_HEADER, meta_digest
from whaul.events.receiving.verify_tokens import AcceptedTokens
from whaul.registry.errors import RegistryUnavailableError
from whaul.secrets import SecretKeyError
from whaul.server import asgi
from whaul.server.asgi import Receive, Scope, Send
from whaul.server.bodies import SMALL_BODY, BodyBudget, body_size
from whaul.telemetry import logs
from whaul.telemetry.event_metrics import EventMetrics

if TYPE_CHECKING:
    from whaul.telemetry.spans import Tracing

log = structlog.get_logger()

PATH: Final = "/webhooks/meta"
MAX_BODY: Final = 4 * 1024**2
"""Bytes. Meta sends at most 3 MB."""
INLINE_BODY: Final = 64 * 1024
"""Bytes that are checked and cut on the event loop; more goes to a thread."""
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{1,256}")
_SIGNATURE: Final = META_HEADER.lower().encode()
_TEXT: Final = "text/plain; charset=utf-8"
_APP: Final = re.compile(rf"{PATH}(?:/([^/]+))?/?")

Headers = list[tuple[str, str]]
Answer = tuple[int, Headers, bytes]

T = TypeVar("T")


class Webhooks:
    """Takes webhooks in."""

    def __init__(
        self,
        secrets: AppSecrets,
        tokens: AcceptedTokens,
        inbox: Inbox,
        bodies: BodyBudget,
        metrics: EventMetrics,
        *,
        tracing: "Tracing | None" = None,
    ) -> None:
        self._secrets = secrets
        self._tokens = tokens
        self._inbox = inbox
        self._bodies = bodies
        self._metrics = metrics
        self._tracing = tracing
        self._methods: dict[str, Callable[[Scope, Receive, str | None], Awaitable[Answer]]] = {
            "GET": self._verify,
            "POST": self._take,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request to one of the paths."""
        status, headers, body = await self._answer(scope, receive)
        if status >= HTTPStatus.BAD_REQUEST:
            headers.append(("Connection", "close"))  # what else the sender has to say is not read
        await asgi.answer(send, status, _TEXT, headers, body)

    async def check(self) -> None:
        """See that webhooks can be proven. Raises RegistryUnavailableError, SecretKeyError."""
        if not self._secrets.are_read:
            await self._secrets.read()

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        found = _APP.fullmatch(scope["path"])
        if found is None or (self._secrets.are_read and not self._secrets):
            return _refused(HTTPStatus.NOT_FOUND)
        method = self._methods.get(scope["method"])
        if method is None:
            status, headers, body = _refused(HTTPStatus.METHOD_NOT_ALLOWED)
            return status, [*headers, ("Allow", "GET, POST")], body
        return await method(scope, receive, found[1])

    async def _verify(self, scope: Scope, _receive: Receive, _app_id: str | None) -> Answer:
        """Answer Meta's question whether this URL is ours; it is not signed."""
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        mode, token, challenge = (_only(query.get(f"hub.{name}")) for name in ("mode", "verify_token", "challenge"))
        if mode != "subscribe" or not token or not _CHALLENGE.fullmatch(challenge):
            return _refused(HTTPStatus.FORBIDDEN)
        try:
            known = await self._tokens.include(token)
        except (RegistryUnavailableError, SecretKeyError) as error:
            log.error("the verify token could not be read", error=logs.without_text(error))
            return _unavailable(RETRY_AFTER)
        return (HTTPStatus.OK, [], challenge.encode()) if known else _refused(HTTPStatus.FORBIDDEN)

    async def _take(self, scope: Scope, receive: Receive, app_id: str | None) -> Answer:
        started = time.monotonic()
        outcome, answer = await self._taken(scope, receive, app_id, started)
        self._metrics.webhook(outcome, time.monotonic() - started)
        return answer

    async def _taken(self, scope: Scope, receive: Receive, app_id: str | None, started: float) -> tuple[str, Answer]:
        """Read a body within its bounds, and keep it."""
        if not self._secrets.are_read:
            return "unavailable", _unavailable(RETRY_AFTER)
        digest = meta_digest(_header(scope, _SIGNATURE))
        if digest is None:
            return "unsigned", _refused(HTTPStatus.UNAUTHORIZED)
        room = None
        try:
            size = body_size(scope, MAX_BODY)
            if size.most <= SMALL_BODY:
                body = await self._bodies.read(receive, size)
            else:
                room = self._bodies.take(size.most)
                body = await room.fill(self._bodies.read(receive, size))
            return await self._prove(scope, body, digest, app_id, started)
        except (RequestEntityTooLargeException, SerializationException, ThrottledRequestException) as error:
            return _unread(error)
        finally:
            if room is not None:
                room.release()

    async def _prove(
        self, scope: Scope, body: bytes, digest: bytes, app_id: str | None, started: float
    ) -> tuple[str, Answer]:
        """Prove a body and keep what it tells. One that is not proven has no trace: anybody can send those."""
        is_large = len(body) > INLINE_BODY
        speaker = await _run(is_large, lambda: self._secrets.find(digest, body, app_id))
        if speaker is None:
            return "bad_signature", _refused(HTTPStatus.UNAUTHORIZED)
        app = speaker.app_id or "unknown"
        self._metrics.signed(app, speaker.position)
        found = await _run(is_large, lambda: items.split(body))
        if self._tracing is None:
            return await self._keep(Post(body, found, speaker, datetime.now(UTC)))
        route = PATH if app_id is None else f"{PATH}/{{app}}"
        span = self._tracing.webhook(scope["headers"], route, started)
        outcome, answer = await self._keep(Post(body, found, speaker, datetime.now(UTC), span.context))
        status = answer[0]
        attributes = {
            "http.response.status_code": status,
            "messaging.batch.message_count": len(found),
            "whaul.webhook.outcome": outcome,
        }
        span.end(attributes, outcome if status >= HTTPStatus.INTERNAL_SERVER_ERROR else None)
        return outcome, answer

    async def _keep(self, post: Post) -> tuple[str, Answer]:
        """Keep what a webhook tells."""
        try:
            result = await self._inbox.put(post)
        except InboxUnavailableError as error:
            log.warning("a webhook was not kept; Meta sends it again", reason=str(error))
            return "unavailable", _unavailable(error.retry_after)
        if result.duplicates:
            self._metrics.duplicates.inc(result.duplicates)
        if result.foreign:
            self._metrics.foreign.inc(result.foreign)
        for item in post.items:
            if item.at is not None:
                self._metrics.lag.observe(max(0.0, time.time() - item.at))
        if result.foreign and not result.events and not result.duplicates:
            return "foreign", _refused(HTTPStatus.UNAUTHORIZED)
        if not result.events and result.duplicates:
            return "duplicate_only", (HTTPStatus.OK, [], b"")
        return "unparsed" if 0 < result.unparsed == len(post.items) else "accepted", (HTTPStatus.OK, [], b"")


async def _run(elsewhere: bool, work: Callable[[], T]) -> T:
    """Do work that takes long in a thread."""
    return await asyncio.to_thread(work) if elsewhere else work()


def _only(found: list[str] | None) -> str:
    """Take what was said once; of several nobody can say which one counts."""
    return found[0] if found is not None and len(found) == 1 else ""


def _header(scope: Scope, name: bytes) -> bytes | None:
    """Find the only header of a name."""
    found = [value for key, value in scope["headers"] if key == name]
    return found[0] if len(found) == 1 else None


def _unread(error: ApiError) -> tuple[str, Answer]:
    """Say why a body was not read."""
    if isinstance(error, RequestEntityTooLargeException):
        return "too_large", _refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    if isinstance(error, SerializationException):  # it broke off, or did not come in time
        return "broken_off", _refused(HTTPStatus.BAD_REQUEST)
    return "unavailable", _unavailable(1)  # there is no room for it


def _refused(status: HTTPStatus) -> Answer:
    return status, [], f"{status.phrase}.\n".encode()


def _unavailable(retry_after: int) -> Answer:
    status, headers, body = _refused(HTTPStatus.SERVICE_UNAVAILABLE)
    return status, [*headers, ("Retry-After", str(retry_after))], body
