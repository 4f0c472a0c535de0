"""The composition root: builds the gateway, lists its routes, and takes a request through its life.

A request's life, in order: an id, the body within its limit, the signature, the caller's rate, the operation, the
answer or the error, one log line, its metrics and its
audit record. What `create_app` returns is a plain ASGI application.
"""

import asyncio
import mimetypes
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import structlog
from litestar import Litestar, Request, Response
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException, InternalServerException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Message, Method, Receive, Scope, Send

from whaul import parts, wire
from whaul.auth import Authenticator, Caller
from whaul.circuit import Circuits
from whaul.destinations.s3 import S3Store
from whaul.errors import (
    ApiError,
    InternalServiceException,
    RequestEntityTooLargeException,
    SerializationException,
    ThrottledRequestException,
    UnknownOperationException,
)
from whaul.limits import RateLimit, TransferSlots
from whaul.model import AccessKey
from whaul.netguard import PresignedHosts
from whaul.operations import OPERATIONS
from whaul.operations.media import MediaOperations, MediaRules
from whaul.operations.numbers import MOST_REFUSALS, NUMBER_REST, Numbers
from whaul.policy import ALLOW_ALL
from whaul.registry import identifiers
from whaul.registry.cache import CachedRegistry
from whaul.registry.errors import RegistryError
from whaul.registry.store import Registry
from whaul.settings import DRAIN_SIGNAL, Settings
from whaul.telemetry import logs
from whaul.telemetry.audit import AuditLog
from whaul.telemetry.call import Call
from whaul.telemetry.clients import ClientAddress
from whaul.telemetry.metrics import Metrics

log = structlog.get_logger()

