"""The gateway: an ASGI application that takes each request through its life.

In order: an id, the operation, the body within its limit, the signature, the caller's rate, the operation's own
work, the answer or the error, one log line, its metrics and its audit record.
"""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import msgspec
import structlog

from whaul.api import request, response
from whaul.api.request import Request
from whaul.api.response import Response
from whaul.api.service import PATHS, ROUTES
from whaul.auth.authenticator import Authenticator, Caller
from whaul.errors import (
    ApiError,
    InternalServiceException,
    ServiceUnavailable,
    ThrottledRequestException,
    UnknownOperationException,
)
from whaul.registry.errors import RegistryUnavailableError
from whaul.server import asgi
from whaul.server.asgi import Receive, Scope, Send
from whaul.server.limits import SMALL_BODY, BodyBudget, RateLimit
from whaul.server.unfinished_heads import Peer
from whaul.telemetry import logs
from whaul.telemetry.audit import AuditLog
from whaul.telemetry.call import Call
from whaul.telemetry.clients import ClientAddress
from whaul.telemetry.metrics import Metrics

log = structlog.get_logger()

Operation = Callable[[Request, Caller, Call], Awaitable[Response]]
JSON = "application/json"
READ = ("GET", "HEAD")
HEALTH, READINESS, METRICS = PROBES = ("/healthz", "/readyz", "/metrics")
"""What monitors ask, over and over: not logged, not counted."""


@dataclass(frozen=True, slots=True)
class Service:
    """What calls are passed to while the server runs."""

    authenticator: Authenticator
    rate_limit: RateLimit
    operations: Mapping[str, Operation]
    """Those that are built, by name."""
    unready: Callable[[], Awaitable[list[str]]]
    """Why calls cannot be served; empty when they can."""


class Gateway:
    """The ASGI application."""

    def __init__(
        self,
        serving: Callable[["Gateway"], AbstractAsyncContextManager[Service]],
        metrics: Metrics,
        clients: ClientAddress,
        audit: AuditLog | None = None,
    ) -> None:
        """`serving` holds the service open, from the server's start to its end."""
        self._serving = serving
        self._metrics = metrics
        self._clients = clients
        self._audit = audit
        self._service: Service
        self._draining = False
        self._bodies = BodyBudget()
        self.busy: set[Peer] = set()
        """The clients whose requests are being answered."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a request, or the server's start and end, as ASGI."""
        if scope["type"] == "lifespan":
            await asgi.live(receive, send, self._running())
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        peer = tuple(scope.get("client") or ("", 0))
        self.busy.add(peer)
        try:
            if scope["path"] in PROBES:
                await self._probe(scope, send)
            else:
                await self._call(scope, receive, send)
        finally:
            self.busy.discard(peer)

    def drain(self) -> None:
        """Take no new calls, and say so on `/readyz`; those under way go on."""
        self._draining = True
        log.info("draining")

    @asynccontextmanager
    async def _running(self) -> AsyncGenerator[None]:
        async with self._serving(self) as self._service:
            yield

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call, log it, count it and audit it."""
        peer = scope.get("client")
        call = Call(response.request_id(), client=self._clients.of(peer[0] if peer else None, scope["headers"]))
        started = time.monotonic()
        status = 500
        try:
            try:
                body, headers = await self._operate(scope, receive, call)
                status = 200
            except Exception as error:  # noqa: BLE001 - whatever it was, the caller gets an answer
                status, body, headers = self._failed(error, call)
            headers.append(("x-amzn-RequestId", call.request_id))
            await asgi.answer(send, status, JSON, headers, body)
        finally:
            seconds = time.monotonic() - started
            self._metrics.observe(call, seconds)
            log.info("call", **logs.call_line(call, status, seconds))
            if self._audit is not None:
                self._audit.record(call, scope["headers"], scope["query_string"])

    async def _operate(self, scope: Scope, receive: Receive, call: Call) -> Response:
        """Do what was asked. Raises an `ApiError`."""
        self._service.authenticator.admit(scope["headers"])
        method, path = scope["method"], scope["path"]
        name = ROUTES.get((method, path))
        if name is None:
            if path in PATHS:
                raise UnknownOperationException("This path takes another HTTP method.", status=405)
            raise UnknownOperationException("There is no operation at this path.")
        call.operation = name
        operation = self._service.operations.get(name)
        if operation is None:
            raise UnknownOperationException(f"The operation {name} is not built in this version of whaul.")
        if self._draining:
            raise ThrottledRequestException("This server is stopping. Try again, to reach another.", retry_after=1)
        call.arriving = True
        size = asgi.body_size(scope, request.MAX_REQUESTS.get(name, request.MAX_REQUEST))
        if size <= SMALL_BODY:
            body = await asgi.read_body(receive, size)
            return await self._perform(scope, operation, body, call)
        with self._bodies.room(size) as room:
            body = await room.fill(asgi.read_body(receive, size))
            return await self._perform(scope, operation, body, call)

    async def _perform(self, scope: Scope, operation: Operation, body: bytes, call: Call) -> Response:
        """Let a proven caller's call through to the operation."""
        call.arriving = False
        query, headers = scope["query_string"], tuple(scope["headers"])
        caller = await self._service.authenticator.authenticate(
            scope["method"], scope["raw_path"], query, headers, body
        )
        call.access_key_id, call.caller = caller.access_key_id, caller.name
        call.body = body
        self._service.rate_limit.take(caller.access_key_id, caller.rate_limit, caller.rate_burst)
        answer = await operation(Request(query, body, headers), caller, call)
        call.answer = answer[0]
        return answer

    def _failed(self, error: Exception, call: Call) -> tuple[int, bytes, response.Headers]:
        """Make the answer to a call that raised."""
        api_error = _api_error(error)
        if isinstance(api_error, InternalServiceException):
            api_error = InternalServiceException(f"{api_error.message} Request id: {call.request_id}")
            log.error("unforeseen", request_id=call.request_id, error=logs.without_text(error))
        elif isinstance(error, RegistryUnavailableError):
            log.error("database_failed", request_id=call.request_id, error=logs.without_text(error))
        call.error, call.message = api_error.code, api_error.message
        body, headers = response.error(api_error)
        if self._draining or call.arriving:
            headers.append(("Connection", "close"))
        return api_error.status, body, headers

    async def _probe(self, scope: Scope, send: Send) -> None:
        """Answer a monitor: whether the process answers, whether calls can be served, the metrics."""
        status, body, content_type = 200, b"", JSON
        if scope["method"] not in READ:
            status, body = 405, msgspec.json.encode({"message": "Use GET."})
        elif scope["path"] == HEALTH:
            body = msgspec.json.encode({"status": "ok"})
        elif scope["path"] == METRICS:
            body, content_type = self._metrics.exposition(), "text/plain; version=0.0.4; charset=utf-8"
        else:
            reasons = ["draining: the server is stopping"] if self._draining else []
            reasons += await self._service.unready()
            status = 503 if reasons else 200
            body = msgspec.json.encode({"status": "unavailable" if reasons else "ok", "reasons": reasons})
        await asgi.answer(send, status, content_type, [("x-amzn-RequestId", response.request_id())], body)


def _api_error(error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        return error
    return ServiceUnavailable() if isinstance(error, RegistryUnavailableError) else InternalServiceException()
