"""The site: routes, what comes before a page, and what is written down after it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from whaul.auth.caller import Caller
from whaul.auth.openid.errors import OpenIdError, ProviderError
from whaul.auth.openid.person import Person
from whaul.console.console import Console
from whaul.console.page import SMALL_FORM, Page
from whaul.console.rendering import Assets
from whaul.console.sign_in import Session, SignIns
from whaul.console.visit import PageError, Visit
from whaul.errors import (
    ApiError,
    InternalServiceException,
    RequestEntityTooLargeException,
    ResourceNotFoundException,
    SerializationException,
    ValidationException,
)
from whaul.registry.errors import RegistryUnavailableError
from whaul.secrets import SecretKeyError
from whaul.server.asgi import Message, Receive
from whaul.server.bodies import BODY_TIMEOUT, body_size
from whaul.telemetry import logs
from whaul.telemetry.audit import AuditLog, ConsoleAction
from whaul.telemetry.clients import ClientAddress

if TYPE_CHECKING:
    from whaul.console.openid import OpenId  # of an extra

log = structlog.get_logger()

SIGN_IN: Final = "/sign-in"
CALLBACK: Final = f"{SIGN_IN}/oidc/callback"
_AWAY: Final = "The database does not answer. Try again; servers go on with what they know."
_UNEXPECTED: Final = "Something went wrong that nobody foresaw. The console's log says what."


class Site:
    """The application without its guard."""

    def __init__(
        self,
        console: Console,
        pages: Sequence[Page],
        sign_ins: SignIns,
        assets: Assets,
        clients: ClientAddress,
        *,
        audit: AuditLog | None,
        openid: "OpenId | None" = None,
    ) -> None:
        self._console = console
        self._sign_ins = sign_ins
        self._openid = openid
        self._told: OpenIdError | None = None
        self._clients = clients
        self._audit = audit
        routes = [
            Route("/", self._answered(self._start), methods=["GET"]),
            Route("/static/{name}", assets.answer, methods=["GET"]),
            Route(SIGN_IN, self._show_sign_in, methods=["GET"]),
            Route(f"{SIGN_IN}/challenge", self._challenge, methods=["GET"]),
            Route(f"{SIGN_IN}/link", self._answered(self._by_link), methods=["POST"]),
            Route(f"{SIGN_IN}/key", self._answered(self._by_key), methods=["POST"]),
            Route(f"{SIGN_IN}/oidc", self._answered(self._to_provider), methods=["GET"]),
            Route(CALLBACK, self._answered(self._from_provider), methods=["GET"]),
            Route("/sign-out", self._answered(self._sign_out), methods=["POST"]),
            *(self._route(page) for page in pages),
        ]
        self.application = Starlette(routes=routes, exception_handlers={HTTPException: self._no_page})

    # Pages

    def _route(self, page: Page) -> Route:
        async def endpoint(request: Request) -> Response:
            async def renew() -> bool:
                again = await self._sign_ins.session(request, uses=False)
                return again is not None and again.caller.policy == visit.caller.policy

            session = await self._sign_ins.session(request, uses=page.is_recorded)
            if session is None:
                return self._to_sign_in(request)
            visit = Visit(
                bounded(request, page.max_body), session.caller, session.token, self._console, renew, session.person
            )
            request.state.visit = visit
            error: ApiError | None = None
            try:
                if page.action is not None:
                    visit.require_somewhere(page.action)
                return await page.answer(visit)
            except ApiError as raised:
                error = raised
                raise
            except PageError as raised:
                # Its text may repeat what somebody wrote.
                error = ResourceNotFoundException() if raised.status == 404 else ValidationException()
                raise
            except Exception:
                error = InternalServiceException()
                raise
            finally:
                if page.is_recorded and page.action is not None:
                    name = page.action.rpartition(":")[2]
                    told = error or visit.error
                    self._record(request, name, session.caller, told, _parameters(visit), person=session.person)

        return Route(page.path, self._answered(endpoint), methods=["POST"] if page.posts else ["GET"])

    def _answered(self, endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """Turn what is raised into a page that says what is wrong."""

        async def answer(request: Request) -> Response:
            try:
                return await endpoint(request)
            except PageError as error:
                return self._error(request, error.status, error.text)
            except ApiError as error:
                return self._error(request, error.status, error.message, error.retry_after)
            except (RegistryUnavailableError, SecretKeyError) as error:
                log.error("a page of the console could not be shown", error=logs.without_text(error))
                told = _AWAY if isinstance(error, RegistryUnavailableError) else str(error)
                return self._error(request, 503, told)
            except HTTPException:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it was, the browser gets a page
                log.error("a page of the console failed", error=logs.without_text(error))
                return self._error(request, 500, _UNEXPECTED)

        return answer

    def _error(self, request: Request, status: int, text: str, retry_after: float | None = None) -> Response:
        headers = {} if retry_after is None else {"retry-after": str(int(retry_after) + 1)}
        if "text/html" not in request.headers.get("accept", ""):  # a script asks, which shows the text
            return PlainTextResponse(text, status, headers)
        visit: Visit | None = getattr(request.state, "visit", None)
        render = self._console.templates.render if visit is None else visit.html
        return HTMLResponse(render("error.html", status=status, text=text), status, headers)

    def _no_page(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        return self._error(request, status, "There is no such page." if status == 404 else "This cannot be done here.")

    async def _start(self, request: Request) -> Response:
        session = await self._sign_ins.session(request)
        return RedirectResponse(SIGN_IN if session is None else self._first_page(session.caller), 303)

    def _first_page(self, caller: Caller) -> str:
        return self._console.navigation.start(caller.policy)

    # Sign-in

    def _to_sign_in(self, request: Request) -> Response:
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return RedirectResponse(SIGN_IN, 303)
        return self._error(request, 401, "You are not signed in, or not any more. Sign in again.")

    async def _show_sign_in(self, _request: Request) -> Response:
        return HTMLResponse(self._console.templates.render("sign_in.html", refused=None))

    async def _challenge(self, _request: Request) -> Response:
        return PlainTextResponse(self._sign_ins.challenges.make())

    async def _by_link(self, request: Request) -> Response:
        self._sign_ins.attempts.check(self._client(request))
        form = await bounded(request, SMALL_FORM).form()
        token = form.get("token")
        try:
            caller = await self._sign_ins.by_link(token) if isinstance(token, str) else None
        except ApiError as error:  # the key was disabled meanwhile
            self._tell_of_sign_in(request, "link", None, error.message)
            raise
        session = None if caller else await self._sign_ins.session(request)
        if session is not None:
            return RedirectResponse(self._first_page(session.caller), 303)  # who uses a link again is in already
        if caller is None:
            self._tell_of_sign_in(request, "link", None, "the link is unknown, used or too old")
            refused = "This link is used already, or too old. Make another one: whaul console link"
            return HTMLResponse(self._console.templates.render("sign_in.html", refused=refused), 403)
        return await self._signed_in(request, "link", caller, RedirectResponse(self._first_page(caller), 303))

    async def _by_key(self, request: Request) -> Response:
        self._sign_ins.attempts.check(self._client(request))
        body = await bounded(request, SMALL_FORM).body()
        try:
            caller = await self._sign_ins.by_signature(request, body)
        except ApiError as error:
            self._tell_of_sign_in(request, "accessKey", None, error.message)
            raise
        if caller is None:
            told = "The challenge is used already, or too old. Try again."
            self._tell_of_sign_in(request, "accessKey", None, told)
            raise PageError(told, 403)
        return await self._signed_in(request, "accessKey", caller, Response(status_code=204))

    async def _to_provider(self, request: Request) -> Response:
        # Only our own page, or somebody who typed the address, sends people away: not a page of another site.
        if self._openid is None or request.headers.get("sec-fetch-site") not in {None, "none", "same-origin"}:
            return RedirectResponse(SIGN_IN, 303)
        cookie = self._sign_ins.attempt_cookie(request)
        try:
            attempt = await self._openid.begin(self._sign_ins.address(request, CALLBACK))
        except ProviderError as error:
            self._tell_of_provider(error)
            return HTMLResponse(self._console.templates.render("sign_in.html", refused=error.text), 503)
        response = RedirectResponse(attempt.url, 303)
        response.set_cookie(
            cookie.name, attempt.sealed, attempt.life, secure=cookie.is_secure, httponly=True, samesite="lax"
        )
        return response

    async def _from_provider(self, request: Request) -> Response:
        if self._openid is None or not request.query_params:  # who has signed out there comes back without any
            return RedirectResponse(SIGN_IN, 303)
        self._sign_ins.attempts.check(self._client(request))
        cookie = self._sign_ins.attempt_cookie(request)
        person = None
        try:
            sealed, address = request.cookies.get(cookie.name), self._sign_ins.address(request, CALLBACK)
            person = await self._openid.finish(request.query_params, sealed, address)
            caller = await self._sign_ins.caller(await self._openid.access_key(person))
        except OpenIdError as error:
            response = self._refused(request, error, person)
        except ApiError as error:  # the key was disabled meanwhile
            self._tell_of_sign_in(request, "oidc", None, error.message)
            raise
        else:
            # The browser sends the session's cookie only with what a page of ours begins, so this is one.
            response = HTMLResponse(self._console.templates.render("signed_in.html", start=self._first_page(caller)))
            until = datetime.now(UTC) + self._openid.rules.session
            await self._sign_ins.begin(request, caller, response, until=until, person=person.name)
            self._record(request, "SignIn", caller, None, {"way": "oidc"}, person=person.name)
        response.delete_cookie(cookie.name, secure=cookie.is_secure, httponly=True, samesite="lax")
        return response

    def _refused(self, request: Request, error: OpenIdError, person: Person | None) -> Response:
        """Say on the page for signing in why a provider did not help."""
        is_ours = isinstance(error, ProviderError)
        if is_ours:  # who tries again is not to be turned away for it
            self._tell_of_provider(error)
        else:
            self._sign_ins.attempts.fail(self._client(request))
        named = None if person is None else person.name
        self._record(request, "SignIn", None, ApiError(error.text), {"way": "oidc"}, person=named)
        html = self._console.templates.render("sign_in.html", refused=error.text)
        return HTMLResponse(html, 503 if is_ours else 403)

    def _tell_of_provider(self, error: OpenIdError) -> None:
        """Log what is wrong with the provider, once: anybody can ask for it."""
        if self._told is not error:
            self._told = error
            log.error("the sign-in provider cannot be used", problem=error.text)

    async def _signed_in(self, request: Request, way: str, caller: Caller, response: Response) -> Response:
        await self._sign_ins.begin(request, caller, response)
        self._tell_of_sign_in(request, way, caller, None)
        return response

    async def _sign_out(self, request: Request) -> Response:
        session: Session | None = await self._sign_ins.session(request)
        if session is None:
            return RedirectResponse(SIGN_IN, 303)
        self._record(request, "SignOut", session.caller, None, {}, person=session.person)
        await self._sign_ins.end(session)
        url = None
        if self._openid is not None and session.person is not None:
            # Back to an address that the provider knows already. A form may not lead there, so it is a link.
            url = await self._openid.sign_out_url(self._sign_ins.address(request, CALLBACK))
        response: Response = RedirectResponse(SIGN_IN, 303)
        if url is not None:
            response = HTMLResponse(self._console.templates.render("signed_out.html", url=url))
        self._sign_ins.forget(request, response)
        return response

    # The audit log

    def _tell_of_sign_in(self, request: Request, way: str, caller: Caller | None, refused: str | None) -> None:
        error = None
        if refused is not None:
            self._sign_ins.attempts.fail(self._client(request))
            error = ApiError(refused)
        self._record(request, "SignIn", caller, error, {"way": way})

    def _record(
        self,
        request: Request,
        name: str,
        caller: Caller | None,
        error: ApiError | None,
        parameters: Mapping[str, Any],
        *,
        person: str | None = None,
    ) -> None:
        if self._audit is None:
            return
        self._audit.record_console(
            ConsoleAction(
                name=name,
                access_key_id=None if caller is None else caller.access_key_id,
                caller=None if caller is None else caller.name,
                client=self._client(request),
                user_agent=request.headers.get("user-agent"),
                reads=request.method == "GET",
                parameters=parameters,
                error=None if error is None else "Failure" if name == "SignIn" else error.code,
                message=None if error is None else error.message,
                person=person,
            )
        )

    def _client(self, request: Request) -> str | None:
        peer = request.client
        return self._clients.of(None if peer is None else peer.host, request.scope["headers"])


def _parameters(visit: Visit) -> dict[str, Any]:
    return {
        "path": visit.request.url.path,
        **({"resources": visit.resources} if visit.resources else {}),
    } | visit.details


def bounded(request: Request, max_body: int, seconds: float = BODY_TIMEOUT) -> Request:
    """Bound a request's body, and the time that it takes. Raises ApiError, at once or when it is read."""
    body_size(dict(request.scope), max_body)
    return Request(request.scope, _bounded(cast("Receive", request.receive), max_body, seconds))


def _bounded(receive: Receive, max_body: int, seconds: float) -> Receive:
    size, is_whole, began = 0, False, asyncio.get_running_loop().time()

    async def bounded_receive() -> Message:
        nonlocal size, is_whole
        try:  # what comes after the body is the end of the connection, which takes its time
            async with asyncio.timeout_at(None if is_whole else began + seconds):
                message = await receive()
        except TimeoutError:
            raise SerializationException("The request body did not come in time.") from None
        size += len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        if size > max_body:
            raise RequestEntityTooLargeException(f"The request has more than {max_body} bytes.")
        return message

    return bounded_receive