Operation = Callable[[wire.Input, Caller, Call], Awaitable[wire.Answer]]
JSON = "application/json"
READ: tuple[Method, ...] = ("GET", "HEAD")
METHODS: tuple[Method, ...] = (*READ, "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
ROUTES = {route: name for name, route in OPERATIONS.items()}
HEALTH, READINESS, METRICS = PROBES = ("/healthz", "/readyz", "/metrics")
"""What monitors ask, over and over: not logged, not counted."""
BODY_TIMEOUT = 15.0
"""Seconds in which a request's body must come."""
CALL = "whaul.call"
"""Where a request's scope holds its `Call`."""


def create_app(settings: Settings | None = None) -> ASGIApp:
    """Build the gateway; without `settings` they are read from the environment (`SettingsError`)."""
    settings = settings or Settings.load()
    logs.configure(settings.log_level, settings.log_format)
    metrics = Metrics()
    audit = parts.audit_log(settings, metrics)
    gateway = Gateway(settings, metrics, audit)
    operation_paths = sorted({path for _, path in OPERATIONS.values()})
    litestar = Litestar(
        route_handlers=[
            HTTPRouteHandler(operation_paths, http_method=METHODS)(gateway.call),
            HTTPRouteHandler(HEALTH, http_method=READ)(gateway.health),
            HTTPRouteHandler(READINESS, http_method=READ)(gateway.readiness),
            HTTPRouteHandler(METRICS, http_method=READ)(gateway.exposition),
        ],
        lifespan=[gateway.running],
        exception_handlers={Exception: gateway.failed},
        request_max_body_size=wire.LARGEST_REQUEST,
        openapi_config=None,
        logging_config=None,
    )
    return RequestLog(litestar, metrics, ClientAddress(settings.trusted_proxies), audit)


class Gateway:
    """The routes, over the parts that live as long as the server runs."""

    def __init__(self, settings: Settings, metrics: Metrics, audit: AuditLog | None) -> None:
        self._settings = settings
        self._metrics = metrics
        self._audit = audit
        self._store: S3Store
        self._draining = False

    def drain(self) -> None:
        """Take no new calls, and say so on `/readyz`; those under way go on."""
        self._draining = True
        log.info("draining")

    @asynccontextmanager
    async def running(self, _app: Litestar) -> AsyncGenerator[None]:
        """Build the parts, and close them when the server stops; transfers under way are finished first."""
        settings = self._settings
        async with AsyncExitStack() as stack:
            if self._audit is not None:
                await stack.enter_async_context(self._audit.writer.running())
            self._registry: Registry = await stack.enter_async_context(parts.registry(settings))
            http = await stack.enter_async_context(parts.http_client(self._metrics.open_circuits.labels("host").set))
            known = CachedRegistry(self._registry)
            stack.push_async_callback(known.aclose)
            self._store = parts.s3_store(settings, http)
            mimetypes.init([])  # Python's own table: the same on every machine, and no file is read later
            self._authenticator = Authenticator(
                known,
                account_id=settings.account_id,
                region=settings.region,
                now=lambda: datetime.now(UTC),
                partition=identifiers.partition(settings.region),
                root=_root_key(settings),
                required=settings.auth == "sigv4",
            )
            self._rate_limit = RateLimit(settings.rate_limit, time.monotonic, settings.rate_burst)
            numbers = Numbers(
                known,
                Circuits(
                    MOST_REFUSALS, NUMBER_REST, time.monotonic, self._metrics.open_circuits.labels("phone_number").set
                ),
                account_id=settings.account_id,
                region=settings.region,
            )
            media = MediaOperations(
                numbers=numbers,
                graph=parts.graph_client(settings, http, self._metrics.observe_meta_usage),
                http=http,
                store=self._store,
                presigned_hosts=PresignedHosts(self._store.endpoint(), settings.presigned_hosts),
                slots=TransferSlots(settings.max_transfers, settings.max_queue, self._metrics),
                rules=MediaRules(
                    partition=identifiers.partition(settings.region),
                    exact_keys=settings.key_mode == "exact",
                    extensions=settings.extensions,
                    max_file_size=settings.max_file_size,
                    deadline=settings.deadline,
                ),
            )
            stack.push_async_callback(media.land)
            if threading.current_thread() is threading.main_thread():  # signals reach no other
                asyncio.get_running_loop().add_signal_handler(DRAIN_SIGNAL, self.drain)
            self._operations: dict[str, Operation] = {"GetWhatsAppMessageMedia": media.get}
            log.info("ready", region=settings.region, s3_endpoint=self._store.endpoint(), graph=settings.graph_url)
            yield

    async def call(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """Answer a call of an operation."""
        call = _call_of(request.scope)
        name = ROUTES.get((request.method, request.scope["path"]))
        if name is None:
            raise UnknownOperationException("This path takes another HTTP method.", status=405)
        call.operation = name
        operation = self._operations.get(name)
        if operation is None:
            raise UnknownOperationException(f"The operation {name} is not built in this version of whaul.")
        if self._draining:
            raise ThrottledRequestException("This server is stopping. Try again, to reach another.", retry_after=1)
        body = await _body(request)
        scope = request.scope
        caller = await self._authenticator.authenticate(
            request.method, scope["raw_path"], scope["query_string"], tuple(scope["headers"]), body
        )
        call.access_key_id, call.caller = caller.access_key_id, caller.name
        call.body = body
        self._rate_limit.take(caller.access_key_id, caller.rate_limit, caller.rate_burst)
        answer, headers = await operation(wire.Input(scope["query_string"], body), caller, call)
        call.answer = answer
        return Response(answer, media_type=JSON, headers=dict(headers), status_code=200)

    async def health(self) -> Response[bytes]:
        """The process answers."""
        return _json(200, {"status": "ok"})

    async def readiness(self) -> Response[bytes]:
        """Whether calls can be served: not draining, the database, its schema, and S3 credentials."""
        reasons = ["draining: the server is stopping"] if self._draining else []
        try:
            await self._registry.ping()
        except RegistryError as error:
            reasons.append(str(error))
        try:
            await self._store.credentials()
        except ApiError as error:
            reasons.append(error.message)
        return _json(503 if reasons else 200, {"status": "unavailable" if reasons else "ok", "reasons": reasons})

    async def exposition(self) -> Response[bytes]:
        """The metrics, in Prometheus's text format."""
        return Response(self._metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def failed(self, request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        """Answer a request that raised."""
        call = _call_of(request.scope)
        api_error = _api_error(error)
        if isinstance(api_error, InternalServiceException):
            api_error = InternalServiceException(f"{api_error.message} Request id: {call.request_id}")
            log.error("unforeseen", request_id=call.request_id, error=logs.without_text(error))
        call.error, call.message = api_error.code, api_error.message
        body, headers = wire.error_answer(api_error)
        if self._draining:
            headers.append(("Connection", "close"))
        return Response(body, media_type=JSON, headers=dict(headers), status_code=api_error.status)


class RequestLog:
    """Gives every request its id, and logs, counts and audits every call once it is answered."""

    def __init__(self, app: ASGIApp, metrics: Metrics, clients: ClientAddress, audit: AuditLog | None) -> None:
        self._app = app
        self._metrics = metrics
        self._clients = clients
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, as ASGI."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        peer = scope.get("client")
        call = Call(wire.request_id(), client=self._clients.of(peer[0] if peer else None, scope["headers"]))
        cast("dict[str, Any]", scope)[CALL] = call  # ASGI lets applications add keys
        started = time.monotonic()
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-amzn-requestid", call.request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            if scope["path"] not in PROBES:
                seconds = time.monotonic() - started
                self._metrics.observe(call, seconds)
                log.info("call", **logs.call_line(call, status, seconds))
                if self._audit is not None:
                    self._audit.record(call, scope["headers"], scope["query_string"])


async def _body(request: Request[Any, Any, Any]) -> bytes:
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            return await request.body()
    except TimeoutError:
        raise SerializationException(f"The request body did not come within {BODY_TIMEOUT:.0f} seconds.") from None
    except InternalServerException:  # the framework's word for a client that left, or broke its own framing
        raise SerializationException("The request body broke off.") from None


def _call_of(scope: Scope) -> Call:
    return cast("Call", cast("dict[str, Any]", scope)[CALL])


def _api_error(error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, HTTPException):  # raised by the framework before our code runs
        if error.status_code == 404:
            return UnknownOperationException("There is no operation at this path.")
        if error.status_code == 405:
            return UnknownOperationException("This path takes another HTTP method.", status=405)
        if error.status_code == 413:
            return RequestEntityTooLargeException(f"The body may have {wire.LARGEST_REQUEST} bytes at the most.")
        if error.status_code < 500:
            return SerializationException("The request cannot be read.")
    return InternalServiceException()


def _root_key(settings: Settings) -> AccessKey | None:
    if settings.root_access_key_id is None or settings.root_secret_access_key is None:
        return None
    return AccessKey(settings.root_access_key_id, "root", settings.root_secret_access_key, ALLOW_ALL)


def _json(status: int, document: dict[str, Any]) -> Response[bytes]:
    return Response(msgspec.json.encode(document), media_type=JSON, status_code=status)
