"""The pages by which people sign in and out; `sign_in` and `openid` decide who comes in."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from whaul.auth.caller import Caller
from whaul.auth.openid.errors import OpenIdError, ProviderError
from whaul.auth.openid.person import Person
from whaul.console.bodies import bounded
from whaul.console.console import Console
from whaul.console.page import SMALL_FORM
from whaul.console.recording import Recorder
from whaul.console.sign_in import Session, SignIns
from whaul.console.visit import PageError
from whaul.errors import ApiError

if TYPE_CHECKING:
    from whaul.console.openid import OpenId  # of an extra

log = structlog.get_logger()

SIGN_IN: Final = "/sign-in"
CALLBACK: Final = f"{SIGN_IN}/oidc/callback"

Endpoint = Callable[[Request], Awaitable[Response]]


class SignInPages:
    """Ways in, and the way out; the first page is whatever the key may see."""

    def __init__(self, console: Console, sign_ins: SignIns, recorder: Recorder, openid: "OpenId | None") -> None:
        self._console = console
        self._sign_ins = sign_ins
        self._recorder = recorder
        self._openid = openid
        self._logged: OpenIdError | None = None

    def routes(self, answered: Callable[[Endpoint], Endpoint]) -> list[Route]:
        """Return the routes; `answered` turns what is raised into a page."""
        return [
            Route("/", answered(self._start), methods=["GET"]),
            Route(SIGN_IN, self._show_sign_in, methods=["GET"]),
            Route(f"{SIGN_IN}/challenge", self._challenge, methods=["GET"]),
            Route(f"{SIGN_IN}/link", answered(self._by_link), methods=["POST"]),
            Route(f"{SIGN_IN}/key", answered(self._by_key), methods=["POST"]),
            Route(f"{SIGN_IN}/oidc", answered(self._to_provider), methods=["GET"]),
            Route(CALLBACK, answered(self._from_provider), methods=["GET"]),
            Route("/sign-out", answered(self._sign_out), methods=["POST"]),
        ]

    async def _start(self, request: Request) -> Response:
        session = await self._sign_ins.session(request)
        return RedirectResponse(SIGN_IN if session is None else self._first_page(session.caller), 303)

    def _first_page(self, caller: Caller) -> str:
        return self._console.navigation.start(caller.policy)

    async def _show_sign_in(self, _request: Request) -> Response:
        return self._sign_in_page()

    def _sign_in_page(self, refused: str | None = None, status: int = 200) -> Response:
        return HTMLResponse(self._console.templates.render("sign_in.html", refused=refused), status)

    async def _challenge(self, _request: Request) -> Response:
        return PlainTextResponse(self._sign_ins.challenges.make())

    async def _by_link(self, request: Request) -> Response:
        self._sign_ins.attempts.check(self._recorder.client(request))
        form = await bounded(request, SMALL_FORM).form()
        token = form.get("token")
        try:
            caller = await self._sign_ins.by_link(token) if isinstance(token, str) else None
        except ApiError as error:  # the key was disabled meanwhile
            self._record_sign_in(request, "link", None, error.message)
            raise
        session = None if caller else await self._sign_ins.session(request)
        if session is not None:
            return RedirectResponse(self._first_page(session.caller), 303)  # who uses a link again is in already
        if caller is None:
            self._record_sign_in(request, "link", None, "the link is unknown, used or too old")
            refused = "This link is used already, or too old. Make another one: whaul console link"
            return self._sign_in_page(refused, 403)
        return await self._signed_in(request, "link", caller, RedirectResponse(self._first_page(caller), 303))

    async def _by_key(self, request: Request) -> Response:
        self._sign_ins.attempts.check(self._recorder.client(request))
        body = await bounded(request, SMALL_FORM).body()
        try:
            caller = await self._sign_ins.by_signature(request, body)
        except ApiError as error:
            self._record_sign_in(request, "accessKey", None, error.message)
            raise
        if caller is None:
            told = "The challenge is used already, or too old. Try again."
            self._record_sign_in(request, "accessKey", None, told)
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
            self._log_provider_problem(error)
            return self._sign_in_page(error.text, 503)
        response = RedirectResponse(attempt.url, 303)
        response.set_cookie(
            cookie.name, attempt.sealed, attempt.life, secure=cookie.is_secure, httponly=True, samesite="lax"
        )
        return response

    async def _from_provider(self, request: Request) -> Response:
        if self._openid is None or not request.query_params:  # who has signed out there comes back without any
            return RedirectResponse(SIGN_IN, 303)
        self._sign_ins.attempts.check(self._recorder.client(request))
        cookie = self._sign_ins.attempt_cookie(request)
        person = None
        try:
            sealed, address = request.cookies.get(cookie.name), self._sign_ins.address(request, CALLBACK)
            person = await self._openid.finish(request.query_params, sealed, address)
            caller = await self._sign_ins.caller(await self._openid.access_key(person))
        except OpenIdError as error:
            response = self._refused(request, error, person)
        except ApiError as error:  # the key was disabled meanwhile
            self._record_sign_in(request, "oidc", None, error.message)
            raise
        else:
            # The browser sends the session's cookie only with what a page of ours begins, so this is one.
            response = HTMLResponse(self._console.templates.render("signed_in.html", start=self._first_page(caller)))
            until = datetime.now(UTC) + self._openid.rules.session
            await self._sign_ins.begin(request, caller, response, until=until, person=person.name)
            self._recorder.record(request, "SignIn", caller, None, {"way": "oidc"}, person=person.name)
        response.delete_cookie(cookie.name, secure=cookie.is_secure, httponly=True, samesite="lax")
        return response

    def _refused(self, request: Request, error: OpenIdError, person: Person | None) -> Response:
        """Say on the page for signing in why a provider did not help."""
        is_providers = isinstance(error, ProviderError)
        if is_providers:  # who tries again is not to be turned away for it
            self._log_provider_problem(error)
        else:
            self._sign_ins.attempts.fail(self._recorder.client(request))
        named = None if person is None else person.name
        self._recorder.record(request, "SignIn", None, ApiError(error.text), {"way": "oidc"}, person=named)
        return self._sign_in_page(error.text, 503 if is_providers else 403)

    def _log_provider_problem(self, error: OpenIdError) -> None:
        """Log what is wrong with the provider, once: anybody can ask for it."""
        if self._logged is not error:
            self._logged = error
            log.error("the sign-in provider cannot be used", problem=error.text)

    async def _signed_in(self, request: Request, way: str, caller: Caller, response: Response) -> Response:
        await self._sign_ins.begin(request, caller, response)
        self._record_sign_in(request, way, caller, None)
        return response

    async def _sign_out(self, request: Request) -> Response:
        session: Session | None = await self._sign_ins.session(request)
        if session is None:
            return RedirectResponse(SIGN_IN, 303)
        self._recorder.record(request, "SignOut", session.caller, None, {}, person=session.person)
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

    def _record_sign_in(self, request: Request, way: str, caller: Caller | None, refused: str | None) -> None:
        error = None
        if refused is not None:
            self._sign_ins.attempts.fail(self._recorder.client(request))
            error = ApiError(refused)
        self._recorder.record(request, "SignIn", caller, error, {"way": way})
