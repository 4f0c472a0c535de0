"""The site: routes, what comes before a page, and what is recorded after it."""

from collections.abc import Sequence
from typing import Any, Final

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from whaul.console.bodies import bounded
from whaul.console.console import Console
from whaul.console.page import Page
from whaul.console.recording import Recorder
from whaul.console.rendering import Assets
from whaul.console.sign_in import SignIns
from whaul.console.sign_in_pages import SIGN_IN, Endpoint, SignInPages
from whaul.console.visit import PageError, Visit
from whaul.errors import ApiError, InternalServiceException, ResourceNotFoundException, ValidationException
from whaul.registry.errors import RegistryUnavailableError
from whaul.secrets import SecretKeyError
from whaul.telemetry import logs

log = structlog.get_logger()

_AWAY: Final = "The database does not answer. Try again; servers go on with what they know."
_UNEXPECTED: Final = "Something went wrong that nobody foresaw. The console's log says what."


class Site:
    """The application without its guard."""

    def __init__(
        self,
        console: Console,
        pages: Sequence[Page],
        *,
        sign_ins: SignIns,
        sign_in_pages: SignInPages,
        assets: Assets,
        recorder: Recorder,
    ) -> None:
        self._console = console
        self._sign_ins = sign_ins
        self._recorder = recorder
        routes = [
            *sign_in_pages.routes(self._answered),
            Route("/static/{name}", assets.answer, methods=["GET"]),
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
                    name, parameters = page.action.rpartition(":")[2], _parameters(visit)
                    self._recorder.record(
                        request, name, session.caller, error or visit.error, parameters, person=session.person
                    )

        return Route(page.path, self._answered(endpoint), methods=["POST"] if page.posts else ["GET"])

    def _answered(self, endpoint: Endpoint) -> Endpoint:
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

    def _to_sign_in(self, request: Request) -> Response:
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return RedirectResponse(SIGN_IN, 303)
        return self._error(request, 401, "You are not signed in, or not any more. Sign in again.")


def _parameters(visit: Visit) -> dict[str, Any]:
    return {
        "path": visit.request.url.path,
        **({"resources": visit.resources} if visit.resources else {}),
    } | visit.details
