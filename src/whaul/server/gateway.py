"""The gateway: an ASGI application that takes each API request through its life.

The life is two lists at the end of `Gateway`: `steps`, each of which may end the request with an error, and `records`,
which are written however it ended. Between them the response is sent.
"""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import structlog

from whaul.api import request, response
from whaul.api.request import Request
from whaul.api.response import Response
from whaul.api.service import PATHS, ROUTES
from whaul.auth.authenticator import Authenticator
from whaul.auth.caller import Caller
from whaul.errors import (
    ApiError,
    InternalServiceException,
    ServiceUnavailable,
    UnknownOperationException,
)
from whaul.registry.errors import RegistryUnavailableError
from whaul.server import asgi
from whaul.server.asgi import Application, Receive, Scope, Send
from whaul.server.bodies import SMALL_BODY, BodyRoom, body_size
from whaul.server.http_app import CLOSE, HttpApp
from whaul.server.limits import RateLimit
from whaul.telemetry import logs
from whaul.telemetry.audit import AuditLog
from whaul.telemetry.call import Call
from whaul.telemetry.clients import ClientAddress, claimed_access_key_id
from whaul.telemetry.metrics import OPEN_METRICS, TEXT, Metrics

if TYPE_CHECKING:
    from whaul.telemetry.spans import Tracing

log = structlog.get_logger()

Operation = Callable[[Request, Caller, Call], Awaitable[Response]]
JSON = "application/json"
READ = ("GET", "HEAD")
WEBHOOKS = "/webhooks/"
"""How the paths begin that Meta calls."""
HEALTH, READINESS, METRICS = PROBES = ("/healthz", "/readyz", "/metrics")
"""What monitors ask, over and over: not logged, not counted."""
CLIENT_ERRORS, SERVER_ERRORS = 400, 500
"""Where these statuses begin."""


@dataclass(frozen=True, slots=True)
class Service:
    """What calls are passed to while the server runs."""

    authenticator: Authenticator
    rate_limit: RateLimit
    operations: Mapping[str, Operation]
    """Those that are built, by name."""
    unready: Callable[[], Awaitable[list[str]]]
    """Why calls cannot be served; empty when they can."""
    note_use: Callable[[str, str | None], None]
    """Takes the access key and the operation of each call whose signature was proven."""
    webhooks: Application | None = None
    """Answers the paths of webhooks, if they come to this listener."""
    tracing: "Tracing | None" = None


class Exchange:
    """An API request and what its steps have found so far."""

    __slots__ = (
        "body",
        "call",
        "caller",
        "headers",
        "operation",
        "receive",
        "response",
        "room",
        "scope",
        "started",
        "status",
    )

    def __init__(self, scope: Scope, receive: Receive, call: Call) -> None:
        self.scope = scope
        self.receive = receive
        self.call = call
        self.room: BodyRoom | None = None
        """What a large body holds."""
        self.status = 500
        self.operation: Operation
        self.body: bytes
        self.headers: tuple[tuple[bytes, bytes], ...]
        self.caller: Caller
        self.response: Response


class Gateway(HttpApp):
    """The ASGI application."""

    def __init__(
        self,
        serving: Callable[["Gateway"], AbstractAsyncContextManager[Service]],
        metrics: Metrics,
        clients: ClientAddress,
        audit: AuditLog | None = None,
    ) -> None:
        """`serving` holds the service open, from the server's start to its end."""
        super().__init__()
        self._serving = serving
        self._metrics = metrics
        self._clients = clients
        self._audit = audit
        self._service: Service

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a monitor, Meta, or a caller."""
        if scope["path"] in PROBES:
            await self._probe(scope, send)
        elif scope["path"].startswith(WEBHOOKS) and self._service.webhooks is not None:
            await self._service.webhooks(scope, receive, self.closing(send))
        else:
            await self._call(scope, receive, send)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Hold the service open."""
        async with self._serving(self) as self._service:
            yield

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take an API request through its life."""
        peer = scope.get("client")
        call = Call(response.request_id(), client=self._clients.of(peer[0] if peer else None, scope["headers"]))
        exchange = Exchange(scope, receive, call)
        started = time.monotonic()
        try:
            try:
                for step in self.steps:
                    await step(self, exchange)
                body, headers = exchange.response
                exchange.status = 200
            except Exception as error:  # noqa: BLE001 - whatever it was, the caller gets a response
                exchange.status, body, headers = self._failed(error, call)
                if call.access_key_id is None:
                    call.claimed_access_key_id = claimed_access_key_id(scope["headers"], scope["query_string"])
            finally:
                if exchange.room is not None:
                    exchange.room.release()
            headers.append(("x-amzn-RequestId", call.request_id))
            if self.is_closing or call.arriving:
                headers.append(CLOSE)
            await asgi.answer(send, exchange.status, JSON, headers, body)
        finally:
            seconds = time.monotonic() - started
            for record in self.records:
                record(self, exchange, seconds)

    async def _admit(self, exchange: "Exchange") -> None:
        """Refuse a browser's pages where no key is needed."""
        self._service.authenticator.admit(exchange.scope["headers"])

    async def _route(self, exchange: "Exchange") -> None:
        """Find the operation."""
        method, path = exchange.scope["method"], exchange.scope["path"]
        name = ROUTES.get((method, path))
        if name is None:
            if path in PATHS:
                raise UnknownOperationException("This path takes another HTTP method.", status=405)
            raise UnknownOperationException("There is no operation at this path.")
        exchange.call.operation = name
        exchange.operation = self._service.operations[name]

    async def _receive(self, exchange: "Exchange") -> None:
        """Read the body. A large one takes room that all share, until the call ends."""
        call = exchange.call
        call.arriving = True
        max_size = request.MAX_REQUESTS.get(call.operation or "", request.MAX_REQUEST)
        size = body_size(exchange.scope, max_size)
        if size.most <= SMALL_BODY:
            exchange.body = await self.bodies.read(exchange.receive, size)
        else:
            exchange.room = self.bodies.take(size.most)
            exchange.body = await exchange.room.fill(self.bodies.read(exchange.receive, size))
        call.arriving = False

    async def _authenticate(self, exchange: "Exchange") -> None:
        """Prove who calls."""
        scope, call = exchange.scope, exchange.call
        exchange.headers = tuple(scope["headers"])
        exchange.caller = caller = await self._service.authenticator.authenticate(
            scope["method"], scope["raw_path"], scope["query_string"], exchange.headers, exchange.body
        )
        call.access_key_id, call.caller = caller.access_key_id, caller.name
        call.body = exchange.body

    async def _limit(self, exchange: "Exchange") -> None:
        """Count the call against the caller's rate."""
        caller = exchange.caller
        self._service.rate_limit.take(caller.access_key_id, caller.rate_limit, caller.rate_burst)

    async def _perform(self, exchange: "Exchange") -> None:
        """Do what was asked."""
        asked = Request(exchange.scope["query_string"], exchange.body, exchange.headers)
        exchange.response = await exchange.operation(asked, exchange.caller, exchange.call)
        exchange.call.answer = exchange.response[0]

    def _trace(self, exchange: "Exchange", seconds: float) -> None:
        tracing = self._service.tracing
        if tracing is not None:
            tracing.call(exchange.call, exchange.scope["headers"], exchange.status, seconds)

    def _count(self, exchange: "Exchange", seconds: float) -> None:
        self._metrics.observe(exchange.call, seconds)

    def _log(self, exchange: "Exchange", seconds: float) -> None:
        status = exchange.status
        write = log.info if status < CLIENT_ERRORS else log.warning if status < SERVER_ERRORS else log.error
        write("call", **logs.call_line(exchange.call, status, seconds))

    def _record(self, exchange: "Exchange", _seconds: float) -> None:
        if self._audit is not None:
            self._audit.record(exchange.call, exchange.scope["headers"], exchange.scope["query_string"])

    def _note(self, exchange: "Exchange", _seconds: float) -> None:
        call = exchange.call
        if call.access_key_id is not None:
            self._service.note_use(call.access_key_id, call.operation)

    steps = (_admit, _route, _receive, _authenticate, _limit, _perform)
    """What happens to a request, in order; what a step raises is the response."""
    records = (_trace, _count, _log, _record, _note)
    """What is kept of it; metrics and log name its trace."""

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
        return api_error.status, body, headers

    async def _probe(self, scope: Scope, send: Send) -> None:
        """Answer a monitor: whether the process answers, whether calls can be served, the metrics."""
        status, body, content_type = 200, b"", JSON
        if scope["method"] not in READ:
            status, body = 405, msgspec.json.encode({"message": "Use GET."})
        elif scope["path"] == HEALTH:
            body = msgspec.json.encode({"status": "ok"})
        elif scope["path"] == METRICS:
            open_metrics = any(
                b"application/openmetrics-text" in value for name, value in scope["headers"] if name == b"accept"
            )
            body = self._metrics.exposition(open_metrics=open_metrics)
            content_type = OPEN_METRICS if open_metrics else TEXT
        else:
            reasons = ["draining: the server is stopping"] if self.is_draining else []
            reasons += await self._service.unready()
            status = 503 if reasons else 200
            body = msgspec.json.encode({"status": "unavailable" if reasons else "ok", "reasons": reasons})
        headers = [("x-amzn-RequestId", response.request_id()), *([CLOSE] if self.is_closing else [])]
        await asgi.answer(send, status, content_type, headers, body)


def _api_error(error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        return error
    return ServiceUnavailable() if isinstance(error, RegistryUnavailableError) else InternalServiceException()
